"""The read-only page against a real API server: who sees what, and what is said where one may not."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import role_and_binding
from modelconversion_api.base import API_VERSION, KIND, PLURAL
from modelconversion_api.sets import SET_KIND, SET_PLURAL
from modelconversion_api.triggers import TRIGGER_KIND, TRIGGER_PLURAL
from modelconversion_client.viewer.choosing import ROWS
from support.client.objects import artifact, condition
from support.client.viewing import ViewerProcess, token_of
from support.converter.pages import Page

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crd")]

READ = [{"apiGroups": ["edgeml.dev"], "resources": ["*"], "verbs": ["get", "list"]}]
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>&amp;`\"'"

Person = Callable[[str], str]
"""Gives the token of somebody who may read one namespace."""


@pytest.fixture(scope="module")
def viewer(crd: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerProcess]:
    with ViewerProcess(crd, tmp_path_factory.mktemp("viewer"), log_level="debug") as process:
        yield process


@pytest.fixture
def person(control_plane: ControlPlane, namespace: str) -> Person:
    def made(name: str) -> str:
        meta = {"name": name, "namespace": namespace}
        subject = {"kind": "ServiceAccount", **meta}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        control_plane.apply([account, *role_and_binding("Role", name, READ, subject, namespace)])
        return token_of(control_plane.service_account_kubeconfig(namespace, name))

    return made


def make(
    control_plane: ControlPlane,
    namespace: str,
    name: str,
    status: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Make a conversion that nobody converts; gives it as the server has it."""
    spec = {
        "source": {"uri": "s3://models/a.h5"},
        "output": {"uri": "s3://models/out/"},
        "methods": ["Float16"],
    } | more
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name} | (metadata or {}),
        "spec": spec,
    }
    return create(control_plane, namespace, PLURAL, body, status)


def create(
    control_plane: ControlPlane,
    namespace: str,
    plural: str,
    body: dict[str, Any],
    status: dict[str, Any] | None,
) -> dict[str, Any]:
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"
    found = control_plane.api.create(path, body)
    if status is None:
        return found
    name = body["metadata"]["name"]
    return control_plane.api.patch(f"{path}/{name}/status", {"status": status})


def succeeded(**more: Any) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "runGeneration": 1,
        "phase": "Succeeded",
        "duration": "1m12s",
        "conditions": [condition("Converted", "one artifact", "True")],
        "artifacts": [artifact("Float16", agreement="0.9990", latencyMillis="0.0031")],
        "recommended": {
            "method": "Float16",
            "name": "Float16",
            "uri": "s3://models/out/a_float16.tflite",
            "reason": "it is the only one",
            "size": "23.4KiB",
        },
        "source": {"sha256": "a" * 64, "sizeBytes": 90000, "format": "KerasH5"},
        "reportUri": "s3://models/out/report.json",
    } | more


def links(html: str, page: str) -> list[str]:
    """The names of the objects that a page links to."""
    return re.findall(rf'href="{page}\?namespace=[a-z0-9-]+&amp;name=([^"&]+)"', html)


def test_people_see_what_they_may_see_and_nothing_else(
    viewer: ViewerProcess, control_plane: ControlPlane, namespace: str, person: Person
) -> None:
    make(control_plane, namespace, "ours", succeeded())
    make(control_plane, "default", "theirs")
    try:
        mine, admin = person("reader"), token_of(control_plane.kubeconfig)
        listed = viewer.get(token=mine, namespace=namespace)
        assert listed.status_code == 200
        assert links(listed.text, "conversion") == ["ours"]
        assert viewer.get("conversion", mine, namespace=namespace, name="ours").status_code == 200

        for page, query in (
            ("", {"namespace": "default"}),
            ("", {"namespace": ""}),
            ("", {"kind": "set", "namespace": "default"}),
            ("conversion", {"namespace": "default", "name": "theirs"}),
            ("set", {"namespace": "default", "name": "theirs"}),
            ("trigger", {"namespace": "default", "name": "theirs"}),
            ("compare", {"c": [f"{namespace}/ours", "default/theirs"]}),
            ("report", {"namespace": "default", "name": "theirs"}),
        ):
            refused = viewer.get(page, mine, **query)
            assert refused.status_code == 403, page
            assert "is forbidden: User" in Page(refused.text).text
            assert "apiGroups: [&quot;edgeml.dev&quot;]" in refused.text
            assert "theirs</" not in refused.text

        everything = viewer.get(token=admin, namespace="")
        assert {"ours", "theirs"} <= set(links(everything.text, "conversion"))
    finally:
        control_plane.kubectl("delete", "mconv", "theirs", "-n", "default")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "nobody is logged in"),
        ("Basic dTpw", "no bearer token"),
        ("Bearer", "no bearer token"),
        ("Bearer two words", "no bearer token"),
        ("Bearer not-a-token-of-this-cluster", "log in again"),
    ],
)
def test_who_is_nobody_is_told_to_log_in(viewer: ViewerProcess, header: str | None, words: str) -> None:
    given = {} if header is None else {"Authorization": header}
    answer = viewer.get(headers=given)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert words in Page(answer.text).text


def test_a_request_cannot_be_somebody_else(
    viewer: ViewerProcess, control_plane: ControlPlane, namespace: str, person: Person
) -> None:
    """Neither by headers that the API server knows, nor by a path that leads elsewhere."""
    make(control_plane, namespace, "ours")
    token = person("reader")
    names = {"Impersonate-User": "admin", "Impersonate-Group": "system:masters", "X-Remote-User": "admin"}
    assert viewer.get(token=token, headers=names, namespace="default").status_code == 403
    only_names = viewer.get(headers=names, namespace=namespace)
    assert only_names.status_code == 401
    for climbing in ("../../../../api/v1/namespaces", "..", "a/b", "a%2fb", "a?limit=1", "a#b", "a\r\nX: y"):
        admin = token_of(control_plane.kubeconfig)
        answer = viewer.get("conversion", admin, namespace=namespace, name=climbing)
        assert answer.status_code in (400, 404), climbing
        answer = viewer.get("conversion", admin, namespace=climbing, name="ours")
        assert answer.status_code in (400, 404), climbing


def test_nothing_but_looking_is_possible_and_no_token_is_told(
    viewer: ViewerProcess, control_plane: ControlPlane, namespace: str
) -> None:
    made = make(control_plane, namespace, "still", succeeded())
    token = token_of(control_plane.kubeconfig)
    for page in ("", "conversion", "set", "trigger", "compare", "report", "report.html", "style.css"):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            answer = viewer.get(page, token, method, namespace=namespace, name="still")
            assert answer.status_code == 405, (page, method)
            assert answer.headers["Allow"] == "GET,HEAD"
    head = viewer.get("", token, "HEAD", namespace=namespace)
    assert (head.status_code, head.text) == (200, "")
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/still"
    after = control_plane.api.get(path)
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    viewer.get("nowhere", token)
    assert token not in viewer.log.read_text()
    assert token not in viewer.get("conversion", token, namespace=namespace, name="absent").text


def test_every_answer_lets_nothing_in(viewer: ViewerProcess, control_plane: ControlPlane) -> None:
    token = token_of(control_plane.kubeconfig)
    answers = [
        viewer.get("", token),
        viewer.get(""),
        viewer.get("nowhere", token),
        viewer.get("", token, "POST"),
    ]
    for answer in answers:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in answer.headers
        assert Page(answer.text).named("script") == []


def test_a_conversion_with_figures_and_one_with_a_reason(
    viewer: ViewerProcess, control_plane: ControlPlane, namespace: str
) -> None:
    token = token_of(control_plane.kubeconfig)
    make(control_plane, namespace, "good", succeeded())
    failure = {
        "stage": "Fetch",
        "reason": "SourceNotFound",
        "message": f"there is no object {HOSTILE}",
        "time": "2026-01-01T00:00:00Z",
    }
    status = {"observedGeneration": 1, "phase": "Failed", "failure": failure}
    make(control_plane, namespace, "bad", status, {"annotations": {"note": HOSTILE}})
    good = Page(viewer.get("conversion", token, namespace=namespace, name="good").text).text
    for words in ("Succeeded", "Float16", "23.4KiB", "0.9990", "3.1 µs", "it is the only one", "a" * 64):
        assert words in good
    assert f"kubectl mconv report good -n {namespace} --open" in good
    html = viewer.get("conversion", token, namespace=namespace, name="bad").text
    bad = Page(html)
    assert f"kubectl mconv retry bad -n {namespace}" in bad.text
    assert "SourceNotFound in stage Fetch" in bad.text
    assert "<script>alert(1)</script>" in bad.text
    assert bad.named("script") == bad.named("img") == []


def test_versions_side_by_side(viewer: ViewerProcess, control_plane: ControlPlane, namespace: str) -> None:
    token = token_of(control_plane.kubeconfig)
    make(control_plane, namespace, "v1", succeeded())
    smaller = artifact("Float16", agreement="0.9000", sizeBytes=100)
    source = {"sha256": "b" * 64, "sizeBytes": 80000, "format": "KerasH5"}
    make(
        control_plane,
        namespace,
        "v2",
        succeeded(artifacts=[smaller], source=source),
        source={"uri": "s3://models/b.h5"},
    )
    answer = viewer.get("compare", token, c=[f"{namespace}/v1", f"{namespace}/v2"])
    assert answer.status_code == 200
    words = Page(answer.text).text
    for part in ("a" * 12, "b" * 12, "100B", "best", "source.uri", "s3://models/b.h5"):
        assert part in words
    for few_or_many in (["v1"], ["v1", "v1"], [str(number) for number in range(9)], ["v1", "x/y"]):
        chosen = [f"{namespace}/{name}" for name in few_or_many]
        assert viewer.get("compare", token, c=chosen).status_code == 400
    assert viewer.get("compare", token, c=[f"{namespace}/v1", f"{namespace}/absent"]).status_code == 404


def test_a_set_and_a_trigger(viewer: ViewerProcess, control_plane: ControlPlane, namespace: str) -> None:
    token = token_of(control_plane.kubeconfig)
    spec = {
        "models": [{"name": "gesture", "source": {"uri": "s3://models/a.h5"}}],
        "profiles": [{"name": "phone"}],
        "output": {"uri": "s3://models/out/"},
    }
    body = {"apiVersion": API_VERSION, "kind": SET_KIND, "metadata": {"name": "fleet"}, "spec": spec}
    member = {
        "model": "gesture",
        "profile": "phone",
        "conversion": "fleet-1",
        "phase": "Failed",
        "reason": "GatesNotMet",
        "message": HOSTILE[:60],
    }
    status = {"phase": "Failed", "total": 1, "failed": 1, "members": [member], "progress": "1/1"}
    create(control_plane, namespace, SET_PLURAL, body, status)
    assert links(viewer.get(token=token, kind="set", namespace=namespace).text, "set") == ["fleet"]
    page = viewer.get("set", token, namespace=namespace, name="fleet").text
    assert "gesture, phone" in page
    assert "GatesNotMet" in page
    assert links(page, "conversion") == ["fleet-1"]

    template = {
        "conversion": {
            "source": {"uri": "s3://models/a.h5"},
            "output": {"uri": "s3://models/{version}/"},
            "methods": ["Float16"],
        }
    }
    body = {
        "apiVersion": API_VERSION,
        "kind": TRIGGER_KIND,
        "metadata": {"name": "nightly"},
        "spec": {"template": template},
    }
    version = {"version": {"sha256": "c" * 64, "sizeBytes": 1}, "succeeded": 1, "failed": 0}
    trigger = create(control_plane, namespace, TRIGGER_PLURAL, body, version)
    owner = {
        "apiVersion": API_VERSION,
        "kind": TRIGGER_KIND,
        "name": "nightly",
        "uid": trigger["metadata"]["uid"],
        "controller": True,
    }
    make(control_plane, namespace, "nightly-1", succeeded(), {"ownerReferences": [owner]})
    make(control_plane, namespace, "nightly-2", None, {"labels": {"edgeml.dev/trigger": "nightly"}})
    assert links(viewer.get(token=token, kind="trigger", namespace=namespace).text, "trigger") == ["nightly"]
    page = viewer.get("trigger", token, namespace=namespace, name="nightly").text
    assert "c" * 12 in page
    assert links(page, "conversion") == ["nightly-1"], "a label is no proof"


def test_a_long_list_is_searched_sorted_and_gone_through(
    viewer: ViewerProcess, control_plane: ControlPlane, namespace: str
) -> None:
    token = token_of(control_plane.kubeconfig)
    names = [f"c-{number:03}" for number in range(ROWS + 20)]
    made = [
        make(control_plane, namespace, name, {"phase": "Failed"} if name == "c-017" else None)["metadata"]
        for name in names
    ]
    first = viewer.get(token=token, namespace=namespace).text
    assert len(links(first, "conversion")) == ROWS
    assert f"1 to {ROWS} of {len(names)}" in first
    second = viewer.get(token=token, namespace=namespace, start=str(ROWS)).text
    assert set(links(first, "conversion")) | set(links(second, "conversion")) == set(names)
    # Newest first; those of one second, in which a quick machine makes all of them, by name.
    of_that_name = [each for each in made if "17" in each["name"]]
    of_that_name.sort(key=lambda each: each["creationTimestamp"], reverse=True)
    found = links(viewer.get(token=token, namespace=namespace, name="17").text, "conversion")
    assert found == [each["name"] for each in of_that_name]
    failed = viewer.get(token=token, namespace=namespace, phase="Failed").text
    assert links(failed, "conversion") == ["c-017"]

    by_name = viewer.get(token=token, namespace=namespace, order="name").text
    assert links(by_name, "conversion") == names[:ROWS]
    assert "20 further on" in by_name
    (further,) = re.findall(r'<a href="\./\?([^"]+rest=[^"]+)">Further', by_name)
    query = dict(part.split("=", 1) for part in further.replace("&amp;", "&").split("&"))
    rest = viewer.get(f"?{'&'.join(f'{k}={v}' for k, v in query.items())}", token).text
    assert links(rest, "conversion") == names[ROWS:]
    broken = viewer.get(token=token, namespace=namespace, order="name", rest="no-word-of-the-server")
    assert broken.status_code == 400


def test_an_api_server_that_is_away_is_named(
    viewer: ViewerProcess, control_plane: ControlPlane, tmp_path: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        with ViewerProcess(control_plane, tmp_path, api_server=away) as alone:
            answer = alone.get(token="some-token")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.text


def test_a_server_that_is_not_the_api_server_gets_no_token(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """Its certificate is by another authority: the connection ends before the token is sent."""
    other = trustme.CA()
    (tmp_path / "other.crt").write_bytes(other.cert_pem.bytes())
    with ViewerProcess(control_plane, tmp_path, api_server_ca=str(tmp_path / "other.crt")) as deceived:
        answer = deceived.get(token=token_of(control_plane.kubeconfig))
    assert answer.status_code == 502
    assert "certificate" in answer.text.lower()


def test_the_page_has_a_certificate_of_its_own(control_plane: ControlPlane, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    with ViewerProcess(control_plane, tmp_path, scheme="https", tls_folder=str(tmp_path)) as process:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        port = urlsplit(process.url).port
        with (
            socket.create_connection(("127.0.0.1", port or 0)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert secure.recv(64).startswith(b"HTTP/1.1 200")
