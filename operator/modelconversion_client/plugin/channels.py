"""``kubectl mconv look`` and ``release``: a trigger's next look, and what the devices of a channel run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, show_json, show_table
from modelconversion_client.resources import Channel
from modelconversion_client.tables import CHANNEL_HEADERS, channel_rows


@tells_errors
def look(
    name: Annotated[str, typer.Argument(help="Name of a ModelConversionTrigger.", show_default=False)],
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Have a trigger look at its model now, and convert it where it is new.

    Example:
      kubectl mconv look nightly

    """
    with options.connect(namespace, context, kubeconfig) as client:
        found = client.look(name)
    if as_json:
        show_json({"name": name, "kind": "trigger", "namespace": found.meta.namespace})
    else:
        where = found.meta.namespace
        show(f"{name}: looks now; `kubectl get mctrigger {name} -n {where} -o wide` says what it finds")


@tells_errors
def release(
    name: Annotated[str, typer.Argument(help="Name of a ModelChannel.", show_default=False)],
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="Release the file with this digest; its beginning is enough."),
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Release the newest candidate.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Go back to what was released before.")] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which file the devices of a channel run; without an option, show what there is to choose from.

    It is said in your own name, as the cluster knows it.

    Examples:
      kubectl mconv release gesture-stable

      kubectl mconv release gesture-stable --newest

      kubectl mconv release gesture-stable --back

    """
    if (sha256 is not None) + newest + back > 1:
        raise UsageProblem("--sha256, --newest and --back exclude one another", "give one of them")
    with options.connect(namespace, context, kubeconfig) as client:
        found = client.get_channel(name)
        if sha256 is None and not newest and not back:
            _show(found, as_json=as_json)
            return
        digest = _chosen(found, sha256, newest=newest)
        after = client.release(name, digest)
    if as_json:
        show_json(after.raw_spec.get("release"))
        return
    where = after.meta.namespace
    show(
        f"{name}: {digest[:12]} is released;"
        f" `kubectl wait --for=condition=Ready mchannel/{name} -n {where}` waits for the pointer"
    )


def _chosen(found: Channel, sha256: str | None, *, newest: bool) -> str:
    """Return the digest that is meant."""
    status, name = found.status, found.meta.name
    if newest:
        if not status.candidates:
            raise UsageProblem(f"{name} has no candidate", f"`kubectl get mchannel {name} -o wide` says why")
        return status.candidates[0].sha256
    if sha256 is None:
        if len(status.releases) < 2:
            raise UsageProblem(f"{name} has no earlier release", "release a candidate: --newest or --sha256")
        return status.releases[1].sha256
    known = {each.sha256 for each in (*status.candidates, *status.releases)}
    meant = sorted(each for each in known if each.startswith(sha256.lower()))
    if len(meant) != 1:
        words = "none" if not meant else f"{len(meant)}"
        raise UsageProblem(
            f"{words} of {name}'s candidates and releases begins with {sha256}",
            f"`kubectl mconv release {name}` shows them",
        )
    return meant[0]


def _show(found: Channel, *, as_json: bool) -> None:
    status = found.status
    if as_json:
        value: dict[str, Any] = {
            "candidates": [each.to_wire() for each in status.candidates],
            "releases": [each.to_wire() for each in status.releases],
        }
        show_json(value)
        return
    condition = found.condition
    if condition is not None:
        show(f"{condition.reason}: {condition.message}")
    show_table(CHANNEL_HEADERS, channel_rows(found, datetime.now(UTC)))
