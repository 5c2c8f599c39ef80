"""An API server that only remembers one object of our own kinds and its small Jobs, for its reconciler."""

from __future__ import annotations

import copy
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from modelconversion_api.reasons import FailureReason, exit_code
from modelconversion_operator.deciding.policy import Grant, Policy
from modelconversion_operator.deciding.views import Body, JobView, PodView
from modelconversion_operator.errors import UnavailableError
from modelconversion_operator.known import OwnView
from support.operator.objects import NOW, wire

Json = dict[str, Any]
V = TypeVar("V", bound=OwnView)


class OwnWorld(ABC, Generic[V]):
    """An object, its Jobs, and an operator that may be killed at each request.

    Args:
        name: The object's name.
        uid: Its UID.
        spec: Its spec.
        from_body: Makes a view of it.

    """

    stage: str
    """Where its Jobs fail."""

    def __init__(self, name: str, uid: str, spec: Json, from_body: Callable[[Body], V]) -> None:
        self._versions = itertools.count(10)
        self._uid, self._from_body = uid, from_body
        self.now = NOW
        self.jobs: dict[str, Json] = {}
        self.events: list[str] = []
        self.refusal = ""
        self.released = True
        self.fails_at: set[int] = set()
        self.requests = itertools.count()
        self.policy = Policy()
        meta = {"name": name, "namespace": "ml", "uid": uid, "generation": 1}
        self.body: Json = {"metadata": meta | {"creationTimestamp": wire(NOW)}, "spec": spec}
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Begin with an operator that knows nothing of an earlier one."""

    @abstractmethod
    def reconcile(self) -> Awaitable[float | None]:
        """Look at the object once; gives when the operator wants another look."""

    @abstractmethod
    def found(self, job: Json) -> Json:
        """What a Job says that ends well."""

    def seen(self) -> V:
        """The object as the operator sees it after a change."""
        self._touch(self.body)
        return self._from_body(copy.deepcopy(self.body))

    def there(self) -> object:
        """Everything that the operator may change."""
        return self.body, self.jobs

    def _touch(self, body: Json) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._versions))

    def _request(self) -> None:
        if next(self.requests) in self.fails_at:
            raise UnavailableError(0, "the operator is killed here")

    # The API server.

    async def patch_status(self, view: V, changes: Mapping[str, Any]) -> V:
        self._request()
        assert view.resource_version == self.body["metadata"]["resourceVersion"]
        status = self.body.get("status", {}) | dict(changes)
        self.body["status"] = {name: value for name, value in status.items() if value is not None}
        after = self.seen()
        self._request()
        return after

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        del grant
        assert namespace == "ml"
        return self.released

    async def get_own_job(self, view: V, name: str) -> tuple[JobView, list[PodView]] | None:
        self._request()
        if name not in self.jobs:
            return None
        job = self.jobs[name]
        return JobView.from_body(job), [PodView.from_body(pod) for pod in job["pods"]]

    async def create_own_job(self, view: V, manifest: Body) -> JobView:
        self._request()
        body = copy.deepcopy(dict(manifest))
        body["metadata"] |= {"uid": "job", "resourceVersion": "1", "creationTimestamp": wire(self.now)}
        self.jobs.setdefault(body["metadata"]["name"], body | {"pods": []})
        self._request()
        return JobView.from_body(body)

    async def create_event(self, view: V, event: Mapping[str, Any]) -> None:
        self.events.append(event["reason"])

    # What happens in the cluster.

    def jobs_end(self, problem: str | None = None) -> None:
        """Each Job that is under way ends: with what it has found, or with a problem."""
        code = 0 if problem is None else exit_code(FailureReason(problem))
        for name, job in self.jobs.items():
            if not job["pods"]:
                failure = {"stage": self.stage, "reason": problem, "message": "it is not there"}
                self._end(name, job, self.found(job) if problem is None else {"failure": failure}, code)

    def _end(self, name: str, job: Json, told: Json, code: int) -> None:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        message = json.dumps({"version": "v1alpha1"} | told)
        state = {"terminated": {"exitCode": code, "message": message}}
        meta = {"namespace": "ml", "name": f"{name}-x", "uid": f"{name}-x", "resourceVersion": "2"}
        statuses = [{"name": container["name"], "state": state}]
        job["pods"] = [
            {
                "metadata": meta | {"creationTimestamp": wire(self.now)},
                "spec": {"containers": [{"name": container["name"]}]},
                "status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses},
            }
        ]
        kind = {"type": "Failed", "reason": "PodFailurePolicy"} if code else {"type": "Complete"}
        job["status"] = {"conditions": [kind | {"status": "True"}]}

    async def work(self, rounds: int = 12) -> float | None:
        """Look at the object until nothing is left to do at once; gives when it wants another look."""
        for _ in range(rounds):
            before = copy.deepcopy(self.there())
            try:
                delay = await self.reconcile()
            except UnavailableError:
                self.start()
                continue
            if before == self.there():
                return delay
        raise AssertionError("it never comes to rest")

    @property
    def status(self) -> Json:
        found: Json = self.body.get("status", {})
        return found

    @property
    def ready(self) -> tuple[str, str]:
        (condition,) = [c for c in self.status["conditions"] if c["type"] == "Ready"]
        return condition["status"], condition["reason"]


def env_of(job: Json) -> dict[str, str]:
    """The variables of a Job's one container that are written out."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}
