"""Models and data that training is measured on, as files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Case:
    """A model with what trains, calibrates and measures it; labels are None where there are none."""

    name: str
    model: Path
    train: Path
    train_labels: Path | None
    calibration: Path
    test: Path
    test_labels: Path | None
    epochs: dict[str, int]
    """By kind of training: distil, prune, qat."""
    note: str = ""


class UnavailableError(Exception):
    """A case whose model or data is not there."""


def gesture(folder: Path, _shared: Path) -> Case:
    """The project's own sample model, Keras 3, on its synthetic data."""
    script = PROJECT / "converter_image" / "train_gesture_model.py"
    subprocess.run([sys.executable, script], cwd=folder, check=True, capture_output=True)
    data = folder / "datasets"
    return Case(
        "gesture",
        folder / "models" / "gesture_classifier.h5",
        data / "train_features.npy",
        data / "train_labels.npy",
        data / "val_features.npy",
        data / "test_features.npy",
        data / "test_labels.npy",
        {"distil": 8, "prune": 4, "qat": 2},
    )


def digits(folder: Path, _shared: Path, api: Any = None) -> Case:
    """A small convolutional model on scikit-learn's 1,797 handwritten digits (8 x 8 pixels).

    ``api`` is the Keras that builds it: keras (the default) or tf_keras.
    """
    sets = digit_sets()
    if api is None:
        import keras as api
    model = digits_model(api)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*sets["train"], epochs=20, batch_size=32, verbose=0)
    path = folder / "digits.h5"
    bare = digits_model(api)
    bare.set_weights(model.get_weights())
    bare.save(path)
    return _case(folder, "digits", path, sets, {"distil": 40, "prune": 10, "qat": 5})


def digit_sets() -> dict[str, tuple[Any, Any]]:
    """Images ``(n, 8, 8, 1)`` from 0 to 1, float32, and labels: 1,000 train, 197 calibrate, 600 measure."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = (found.images[order, ..., None] / 16.0).astype(np.float32)
    labels = found.target[order].astype(np.int64)
    parts = {"train": slice(0, 1000), "calibration": slice(1000, 1197), "test": slice(1197, None)}
    return {name: (images[part], labels[part]) for name, part in parts.items()}


def digits_model(api: Any) -> Any:
    """16 and 32 filters with batch normalization, one dense layer; 21,690 parameters."""
    api.utils.set_random_seed(0)
    layers = api.layers
    return api.Sequential(
        [
            layers.InputLayer((8, 8, 1)) if api.__name__.startswith("tf_keras") else api.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def anomaly_detection(folder: Path, shared: Path) -> Case:
    """MLPerf Tiny's autoencoder (Keras 2) on the windows of its golden clip, in the order of time."""
    model, clip = shared / "ad01.h5", shared / "ad01_normal_id_01_00000000.f32.bin"
    if not (model.is_file() and clip.is_file()):
        raise UnavailableError(f"{model.name} or its clip is not in {shared.name}")
    frames = np.fromfile(clip, "<f4").reshape(200, 128)
    windows = np.stack([frames[i : i + 5].ravel() for i in range(196)])
    sets = {
        "train": (windows[:120], None),
        "calibration": (windows[:120:2], None),
        "test": (windows[124:], None),
    }
    note = "one clip of ten seconds: 120 windows train, 72 later ones measure"
    return _case(folder, "ad01", model, sets, {"distil": 30, "prune": 16, "qat": 8}, note)


def visual_wake_words(folder: Path, shared: Path) -> Case:
    """MLPerf Tiny's MobileNet (Keras 2) on crops of the photographs that two packages bring."""
    model = shared / "vww_96.h5"
    if not model.is_file():
        raise UnavailableError(f"{model.name} is not in {shared.name}")
    crops = photo_crops(1200)
    sets = {"train": (crops[:800], None), "calibration": (crops[800:900], None), "test": (crops[900:], None)}
    note = "crops of six photographs, without labels: agreement with the original is what counts"
    return _case(folder, "vww_96", model, sets, {"distil": 8, "prune": 4, "qat": 3}, note)


def photo_crops(count: int) -> Any:
    """Square crops of photographs at random places and sizes: ``(count, 96, 96, 3)`` from 0 to 1, float32."""
    try:
        import skimage.data as extra
    except ImportError as error:
        raise UnavailableError("scikit-image is not installed (the group comparison has it)") from error
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [
        *load_sample_images().images,
        extra.astronaut(),
        extra.coffee(),
        extra.chelsea(),
        extra.rocket(),
    ]
    # The only one with a person counts for half: both classes should come up.
    generator, made = np.random.default_rng(0), []
    for number in range(count):
        photo = photos[2] if number % 2 else photos[generator.integers(len(photos))]
        height, width = photo.shape[:2]
        side = int(generator.integers(96, min(height, width)))
        top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
        crop = Image.fromarray(photo[top : top + side, left : left + side]).resize((96, 96))
        made.append(np.asarray(crop, dtype=np.float32) / 255.0)
    return np.stack(made)


CASES: dict[str, Callable[[Path, Path], Case]] = {
    "gesture": gesture,
    "digits": digits,
    "ad01": anomaly_detection,
    "vww_96": visual_wake_words,
}


def _case(
    folder: Path,
    name: str,
    model: Path,
    sets: dict[str, tuple[Any, Any]],
    epochs: dict[str, int],
    note: str = "",
) -> Case:
    """Writes the sets beside the model."""
    files: dict[str, Path | None] = {}
    for part, (samples, labels) in sets.items():
        for suffix, array in (("", samples), ("_labels", labels)):
            path = folder / f"{name}_{part}{suffix}.npy"
            files[f"{part}{suffix}"] = None if array is None else path
            if array is not None:
                np.save(path, array)
    train, calibration, test = files["train"], files["calibration"], files["test"]
    if train is None or calibration is None or test is None:
        raise ValueError("every case has samples")
    return Case(
        name, model, train, files["train_labels"], calibration, test, files["test_labels"], epochs, note
    )
