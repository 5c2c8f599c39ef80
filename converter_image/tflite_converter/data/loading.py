"""Calibration and validation data: from the files that a user names to samples that are ready to be drawn.

Formats are told apart by their bytes, because a Job's files have lost their names::

    load_dataset ─┬─ dataset_arrays   .npy, .npz     ─┐
                  ├─ dataset_csv      .csv            ├─▶ Dataset ─▶ SavedSamples.bind ─▶ {input: array}
                  └─ dataset_images   folder, archive ┘              (image_decoding)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.errors import labels_mismatch, not_found, shape_mismatch, unreadable
from tflite_converter.data.files import DataFiles
from tflite_converter.data.images import scan
from tflite_converter.data.labels import Labels, checked_labels
from tflite_converter.data.npz import NPY_MAGIC, check_finite, is_npz, read_arrays
from tflite_converter.data.tables import read_labels, read_table
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import is_archive, unpack
from tflite_converter.files.digests import file_sha256

_TEXT_HEAD_BYTES = 4096


def load_dataset(files: DataFiles, stage: Stage, folder: Path) -> Dataset:
    """Read what ``files`` names and check all that can be checked without the model.

    Archives of images are unpacked under ``folder``, where they must stay while the data set is in use.

    Raises:
        ConverterError: SourceNotFound, DataUnreadable, DataTooFew, DataNotFinite, DataShapeMismatch,
            LabelsMismatch; NoSpace where an archive does not fit.

    """
    if files.labels is not None and files.label_column is not None:
        cause = f"the labels of {files.path.name} are given as a file and as a column"
        raise labels_mismatch(cause, stage, hint="give one of both")
    dataset = _load_samples(files, stage, folder)
    if dataset.count == 0:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{files.path.name} holds no sample")
    for array in dataset.arrays.values():
        check_finite(array, files.path.name, stage)
    return dataset if files.labels is None else _with_labels(dataset, files.labels, stage)


def _load_samples(files: DataFiles, stage: Stage, folder: Path) -> Dataset:
    form = _format(files.path, stage)
    if files.label_column is not None and form != "csv":
        cause = f"{files.path.name} is no .csv file, so it has no column {files.label_column!r}"
        raise labels_mismatch(cause, stage, hint="give the labels as a file of their own")
    if form == "images":
        return _load_images(files, stage, folder)
    if files.images is not None:
        why = "it holds numbers, which are taken as they are, but scaling for images was given"
        raise unreadable(files.path.name, why, stage, hint="leave out --image-scaling / images for it")
    if form == "csv":
        return _load_table(files, stage)
    arrays = read_arrays(files.path, stage)
    _check_counts(arrays, files.path.name, stage)
    return Dataset(files.path.name, file_sha256(files.path), form, arrays)


def _load_table(files: DataFiles, stage: Stage) -> Dataset:
    path = files.path
    features, labels = read_table(path, files.label_column, stage)
    dataset = Dataset(path.name, file_sha256(path), "csv", {"data": features})
    return dataset if labels is None else _labelled(dataset, labels, path.name, stage)


def _load_images(files: DataFiles, stage: Stage, folder: Path) -> Dataset:
    path, images = files.path, files.images
    if images is None:
        raise unreadable(
            path.name,
            "it holds images, and nothing says how the model was trained to see them",
            stage,
            hint="set --image-scaling / images.scaling as in training, e.g. ZeroToOne for values from 0 to 1",
        )
    root = path if path.is_dir() else unpack(path, folder, stage=stage, what="images")
    image_folder = scan(root, path.name, stage)
    return Dataset(
        path.name,
        image_folder.sha256 if path.is_dir() else file_sha256(path),
        "images",
        files=image_folder.files,
        file_digests=image_folder.digests,
        images=images,
        labels=image_folder.labels,
        class_names=image_folder.class_names,
        preprocessing={"resize": images.resize.value, "scaling": images.scaling.value},
    )


def _with_labels(dataset: Dataset, path: Path, stage: Stage) -> Dataset:
    """``dataset`` with the labels of the file at ``path``."""
    if dataset.labels is not None:
        cause = f"{dataset.name} has labels already, from its class folders, and {path.name} gives others"
        raise labels_mismatch(cause, stage, hint="leave out the file of labels")
    if _format(path, stage) == "csv":
        labels = read_labels(path, dataset.count, stage)
    else:
        values, *others = _read_label_arrays(path, stage)
        if others:
            raise labels_mismatch(f"{path.name} holds more than one array", stage)
        labels = Labels(values)
    return replace(_labelled(dataset, labels, path.name, stage), labels_sha256=file_sha256(path))


def _read_label_arrays(path: Path, stage: Stage) -> list[Array]:
    if path.is_dir():
        raise unreadable(path.name, "it is a folder", stage, hint="give a .npy or .csv file of labels")
    return list(read_arrays(path, stage).values())


def _labelled(dataset: Dataset, labels: Labels, source: str, stage: Stage) -> Dataset:
    values = checked_labels(labels.values, dataset.count, source, stage)
    return replace(dataset, labels=values, class_names=labels.class_names)


def _check_counts(arrays: NamedArrays, name: str, stage: Stage) -> None:
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) != 1:
        cause = f"the arrays in {name} have different numbers of samples: {counts}"
        raise shape_mismatch(cause, stage)


def _format(path: Path, stage: Stage) -> str:
    """``npy``, ``npz``, ``csv`` or ``images``, by the bytes; a NumPy file's name is believed as well."""
    if path.is_dir():
        return "images"
    if not path.is_file():
        raise not_found(path, stage)
    with path.open("rb") as stream:
        head = stream.read(_TEXT_HEAD_BYTES)
    if head.startswith(NPY_MAGIC) or path.suffix == ".npy":
        return "npy"
    if path.suffix == ".npz" or is_npz(path):
        return "npz"
    if is_archive(path):
        return "images"
    if b"\0" in head:
        why = "it is no .npy, .npz or .csv file, and no archive of images"
        raise unreadable(path.name, why, stage, hint="give one of these, or a folder of images")
    return "csv"
