"""One operator process: kopf's watches, the workers and the web server, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import kopf

from modelconversion_api.channels import CHANNEL_PLURAL
from modelconversion_api.sets import SET_PLURAL, ModelConversionSetStatus
from modelconversion_api.triggers import TRIGGER_PLURAL
from modelconversion_operator.channels.reconciler import ChannelReconciler
from modelconversion_operator.channels.views import ChannelStore, ChannelView
from modelconversion_operator.clock import running_seconds
from modelconversion_operator.cluster.channel_requests import ChannelRequests
from modelconversion_operator.cluster.client import USER_AGENT, Cluster, LeaseRequests, always
from modelconversion_operator.cluster.leader import Election, Leadership, LeaseTimes
from modelconversion_operator.cluster.mirror import Mirror
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.set_requests import SetRequests
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.trigger_requests import TriggerRequests
from modelconversion_operator.cluster.watch_state import WatchProgress
from modelconversion_operator.cluster.watches import (
    WATCHED,
    NoMemories,
    make_conversion_watch,
    make_mirrors,
    make_mirrors_of,
    make_registry,
    make_settings,
)
from modelconversion_operator.deciding.defaults import read_defaults
from modelconversion_operator.deciding.views import TRACEPARENT_ANNOTATION, ConversionView
from modelconversion_operator.errors import OperatorError, SettingsError, WatchError
from modelconversion_operator.reconciler import Reconciler, run_workers
from modelconversion_operator.sets.reconciler import SetReconciler
from modelconversion_operator.sets.store import SetStore
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.settings import Settings
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.telemetry.web import serve
from modelconversion_operator.telling.events import View
from modelconversion_operator.telling.mark import EVENTS_SUFFIX, TRACES_SUFFIX, Mark
from modelconversion_operator.telling.sink import Access, Sink
from modelconversion_operator.telling.spans import context_of_end
from modelconversion_operator.telling.teller import EVENTS, Teller
from modelconversion_operator.triggers.reconciler import TriggerReconciler
from modelconversion_operator.triggers.store import TriggerStore
from modelconversion_operator.triggers.views import TriggerView
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_STUCK_SECONDS: Final = 120.0
"""A look at a conversion makes a few requests of at most 15 s each; one that takes longer is stuck."""
_LISTING_POLL_SECONDS: Final = 0.05
_CHANNEL_PATIENCE_SECONDS: Final = 1.0
"""How long news of a conversion may wait for more: each look at a channel reads what it follows."""
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def run(settings: Settings) -> None:
    """Run the operator until it is told to stop.

    Raises:
        SettingsError: A setting cannot be used here.
        WatchError: The watches have ended; a new process may be luckier.

    """
    rules = settings.rules(read_defaults(settings.defaults_file))
    metrics = Metrics()
    tellers = _tellers(settings, metrics)
    tell: Callable[[View], None] = _all(*(teller.see for teller in tellers.values()))
    triggers, trigger_queue = TriggerStore(), WorkQueue[str]()
    of_triggers = _News(triggers.take, triggers.drop_made, trigger_queue)
    sets, set_queue = SetStore(_all(tell, of_triggers.seen), of_triggers.gone), WorkQueue[str]()
    of_sets = _News(sets.take, sets.drop_member, set_queue, sets.patience_seconds)
    channels, channel_queue = ChannelStore(), WorkQueue[str]()

    def for_channels(view: ConversionView) -> None:
        for uid in channels.concerned(view):
            channel_queue.add_after(uid, _CHANNEL_PATIENCE_SECONDS)

    news = _all(tell, of_sets.seen, of_triggers.seen, for_channels)
    store = Store(news, _all(of_sets.gone, of_triggers.gone))
    queue: WorkQueue[str] = WorkQueue()
    metrics.observe(lambda: dict(store.phases()), lambda: len(queue))
    stop = asyncio.Event()
    election = _election(settings)
    permit = always if election is None else lambda: election.write_seconds(running_seconds())
    async with Cluster(permit=permit, answered=metrics.api_answered) as cluster:
        names, silence = settings.namespace_list, settings.watch_silence_seconds

        def look_at_all(namespace: str | None) -> None:
            for uid in store.unsettled(namespace):
                queue.add(uid)
            for known, wanted in ((sets, set_queue), (triggers, trigger_queue), (channels, channel_queue)):
                for uid in known.uids():
                    wanted.add(uid)

        progress = WatchProgress(silence, look_at_all)
        watch = make_conversion_watch(progress, store, names)
        scope = progress, names, silence, settings.class_name
        mirrors = [
            *make_mirrors(cluster, store, queue, progress, names, silence),
            *make_mirrors_of(SET_PLURAL, SetView.from_body, cluster, sets, set_queue, *scope),
            *make_mirrors_of(TRIGGER_PLURAL, TriggerView.from_body, cluster, triggers, trigger_queue, *scope),
            *make_mirrors_of(CHANNEL_PLURAL, ChannelView.from_body, cluster, channels, channel_queue, *scope),
        ]
        leadership = _leadership(settings, cluster, election)
        marks = {suffix: Mark(_lease(settings, cluster, suffix), permit) for suffix in tellers}
        metrics.observe_watches(progress.age_seconds, progress.failing, WATCHED)
        metrics.observe_leadership(lambda: leadership is None or leadership.leads)

        def healthy() -> str | None:
            return (
                _busy_too_long(queue) or progress.problem() or (leadership.problem() if leadership else None)
            )

        async def work() -> None:
            # Nobody knows how many Jobs there are, or that one is not there, before all have been listed.
            # What cannot be listed is not waited for; conversions of that namespace are left alone meanwhile.
            while progress.unready() is not None:  # noqa: ASYNC110 - kopf's request has no event to wait for
                await asyncio.sleep(_LISTING_POLL_SECONDS)
            # What was under way when the work last stopped is not in the queue any more.
            look_at_all(None)
            async with asyncio.TaskGroup() as group:
                group.create_task(reader.run())
                group.create_task(run_workers(reconciler, settings.workers))
                group.create_task(set_reconciler.work())
                group.create_task(trigger_reconciler.work())
                group.create_task(channel_reconciler.work())
                for suffix, teller in tellers.items():
                    group.create_task(
                        teller.run(cluster, marks[suffix], cluster.clock.now, progress.unheard_seconds)
                    )

        reader = ProgressReader(store, queue, settings.progress_seconds)
        reconciler = Reconciler(
            cluster,
            store,
            queue,
            metrics,
            rules,
            reader,
            now=cluster.clock.now,
            knows=progress.knows,
        )
        set_reconciler = SetReconciler(
            SetRequests(cluster),
            sets,
            set_queue,
            rules,
            now=cluster.clock.now,
            knows=progress.knows,
            annotate=_traceparent_of_member if settings.traces_endpoint else _no_annotations,
        )
        trigger_reconciler = TriggerReconciler(
            TriggerRequests(cluster),
            triggers,
            trigger_queue,
            rules,
            now=cluster.clock.now,
            knows=progress.knows,
        )
        channel_reconciler = ChannelReconciler(
            ChannelRequests(cluster), channels, channel_queue, rules, now=cluster.clock.now
        )
        metrics.observe_channels(lambda: dict(channels.ready()))
        metrics.observe_sets(lambda: dict(sets.phases()))
        metrics.observe_triggers(lambda: dict(triggers.ready()))
        metrics.observe_line(
            lambda: len(reconciler.admission),
            lambda: sum(map(len, store.active().values())),
            settings.max_concurrent,
        )
        # A standby is ready: its watches are warm, and a rollout must not wait for it to lead.
        async with serve(
            settings.http_host,
            settings.http_port,
            metrics.registry,
            healthy,
            progress.unready,
            progress.remarks,
        ) as port:
            logger.info("serving /metrics, /healthz and /readyz on %s:%d", settings.http_host or "port", port)
            workers = asyncio.create_task(leadership.run(work, reconciler.stand_by) if leadership else work())
            conversions = kopf.operator(
                registry=make_registry(store, queue, watch, stop, settings.class_name),
                settings=make_settings(silence),
                memories=NoMemories(),
                namespaces=names,
                clusterwide=not names,
                standalone=True,
                stop_flag=stop,
            )
            with watch.installed():
                watches = asyncio.create_task(_watch(mirrors, conversions))
                await _until_one_ends(workers, watches, stop, progress.restored)
            if progress.history:
                raise WatchError(progress.history)
    logger.info("stopped")


def _tellers(settings: Settings, metrics: Metrics) -> dict[str, Teller]:
    """Prepare to tell what happens, where there is somebody to tell; by the suffix of each one's mark."""
    tellers: dict[str, Teller] = {}
    if settings.events_sink:
        access = Access(settings.events_token_file, ca_file=settings.events_ca_file)
        sink = Sink(settings.events_sink, access, USER_AGENT)
        tellers[EVENTS_SUFFIX] = Teller(sink, settings.told, partial(metrics.told, EVENTS.noun))
    if settings.traces_endpoint:
        from modelconversion_operator.telling import otlp  # its library is for those who ask for traces

        access = Access(
            settings.traces_token_file, settings.traces_header, settings.traces_ca_file, "--traces-ca-file"
        )
        sink = Sink(otlp.traces_url(settings.traces_endpoint), access, USER_AGENT, otlp.DIALECT)
        count = partial(metrics.told, otlp.FORM.noun)
        tellers[TRACES_SUFFIX] = Teller(sink, settings.traced, count, otlp.FORM)
    for teller in tellers.values():
        metrics.observe_waiting(teller.noun, teller.waiting)
    return tellers


def _no_annotations(_: SetView, _status: ModelConversionSetStatus) -> Mapping[str, str]:
    """Give members no annotation."""
    return {}


def _traceparent_of_member(view: SetView, status: ModelConversionSetStatus) -> Mapping[str, str]:
    """Let members' traces be parts of their set's."""
    return {TRACEPARENT_ANNOTATION: str(context_of_end(view, status))}


def _all(*callees: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what hands its argument to each of them."""

    def call(argument: Any) -> None:
        for callee in callees:
            callee(argument)

    return call


class _News:
    """Takes news of what belongs to an object to the object that owns it.

    Args:
        put: Remembers it for its owner, if it has one; gives the owner's UID where something has changed.
        drop: Forgets it; gives the owner's UID, None where it had none.
        queue: Where the owner is queued.
        patience_seconds: How long its news may wait for more.

    """

    def __init__(
        self,
        put: Callable[[Any], str | None],
        drop: Callable[[str], str | None],
        queue: WorkQueue[str],
        patience_seconds: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self._put, self._drop, self._queue, self._patience = put, drop, queue, patience_seconds

    def seen(self, view: ConversionView | SetView) -> None:
        """Take news of a belonging."""
        self._wake(self._put(view))

    def gone(self, uid: str) -> None:
        """Take note that one is gone."""
        self._wake(self._drop(uid))

    def _wake(self, owner: str | None) -> None:
        if owner is not None:
            self._queue.add_after(owner, self._patience(owner))


async def _watch(mirrors: Sequence[Mirror[Any]], conversions: Coroutine[Any, Any, None]) -> None:
    """Follow all watches until kopf's end, which handles the signals."""
    async with asyncio.TaskGroup() as group:
        followers = [group.create_task(mirror.run()) for mirror in mirrors]
        await conversions
        for follower in followers:
            follower.cancel()


async def _until_one_ends(
    workers: asyncio.Task[None], watches: asyncio.Task[None], *stops: asyncio.Event
) -> None:
    """Wait until something ends, or one of ``stops`` is set, and end everything; the first stops kopf."""
    # kopf handles the signals, and waits for every task that it finds: the workers end when it begins to.
    stopping = [asyncio.create_task(event.wait()) for event in stops]
    await asyncio.wait({workers, watches, *stopping}, return_when=asyncio.FIRST_COMPLETED)
    asked_to_stop = any(event.is_set() for event in stops)
    for waiter in stopping:
        waiter.cancel()
    stops[0].set()
    workers.cancel()
    worked, watched = await asyncio.gather(workers, watches, return_exceptions=True)
    if isinstance(worked, Exception):
        raise worked
    if isinstance(watched, OperatorError):
        raise watched
    if isinstance(watched, Exception) or not asked_to_stop:
        raise WatchError(f"the watches have ended: {watched!r}") from watched


def _election(settings: Settings) -> Election | None:
    """Prepare the election, if there is one; from then on the cluster is written to by its leader only."""
    if not settings.leader_elect:
        return None
    return Election(settings.leader_identity, LeaseTimes(settings.lease_seconds))


def _leadership(settings: Settings, cluster: Cluster, election: Election | None) -> Leadership | None:
    if election is None:
        return None
    return Leadership(_lease(settings, cluster), election)


def _lease(settings: Settings, cluster: Cluster, suffix: str = "") -> LeaseRequests:
    """Return the requests about a Lease of the operator's own."""
    namespace = settings.lease_namespace
    if not namespace:
        try:
            namespace = _OWN_NAMESPACE.read_text().strip()
        except OSError:
            words = "--lease-namespace (MODELCONVERSION_LEASE_NAMESPACE) is needed outside a pod"
            raise SettingsError(words) from None
    return cluster.lease(namespace, settings.lease_name + suffix)


def _busy_too_long(queue: WorkQueue[str]) -> str | None:
    busy = queue.longest_work_seconds()
    return f"a worker has been busy for {busy:.0f} s" if busy > _STUCK_SECONDS else None
