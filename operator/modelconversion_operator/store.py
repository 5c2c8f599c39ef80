"""What the watches have shown so far: views of conversions, Jobs and pods, found by the conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .views import ConversionView, JobView, Key, PodView


def is_newer(resource_version: str, than: str) -> bool:
    """Whether a resource version is newer; since Kubernetes 1.35 they may be compared as numbers."""
    return int(resource_version) > int(than)


class Store:
    """Views by key. An older version of an object never replaces a newer one."""

    def __init__(self) -> None:
        self._conversions: dict[str, ConversionView] = {}
        self._jobs: dict[str, dict[str, JobView]] = {}
        self._pods: dict[str, dict[str, PodView]] = {}

    def __len__(self) -> int:
        return len(self._conversions)

    def __iter__(self) -> Iterator[ConversionView]:
        return iter(self._conversions.values())

    def conversion(self, uid: str) -> ConversionView | None:
        """The conversion with this UID."""
        return self._conversions.get(uid)

    def job(self, uid: str, name: str) -> JobView | None:
        """The Job of a conversion by its name."""
        return self._jobs.get(uid, {}).get(name)

    def pods(self, uid: str, job_name: str) -> list[PodView]:
        """The pods of one of a conversion's Jobs."""
        return [p for p in self._pods.get(uid, {}).values() if p.job_name == job_name]

    def put_conversion(self, view: ConversionView) -> bool:
        """Remember a conversion; False when a newer version is known."""
        known = self._conversions.get(view.key.uid)
        if known is not None and not is_newer(view.resource_version, known.resource_version):
            return False
        self._conversions[view.key.uid] = view
        return True

    def put_job(self, view: JobView) -> None:
        """Remember a Job, unless a newer version is known."""
        jobs = self._jobs.setdefault(view.owner_uid, {})
        known = jobs.get(view.name)
        if known is None or known.uid != view.uid or is_newer(view.resource_version, known.resource_version):
            jobs[view.name] = view

    def put_pod(self, view: PodView) -> None:
        """Remember a pod, unless a newer version is known."""
        pods = self._pods.setdefault(view.owner_uid, {})
        known = pods.get(view.uid)
        if known is None or is_newer(view.resource_version, known.resource_version):
            pods[view.uid] = view

    def drop_conversion(self, key: Key) -> None:
        """Forget a conversion and all that belongs to it."""
        self._conversions.pop(key.uid, None)
        self._jobs.pop(key.uid, None)
        self._pods.pop(key.uid, None)

    def drop_job(self, view: JobView) -> None:
        """Forget a Job that is gone."""
        jobs = self._jobs.get(view.owner_uid, {})
        known = jobs.get(view.name)
        if known is not None and known.uid == view.uid:
            del jobs[view.name]
        if not jobs:
            self._jobs.pop(view.owner_uid, None)

    def drop_pod(self, view: PodView) -> None:
        """Forget a pod that is gone."""
        pods = self._pods.get(view.owner_uid, {})
        pods.pop(view.uid, None)
        if not pods:
            self._pods.pop(view.owner_uid, None)

    def phases(self) -> Counter[str]:
        """Count conversions by phase."""
        return Counter(str(c.status.phase or "Pending") for c in self)
