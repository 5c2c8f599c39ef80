"""A data set in memory or on disk, before it is known which model it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images
from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, IntArray, NamedArrays
from tflite_converter.data.binding import SavedSamples, array_fitting, image_fitting, sound_fitting
from tflite_converter.data.labels import classes_of
from tflite_converter.data.npz import check_finite, write_npz


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, as arrays or as image files, and what is true of them where there are labels."""

    name: str
    """The file's or folder's name, for messages."""
    sha256: str
    """Digest of the file, or over the folder's files
    (:func:`~tflite_converter.files.digests.folder_sha256`); empty for a file that is too large to be read for
    it."""
    format: str
    """``npy``, ``npz``, ``csv``, ``images``, ``audio``, ``parquet`` or ``tfrecord``."""
    arrays: NamedArrays = field(default_factory=dict)
    """Samples by array name; empty for images. They may be memory-mapped."""
    extras: NamedArrays = field(default_factory=dict)
    """Arrays that are labels, unless the model has inputs of their names."""
    unchecked: Stage | None = None
    """The stage to blame where :meth:`take` looks for NaN and infinity, because nobody has before."""
    files: tuple[Path, ...] = ()
    """The files of images or sounds, absolute; empty for arrays."""
    file_digests: tuple[str, ...] = ()
    """SHA-256 of each of these files."""
    images: Images | None = None
    """How images become samples; None for others."""
    audio: Audio | None = None
    """How sounds become samples; None for others."""
    labels: Array | None = None
    """See :class:`~tflite_converter.data.labels.Labels`."""
    labels_sha256: str | None = None
    """Digest of the file of labels, where they have their own."""
    class_names: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers, where the labels were names."""
    preprocessing: dict[str, str] = field(default_factory=dict)
    """What becomes of each sample, for the report."""
    notes: tuple[str, ...] = ()
    """What in the data was taken for what, where that could be another thing: warnings for the user."""

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.files) if self.holds_files else len(next(iter(self.arrays.values())))

    @property
    def holds_files(self) -> bool:
        """Whether each sample is a file, which is decoded later."""
        return self.images is not None or self.audio is not None

    @property
    def classes(self) -> IntArray | None:
        """The class of each sample, where the labels say one: what a draw stratifies by."""
        return classes_of(self.labels)

    def take(self, indices: IntArray) -> Dataset:
        """Return the samples at ``indices``, in that order; arrays are copied into memory.

        Raises:
            ConverterError: DataNotFinite for samples that were not looked at before.

        """
        arrays = {name: np.ascontiguousarray(array[indices]) for name, array in self.arrays.items()}
        if self.unchecked is not None:
            for array in arrays.values():
                check_finite(array, self.name, self.unchecked, indices)
        return replace(
            self,
            arrays=arrays,
            extras={name: np.ascontiguousarray(array[indices]) for name, array in self.extras.items()},
            unchecked=None,
            files=tuple(self.files[i] for i in indices) if self.files else (),
            file_digests=tuple(self.file_digests[i] for i in indices) if self.files else (),
            labels=None if self.labels is None else self.labels[indices],
        )

    def fitting(self, inputs: Sequence[TensorInfo], stage: Stage) -> dict[str, str]:
        """Describe how samples are brought to the inputs' shapes, for ``preprocessing``.

        Raises:
            ConverterError: DataShapeMismatch.

        """
        if self.images is not None:
            return image_fitting(inputs, self.name, stage)
        if self.audio is not None:
            return sound_fitting(self.audio, inputs, self.name, stage)
        return array_fitting({**self.arrays, **self.extras}, inputs, self.name, stage)

    def save(self, folder: Path, name: str) -> SavedSamples:
        """Save the samples without their labels, for a process that will bind them.

        Arrays are written to ``folder/<name>.npz``; images stay where they are.
        """
        if self.holds_files:
            return SavedSamples(name=self.name, files=self.files, images=self.images, audio=self.audio)
        path = folder.resolve() / f"{name}.npz"
        write_npz(path, {**self.arrays, **self.extras})
        return SavedSamples(name=self.name, arrays=path, label_array=next(iter(self.extras), None))
