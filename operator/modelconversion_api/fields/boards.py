"""Boards: nodes of the cluster on which published files are run and measured."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from ..base import ApiModel, Fraction, Millis, cel
from .scheduling import LabelKey, LabelValue, Resources, Toleration

MAX_BOARDS: Final = 8
MOST_BOARD_SAMPLES: Final = 256
"""Samples that a board compares a file on, at most."""
MOST_BOARD_SAMPLE_BYTES: Final = 32 << 20
"""Bytes of those samples with the original's outputs, at most; one is always there."""
BOARD_SAMPLES_FILE: Final = "board-samples.npz"
"""Samples, the original's outputs on them, and labels where there are some."""
BOARD_ENV: Final = "CONVERSION_BOARD"
"""Environment variable with the name of the board that a Job measures on."""
NODE_ENV: Final = "CONVERSION_NODE"
"""Environment variable with the node's name, which only the kubelet knows beforehand."""
BOARD_SECONDS_ENV: Final = "CONVERSION_BOARD_SECONDS"
"""Environment variable with the seconds that the Job may run: its files share them."""


def board_report_name(board: str) -> str:
    """Return the name, below the output's prefix, of what was measured on a board."""
    return f"boards/{board}.json"


BoardName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Accelerator(StrEnum):
    """What runs the files on a board."""

    CPU = "CPU"
    """Its processor, by XNNPACK."""
    GPU = "GPU"
    """LiteRT's GPU accelerator, by the Vulkan driver that the board's pod has."""
    EDGE_TPU = "EdgeTPU"
    """Coral's Edge TPU, by libedgetpu.so.1 of the board's image."""


class Board(ApiModel):
    """A kind of node on which the published files are run and measured."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!self.profile || self.accelerator == 'CPU'",
                    "profile times what runs on the processor: remove profile, or set accelerator to CPU",
                )
            ]
        }
    )

    name: BoardName
    """What status, report and metrics call it, e.g. pi5."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(min_length=1, max_length=16)]
    """Labels that its nodes have; only those that the operator's settings allow."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints of its nodes that the pod tolerates; only those that the operator's settings allow."""
    resources: Resources | None = None
    """Requests and limits of each container there; those of spec.job, or the operator's defaults, where not
    given."""
    accelerator: Accelerator = Accelerator.CPU
    """What runs the files there: CPU, GPU (LiteRT's GPU accelerator) or EdgeTPU (the file that spec.edgeTPU
    has compiled). The pod asks for its device by resources. Where driver or device are missing, the board has
    given nothing: nothing is measured on the CPU instead."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of the interpreter."""
    runs: Annotated[int, Field(ge=1, le=10000)] = 50
    """Inferences that are timed, after those that warm up."""
    profile: bool = False
    """Times each operator as well, into boards/NAME.json."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 600
    """Seconds that one file may take there; also at most its share of spec.job.activeDeadlineSeconds."""
    max_latency_millis: Millis | None = None
    """Gate: longest median inference on this board that passes, in milliseconds, e.g. "25"."""
    min_agreement: Fraction | None = None
    """Gate: smallest agreement with the original model's outputs on this board that passes, e.g. "0.98"."""

    @property
    def is_gated(self) -> bool:
        """Whether a file must pass here to be recommended."""
        return self.max_latency_millis is not None or self.min_agreement is not None
