"""The reconciler when its watches fail it: on a real API server, without the operator's process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.manifest import JobSettings, job_name
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.reconciler import Reconciler, run_workers
from modelconversion_operator.rules import Rules
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.workqueue import WorkQueue
from support.cluster.conversions import Conversions, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]


@asynccontextmanager
async def blind_reconciler(kubeconfig: str, conversion: ConversionView) -> AsyncIterator[Store]:
    """Works on a conversion while the block runs; gives what it knows."""
    async with Cluster(kubeconfig) as cluster:
        blind = Blind(cluster, conversion)
        workers = asyncio.create_task(run_workers(blind.reconciler, 1))
        try:
            yield blind.store
        finally:
            workers.cancel()


class Blind:
    """A reconciler that was shown one conversion once, and hears of nothing after that."""

    def __init__(self, cluster: Cluster, conversion: ConversionView) -> None:
        self.store, self.queue, self.metrics = Store(), WorkQueue[str](), Metrics()
        self.store.put_conversion(conversion)
        self.queue.add(conversion.key.uid)
        self.reconciler = Reconciler(
            cluster,
            self.store,
            self.queue,
            self.metrics,
            Rules(JobSettings(image="converter:test"), resync_seconds=1),
            ProgressReader(self.store, self.queue, seconds=0),
        )


@pytest.fixture
def kubeconfig(operator: Operator) -> Iterator[str]:
    """The operator's permissions, while no operator but the test's own is there."""
    assert operator.stop() == 0
    yield operator.kubeconfig
    operator.start()


async def until_async(done: Callable[[], bool]) -> None:
    """Wait until ``done`` says so, and let the reconciler work meanwhile."""
    await asyncio.to_thread(until, done, "the reconciler has done its work", 60)


async def test_a_conversion_ends_although_no_watch_ever_speaks(conversions: Conversions, kubeconfig: str):
    conversions.apply("blind", source={"uri": conversions.uri("missing.h5")}, methods=["Float16"])
    seen = ConversionView.from_body(conversions.get("blind"))
    async with blind_reconciler(kubeconfig, seen):
        await until_async(lambda: conversions.status("blind").get("phase") == "Failed")
    assert conversions.status("blind")["failure"]["reason"] == "SourceNotFound"


async def test_a_stale_view_conflicts_and_is_read_again(conversions: Conversions, kubeconfig: str):
    """Somebody changes the spec between our read and our write: the newer spec is the one that runs."""
    conversions.apply("stale", source={"uri": conversions.uri("missing.h5")}, methods=["Float16"])
    seen = ConversionView.from_body(conversions.get("stale"))
    conversions.patch("stale", {"methods": ["DynamicRange"]})
    async with blind_reconciler(kubeconfig, seen):
        await until_async(lambda: "methods" in conversions.status("stale"))
    assert conversions.status("stale")["methods"] == "DynamicRange"
    assert conversions.status("stale")["observedGeneration"] == 2


async def test_a_conversion_deleted_and_made_again_is_not_taken_for_the_old_one(
    conversions: Conversions, kubeconfig: str
):
    conversions.apply("twin", source={"uri": conversions.uri("missing.h5")}, methods=["Float16"])
    old = ConversionView.from_body(conversions.get("twin"))
    conversions.kubectl("delete", "mconv", "twin")
    conversions.apply("twin", source={"uri": conversions.uri("missing.h5")}, methods=["Float16"])
    async with blind_reconciler(kubeconfig, old) as store:
        await until_async(lambda: store.conversion(old.key.uid) is None)
    assert conversions.status("twin") == {}
    assert conversions.jobs() == [], json.dumps(conversions.jobs())


async def test_a_job_that_somebody_made_under_our_name_is_not_adopted(
    conversions: Conversions, kubeconfig: str
):
    conversions.apply("squatted", source={"uri": conversions.uri("missing.h5")}, methods=["Float16"])
    seen = ConversionView.from_body(conversions.get("squatted"))
    name = job_name(seen.key, seen.next_run)
    conversions.kubectl("create", "job", name, "--image=busybox", "--", "sleep", "60")
    async with blind_reconciler(kubeconfig, seen):
        await until_async(lambda: conversions.status("squatted").get("phase") == "Failed")
    assert conversions.status("squatted")["failure"]["reason"] == "JobRejected"
    (job,) = conversions.jobs()
    assert "ownerReferences" not in job["metadata"]
