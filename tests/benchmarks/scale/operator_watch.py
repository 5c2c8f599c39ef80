"""What the operator's benchmark sees: the operator's process, and every Job and conversion from outside."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path

from support.operator.async_api import AsyncApi

_TICKS = os.sysconf("SC_CLK_TCK")
_CONVERSIONS = "/apis/edgeml.dev/v1alpha1/modelconversions"
_JOBS = "/apis/batch/v1/jobs"
_OURS = "edgeml.dev/conversion-uid"
_FINAL = ("Succeeded", "Failed")
_WORK = json.dumps([{str(key): [key, str(key)] for key in range(100)}])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process: now, and its peak."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def pace_millis() -> float:
    """CPU time of a fixed piece of work.

    Where the processor's threads share a core, or its clock goes down, the same work takes more CPU time on a
    busy machine: twice as much is usual.
    """
    started = time.process_time()
    for _ in range(100):
        json.loads(_WORK)
    return 1000 * (time.process_time() - started)


class Observer:
    """Watches Jobs and conversions, and notes when each of them ended."""

    def __init__(self, api: AsyncApi) -> None:
        self._api = api
        self.job_ended: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.phases: dict[str, str] = {}
        self.jobs: dict[str, set[str]] = defaultdict(set)
        self.most_jobs = 0
        self.paces: list[float] = []
        self.changed = time.monotonic()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_jobs())
            group.create_task(self._watch_conversions())

    async def _watch_jobs(self) -> None:
        async for _, job in self._api.follow(_JOBS, _OURS):
            owner = job["metadata"]["labels"][_OURS]
            self.jobs[owner].add(job["metadata"]["uid"])
            conditions = job.get("status", {}).get("conditions") or ()
            if any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions):
                self.job_ended.setdefault(owner, time.monotonic())
            self.most_jobs = max(self.most_jobs, len(self.jobs) - len(self.job_ended))

    async def _watch_conversions(self) -> None:
        async for _, conversion in self._api.follow(_CONVERSIONS):
            uid, phase = conversion["metadata"]["uid"], conversion.get("status", {}).get("phase", "")
            if self.phases.get(uid) != phase:
                self.phases[uid] = phase
                self.changed = time.monotonic()
                if phase in _FINAL:
                    self.ended.setdefault(uid, self.changed)

    async def wait(self, count: int, patience_seconds: float) -> None:
        """Wait until so many have ended, or nothing has changed for too long."""
        while len(self.ended) < count and time.monotonic() - self.changed < patience_seconds:
            self.paces.append(pace_millis())
            await asyncio.sleep(0.5)  # a poll costs nothing here, and the end is also one by time

    def delays(self) -> list[float]:
        """Seconds from a Job's end to its conversion's, as this observer saw both."""
        return sorted(max(0.0, t - self.job_ended[u]) for u, t in self.ended.items() if u in self.job_ended)

    @property
    def lost(self) -> int:
        """Conversions that have not ended although their Job has."""
        return sum(owner not in self.ended for owner in self.job_ended)

    @property
    def doubled(self) -> int:
        """Conversions that had more than one Job."""
        return sum(len(uids) > 1 for uids in self.jobs.values())


def percentile(ordered: list[float], share: float) -> float:
    """The value that ``share`` of an ordered list does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def writes(api: AsyncApi) -> dict[str, int]:
    """Writes by the operator since the server started, counted by the server.

    Nobody else patches a conversion, and of Jobs the controllers only put the status. Events are counted by
    what they speak of.
    """
    counts: dict[str, int] = defaultdict(int)
    for line in (await api.text("/metrics")).splitlines():
        if line.startswith("apiserver_request_total{"):
            labels, value = line.removeprefix("apiserver_request_total{").rsplit("} ", 1)
            label = dict(part.split("=", 1) for part in labels.replace('"', "").split(","))
            verb, resource = label["verb"], label["resource"]
            if (resource == "modelconversions" and verb == "PATCH") or (
                resource == "jobs" and verb in ("POST", "PATCH", "DELETE")
            ):
                counts[f"{verb} {resource}{'/status' if label['subresource'] else ''}"] += int(float(value))
    selector = "fieldSelector=involvedObject.kind=ModelConversion"
    token = ""
    while True:
        _, listing = await api.request("GET", f"/api/v1/events?{selector}&limit=1000&continue={token}")
        counts["POST events"] += len(listing["items"])
        token = listing["metadata"].get("continue", "")
        if not token:
            return dict(counts)


def median(values: list[float]) -> float:
    """The median; no number where there is none."""
    return statistics.median(values) if values else float("nan")
