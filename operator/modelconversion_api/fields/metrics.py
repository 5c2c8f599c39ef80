"""A user's own metric: a container that gets outputs and labels and gives a number.

A part of the spec, of reports and of the status. ``docs/OWN_METRICS.md`` has the contract with the container.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from ..base import ApiModel, NumberText, cel, number_text
from ..limits import MessageText

MAX_METRICS: Final = 4
METRIC_CONTAINER: Final = "user-metric-"
"""Begins the name of a metric's container; the metric's own name follows."""
METRIC_DATA_ENV: Final = "CONVERSION_METRIC_DATA_DIR"
"""Where ``convert`` puts outputs and labels; read-only for the containers of metrics."""
METRIC_RESULTS_ENV: Final = "CONVERSION_METRIC_RESULTS_DIR"
"""Where ``publish`` reads what they left, in a folder for each metric."""
METRIC_SANDBOX_ENV: Final = "CONVERSION_METRIC_SANDBOX_DIR"
"""Where ``fetch`` puts the program that confines them; read-only for them."""
SANDBOX_PROGRAM: Final = "metric-sandbox"
SANDBOX_FILTER: Final = "filter"
"""The files there: the program, and the system calls that it takes away."""
LABELS_FILE: Final = "labels.npz"
OUTPUTS_FOLDER: Final = "outputs"
"""What is in the folder of data: the labels, if there are any, and a file for each model."""
ORIGINAL: Final = "original"
"""What the original is called there, in the place of a file's name without its suffix."""

_DECIMAL: Final = number_text(
    r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$",
    20,
    NumberText("any number", 6, 'must be a number in quotes, e.g. "0.9"'),
)
Decimal = Annotated[str, _DECIMAL[0], _DECIMAL[1], _DECIMAL[2]]
"""A number in decimal notation."""

MetricName = Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

_ONE_GATE: Final = cel(
    "(has(self.min) ? 1 : 0) + (has(self.max) ? 1 : 0) + (has(self.maxDrop) ? 1 : 0) <= 1",
    "a metric has one gate: give min, max or maxDrop",
)


class Metric(ApiModel):
    """A container of your own that judges outputs."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [_ONE_GATE]})

    name: MetricName
    """What reports call it."""
    image: Annotated[str, Field(max_length=512, pattern=r"^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$")]
    """Its image, by digest: registry.example/metrics@sha256:…. The platform must allow it."""
    command: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1024)]],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra={
                "x-kubernetes-validations": [
                    cel("self[0].startsWith('/')", "the program needs its path in the image, from / on")
                ]
            },
        ),
    ]
    """Program and arguments; those of the image are not used. The program with its path in the image."""
    min: Decimal | None = None
    """Gate: smallest value that passes."""
    max: Decimal | None = None
    """Gate: largest value that passes."""
    max_drop: Decimal | None = None
    """Gate: how far below the original's own value a file may be."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    """Longest run for one file."""

    @property
    def has_gate(self) -> bool:
        """Whether a file can fail for it."""
        return self.min is not None or self.max is not None or self.max_drop is not None

    @property
    def container(self) -> str:
        """Name of its container."""
        return f"{METRIC_CONTAINER}{self.name}"


class MetricFigure(ApiModel):
    """What a metric gave for one file, or for the original."""

    name: MetricName
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """None where nothing came of it; the message then says why."""
    passed: bool = True
    """Whether its gate was met, where it has one."""
    message: MessageText | None = None
    """Why there is no value, or which gate was missed."""


class MetricResult(ApiModel):
    """What a metric of the user's own gave."""

    name: MetricName
    """The metric."""
    value: Annotated[str, Field(max_length=32)] | None = None
    """The number; none where its container gave none."""
    passed: bool
    """Whether its gate was met, where it has one."""
    message: MessageText | None = None
    """Why there is no value, or which gate was missed."""


Metrics = Annotated[
    list[Metric],
    Field(
        max_length=MAX_METRICS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
MetricFigures = Annotated[tuple[MetricFigure, ...], Field(max_length=MAX_METRICS)]
MetricResults = Annotated[
    list[MetricResult],
    Field(
        max_length=MAX_METRICS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
