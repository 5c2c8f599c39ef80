"""Boards: nodes of the cluster on which published files are run and measured."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from .base import ApiModel, Fraction, Millis
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


def board_report_name(board: str) -> str:
    """Return the name, below the output's prefix, of what was measured on a board."""
    return f"boards/{board}.json"


BoardName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Board(ApiModel):
    """A kind of node on which the published files are run and measured."""

    name: BoardName
    """What status, report and metrics call it, e.g. pi5."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(min_length=1, max_length=16)]
    """Labels that its nodes have; only those that the operator's settings allow."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints of its nodes that the pod tolerates; only those that the operator's settings allow."""
    resources: Resources | None = None
    """Requests and limits of each container there; those of spec.job, or the operator's defaults, where not
    given."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of the interpreter."""
    runs: Annotated[int, Field(ge=1, le=10000)] = 50
    """Inferences that are timed, after those that warm up."""
    profile: bool = False
    """Times each operator as well, into boards/NAME.json."""
    max_latency_millis: Millis | None = None
    """Gate: longest median inference on this board that passes, in milliseconds, e.g. "25"."""
    min_agreement: Fraction | None = None
    """Gate: smallest agreement with the original model's outputs on this board that passes, e.g. "0.98"."""

    @property
    def is_gated(self) -> bool:
        """Whether a file must pass here to be recommended."""
        return self.max_latency_millis is not None or self.min_agreement is not None
