"""Calibration and validation data: from the files that a user names to samples that are ready to be drawn.

Formats are told apart by their bytes, because a Job's files have lost their names::

                 ┌─ npz      .npy, .npz        ─┐
                 ├─ tables   .csv, text         │
    load_dataset ├─ records  Parquet, TFRecord  ├─▶ Dataset ─▶ SavedSamples.bind ─▶ {input: array}
                 └─ images   folder, archive    ┘              (image_decoding, audio.decoding)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from modelconversion_api.fields.data import Task
from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.audio.folders import check_sound, preprocessing, sound_files
from tflite_converter.data.conventions import Pair, pair_of
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.errors import labels_mismatch, not_found, shape_mismatch, unreadable
from tflite_converter.data.files import DataFiles
from tflite_converter.data.foreign import foreign
from tflite_converter.data.images import expect_images, scan
from tflite_converter.data.json_files.instances import Pictures, is_instances, read_instances
from tflite_converter.data.json_files.text import is_json, json_refusal
from tflite_converter.data.labels import Labels, checked_labels, checked_masks, labels_from_array
from tflite_converter.data.npz import (
    NPY_MAGIC,
    check_finite,
    expect_few_reads,
    is_npz,
    no_numbers,
    read_arrays,
)
from tflite_converter.data.packed import is_gzip, unpacked
from tflite_converter.data.records.messages import Form, Wanted
from tflite_converter.data.records.reading import Records, read_records
from tflite_converter.data.records.shards import Shards, form_of, shards_in
from tflite_converter.data.tables import read_labels, read_table
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import is_archive, unpack
from tflite_converter.files.digests import file_sha256
from tflite_converter.files.names import name_of, readable
from tflite_converter.progress import Event, Listener, ignore

_TEXT_HEAD_BYTES = 4096
_MAX_READ_BYTES = MAX_DATA_BYTES
"""Files beyond this are only read where samples are drawn: no digest, no look at what is not used."""


_RECORDS = frozenset(Form)
_TELL_SECONDS = 1.0
_USES = {Stage.CALIBRATE: "to calibrate", Stage.TRAIN: "to train on", Stage.EVALUATE: "to measure on"}


@dataclass(frozen=True)
class _Reading:
    """One data set as it is read."""

    files: DataFiles
    path: Path
    """Where the content is: of a compressed file, the decompressed one."""
    stage: Stage
    folder: Path
    tell: Listener

    @property
    def name(self) -> str:
        """What messages call the data."""
        return name_of(self.files.path)

    def after_part(self, doing: str) -> Callable[[float], None]:
        """Return a function that tells how much is done, from time to time; what is quick is not told."""
        last = time.monotonic()

        def tell(done: float) -> None:
            nonlocal last
            if time.monotonic() - last < _TELL_SECONDS:
                return
            last = time.monotonic()
            # In words only: a fraction would be taken for that of the whole stage.
            self.tell(Event(self.stage, f"{doing} {self.name}: {int(done * 10) * 10}%"))

        return tell

    def digest(self) -> str:
        """Return the digest of what the user named; empty where that is too large for all to be read."""
        if self.files.path.stat().st_size > _MAX_READ_BYTES and self.stage is not Stage.TRAIN:
            return ""
        return file_sha256(self.files.path, self.after_part("taking the digest of"))


def load_dataset(files: DataFiles, stage: Stage, folder: Path, tell: Listener = ignore) -> Dataset:
    """Read what ``files`` names and check all that can be checked without the model.

    Archives of images, and compressed files, are unpacked under ``folder``, where they must stay while the
    data set is in use. ``stage`` is blamed for what goes wrong; of data that has parts for training and for
    validation it takes its own (:mod:`tflite_converter.data.conventions`). ``tell`` hears of progress.

    Raises:
        ConverterError: SourceNotFound, DataUnreadable, DataTooFew, DataNotFinite, DataShapeMismatch,
            LabelsMismatch; NoSpace where an archive does not fit.

    """
    if files.labels is not None and files.label_column is not None:
        cause = f"the labels of {name_of(files.path)} are given as a file and as a column"
        raise labels_mismatch(cause, stage, hint="give one of both")
    reading = _Reading(files, _content(files.path, folder, stage), stage, folder, tell)
    dataset = _load_samples(reading)
    if dataset.count == 0:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{reading.name} holds no sample")
    dataset = _checked(dataset, reading)
    return dataset if files.labels is None else _with_labels(dataset, files.labels, reading)


def _content(path: Path, folder: Path, stage: Stage) -> Path:
    """Return the file that ``path`` names, decompressed where it is a compressed single file."""
    if not path.exists():
        raise not_found(path, stage)
    if path.is_file() and is_gzip(path):
        return unpacked(path, folder, stage) or path
    return path


def _load_samples(reading: _Reading) -> Dataset:
    files, stage, name = reading.files, reading.stage, reading.name
    form = _format(reading.path, files.path, name, stage)
    if form in _RECORDS:
        return _load_records(reading, Form(form), None)
    root = reading.path
    if form == "images":
        root = root if root.is_dir() else unpack(root, reading.folder, stage=stage, what="samples")
        shards = shards_in(root, name, stage, reading.after_part("looking at the files of"))
        if shards is not None:
            return _load_records(reading, shards.form, shards)
    if files.label_column is not None and form != "csv":
        cause = f"{name} is no table, so it has no column {files.label_column!r}"
        raise labels_mismatch(cause, stage, hint="give the labels as a file of their own")
    if form == "images":
        return _load_files(reading, root)
    if files.holds_files:
        given = "scaling for images" if files.images is not None else "a front end for sounds"
        flag = "--image-scaling / images" if files.images is not None else "the flags --audio- / audio"
        why = f"it holds numbers, which are taken as they are, but {given} was given"
        raise unreadable(name, why, stage, hint=f"leave out {flag} for it")
    if form == "csv":
        return _load_table(reading)
    return _load_arrays(reading, form)


def _load_arrays(reading: _Reading, form: str) -> Dataset:
    arrays = read_arrays(reading.path, reading.stage, name=reading.name, may_be_text=form == "npz")
    return _of_arrays(reading, form, arrays, reading.digest())


def _of_arrays(reading: _Reading, form: str, arrays: NamedArrays, sha256: str) -> Dataset:
    """Take arrays for samples, and for labels where their names say it."""
    name, stage = reading.name, reading.stage
    pair = pair_of(arrays, stage) if len(arrays) > 1 else None
    for key in arrays if pair is None else [pair.samples]:
        if arrays[key].dtype.kind in "US":
            raise no_numbers(key, arrays[key], name, stage)
    if pair is None or (pair.labels and len(arrays[pair.labels]) != len(arrays[pair.samples])):
        _check_counts(arrays, name, stage)
        return Dataset(name, sha256, form, arrays)
    labels = _own_labels(arrays, pair, reading)
    is_number = pair.labels is not None and arrays[pair.labels].dtype.kind not in "US"
    beside = {pair.labels: arrays[pair.labels]} if pair.labels and is_number and pair.split is None else {}
    words = f"of the arrays in {name}, {pair.samples!r} was taken for the samples"
    if labels is not None:
        words += f" and {pair.labels!r} for their labels"
        words += ", unless the model has an input of that name" if beside else ""
    if pair.split is not None:
        others = [readable(key) for key in arrays if key not in (pair.samples, pair.labels)]
        words += f", {_USES.get(stage, 'here')}" + (f"; left out: {', '.join(others)}" if others else "")
    return Dataset(
        name,
        sha256,
        form,
        {pair.samples: arrays[pair.samples]},
        extras=beside,
        labels=None if labels is None else labels.values,
        class_names=() if labels is None else labels.class_names,
        notes=(words,),
    )


def _own_labels(arrays: NamedArrays, pair: Pair, reading: _Reading) -> Labels | None:
    """Return the labels beside the samples, unless the user gives others, or they are none."""
    if pair.labels is None or reading.files.labels is not None:
        return None
    source, count = f"{pair.labels!r}", len(arrays[pair.samples])
    try:
        labels = labels_from_array(arrays[pair.labels], source, reading.stage)
        values = _checked_values(labels.values, count, source, reading.stage, reading.files.task)
        return labels._replace(values=values)
    except ConverterError:
        if pair.split is None:
            return None  # a model may have an input of that name
        raise


def _load_table(reading: _Reading) -> Dataset:
    name, stage = reading.name, reading.stage
    progress = reading.after_part("reading")
    features, labels, notes = read_table(reading.path, reading.files.label_column, stage, progress, name=name)
    dataset = Dataset(name, reading.digest(), "csv", {"data": features}, notes=notes)
    return dataset if labels is None else _labelled(dataset, labels, name, stage)


def _load_records(reading: _Reading, form: Form, shards: Shards | None) -> Dataset:
    files, name, stage = reading.files, reading.name, reading.stage
    found = read_records(
        (reading.path,) if shards is None else shards.files,
        form,
        reading.folder,
        name=name,
        stage=stage,
        label_column=files.label_column,
        wanted=Wanted.SOUNDS if files.audio else Wanted.IMAGES if files.images else None,
        tell=reading.tell,
    )
    digest = shards.sha256 if shards is not None and reading.path.is_dir() else reading.digest()
    notes = found.notes
    if shards is not None and shards.split is not None:
        use = _USES.get(stage, "here")
        notes += (f"of the files in {name}, which are parts of a data set, {shards.split!r} was taken {use}",)
    if files.holds_files:
        for number, file in enumerate(found.files):
            if files.audio is not None:
                check_sound(file, f"the sound of sample {number}", files.audio, name, stage)
        dataset = Dataset(
            name,
            digest,
            form.value,
            files=found.files,
            file_digests=tuple(map(file_sha256, found.files)),
            images=files.images,
            audio=files.audio,
            preprocessing=_front_end(files),
        )
    else:
        dataset = _of_arrays(reading, form.value, found.arrays, digest)
    return _with_column(replace(dataset, notes=(*notes, *dataset.notes)), found, reading)


def _with_column(dataset: Dataset, found: Records, reading: _Reading) -> Dataset:
    """``dataset`` with the labels that are a column of its file, unless the user gives others."""
    if found.labels is None or found.label_column is None or reading.files.labels is not None:
        return dataset
    source = f"{readable(found.label_column)!r} of {reading.name}"
    try:
        labels = labels_from_array(found.labels, source, reading.stage)
        labelled = _labelled(dataset, labels, source, reading.stage)
    except ConverterError as error:
        if reading.files.label_column is not None:
            raise
        # Nobody asked for them: of data for a contest, the test part has -1 for every label.
        return replace(dataset, notes=(*dataset.notes, f"there are no labels, for {error.cause}"))
    names = found.class_names
    is_named = labelled.classes is not None and int(labelled.classes.max()) < len(names)
    return replace(labelled, class_names=names) if is_named else labelled


def _load_files(reading: _Reading, root: Path) -> Dataset:
    """Take each file of a folder for a sample: images, or sounds where a front end for them is given."""
    path, files, name, stage = reading.path, reading.files, reading.name, reading.stage
    if not files.holds_files:
        expect_images(root, name, stage)
        raise unreadable(
            name,
            "it holds images, and nothing says how the model was trained to see them",
            stage,
            hint="set --image-scaling / images.scaling as in training, e.g. ZeroToOne for values from 0 to 1",
        )
    kind = None if files.audio is None else sound_files(files.audio)
    found = scan(root, name, stage, reading.after_part("looking at the files of"), kind)
    notes: tuple[str, ...] = ()
    if found.split is not None:
        use = _USES.get(stage, "here")
        taken = f"of the folders in {name}, which are parts of a data set, {found.split!r} was taken {use}"
        notes = (f"{taken}; what lies in it are the classes" if found.class_names else taken,)
    return Dataset(
        f"{name}/{found.split}" if found.split is not None and path.is_dir() else name,
        found.sha256 if path.is_dir() else reading.digest(),
        "images" if files.audio is None else "audio",
        files=found.files,
        file_digests=found.digests,
        images=files.images,
        audio=files.audio,
        labels=found.labels,
        class_names=found.class_names,
        preprocessing=_front_end(files),
        notes=(*notes, *found.notes),
    )


def _front_end(files: DataFiles) -> dict[str, str]:
    """Describe what becomes of each file, for the report."""
    if files.audio is not None:
        return preprocessing(files.audio)
    if files.images is not None:
        return {"resize": files.images.resize.value, "scaling": files.images.scaling.value}
    return {}


def _checked(dataset: Dataset, reading: _Reading) -> Dataset:
    """Refuse NaN and infinity; in a file that is too large, where samples are drawn."""
    if sum(array.nbytes for array in dataset.arrays.values()) > _MAX_READ_BYTES:
        size = human_size(reading.files.path.stat().st_size)
        note = (
            f"{dataset.name} has {size}: only the samples that are drawn were read, so it has no digest here"
            " (sha256sum takes it)"
        )
        for array in dataset.arrays.values():
            expect_few_reads(array)
        return replace(dataset, unchecked=reading.stage, notes=(*dataset.notes, note))
    progress = reading.after_part("looking for NaN in")
    for array in dataset.arrays.values():
        check_finite(array, dataset.name, reading.stage, after_part=progress)
    return dataset


def _with_labels(dataset: Dataset, path: Path, reading: _Reading) -> Dataset:
    """``dataset`` with the labels of the file at ``path``."""
    stage, name = reading.stage, name_of(path)
    if dataset.labels is not None:
        cause = f"{dataset.name} has labels already, from its class folders, and {name} gives others"
        raise labels_mismatch(cause, stage, hint="leave out the file of labels")
    content = _content(path, reading.folder, stage)
    if content.is_dir():
        raise unreadable(name, "it is a folder", stage, hint="give a .npy or .csv file of labels")
    if reading.files.task is Task.DETECTION and is_instances(content):
        return _with_boxes(dataset, content, path, reading)
    form = _format(content, path, name, stage)
    if form in _RECORDS:
        cause = f"{name} is a {form} file, and labels of their own are a .npy or .csv file"
        raise labels_mismatch(cause, stage, hint="name its column of labels beside the samples (labelColumn)")
    if form == "csv":
        labels = read_labels(content, dataset.count, stage, name=name)
    else:
        arrays = read_arrays(content, stage, name=name, may_be_text=True)
        labels = labels_from_array(_label_array(arrays, name, stage), name, stage)
    labelled = _labelled(dataset, labels, name, stage, reading.files.task)
    return replace(labelled, labels_sha256=file_sha256(path))


def _with_boxes(dataset: Dataset, content: Path, path: Path, reading: _Reading) -> Dataset:
    """``dataset`` with the objects in the file at ``path``, whose content is at ``content``."""
    stage, name = reading.stage, name_of(path)
    files = dataset.files if dataset.format == "images" else ()
    pictures = Pictures(dataset.count, tuple(file.name for file in files), dataset.images)
    labels = read_instances(content, name, pictures, reading.files.first_category, stage)
    return replace(
        dataset, labels=labels.values, class_names=labels.class_names, labels_sha256=file_sha256(path)
    )


def _label_array(arrays: NamedArrays, name: str, stage: Stage) -> Array:
    """Return the only array of a file of labels, or the one that is called so."""
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    pair = pair_of(arrays, stage)
    if pair is None or pair.labels is None:
        cause = f"{name} holds more than one array ({', '.join(map(readable, arrays))})"
        raise labels_mismatch(cause, stage, hint="save the labels in a file of their own")
    return arrays[pair.labels]


def _labelled(
    dataset: Dataset, labels: Labels, source: str, stage: Stage, task: Task | None = None
) -> Dataset:
    values = _checked_values(labels.values, dataset.count, source, stage, task)
    return replace(dataset, labels=values, class_names=labels.class_names)


def _checked_values(values: Array, count: int, source: str, stage: Stage, task: Task | None) -> Array:
    check = checked_masks if task is Task.SEGMENTATION and values.ndim > 2 else checked_labels
    return check(values, count, source, stage)


def _check_counts(arrays: NamedArrays, name: str, stage: Stage) -> None:
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) != 1:
        cause = f"the arrays in {name} have different numbers of samples: {counts}"
        raise shape_mismatch(cause, stage)


def _format(path: Path, given: Path, name: str, stage: Stage) -> str:
    """``npy``, ``npz``, ``csv``, a format of records, or ``images`` for folders and archives, by the bytes.

    A NumPy file's name is believed as well.

    ``given`` is the file that the user named, which may be ``path`` compressed.
    """
    if path.is_dir():
        return "images"
    with path.open("rb") as stream:
        head = stream.read(_TEXT_HEAD_BYTES)
    if head.startswith(NPY_MAGIC):
        return "npy"
    if is_npz(path):
        return "npz"
    if (records := form_of(path)) is not None:
        return records.value
    if (error := foreign(path, head, stage, name=name)) is not None:
        raise error
    if path.suffix in (".npy", ".npz"):
        return path.suffix[1:]
    if is_archive(path):
        return "images"
    if b"\0" in head:
        why = "it is no .npy, .npz, .csv, Parquet or TFRecord file, and no archive of images or sounds"
        raise unreadable(name, why, stage, hint="give one of these, or a folder of images or sounds")
    if is_json(head.decode(errors="replace")):
        raise json_refusal(path, given, name, stage)
    return "csv"
