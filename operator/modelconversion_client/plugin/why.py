"""``kubectl mconv why``: what is the matter with a conversion, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from modelconversion_client.errors import ConversionClientError, ForbiddenError
from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import tells_errors
from modelconversion_client.plugin.output import show, show_json, show_table, tell

if TYPE_CHECKING:
    from modelconversion_client.blocking import ModelConversionClient
    from modelconversion_client.explaining import Explanation

_MOST_EVENTS = 10

T = TypeVar("T")


@tells_errors
def why(
    name: options.Name,
    lines: Annotated[int, typer.Option(help="Lines of the pod's log.", min=0, max=1000)] = 15,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Say why a conversion failed, or what it waits for, and what to do next.

    Shows the reason, the container that failed, the end of its log and the events. Of an old one, pod and
    events are gone: the reason and the message stay.

    Example:
      kubectl mconv why gesture

    """
    from modelconversion_client.explaining import event_rows, explain, explanation_json
    from modelconversion_client.tables import age

    with options.connect(namespace, context, kubeconfig) as client:
        found = client.get(name)
        unseen: list[str] = []
        pods = _allowed(lambda: client.pods(found), unseen)
        events = _allowed(lambda: client.events(found, pods), unseen)[-_MOST_EVENTS:]
        told = explain(found, pods)
        log, problem = _log(client, told, lines)
    for words in unseen:
        tell(f"not shown: {words}")
    if as_json:
        facts = {"name": name, "namespace": found.meta.namespace, "phase": str(found.phase)}
        show_json(facts | explanation_json(told, events, log, problem))
        return
    _show(told)
    if log or problem:
        show("", "Log:" if problem is None else f"Log: {problem}", *(f"  {line}" for line in log))
    if events:
        now = datetime.now(UTC)
        show("", "Events:")
        rows = event_rows(events, [age(event.time, now) for event in events])
        show_table(("AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"), rows)


def _allowed(read: Callable[[], Sequence[T]], unseen: list[str]) -> Sequence[T]:
    """Return what may be read; who may see conversions need not see pods, and the reason is worth more."""
    try:
        return read()
    except ForbiddenError as error:
        unseen.append(error.cause)
        return []


def _log(client: ModelConversionClient, told: Explanation, lines: int) -> tuple[Sequence[str], str | None]:
    """Return the end of the log of the container that it is about, or why there is none."""
    if told.pod is None or told.container is None or lines == 0:
        return [], None
    try:
        return client.log(told.pod, told.container.name, lines=lines), None
    except ConversionClientError as error:  # the rest of what is known is worth showing without it
        return [], error.cause


def _show(told: Explanation) -> None:
    from modelconversion_client.explaining import container_words

    show(told.headline)
    stage = f" in stage {told.stage}" if told.stage else ""
    show(f"Reason:   {told.reason}{stage}")
    show(f"Message:  {told.message}")
    show(f"Next:     {told.next_step}", style="bold")
    if told.pod is not None:
        node = f" on node {told.pod.node}" if told.pod.node else ""
        words = ": ".join(filter(None, (told.pod.reason, told.pod.message)))
        show(f"Pod:      {told.pod.meta.name}{node} is {told.pod.phase}{f' ({words})' if words else ''}")
    if told.container is not None:
        show(f"          {container_words(told.container)}")
