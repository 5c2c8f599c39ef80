"""What holds for every conversion, as the operator's settings say."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelconversion_operator.deciding.admission import NO_LIMITS, Limits
from modelconversion_operator.deciding.manifest import JobSettings
from modelconversion_operator.deciding.policy import Grant, Policy
from modelconversion_operator.deciding.timing import RESYNC_SECONDS


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of Jobs, of what conversions may ask for, and of how many run at a time."""

    jobs: JobSettings
    policy: Policy = field(default_factory=Policy)
    limits: Limits = NO_LIMITS
    secrets_must_be_released: bool = True
    """Whether a Secret that nobody has released stops a conversion; an event says so in any case."""
    resync_seconds: float = RESYNC_SECONDS
    """How often a conversion under way is compared with the API server itself."""

    def must_be_released(self, grant: Grant) -> bool:
        """Whether a conversion waits until something is released; a claim has always to be."""
        return self.secrets_must_be_released or grant.resource != "secrets"
