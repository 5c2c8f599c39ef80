"""The requests of the reconciler, which :class:`~modelconversion_operator.cluster.client.Cluster` sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from modelconversion_api.profiles import ResolvedProfile
from modelconversion_api.spec import ProfileRef
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, Key, PodView


class ConversionApi(Protocol):
    """Read and write what belongs to one conversion. Every call may raise an ApiError."""

    async def get_conversion(self, key: Key) -> ConversionView:
        """Read a ModelConversion."""

    async def patch_status(
        self, key: Key, resource_version: str, changes: Mapping[str, Any]
    ) -> ConversionView:
        """Merge ``changes`` into the status, provided the object is still at ``resource_version``."""

    async def create_job(self, manifest: Body) -> JobView:
        """Create a Job; when it exists already, give that one."""

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        """Read a Job; None when there is none."""

    async def patch_job(self, job: JobView, changes: Body) -> JobView:
        """Merge ``changes`` into a Job, provided that it is still as it was seen."""

    async def delete_job(self, job: JobView, *, pods_first: bool = False) -> None:
        """Delete a Job and its pods; ``pods_first`` keeps it there until those are gone."""

    async def list_pods(self, job: JobView) -> tuple[list[PodView], str]:
        """List the pods that a Job controls; gives them and the version of the listing."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions, without reading it."""

    async def get_profile(self, namespace: str, ref: ProfileRef) -> ResolvedProfile | None:
        """Read a profile; None when there is none."""

    async def check_conversion(self, namespace: str, spec: Body) -> None:
        """Have the API server say whether it would take a conversion, without making one."""

    async def create_event(self, key: Key, event: Mapping[str, Any]) -> None:
        """Write an event about a ModelConversion."""
