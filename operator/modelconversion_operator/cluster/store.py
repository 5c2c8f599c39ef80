"""What is known so far: views of conversions, Jobs and pods, found by the conversion.

Of a conversion that has ended, and behind which nothing is left to do, only a few words are kept: there may
be tens of thousands of them, and hardly one of them is ever looked at again. :meth:`Store.settle` does that;
news of the conversion brings its view back.

Conversions are kept as text, and made into views again when one is looked at: the same facts as dictionaries
and models take six times the room, and a burst can bring ten thousand of them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from sys import intern
from typing import Any, Final, TypeVar

from pydantic_core import from_json, to_json

from modelconversion_api.base import readable
from modelconversion_api.fields.scheduling import JobSpec
from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_api.uris import AZURE_SCHEME, CLAIM_SCHEME, GOOGLE_SCHEME
from modelconversion_operator.deciding.seen import Rival
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, Key, PodView

V = TypeVar("V", JobView, PodView)
Parent = tuple[str, str]
"""Namespace and UID: what names another namespace's conversion is none of its children."""
_USUAL_TTL: Final = JobSpec().ttl_seconds_after_finished
_FASTEST: Final = 1
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def is_newer(resource_version: str, than: str) -> bool:
    """Whether a resource version is newer; since Kubernetes 1.35 they may be compared as numbers."""
    return int(resource_version) > int(than)


def _was_listed(view: JobView | PodView, namespace: str | None, version: str) -> bool:
    """Whether a listing would have had an object, were it still there: it may be newer, or elsewhere."""
    return namespace in (None, view.namespace) and not is_newer(view.resource_version, version)


def _retain(
    known: Mapping[Parent, tuple[V, ...]],
    drop: Callable[[V], object],
    namespace: str | None,
    uids: set[str],
    version: str,
) -> set[str]:
    """Drop what a listing did not have; gives the UIDs of its conversions."""
    views = [view for views in known.values() for view in views]
    gone = [v for v in views if v.uid not in uids and _was_listed(v, namespace, version)]
    for view in gone:
        drop(view)
    return {view.owner_uid for view in gone}


def _set(known: dict[Parent, tuple[V, ...]], parent: Parent, views: Iterable[V]) -> None:
    """Keep a conversion's views, mostly one: in tuples, for a dictionary of one takes 200 bytes more."""
    kept = tuple(views)
    if kept:
        known[parent] = kept
    else:
        known.pop(parent, None)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is kept of a conversion that has ended."""

    key: Key
    version: int
    phase: str
    output: str
    ttl_seconds: int
    """How long its Job is to be kept, once the result has been taken."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """What is kept of a conversion that may need something."""

    key: Key
    generation: int
    resource_version: str
    deleting: bool
    queue: str | None
    phase: str
    output: str
    """Where it writes."""
    set_uid: str | None
    trigger_uid: str | None
    run_again: str | None
    text: bytes
    """Spec and status, compressed: to under 512 bytes mostly, which Python packs close together."""

    @classmethod
    def of(cls, view: ConversionView) -> _Packed:
        text = zlib.compress(to_json((view.spec, view.raw_status)), _FASTEST)
        phase = str(view.status.phase or Phase.PENDING)
        return cls(
            key=view.key,
            generation=view.generation,
            resource_version=view.resource_version,
            deleting=view.deleting,
            queue=view.queue,
            phase=intern(phase),
            output=_output_of(view),
            set_uid=view.set_uid,
            trigger_uid=view.trigger_uid,
            run_again=view.run_again,
            text=text,
        )

    def view(self) -> ConversionView:
        spec, status = from_json(zlib.decompress(self.text))
        return ConversionView(
            key=self.key,
            generation=self.generation,
            resource_version=self.resource_version,
            deleting=self.deleting,
            spec=spec,
            status=readable(ModelConversionStatus, status),
            raw_status=status,
            queue=self.queue,
            set_uid=self.set_uid,
            trigger_uid=self.trigger_uid,
            run_again=self.run_again,
        )


def _is_done_with(job: JobView, settled: _Settled) -> bool:
    """Whether a Job has ended and will be removed when its conversion says.

    A process that died between the two has left it with a longer time, and the next may hear of it last.
    """
    return job.finished and job.ttl_seconds == settled.ttl_seconds


def _output_of(view: ConversionView) -> str:
    """Name the place that a conversion writes to, among those of its namespace."""
    output, storage = view.spec.get("output"), view.spec.get("storage")
    uri = output.get("uri") if isinstance(output, dict) else None
    server = _server_of(str(uri), storage) if isinstance(storage, dict) else ""
    place = f"{view.key.namespace} {server} {str(uri or view.key.uid).rstrip('/')}"
    return intern(place)  # it stands in three places, and is kept once


def _server_of(uri: str, storage: dict[str, Any]) -> str:
    """Name the server that ``uri`` is written to, in a spec that nobody has checked."""
    if uri.startswith(CLAIM_SCHEME):
        return ""
    cloud = {GOOGLE_SCHEME: "googleCloud", AZURE_SCHEME: "azure"}.get(f"{uri.partition('://')[0]}://")
    of_cloud = storage if cloud is None else storage.get(cloud)
    if not isinstance(of_cloud, dict):
        return ""
    return f"{of_cloud.get('account', '')} {str(of_cloud.get('endpoint') or '').rstrip('/')}".strip()


def _parent(key: Key) -> Parent:
    return key.namespace, key.uid


class Store:
    """Views by key. An older version of an object never replaces a newer one.

    Args:
        seen: Called with each newer view of a conversion, however it came to be known.
        gone: Called with the UID of each conversion that is gone.

    """

    def __init__(
        self,
        seen: Callable[[ConversionView], None] = lambda _: None,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._seen, self._gone = seen, gone
        self._conversions: dict[str, _Packed] = {}
        self._settled: dict[str, _Settled] = {}
        self._jobs: dict[Parent, tuple[JobView, ...]] = {}
        """Each of another name."""
        self._pods: dict[Parent, tuple[PodView, ...]] = {}
        self._active: dict[str, set[str]] = {}
        self._events: dict[str, EventView] = {}
        """By namespace and UID of a Job, the latest event that says why it has no pod."""
        self._conversion_of: dict[str, str] = {}
        """By namespace and UID of a Job, the UID of its conversion."""
        self._outputs: dict[str, tuple[str, ...]] = {}
        """UIDs of the conversions that write to a place."""

    def __len__(self) -> int:
        """How many conversions there are."""
        return len(self._conversions) + len(self._settled)

    def unsettled(self, namespace: str | None = None) -> list[str]:
        """UIDs of the conversions, in a namespace or all, that may need something."""
        uids = [uid for uid, kept in self._conversions.items() if namespace in (None, kept.key.namespace)]
        with_jobs = {uid for name, uid in self._jobs if namespace in (None, name)}
        return uids + [uid for uid in with_jobs if uid in self._settled]

    def keys(self, namespace: str | None) -> list[Key]:
        """Keys of all conversions of a namespace, or of all."""
        known = [kept.key for kept in self._conversions.values()]
        known += [kept.key for kept in self._settled.values()]
        return [key for key in known if namespace in (None, key.namespace)]

    def __contains__(self, uid: str) -> bool:
        """Whether a conversion may need something."""
        return uid in self._conversions

    def keep(self, view: ConversionView | JobView | PodView) -> bool:
        """Remember what the API server has just shown; gives whether it has changed in what matters."""
        match view:
            case ConversionView():
                return self.put_conversion(view)
            case JobView():
                return self.put_job(view)
            case PodView():
                return self.put_pod(view)

    # Conversions.

    def conversion(self, uid: str) -> ConversionView | None:
        """Return the conversion with this UID; None also when it is settled."""
        packed = self._conversions.get(uid)
        return None if packed is None else packed.view()

    def is_news(self, uid: str, resource_version: str) -> bool:
        """Whether a version of a conversion is newer than what is known, or kept in a few words, of it."""
        settled, known = self._settled.get(uid), self._conversions.get(uid)
        if settled is not None and int(resource_version) <= settled.version:
            return False
        return known is None or is_newer(resource_version, known.resource_version)

    def contradicts(self, uid: str, resource_version: str, listing: str) -> bool:
        """Whether a listing, at its version, shows an older state than it must, by what was seen before."""
        settled, known = self._settled.get(uid), self._conversions.get(uid)
        seen = int(known.resource_version) if known is not None else settled.version if settled else 0
        return int(resource_version) < seen <= int(listing)

    def put_conversion(self, view: ConversionView) -> bool:
        """Remember a conversion; gives whether it may need something now that it did not before."""
        uid, status = view.key.uid, view.status
        if not self.is_news(uid, view.resource_version):
            return False
        self._seen(view)
        self._take_output(uid, _output_of(view))
        self._settled.pop(uid, None)
        over = status.phase is not None and status.phase.is_final and not view.deleting
        current = status.observed_generation == view.generation and not view.asks_for_another_run
        is_new = uid not in self._conversions
        if not over:
            self._want_results_again(_parent(view.key))
        if over and current and is_new and _parent(view.key) not in self._jobs:
            # What a new process finds, ten thousand times maybe, is not worth a look.
            self._settled[uid] = self._few_words(view)
            return False
        self._conversions[uid] = _Packed.of(view)
        if is_new:
            self._count(_parent(view.key))
        return True

    def settle(self, view: ConversionView) -> None:
        """Forget all but a few words of a conversion that has ended, unless there is news of it."""
        uid = view.key.uid
        known = self._conversions.get(uid)
        if known is None or known.resource_version != view.resource_version:
            return
        del self._conversions[uid]
        self._settled[uid] = self._few_words(view)
        self._forget_children(view.key)

    def _few_words(self, view: ConversionView) -> _Settled:
        phase = intern(str(view.status.phase))
        job = view.spec.get("job")
        ttl = job.get("ttlSecondsAfterFinished") if isinstance(job, dict) else None
        ttl = _USUAL_TTL if ttl is None else ttl
        return _Settled(view.key, int(view.resource_version), phase, _output_of(view), ttl)

    def _take_output(self, uid: str, output: str) -> None:
        """Note where a conversion writes, which a new spec may change."""
        known = self._conversions.get(uid) or self._settled.get(uid)
        if known is not None and known.output != output:
            self._leave_output(uid, known.output)
        if uid not in self._outputs.get(output, ()):
            self._outputs[output] = (*self._outputs.get(output, ()), uid)

    def _leave_output(self, uid: str, output: str) -> None:
        left = tuple(other for other in self._outputs.get(output, ()) if other != uid)
        if left:
            self._outputs[output] = left
        else:
            self._outputs.pop(output, None)

    def rivals(self, uid: str) -> list[Rival]:
        """Return the other conversions that write where this one does, the earliest first."""
        known = self._conversions.get(uid) or self._settled.get(uid)
        others = [] if known is None else [u for u in self._outputs.get(known.output, ()) if u != uid]
        rivals = [self._rival(other) for other in others]
        return sorted(rivals, key=lambda r: (r.since is None, r.since or _NEVER, r.key.uid))

    def _rival(self, uid: str) -> Rival:
        packed = self._conversions.get(uid)
        if packed is None:
            return Rival(self._settled[uid].key)
        is_over = Phase(packed.phase).is_final or packed.deleting
        return Rival(packed.key, None if is_over else packed.view().status.start_time)

    def reopen(self, uid: str) -> Key | None:
        """Let a settled conversion be looked at again where it has a Job or a rival; gives its key."""
        settled = self._settled.get(uid)
        if settled is None or not (_parent(settled.key) in self._jobs or self.rivals(uid)):
            return None
        return self._settled.pop(uid).key

    def drop_conversion(self, key: Key) -> None:
        """Forget a conversion and all that belongs to it."""
        known = self._conversions.pop(key.uid, None) or self._settled.pop(key.uid, None)
        if known is not None:
            self._leave_output(key.uid, known.output)
            self._gone(key.uid)
        self._forget_children(key)

    def phases(self) -> Counter[str]:
        """Count conversions by phase."""
        counts = Counter(packed.phase for packed in self._conversions.values())
        counts.update(settled.phase for settled in self._settled.values())
        return counts

    # Jobs.

    def job(self, key: Key, name: str) -> JobView | None:
        """Return the Job of a conversion by its name."""
        return next((job for job in self._jobs.get(_parent(key), ()) if job.name == name), None)

    def strays(self, key: Key, name: str) -> list[JobView]:
        """Return the Jobs of a conversion that have not ended and have another name."""
        jobs = self._jobs.get(_parent(key), ())
        return [job for job in jobs if job.name != name and not job.finished]

    def put_job(self, view: JobView) -> bool:
        """Remember a Job, unless a newer version is known; gives whether it has changed in what matters."""
        parent, key = (view.namespace, view.owner_uid), self._key(view.owner_uid)
        if key is not None and key.namespace != view.namespace:
            return False
        settled = self._settled.get(view.owner_uid)
        if settled is not None and (view.deleting or _is_done_with(view, settled)):
            return False
        jobs = self._jobs.get(parent, ())
        known = next((job for job in jobs if job.name == view.name), None)
        if (
            known is not None
            and known.uid == view.uid
            and not is_newer(view.resource_version, known.resource_version)
        ):
            return False
        _set(self._jobs, parent, (*(job for job in jobs if job is not known), view))
        self._conversion_of[f"{view.namespace}/{view.uid}"] = view.owner_uid
        self._count(parent)
        return known is None or replace(known, resource_version=view.resource_version) != view

    def drop_job(self, view: JobView) -> bool:
        """Forget a Job that is gone; gives whether it was known."""
        parent = view.namespace, view.owner_uid
        jobs = self._jobs.get(parent, ())
        left = [job for job in jobs if job.uid != view.uid]
        if len(left) == len(jobs):
            return False
        _set(self._jobs, parent, left)
        self._conversion_of.pop(f"{view.namespace}/{view.uid}", None)
        self._count(parent)
        return True

    def retain_jobs(self, namespace: str | None, uids: set[str], version: str) -> set[str]:
        """Forget the Jobs that a listing at ``version`` of a namespace, or of all, did not have.

        Returns:
            The UIDs of their conversions.

        """
        return _retain(self._jobs, self.drop_job, namespace, uids, version)

    def active(self) -> Mapping[str, set[str]]:
        """By namespace, the conversions with a Job that takes one of the places.

        A Job that is suspended does not, and neither does one that waits in Kueue's queue or was let go from
        there: how many of those there may be is Kueue's business.
        """
        return self._active

    def _key(self, uid: str) -> Key | None:
        known = self._conversions.get(uid) or self._settled.get(uid)
        return None if known is None else known.key

    def _count(self, parent: Parent) -> None:
        namespace, uid = parent
        key = self._key(uid)
        # A Job that names a conversion which is not there takes nobody's place.
        jobs = self._jobs.get(parent, ()) if key and _parent(key) == parent else ()
        if any(not (j.finished or j.suspended or j.deleting or j.queue) for j in jobs):
            self._active.setdefault(namespace, set()).add(uid)
        elif namespace in self._active:
            self._active[namespace].discard(uid)
            if not self._active[namespace]:
                del self._active[namespace]

    # Events about Jobs that have no pod.

    def event(self, job: JobView) -> EventView | None:
        """Return the latest event that says why a Job has no pod."""
        return self._events.get(f"{job.namespace}/{job.uid}")

    def conversion_of(self, job: str) -> str | None:
        """Return the UID of the conversion of a Job, which is given by namespace and UID."""
        return self._conversion_of.get(job)

    def put_event(self, view: EventView) -> bool:
        """Remember an event, unless a later one is known; gives whether it was news."""
        known = self._events.get(view.owner_uid)
        if known is not None and (known.time or _LONG_AGO) > (view.time or _LONG_AGO):
            return False
        self._events[view.owner_uid] = view
        return known != view

    def drop_event(self, view: EventView) -> bool:
        """Forget an event that the server has forgotten, which is no news."""
        known = self._events.get(view.owner_uid)
        if known is not None and known.uid == view.uid:
            del self._events[view.owner_uid]
        return False

    def retain_events(self, namespace: str | None, uids: set[str], _version: str) -> set[str]:
        """Forget the events that a listing of a namespace, or of all, did not have; which is no news."""
        for place, view in list(self._events.items()):
            if namespace in (None, view.namespace) and view.uid not in uids:
                del self._events[place]
        return set()

    # Pods.

    def pods(self, key: Key, job_uid: str) -> list[PodView]:
        """Return the pods that one of a conversion's Jobs controls."""
        return [p for p in self._pods.get(_parent(key), ()) if p.job_uid == job_uid]

    def renew_pods(self, key: Key, job: JobView, pods: list[PodView], version: str) -> None:
        """Put what a listing at ``version`` of a Job's pods had in place of those that are known."""
        listed = {pod.uid for pod in pods}
        for known in self.pods(key, job.uid):
            if known.uid not in listed and not is_newer(known.resource_version, version):
                self.drop_pod(known)
        for pod in pods:
            self.put_pod(pod)

    def put_pod(self, view: PodView) -> bool:
        """Remember a pod, unless a newer version is known; gives whether it has changed in what matters."""
        key = self._key(view.owner_uid)
        if view.owner_uid in self._settled or (key is not None and key.namespace != view.namespace):
            return False
        parent = view.namespace, view.owner_uid
        known = self._pod(parent, view.uid)
        if known is not None and not is_newer(view.resource_version, known.resource_version):
            return False
        if known is not None and known.result_taken:
            view = view.without_result()
        self._put_pod(parent, view)
        if known is None:
            # A pod that has only just been made says nothing that its Job did not.
            waits = view.unscheduled_reason or any(c.waiting_reason for c in view.containers)
            return view.phase != "Pending" or view.started or bool(waits)
        return replace(known, resource_version=view.resource_version) != view

    def take_results(self, key: Key) -> None:
        """Keep no longer what the pods of a conversion said: its end is written, with all of it.

        Until the Job controller has ended their Jobs, that would be most of what is kept of them.
        """
        pods = self._pods.get(_parent(key), ())
        _set(self._pods, _parent(key), (pod.without_result() for pod in pods))

    def _want_results_again(self, parent: Parent) -> None:
        """Forget pods without results: the end was taken out of the status, or another run begins."""
        _set(self._pods, parent, (pod for pod in self._pods.get(parent, ()) if not pod.result_taken))

    def drop_pod(self, view: PodView) -> bool:
        """Forget a pod that is gone; gives whether it was known.

        One in which everything was published is kept until its conversion's end is written: it is the proof.
        """
        parent = view.namespace, view.owner_uid
        known = self._pod(parent, view.uid)
        last = view if view.published else known
        is_taken = known is not None and known.result_taken
        if last is not None and last.published and not is_taken and view.owner_uid in self._conversions:
            self._put_pod(parent, last)
            return known != last
        _set(self._pods, parent, (pod for pod in self._pods.get(parent, ()) if pod.uid != view.uid))
        return known is not None

    def _pod(self, parent: Parent, uid: str) -> PodView | None:
        return next((pod for pod in self._pods.get(parent, ()) if pod.uid == uid), None)

    def _put_pod(self, parent: Parent, view: PodView) -> None:
        others = (pod for pod in self._pods.get(parent, ()) if pod.uid != view.uid)
        _set(self._pods, parent, (*others, view))

    def retain_pods(self, namespace: str | None, uids: set[str], version: str) -> set[str]:
        """Forget the pods that a listing at ``version`` of a namespace, or of all, did not have.

        Returns:
            The UIDs of their conversions.

        """
        return _retain(self._pods, self.drop_pod, namespace, uids, version)

    def _forget_children(self, key: Key) -> None:
        for job in self._jobs.pop(_parent(key), ()):
            self._conversion_of.pop(f"{job.namespace}/{job.uid}", None)
        self._pods.pop(_parent(key), None)
        self._count(_parent(key))
