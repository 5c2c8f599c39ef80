"""An API server that only remembers, and an operator over it whose watches say at once what happens."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from modelconversion_api.profiles import ResolvedProfile
from modelconversion_api.spec import ProfileRef
from modelconversion_operator.cluster.news import BATCH_SECONDS
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.admission import Limits
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, Key, PodView
from modelconversion_operator.errors import RejectedError, UnavailableError
from modelconversion_operator.reconciler import Reconciler
from modelconversion_operator.rules import Rules
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import DEFAULTS, NOW, ended, pod, published, running, spec

Json = dict[str, Any]


class Server:
    """The requests of a cluster; what was written is in ``writes``."""

    def __init__(self) -> None:
        self.conversions: dict[str, Json] = {}
        self.jobs: dict[str, Json] = {}
        self.writes: list[str] = []
        self.lose_answers = False
        self.refuse_jobs: set[str] = set()
        self.unreleased: set[str] = set()
        self.asked: list[str] = []
        self.may_not_ask = False
        self.profiles: dict[str, ResolvedProfile] = {}
        """By kind and name."""
        self.refusal = ""
        """Why the API server would not take what a conversion and its profile make together."""
        self.checked: list[Body] = []
        self.pods: dict[str, PodView] = {}
        """Those that a listing gives, by UID."""
        self.pinned: set[str] = set()
        self._versions = itertools.count(100)

    def version(self) -> str:
        return str(next(self._versions))

    async def get_conversion(self, key: Key) -> ConversionView:
        return ConversionView.from_body(copy.deepcopy(self.conversions[key.uid]))

    async def patch_status(
        self, key: Key, resource_version: str, changes: Mapping[str, Any]
    ) -> ConversionView:
        body = self.conversions[key.uid]
        assert body["metadata"]["resourceVersion"] == resource_version
        body["status"] = {k: v for k, v in (body.get("status", {}) | dict(changes)).items() if v is not None}
        body["metadata"]["resourceVersion"] = self.version()
        self.writes.append(f"status {body['status']['phase']}")
        if self.lose_answers:
            raise UnavailableError(0, "the answer was lost")
        return ConversionView.from_body(copy.deepcopy(body))

    async def create_job(self, manifest: Body) -> JobView:
        meta = manifest["metadata"]
        if meta["namespace"] in self.refuse_jobs:
            raise RejectedError(403, "exceeded quota: team")
        self.writes.append("job")
        body = copy.deepcopy(dict(manifest))
        stamp = NOW.isoformat()
        body["metadata"] |= {
            "uid": f"job-{meta['name']}",
            "resourceVersion": self.version(),
            "creationTimestamp": stamp,
        }
        self.jobs[meta["name"]] = body
        return JobView.from_body(body)

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        body = self.jobs.get(name)
        return None if body is None else JobView.from_body(body)

    async def patch_job(self, job: JobView, changes: Body) -> JobView:
        """Change a Job, but for the fields that a policy keeps as they are."""
        self.writes.append("patch job")
        body = self.jobs[job.name]
        wanted = {k: v for k, v in changes.get("spec", {}).items() if k not in self.pinned}
        body["spec"] = body["spec"] | wanted
        body["metadata"]["resourceVersion"] = self.version()
        return JobView.from_body(body)

    async def delete_job(self, job: JobView, *, pods_first: bool = False) -> None:
        self.writes.append("delete job")

    async def list_pods(self, job: JobView) -> tuple[list[PodView], str]:
        return [p for p in self.pods.values() if p.job_uid == job.uid], self.version()

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        name = grant.name
        self.asked.append(f"{namespace}/{name}")
        if self.may_not_ask:
            raise RejectedError(403, "cannot create resource localsubjectaccessreviews")
        return name not in self.unreleased

    async def get_profile(self, namespace: str, ref: ProfileRef) -> ResolvedProfile | None:
        if self.may_not_ask:
            raise RejectedError(403, "cannot get resource clusterconversionprofiles")
        return self.profiles.get(f"{ref.kind} {ref.name}")

    async def check_conversion(self, namespace: str, spec: Body) -> None:
        self.checked.append(spec)
        if self.refusal:
            raise RejectedError(422, self.refusal)

    async def create_event(self, key: Key, event: Mapping[str, Any]) -> None:
        self.writes.append(f"event {event['reason']}")


class World:
    """An operator whose watches say at once what happens."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.server, self.store, self.metrics = Server(), Store(), Metrics()
        self.queue: WorkQueue[str] = WorkQueue()
        self.now = NOW
        self.rules = Rules(DEFAULTS)
        self.start(limits or Limits())

    def start(self, limits: Limits) -> None:
        """Begin with a reconciler that knows nothing of an earlier one."""
        self.reconciler = Reconciler(
            self.server,
            self.store,
            self.queue,
            self.metrics,
            replace(self.rules, limits=limits),
            ProgressReader(self.store, self.queue, seconds=0),
            now=self._now,
        )

    def _now(self) -> datetime:
        return self.now

    def apply(self, name: str, namespace: str = "ml", labels: Json | None = None, **changes: Any) -> None:
        self.now += timedelta(seconds=1)  # the line's order is that of the start times
        uid = f"{namespace}-{name}"
        meta = {"namespace": namespace, "name": name, "uid": uid, "generation": 1}
        body = {"metadata": meta | {"resourceVersion": self.server.version(), "labels": labels or {}}}
        output = {"uri": f"s3://models/{uid}/"}
        self.server.conversions[uid] = body | {"spec": spec(**{"output": output, **changes})}
        self.seen(uid)

    def seen(self, uid: str) -> None:
        """The watch shows a conversion."""
        if self.store.put_conversion(ConversionView.from_body(copy.deepcopy(self.server.conversions[uid]))):
            self.queue.add(uid)

    async def work(self) -> None:
        """Look at everything that asks for it, at once or in a moment, until nothing does."""
        while len(self.queue):
            uid = await self.queue.get()
            try:
                delay = await self.reconciler.reconcile(uid)
                if delay is not None and delay <= BATCH_SECONDS:
                    self.queue.add(uid)
            except UnavailableError:
                pass
            finally:
                self.queue.done(uid)

    def key(self, name: str, namespace: str = "ml") -> Key:
        return Key(namespace, name, f"{namespace}-{name}")

    def status(self, uid: str) -> Json:
        found: Json = self.server.conversions[uid].get("status", {})
        return found

    def job_of(self, uid: str) -> JobView:
        body = self.server.jobs[self.status(uid)["jobName"]]
        body["metadata"]["resourceVersion"] = self.server.version()
        return JobView.from_body(body)

    def pod_of(self, uid: str, *states: Json, phase: str) -> PodView:
        view = replace(pod(*states, phase=phase), owner_uid=uid, job_uid=self.job_of(uid).uid)
        return replace(view, resource_version=self.server.version())

    def runs(self, uid: str) -> None:
        self.store.put_pod(self.pod_of(uid, running(), phase="Pending"))
        self.queue.add(uid)

    def ends(self, uid: str) -> None:
        states = ended(), ended(), ended(message=published())
        self.store.put_pod(self.pod_of(uid, *states, phase="Succeeded"))
        body = self.server.jobs[self.status(uid)["jobName"]]
        body["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        self.store.put_job(self.job_of(uid))
        self.queue.add(uid)

    def counted(self) -> float:
        name = "modelconversion_conversions_total"
        labels = {"outcome": "succeeded", "reason": "Converted"}
        return self.metrics.registry.get_sample_value(name, labels) or 0
