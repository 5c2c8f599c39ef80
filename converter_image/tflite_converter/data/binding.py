"""Samples meet the model: matched to its inputs by name, in their shapes and dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.audio.front_end import features_shape
from tflite_converter.data.conventions import pair_of
from tflite_converter.data.errors import not_finite, shape_mismatch
from tflite_converter.data.npz import read_arrays
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.names import safe_name

_OPEN_SIZE = 16
"""What :func:`random_inputs` makes of a dimension that the model leaves open."""


GROUPS: Final = (
    "the model takes {group} samples at once, and works for no other number: so do its files. They were"
    " measured on groups of {group}, without labels; samples over the last whole group were left out"
)
"""What a user should know of a batch that a model fixes."""
_CHANNELS = (1, 3)
"""Of images; a dimension of another size may be any."""


class SavedSamples(ApiModel):
    """Samples as one process hands them to another: an .npz file, or the paths of images or sounds."""

    name: str
    """What messages call them."""
    arrays: Path | None = None
    files: tuple[Path, ...] = ()
    images: Images | None = None
    audio: Audio | None = None
    label_array: str | None = None
    """The array that was taken for the labels, unless the model has an input of that name."""

    def bind(self, inputs: Sequence[TensorInfo], stage: Stage) -> dict[str, Array]:
        """Return samples by the model's inputs, ``{input: (n, *input shape[1:])}``, in the inputs' dtypes.

        Images and sounds are decoded now.

        Raises:
            ConverterError: DataShapeMismatch, with what the model takes and what was given; DataNotFinite
                for a value that the input's dtype has no place for; DataUnreadable for a corrupt file.

        """
        if self.audio is not None:
            return _sounds(self.files, self.audio, inputs, self.name, stage)
        if self.images is None:
            return bind_arrays(self._arrays(stage), inputs, self.name, stage)
        from tflite_converter.data.image_decoding import decode  # Pillow is for images only

        info = _only_input(inputs, self.name, "images", stage)
        return {info.name: decode(self.files, self.images, info, stage)}

    def has_labels_for_input(self, inputs: Iterable[str]) -> bool:
        """Whether what was taken for labels is one of the model's ``inputs``, and so no labels."""
        return takes_labels(self.label_array, inputs)

    def shapes(self, inputs: Sequence[TensorInfo], stage: Stage) -> dict[str, tuple[int, ...]]:
        """Return the arrays' shapes by input, the number of samples first; none for images.

        Raises:
            ConverterError: DataShapeMismatch where inputs and arrays do not match by name.

        """
        if self.images is not None:
            return {}
        if self.audio is not None:
            info = _only_input(inputs, self.name, "sounds", stage)
            return {info.name: (len(self.files), *features_shape(self.audio))}
        return array_shapes(self._arrays(stage), inputs, self.name, stage)

    def fitting(self, inputs: Sequence[TensorInfo], stage: Stage) -> dict[str, str]:
        """Describe how :meth:`bind` reaches the inputs' shapes, for the report's ``preprocessing``.

        Raises:
            ConverterError: DataShapeMismatch.

        """
        if self.audio is not None:
            return sound_fitting(self.audio, inputs, self.name, stage)
        if self.images is None:
            return array_fitting(self._arrays(stage), inputs, self.name, stage)
        return image_fitting(inputs, self.name, stage)

    def _arrays(self, stage: Stage) -> dict[str, Array]:
        if self.arrays is None:
            raise ValueError("saved samples are either arrays or files")
        return read_arrays(self.arrays, stage)


def array_shapes(
    arrays: NamedArrays, inputs: Sequence[TensorInfo], name: str, stage: Stage
) -> dict[str, tuple[int, ...]]:
    """Return the arrays' shapes by input, the number of samples first.

    Raises:
        ConverterError: DataShapeMismatch where inputs and arrays do not match by name.

    """
    matched = _by_input(arrays, inputs, name, stage)
    return {key: array.shape for key, array in matched.items()}


def takes_labels(label_array: str | None, inputs: Iterable[str]) -> bool:
    """Whether one of the model's ``inputs`` takes the array that was taken for the labels."""
    return label_array is not None and any(_array_for(name, [label_array]) for name in inputs)


def array_fitting(
    arrays: NamedArrays, inputs: Sequence[TensorInfo], name: str, stage: Stage
) -> dict[str, str]:
    """Describe how :func:`bind_arrays` changes the arrays' shapes, for the report's ``preprocessing``."""
    matched = _by_input(arrays, inputs, name, stage)
    steps = [
        f"{info.name}: {matched[info.name].shape[1:]} to {tuple(info.shape[1:])}"
        for info in inputs
        if _other_shape(_turned(matched[info.name], info), info) is not None
    ]
    fitted = {"reshape": "; ".join(steps)} if steps else {}
    turned = [f"{i.name}: to {i.layout}" for i in inputs if _is_turned(matched[i.name], i)]
    return fitted | ({"layout": "; ".join(turned)} if turned else {})


def image_fitting(inputs: Sequence[TensorInfo], name: str, stage: Stage) -> dict[str, str]:
    """Describe the size that images are brought to, for the report's ``preprocessing``."""
    from tflite_converter.data.image_decoding import image_size  # Pillow is for images only

    height, width, channels = image_size(_only_input(inputs, name, "images", stage), stage)
    return {"size": f"{height} x {width} x {channels}"}


def sound_fitting(audio: Audio, inputs: Sequence[TensorInfo], name: str, stage: Stage) -> dict[str, str]:
    """Describe how features come to the input's shape, for the report's ``preprocessing``.

    Raises:
        ConverterError: DataShapeMismatch.

    """
    info = _only_input(inputs, name, "sounds", stage)
    none = np.empty((0, *features_shape(audio)), dtype=np.float32)
    bind_arrays({info.name: none}, [info], name, stage)
    return array_fitting({info.name: none}, [info], name, stage)


def _sounds(
    files: Sequence[Path], audio: Audio, inputs: Sequence[TensorInfo], name: str, stage: Stage
) -> dict[str, Array]:
    from tflite_converter.data.audio.decoding import decode  # libsndfile is for sounds only

    info = _only_input(inputs, name, "sounds", stage)
    return bind_arrays({info.name: decode(files, audio, stage)}, [info], name, stage)


def bind_arrays(
    arrays: NamedArrays, inputs: Sequence[TensorInfo], name: str, stage: Stage
) -> dict[str, Array]:
    """``arrays`` by input names, as :meth:`SavedSamples.bind` gives them.

    A single array fits a single input whatever it is called; several are matched by name. Of samples and
    labels a single input takes the samples, and of others the only array with more than a number for each
    sample: a file of records may have heights, widths and names beside it. Samples in the layout of a source
    model whose files have another are turned. Flat rows ``(n, k)`` are reshaped where an input of more
    dimensions takes ``k`` values a sample, and dimensions of size 1 are added or left out.

    Raises:
        ConverterError: DataShapeMismatch, DataNotFinite.

    """
    matched = _by_input(arrays, inputs, name, stage)
    return {info.name: _fitted(matched[info.name], info, name, stage) for info in inputs}


def random_inputs(inputs: Sequence[TensorInfo], samples: int, seed: int) -> dict[str, Array]:
    """Seeded stand-in data where there is none: standard normal, for integer inputs 0 or 1.

    Open dimensions other than the batch become 16.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for info in inputs:
        shape = (samples, *(_OPEN_SIZE if size < 0 else size for size in info.shape[1:]))
        dtype = np.dtype(info.dtype)
        if dtype.kind == "f":
            arrays[info.name] = generator.standard_normal(shape).astype(dtype)
        else:
            arrays[info.name] = generator.integers(0, 2, shape).astype(dtype)
    return arrays


def grouped(arrays: NamedArrays, group: int, stage: Stage) -> NamedArrays:
    """Return ``{input: (n, ...)}`` as ``{input: (n // group, group, ...)}``; unchanged for a group of 1.

    Raises:
        ConverterError: DataTooFew.

    """
    if group == 1:
        return arrays
    count = len(next(iter(arrays.values()))) // group
    if not count:
        cause = f"the model takes {group} samples at once, and there are fewer"
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, cause)
    return {
        name: array[: count * group].reshape(count, group, *array.shape[1:]) for name, array in arrays.items()
    }


def _only_input(inputs: Sequence[TensorInfo], name: str, what: str, stage: Stage) -> TensorInfo:
    if len(inputs) != 1:
        raise shape_mismatch(
            f"{name} holds {what}, but the model has {len(inputs)} inputs: {[info.name for info in inputs]}",
            stage,
            hint="save one array for each input: np.savez(path, input_name=array, ...)",
        )
    return inputs[0]


def _by_input(arrays: NamedArrays, inputs: Sequence[TensorInfo], name: str, stage: Stage) -> dict[str, Array]:
    if len(inputs) == 1 and len(arrays) == 1:
        (array,) = arrays.values()
        return {inputs[0].name: array}
    if len(inputs) == 1 and not _array_for(inputs[0].name, arrays) and (pair := pair_of(arrays, stage)):
        return {inputs[0].name: arrays[pair.samples]}
    if len(inputs) == 1 and not _array_for(inputs[0].name, arrays) and (tensor := _only_tensor(arrays)):
        return {inputs[0].name: arrays[tensor]}
    found = {info.name: _array_for(info.name, arrays) for info in inputs}
    if any(len(keys) > 1 for keys in found.values()):
        raise shape_mismatch(f"{name} holds several arrays for one input: it holds {sorted(arrays)}", stage)
    if missing := [key for key, keys in found.items() if not keys]:
        raise shape_mismatch(
            f"{name} has no array for the model's input {', '.join(map(repr, missing))}:"
            f" it holds {sorted(arrays)}, the model takes {list(found)}",
            stage,
            hint="save one array for each input: np.savez(path, input_name=array, ...)",
        )
    return {key: arrays[keys[0]] for key, keys in found.items()}


def _only_tensor(arrays: NamedArrays) -> str | None:
    """Return the only array with more than a number for each sample; None where there is none, or another."""
    tensors = [key for key, array in arrays.items() if array.ndim > 1]
    return tensors[0] if len(tensors) == 1 else None


def _array_for(input_name: str, arrays: Iterable[str]) -> list[str]:
    """Return the names in ``arrays`` that mean the input; none, and mostly one.

    A name fits as it is, or else as signatures have it, or else without what a SavedModel's tensors and those
    of a TFLite file have before it.
    """
    names = list(arrays)
    if input_name in names:
        return [input_name]
    for plain in (safe_name, _without_signature):
        if found := [key for key in names if plain(key) == plain(input_name)]:
            return found
    return []


def _without_signature(name: str) -> str:
    return safe_name(name).removeprefix("serving_default_")


def _fitted(array: Array, info: TensorInfo, name: str, stage: Stage) -> Array:
    """``array`` in the shape and dtype of input ``info``."""
    array = _turned(array, info)
    if (shape := _other_shape(array, info)) is not None:
        array = array.reshape(len(array), *shape)
    expected, got = tuple(info.shape[1:]), array.shape[1:]
    if not _fits(got, expected):
        cause = f"{name} has samples of shape {got}, but the model's input {info.name!r} takes {expected}"
        raise shape_mismatch(cause, stage, hint=_way_to(array.shape, expected))
    dtype = np.dtype(info.dtype)
    if dtype.kind in "iu":
        _check_integers(array, dtype, f"the model's input {info.name!r}", name, stage)
    elif dtype.kind == "b" and not np.isin(array, (0, 1)).all():
        cause = f"{name} holds other values than 0 and 1, but the model's input {info.name!r} takes bool"
        raise shape_mismatch(cause, stage, hint="give 0 and 1, or True and False")
    fitted = np.ascontiguousarray(_narrowed(array, dtype), dtype=dtype)
    if dtype.kind == "f" and not np.isfinite(fitted).all():
        cause = f"{name} holds values that {dtype} of input {info.name!r} has no place for"
        hint = f"correct or scale them: {dtype} ends at {np.finfo(dtype).max:.4g}"
        raise not_finite(cause, stage, hint=hint)
    return fitted


def _turned(array: Array, info: TensorInfo) -> Array:
    """Return samples that have the source model's layout in that of its files; others as they are.

    The source's own layout wins where both fit.
    """
    if info.source_shape is None or info.axes is None:
        return array
    # A sample is a row of the batch, or where ``info`` has a dimension more than the source, the whole input.
    ahead = len(info.shape) - len(info.axes)
    own = info.model_copy(update={"shape": [1] * ahead + info.source_shape})
    if (shape := _other_shape(array, own)) is not None:
        array = array.reshape(len(array), *shape)
    if not _fits(array.shape[1:], tuple(own.shape[1:])):
        return array
    return np.transpose(array, [*range(ahead), *(axis + ahead for axis in info.axes)])


def _is_turned(array: Array, info: TensorInfo) -> bool:
    """Whether samples have the source model's layout, and the files have another."""
    return _turned(array, info) is not array


def _narrowed(array: Array, dtype: np.dtype[np.generic]) -> Array:
    """``array`` as ``dtype``, without numpy's warning of an overflow."""
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _check_integers(array: Array, dtype: np.dtype[np.generic], taker: str, name: str, stage: Stage) -> None:
    if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        cause = f"{name} holds fractions, but {taker} takes {dtype}"
        raise shape_mismatch(cause, stage, hint="give whole numbers, as the model was trained on")
    limits = np.iinfo(dtype.name)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        cause = f"{name} holds values outside the range of {dtype}, which {taker} takes"
        hint = f"give values from {limits.min} to {limits.max}, as the model was trained on"
        raise shape_mismatch(cause, stage, hint=hint)


def _fits(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(expected) == len(got) and all(e in (-1, g) for e, g in zip(expected, got, strict=True))


def _other_shape(array: Array, info: TensorInfo) -> tuple[int, ...] | None:
    """Return the shape in which each sample of ``array`` is one of ``info``, in the same order of values.

    None where the samples fit as they are, or no way is certain: dimensions of size 1 are added, or left out,
    but not both, for that may be another order of dimensions (channels first).
    """
    got, expected = array.shape[1:], tuple(info.shape[1:])
    if _fits(got, expected):
        return None
    if len(got) == 1 and len(expected) >= 2 and min(expected) >= 1 and got[0] == math.prod(expected):
        return expected
    if len(got) < len(expected):
        return _with_ones(got, expected)
    return _without_ones(got, expected)


def _with_ones(got: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return ``got`` with the dimensions of size 1 that ``expected`` has beside; None if they do not fit."""
    if not expected:
        return () if not got else None
    if got and expected[0] in (-1, got[0]) and (rest := _with_ones(got[1:], expected[1:])) is not None:
        return (got[0], *rest)
    if expected[0] == 1 and (rest := _with_ones(got, expected[1:])) is not None:
        return (1, *rest)
    return None


def _without_ones(got: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return ``got`` less the dimensions of size 1 that ``expected`` lacks; None where it does not fit."""
    if not got:
        return () if not expected else None
    if (
        expected
        and expected[0] in (-1, got[0])
        and (rest := _without_ones(got[1:], expected[1:])) is not None
    ):
        return (got[0], *rest)
    if got[0] == 1:
        return _without_ones(got[1:], expected)
    return None


def _way_to(shape: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """Return a hint how samples come to the shape that an input takes; None where there is no plain one."""
    got = shape[1:]
    if len(got) == len(expected) == 3 and got != expected:
        if got[0] in _CHANNELS and _fits((*got[1:], got[0]), expected):
            return "they have channels first: np.transpose(array, (0, 2, 3, 1)) puts them last"
        if got[-1] in _CHANNELS and _fits((got[-1], *got[:-1]), expected):
            return "they have channels last: np.transpose(array, (0, 3, 1, 2)) puts them first"
    if len(shape) > 1 and shape[0] == 1 and _fits(shape[2:], expected):
        return "these are the samples in a batch: array[0] leaves its dimension out"
    if len(shape) == 2 and _fits(shape[:1], expected):
        return "they have a column for each sample: array.T makes rows of them"
    if _fits(shape, expected):
        return "this is a single sample: array[np.newaxis] makes a data set of it"
    if len(got) == 1 and got[0] in [size * math.prod(expected) for size in (2, 4, 8)]:
        return "raw bytes of wider numbers are not read: write them as a float_list or an int64_list"
    if len(expected) == 1 and expected[0] == math.prod(got) and len(got) > 1:
        return "array.reshape(len(array), -1) makes flat rows of them, if the model was trained on such"
    return None
