"""Image files as samples: decoded, turned upright, resized and scaled as the model was trained.

Resizing is Pillow's bilinear filter, which averages when it makes an image smaller, as ``load_img`` of Keras
with ``interpolation="bilinear"`` and torchvision's ``Resize`` on Pillow images do. The scalings are those of
``preprocess_input`` in ``keras/src/applications/imagenet_utils.py`` (modes ``tf``, ``torch`` and ``caffe``).
Alpha channels are dropped, not blended, and 16-bit values lose their lower byte, as in Keras and TensorFlow.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from modelconversion_api.fields.data import ImageResize, Images, ImageScaling
from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.errors import shape_mismatch, unreadable
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.files.names import readable

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
"""The decoders that may look at a file. Pillow knows fifty, and some of them start other programs."""

_BILINEAR = Image.Resampling.BILINEAR
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_IMAGENET_MEAN_BGR = np.array([103.939, 116.779, 123.68], dtype=np.float32)


def decode(files: Sequence[Path], images: Images, info: TensorInfo, stage: Stage) -> Array:
    """Return the images as samples for input ``info``: ``(n, height, width, channels)`` in the input's dtype.

    Raises:
        ConverterError: DataShapeMismatch where the input is not for images, or not for this scaling;
            DataUnreadable for a file that is corrupt or too large.

    """
    height, width, channels = image_size(info, stage)
    scale = _scale(images.scaling, channels, info, stage)
    samples = np.empty((len(files), height, width, channels), dtype=np.dtype(info.dtype))
    for sample, file in zip(samples, files, strict=True):
        try:
            sample[...] = scale(_pixels(file, (width, height), channels, images.resize))
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises nearly anything for bytes that make no sense
            raise _unreadable(file, files, error, stage) from error
    return samples


def image_size(info: TensorInfo, stage: Stage) -> tuple[int, int, int]:
    """Height, width and channels of an input that takes images, channels last.

    Raises:
        ConverterError: DataShapeMismatch.

    """
    shape = tuple(info.shape[1:])
    if len(shape) != 3 or min(shape) < 1 or shape[2] not in (1, 3):
        raise shape_mismatch(
            f"images are for an input of shape (height, width, 1 or 3), but the model's input"
            f" {info.name!r} takes {shape}",
            stage,
            hint="give the samples as a .npy file, or export the model with channels last and a fixed size",
        )
    height, width, channels = shape
    return height, width, channels


def _scale(scaling: ImageScaling, channels: int, info: TensorInfo, stage: Stage) -> Callable[[Array], Array]:
    """Return the function from 8-bit pixels ``(height, width, channels)`` to the values of a sample."""
    dtype = np.dtype(info.dtype)
    holds_bytes = dtype.kind in "iu" and np.iinfo(dtype).max >= 255
    if dtype.kind != "f" and not (holds_bytes and scaling is ImageScaling.NONE):
        raise shape_mismatch(
            f"the model's input {info.name!r} takes {dtype}, which the values of images scaled as"
            f" {scaling.value} do not fit",
            stage,
            hint="use None (0 to 255) for uint8 inputs, and a .npy file of your own for int8",
        )
    if scaling in (ImageScaling.IMAGENET_TORCH, ImageScaling.IMAGENET_CAFFE) and channels != 3:
        raise shape_mismatch(
            f"{scaling.value} is for three channels, but the model's input {info.name!r} takes {channels}",
            stage,
            hint="scale the images as None, ZeroToOne or MinusOneToOne, as the model was trained",
        )
    return _SCALINGS[scaling]


_SCALINGS: dict[ImageScaling, Callable[[Array], Array]] = {
    ImageScaling.NONE: lambda pixels: pixels,
    ImageScaling.ZERO_TO_ONE: lambda pixels: pixels / np.float32(255),
    ImageScaling.MINUS_ONE_TO_ONE: lambda pixels: pixels / np.float32(127.5) - 1,
    ImageScaling.IMAGENET_TORCH: lambda pixels: (
        (pixels / np.float32(255) - _IMAGENET_MEAN) / _IMAGENET_DEVIATION
    ),
    ImageScaling.IMAGENET_CAFFE: lambda pixels: pixels[..., ::-1] - _IMAGENET_MEAN_BGR,
}


def _pixels(file: Path, size: tuple[int, int], channels: int, resize: ImageResize) -> Array:
    """One file as 8-bit values ``(height, width, channels)``; ``size`` is width and height."""
    with warnings.catch_warnings():
        # Of damaged metadata, and from half of Pillow's limit on: there is one limit here.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            upright = ImageOps.exif_transpose(image)
            fitted = _resized(_with_channels(upright, channels), size, resize)
    return np.asarray(fitted, dtype=np.uint8).reshape(size[1], size[0], channels)


def _unreadable(file: Path, files: Sequence[Path], error: Exception, stage: Stage) -> ConverterError:
    """Return the reason for a file that Pillow cannot decode, named with the folder of its class."""
    root = os.path.commonpath([each.parent for each in files])
    name = readable(str(file.relative_to(root)))
    if isinstance(error, Image.DecompressionBombError):
        why = f"it has more than {Image.MAX_IMAGE_PIXELS} pixels"
        return unreadable(name, why, stage, hint="leave it out, or make it smaller")
    # Its messages name the whole path, which is of no use where the file was unpacked.
    why = quoted(str(error).replace(f" {str(file)!r}", "")) or type(error).__name__
    return unreadable(name, why, stage, hint="leave the file out, or save it again as PNG or JPEG")


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    """``image`` as 8-bit RGB, or as grey by the weights of ITU-R 601-2."""
    if image.mode.startswith("I"):
        # 16-bit grey. Pillow's own conversion to 8 bits would clip it to 255.
        wide = np.clip(np.asarray(image), 0, 0xFFFF)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in ("1", "L", "LA"):
        image = image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _resized(image: Image.Image, size: tuple[int, int], resize: ImageResize) -> Image.Image:
    match resize:
        case ImageResize.STRETCH:
            return image.resize(size, _BILINEAR)
        case ImageResize.CROP:
            return ImageOps.fit(image, size, _BILINEAR)
        case ImageResize.PAD:
            return _padded(image, size)


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole image, centred on black; a very long one keeps one pixel of its short side."""
    ratio = min(size[0] / image.width, size[1] / image.height)
    width, height = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    canvas = Image.new(image.mode, size)
    place = ((size[0] - width) // 2, (size[1] - height) // 2)
    canvas.paste(image.resize((width, height), _BILINEAR), place)
    return canvas
