"""How a conversion says what it is doing; who listens decides how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from modelconversion_api.reasons import Stage


@dataclass(frozen=True)
class Event:
    """One step of a conversion."""

    stage: Stage
    text: str
    fraction: float | None = None
    """How much of this stage is done, 0 to 1; None where it cannot be known."""
    warning: bool = False


Listener: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Discard the event."""
