"""One operator process: kopf's watches, the workers and the web server, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import kopf

from .cluster import Cluster
from .metrics import Metrics
from .reconciler import Reconciler, run_workers
from .settings import Settings
from .store import Store
from .watches import make_registry, make_settings
from .web import serve
from .workqueue import WorkQueue

logger = logging.getLogger(__name__)

_STUCK_SECONDS: Final = 120.0
"""A look at a conversion makes a few requests of at most 15 s each; one that takes longer is stuck."""


async def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    store = Store()
    queue: WorkQueue[str] = WorkQueue()
    metrics = Metrics()
    metrics.observe(lambda: dict(store.phases()), lambda: len(queue))
    ready, stop = asyncio.Event(), asyncio.Event()

    def healthy() -> str | None:
        busy = queue.longest_work_seconds()
        return f"a worker has been busy for {busy:.0f} s" if busy > _STUCK_SECONDS else None

    def is_ready() -> str | None:
        return None if ready.is_set() else "the watches have not started yet"

    async with (
        Cluster() as cluster,
        serve(settings.http_host, settings.http_port, metrics.registry, healthy, is_ready) as port,
    ):
        logger.info("serving /metrics, /healthz and /readyz on %s:%d", settings.http_host, port)
        reconciler = Reconciler(cluster, store, queue, metrics, settings.job_defaults())
        workers = asyncio.create_task(run_workers(reconciler, settings.workers))
        watches = asyncio.create_task(
            kopf.operator(
                registry=make_registry(store, queue, stopping=stop),
                settings=make_settings(),
                namespaces=settings.namespace_list,
                clusterwide=not settings.namespace_list,
                standalone=True,
                ready_flag=ready,
                stop_flag=stop,
            )
        )
        # kopf handles the signals, and waits for every task that it finds: the workers end when it begins to.
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({workers, watches, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        workers.cancel()
        for result in await asyncio.gather(workers, watches, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    logger.info("stopped")
