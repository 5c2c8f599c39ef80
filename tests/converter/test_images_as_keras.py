"""Images become what Keras makes of them, to the last digit that float32 has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.data.binding import SavedSamples

HEIGHT, WIDTH = 24, 40
MODES = ["RGB", "L", "RGBA", "P"]
SCALINGS = {
    "tf": ImageScaling.MINUS_ONE_TO_ONE,
    "torch": ImageScaling.IMAGENET_TORCH,
    "caffe": ImageScaling.IMAGENET_CAFFE,
}

# A program, so that no test loads TensorFlow.
_KERAS = f"""
import sys
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
from keras.utils import img_to_array, load_img

folder = sys.argv[1]
for mode in {MODES}:
    for color_mode in ("rgb", "grayscale"):
        path, size = f"{{folder}}/{{mode}}.png", ({HEIGHT}, {WIDTH})
        image = load_img(path, color_mode, size, interpolation="bilinear")
        np.save(f"{{folder}}/{{mode}}-{{color_mode}}.npy", img_to_array(image))
for scaling in {[*SCALINGS]}:
    array = np.load(f"{{folder}}/RGB-rgb.npy")
    np.save(f"{{folder}}/{{scaling}}.npy", preprocess_input(array, "channels_last", scaling))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and the arrays that Keras makes of them."""
    made = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (31, 57, 3), dtype=np.uint8)
    for mode in MODES:
        Image.fromarray(pixels).convert(mode).save(made / f"{mode}.png")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", _KERAS, made], check=True, capture_output=True, env=environment)
    return made


def ours(path: Path, channels: int, scaling: ImageScaling) -> np.ndarray:
    info = TensorInfo(name="image", shape=[1, HEIGHT, WIDTH, channels], dtype="float32")
    samples = SavedSamples(name="x", files=(path,), images=Images(scaling=scaling))
    return samples.bind([info], Stage.CALIBRATE)["image"][0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("color_mode", "channels"), [("rgb", 3), ("grayscale", 1)])
def test_pixels(folder: Path, mode: str, color_mode: str, channels: int) -> None:
    found = ours(folder / f"{mode}.png", channels, ImageScaling.NONE)
    np.testing.assert_array_equal(found, np.load(folder / f"{mode}-{color_mode}.npy"))


@pytest.mark.parametrize(("name", "scaling"), SCALINGS.items())
def test_scalings(folder: Path, name: str, scaling: ImageScaling) -> None:
    found = ours(folder / "RGB.png", 3, scaling)
    np.testing.assert_allclose(found, np.load(folder / f"{name}.npy"), rtol=1e-5, atol=1e-5)
