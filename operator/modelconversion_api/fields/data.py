"""The data of a conversion: what calibrates it, what it is measured on, and the gates. A part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from ..base import ApiModel, Fraction, Millis, cel
from ..uris import DataUri, ends_in
from .audio import Audio
from .detection import Detection
from .metrics import Metrics

DEFAULT_CALIBRATION_SAMPLES: Final = 200
"""How many samples calibrate a model unless the user says otherwise, in a cluster and on the command line."""
DEFAULT_EVALUATION_SAMPLES: Final = 1000
"""Most samples that artifacts are compared on, unless the user says otherwise."""


class ImageScaling(StrEnum):
    """Arithmetic on an image's 8-bit values, as the model was trained."""

    NONE = "None"
    """0 to 255, as they are."""
    ZERO_TO_ONE = "ZeroToOne"
    """Divided by 255."""
    MINUS_ONE_TO_ONE = "MinusOneToOne"
    """Divided by 127.5, less 1: Keras's mode ``tf`` (MobileNet, Inception)."""
    IMAGENET_TORCH = "ImageNetTorch"
    """Divided by 255, then normalised by ImageNet's mean and deviation: Keras's mode ``torch``."""
    IMAGENET_CAFFE = "ImageNetCaffe"
    """BGR, less ImageNet's mean: Keras's mode ``caffe`` (VGG, ResNet50)."""


class ImageResize(StrEnum):
    """How an image is brought to the size of the model's input."""

    STRETCH = "Stretch"
    """Bilinear, without regard to its proportions."""
    CROP = "Crop"
    """The largest centred part with the input's proportions, then bilinear."""
    PAD = "Pad"
    """Bilinear with its own proportions, centred on black."""


class Images(ApiModel):
    """How images become samples."""

    scaling: ImageScaling
    """Arithmetic on the pixels' 8-bit values; it must be the one that the model was trained with."""
    resize: ImageResize = ImageResize.STRETCH
    """How an image is brought to the size of the model's input."""


class Task(StrEnum):
    """What a model is for, which decides how its outputs are compared."""

    CLASSIFICATION = "Classification"
    """One class of several: top-1 and top-5, KL divergence, drift of the confidence."""
    MULTI_LABEL = "MultiLabel"
    """Each output is a yes or no of its own: F1."""
    REGRESSION = "Regression"
    """Numbers: squared and absolute error."""
    RECONSTRUCTION = "Reconstruction"
    """The input again (an autoencoder): squared error, signal-to-noise ratio."""
    EMBEDDING = "Embedding"
    """A vector whose direction counts: cosine similarity."""
    DETECTION = "Detection"
    """Boxes with classes and scores: mean average precision as COCO has it."""
    SEGMENTATION = "Segmentation"
    """A class for each pixel: mean intersection over union."""

    @property
    def has_classes(self) -> bool:
        """Whether each output stands for a class."""
        return self in (Task.CLASSIFICATION, Task.MULTI_LABEL)


_HAS_LABELS = "(has(self.labelsUri) || has(self.labelColumn) || has(self.images) || has(self.audio))"
"""Images and sounds bring labels where they lie in one folder for each class."""

_LABELS_FOR_ACCURACY = cel(
    f"!(has(self.maxAccuracyDrop) || has(self.minAccuracy)) || !has(self.uri) || {_HAS_LABELS}",
    "maxAccuracyDrop and minAccuracy need labels: set labelsUri (or labelColumn for a .csv or Parquet file or"
    " TFRecords, or images or audio for a folder with one folder for each class), or use minAgreement",
)
_URI_FOR_THE_REST = cel(
    f"has(self.uri) || !{_HAS_LABELS}",
    "labelsUri, labelColumn, images and audio say how validation.uri is read: set it as well",
)
_DECODER_FOR_DETECTION = cel(
    "has(self.detection) == (has(self.task) && self.task == 'Detection')",
    "task: Detection and detection.decoder belong together: set both, the decoder by what the outputs hold",
)
_MASKS_FOR_IGNORING = cel(
    "!has(self.ignoreLabel) || (has(self.task) && self.task == 'Segmentation')",
    "ignoreLabel is a value in the masks of task: Segmentation: set that task, or remove it",
)


_DATA_FOR_METRICS = cel(
    "!has(self.metrics) || self.metrics.size() == 0 || has(self.uri)",
    "metrics judge outputs on validation data: set validation.uri",
)


def reading_rules(*, uri_is_optional: bool = False) -> list[JsonDict]:
    """Return the rules about reading ``uri`` that calibration and validation data share."""
    optional = "!has(self.uri) || " if uri_is_optional else ""
    return [
        cel(
            "!has(self.labelColumn) || !has(self.labelsUri)",
            "set either labelsUri (a file of labels) or labelColumn (a column of the data), not both",
        ),
        cel(
            f"{optional}!has(self.labelColumn) || !{ends_in('self.uri', 'npy|npz')}",
            "labelColumn is a column of a .csv or .parquet file, or a feature of TFRecords: set labelsUri for"
            " arrays instead",
        ),
        cel(
            f"{optional}!has(self.images) || !{ends_in('self.uri', 'npy|npz|csv')}",
            "images is for images: remove it, for the numbers of a .npy, .npz or .csv file are taken"
            " as they are",
        ),
        cel(
            f"{optional}!has(self.audio) || !{ends_in('self.uri', 'npy|npz|csv')}",
            "audio is for sounds: remove it, for the numbers of a .npy, .npz or .csv file are taken"
            " as they are",
        ),
        cel("!has(self.images) || !has(self.audio)", "data hold images or sounds: set images or audio"),
    ]


LabelColumn = Annotated[str, Field(min_length=1, max_length=128)]
Seed = Annotated[int, Field(ge=0, le=4294967295)]


class Calibration(ApiModel):
    """The representative dataset that sets the ranges of the activations for full integer."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*reading_rules()]})

    uri: DataUri
    """A .npy or .csv file (one row a sample), an .npz file with one array for each model input, a Parquet or
    TFRecord file, or a prefix ending in /, or a .zip or .tar.gz file, of images or sounds (one folder for
    each class where there are labels) or of parts of a data set in Parquet or TFRecord."""
    labels_uri: DataUri | None = None
    """A .npy or .csv file of integer class labels; samples are then drawn evenly over the classes."""
    label_column: LabelColumn | None = None
    """Column of the .csv or Parquet file that holds the labels, by its name or its number from 1; or the
    feature of TFRecords."""
    images: Images | None = None
    """How images become samples; needed where the data are images, or have a column of them."""
    audio: Audio | None = None
    """How sounds become samples; needed where the data are WAV or FLAC files, or have a column of them."""
    samples: Annotated[int, Field(ge=1, le=100000)] = DEFAULT_CALIBRATION_SAMPLES
    """How many samples calibrate the model; all of them where there are fewer."""
    seed: Seed = 0
    """Seed of the draw."""


class Validation(ApiModel):
    """The data and the gates that decide whether an artifact is good enough."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                *reading_rules(uri_is_optional=True),
                _LABELS_FOR_ACCURACY,
                _URI_FOR_THE_REST,
                _DECODER_FOR_DETECTION,
                _MASKS_FOR_IGNORING,
                _DATA_FOR_METRICS,
            ]
        }
    )

    uri: DataUri | None = None
    """Samples other than the calibration samples, in the same formats. Without it, artifacts are measured on
    the part of the calibration data that does not calibrate."""
    labels_uri: DataUri | None = None
    """A .npy or .csv file of labels: a class for each sample, for MultiLabel a row of 0 and 1, for Regression
    the true values, for Segmentation a mask of classes. For Detection a .json file with COCO's instances."""
    label_column: LabelColumn | None = None
    """Column of the .csv or Parquet file that holds the labels, by its name or its number from 1; or the
    feature of TFRecords."""
    images: Images | None = None
    """How images become samples; needed where the data are images, or have a column of them."""
    audio: Audio | None = None
    """How sounds become samples; needed where the data are WAV or FLAC files, or have a column of them."""
    task: Task | None = None
    """What the model is for; read from its outputs and the labels where it is not given, which Detection and
    Segmentation have to be."""
    detection: Detection | None = None
    """How a detector's outputs become boxes; for task Detection."""
    ignore_label: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Value of pixels in the masks that count for nothing, for task Segmentation; 255 unless given."""
    samples: Annotated[int, Field(ge=1, le=1000000)] = DEFAULT_EVALUATION_SAMPLES
    """Most samples that the files are compared on."""
    max_accuracy_drop: Fraction | None = None
    """Gate: largest loss of accuracy against the original model that passes, e.g. "0.02" for two points."""
    min_accuracy: Fraction | None = None
    """Gate: smallest accuracy that passes, whatever the original's is, e.g. "0.35"."""
    min_agreement: Fraction | None = None
    """Gate: smallest agreement with the original model's outputs that passes, e.g. "0.98"."""
    floor: Fraction | None = None
    """Least agreement of each output with the original's: a file below it is unusable and never recommended.
    Unless given, "0.75" where classes are compared and "0.5" where numbers, boxes or masks are; "0" judges
    nothing."""
    max_size_bytes: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Gate: largest artifact that passes, in bytes."""
    max_latency_millis: Millis | None = None
    """Gate: longest median inference that passes, in milliseconds where the conversion runs, e.g. "12.5"."""
    metrics: Metrics = Field(default_factory=list)
    """Containers of your own that judge each file's outputs, without network and credentials."""
