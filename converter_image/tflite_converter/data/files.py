"""Names of the data files that a user gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images, Task


@dataclass(frozen=True)
class DataFiles:
    """The data that a user names."""

    path: Path
    """A .npy, .npz, .csv, Parquet or TFRecord file; or a folder, or a .zip or .tar.gz file of one, of images
    or of parts of a data set in Parquet or TFRecord."""
    labels: Path | None = None
    """A .npy or .csv file of labels; for a detector a .json file with COCO's instances."""
    label_column: str | None = None
    """The column of a .csv or Parquet file that holds the labels, by its name or its number from 1; or the
    feature of TFRecords."""
    images: Images | None = None
    """How images become samples."""
    audio: Audio | None = None
    """How sounds become samples."""
    task: Task | None = None
    """What the model is said to be for: a detector has boxes for labels, and Segmentation masks."""
    first_category: int | None = None
    """The category id in a detector's labels that is its class 0; None where classes are counted in order."""

    @property
    def holds_files(self) -> bool:
        """Whether each sample is a file, which is decoded later."""
        return self.images is not None or self.audio is not None
