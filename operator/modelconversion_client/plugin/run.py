"""``kubectl mconv run``: a model of this machine in, artifacts, a table and a recommendation out."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelconversion_api.methods import Method, Target
from modelconversion_api.spec import ProfileKind
from modelconversion_api.status import Phase
from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import FAILED, UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, show_json, show_table, tell

if TYPE_CHECKING:
    from modelconversion_client.plugin.asking import Wish
    from modelconversion_client.plugin.store import Place, Store
    from modelconversion_client.resources import Conversion

_DATA = "Data: files, or URIs that the cluster can read"
_WHAT = "What to make: exactly one of these"
_WHERE = "Where it goes"
_AFTER = "Afterwards"


@tells_errors
def run(
    model: Annotated[
        str,
        typer.Argument(
            help="A file (.h5, .keras, .onnx, .pt2, .tflite, a SavedModel's .zip), which is uploaded; or a"
            " URI that the cluster can read (s3://, https://, hf://, oci://, ...), which is not."
        ),
    ],
    bucket: Annotated[
        str,
        typer.Option(
            "--bucket",
            help="s3://BUCKET/PREFIX: uploads go below uploads/, artifacts below converted/.",
            rich_help_panel=_WHERE,
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="Representative data, for FullInteger.", rich_help_panel=_DATA)
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Labels of --data.", rich_help_panel=_DATA)] = None,
    validation: Annotated[
        str | None, typer.Option(help="Data that the artifacts are measured on.", rich_help_panel=_DATA)
    ] = None,
    validation_labels: Annotated[
        str | None, typer.Option(help="Labels of --validation: measures accuracy.", rich_help_panel=_DATA)
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile to follow.", rich_help_panel=_WHAT)] = None,
    profile_kind: Annotated[
        ProfileKind,
        typer.Option(
            help="Of the namespace, or of the cluster.", rich_help_panel=_WHAT, case_sensitive=False
        ),
    ] = ProfileKind.NAMESPACE,
    method: Annotated[
        list[Method] | None,
        typer.Option(help="May be given several times.", rich_help_panel=_WHAT, case_sensitive=False),
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option(
            help="Where the model will run; `kubectl mconv targets` shows what each gets.",
            rich_help_panel=_WHAT,
            case_sensitive=False,
        ),
    ] = None,
    endpoint: options.Endpoint = None,
    cluster_endpoint: Annotated[
        str | None,
        typer.Option(
            help="URL of the store as the cluster reaches it; --endpoint unless given.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            help="Secret of the namespace with the store's keys, released for conversions.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the ModelConversion; one that is free unless given.", rich_help_panel=_WHERE
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the end.", rich_help_panel=_AFTER)
    ] = True,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait at most.", min=1, rich_help_panel=_AFTER)
    ] = 3600,
    download: Annotated[
        Path | None,
        typer.Option(help="Folder for artifacts and report; digests are checked.", rich_help_panel=_AFTER),
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.", rich_help_panel=_AFTER)
    ] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Convert a model: upload it, create a ModelConversion, wait, and show what came of it.

    Files are uploaded whole, each under its SHA-256, so that nothing is overwritten and the same file goes
    up once. Ends with 0 where the conversion succeeded and with 1 where it failed; docs/CLIENT.md has the
    others.

    Examples:
      kubectl mconv run gesture.h5 --target Mobile --bucket s3://models/team-a --secret s3-credentials

      kubectl mconv run gesture.h5 --data val.npy --labels val_labels.npy --profile doorbell-v2
      --bucket s3://models --endpoint http://127.0.0.1:9000 --cluster-endpoint http://minio.storage:9000
      --secret s3-credentials --download out/ --open

    """
    from modelconversion_client.plugin.asking import Wish, new_name
    from modelconversion_client.plugin.store import Store, place_of

    wish = Wish(profile, profile_kind, tuple(method or ()), target, cluster_endpoint or endpoint, secret)
    wish.check()
    if (download is not None or open_report) and not wait:
        raise UsageProblem("--download and --open need the end of the conversion", "leave out --no-wait")
    prefix = place_of(bucket)
    files = {
        "model": model,
        "data": data,
        "labels": labels,
        "validation": validation,
        "validation_labels": validation_labels,
    }
    called = name or new_name(model)
    with options.connect(namespace, context, kubeconfig) as client:
        # Asked before the upload, which can take long.
        client.create(called, _asked(wish, files, None, prefix, called), dry_run=True)
        store = Store(endpoint)
        uris, digest = _uploaded(store, files, prefix)
        made = client.create(called, _asked(wish, uris, digest, prefix, called))
        tell(f"{called}: created in namespace {made.meta.namespace}")
        if wait:
            made = client.wait(called, timeout_seconds=timeout, on_progress=_Lines())
    paths = [] if download is None else fetch(store, made, download)
    _show(made, paths, as_json=as_json, waited=wait)
    if open_report and made.status.report_uri is not None:
        open_page(store, made, download)
    if wait and made.phase is not Phase.SUCCEEDED:
        raise typer.Exit(FAILED)


class _Lines:
    """Tells progress, each line once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, found: Conversion) -> None:
        from modelconversion_client.tables import progress_line

        line = progress_line(found)
        if line != self._last:
            tell(f"{datetime.now(UTC).astimezone():%H:%M:%S} {line}")
        self._last = line


def _asked(
    wish: Wish, files: Mapping[str, str | None], digest: str | None, prefix: Place, name: str
) -> dict[str, Any]:
    """Return the spec; of files that are not uploaded yet with the place where they would go."""
    from modelconversion_client.plugin.asking import is_remote, spec_of
    from modelconversion_client.plugin.store import Place, upload_key

    uris = {
        part: text
        if is_remote(text)
        else Place(prefix.bucket, upload_key(prefix.key, "0" * 64, Path(text).name)).uri
        for part, text in files.items()
        if text is not None
    }
    # The model's digest stands in the path: what another model gave under this name stays.
    output = "/".join(filter(None, (prefix.key.strip("/"), "converted", (digest or "model")[:16], name, "")))
    return spec_of(wish, uris, digest, Place(prefix.bucket, output).uri)


def _uploaded(
    store: Store, files: Mapping[str, str | None], prefix: Place
) -> tuple[dict[str, str | None], str | None]:
    """Upload what is a file; gives where everything lies, and the model's digest where it is a file."""
    from modelconversion_client.plugin.asking import is_remote
    from modelconversion_client.plugin.store import sha256_of

    uris, digests = dict(files), dict[str, str]()
    for part, text in files.items():
        if text is None or is_remote(text):
            continue
        path = Path(text)
        digests[part] = sha256_of(path)
        place, is_new = store.upload(path, digests[part], prefix)
        tell(f"{path.name}: {'uploaded to' if is_new else 'is there already:'} {place.uri}")
        uris[part] = place.uri
    return uris, digests.get("model")


def fetch(store: Store, found: Conversion, into: Path) -> list[Path]:
    """Download artifacts and report; gives the files."""
    paths = [store.download(artifact.uri, into, artifact.sha256) for artifact in found.status.artifacts]
    if found.status.report_uri is not None:
        paths.append(store.download(page_uri(found.status.report_uri), into))
    return paths


def page_uri(report_uri: str) -> str:
    """Return where the report for people lies: beside that for programs."""
    return f"{report_uri.rpartition('/')[0]}/report.html"


def open_page(store: Store, found: Conversion, folder: Path | None) -> None:
    """Open the report in the browser, which reads it from this machine."""
    import tempfile

    into = folder or Path(tempfile.mkdtemp(prefix="mconv-"))
    path = store.download(page_uri(found.status.report_uri or ""), into).resolve()
    if not webbrowser.open(path.as_uri()):
        tell(f"there is no browser here; the report is {path}")


def _show(found: Conversion, paths: list[Path], *, as_json: bool, waited: bool) -> None:
    from modelconversion_client.tables import (
        ARTIFACT_HEADERS,
        artifact_rows,
        conversion_json,
        recommendation,
    )

    if as_json:
        show_json(conversion_json(found) | {"files": [str(path) for path in paths]})
        return
    if not waited:
        show(found.name)
        return
    if found.status.artifacts:
        show_table(ARTIFACT_HEADERS, artifact_rows([found]))
        show(recommendation(found))
    if found.status.report_uri is not None:
        show(f"Report: {page_uri(found.status.report_uri)}")
    show(*(f"Saved: {path}" for path in paths))
    if found.status.failure is not None:
        failure = found.status.failure
        show(f"{found.name} failed: {failure.reason}: {failure.message}", style="red")
        show(f"See more: kubectl mconv why {found.name} -n {found.meta.namespace}")
