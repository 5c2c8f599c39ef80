"""The Python client against a real API server, with the operator and the process node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.processes import free_ports
from modelconversion_api.methods import Method
from modelconversion_api.spec import ModelConversionSpec, ProfileKind
from modelconversion_api.status import Phase
from modelconversion_client import AsyncModelConversionClient, ModelConversionClient, client, errors
from modelconversion_client.resources import Conversion, Pod
from support.cluster.conversions import Conversions, Operator
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crd")]


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> str:
    """A kubeconfig whose context has the test's namespace."""
    parsed = yaml.safe_load(control_plane.kubeconfig.read_text())
    parsed["contexts"][0]["context"]["namespace"] = namespace
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(parsed))
    return str(path)


def spec(conversions: Conversions, source: str = "tiny.tflite", **more: object) -> dict[str, object]:
    return {
        "source": {"uri": conversions.uri(source)},
        "output": {"uri": conversions.uri("out/")},
        "storage": {"endpoint": conversions.store.endpoint, "secretRef": {"name": "s3-credentials"}},
        "methods": ["DynamicRange"],
    } | more


@pytest.mark.usefixtures("operator", "process_node")
def test_a_conversion_from_its_creation_to_its_end(
    conversions: Conversions, kubeconfig: str, tmp_path: Path
) -> None:
    conversions.upload({"tiny.tflite": write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4096))})
    seen: list[Conversion] = []
    with ModelConversionClient(kubeconfig=kubeconfig) as blocking:
        assert blocking.namespace == conversions.namespace
        asked = ModelConversionSpec.model_validate(spec(conversions))
        blocking.create("tiny", asked, dry_run=True)
        assert blocking.list() == []
        made = blocking.create("tiny", asked, labels={"team": "a"})
        assert made.spec.methods == [Method.DYNAMIC_RANGE]
        done = blocking.wait("tiny", timeout_seconds=120, on_progress=seen.append)
        assert done.phase is Phase.SUCCEEDED, done.status
        assert done.status.recommended is not None
        assert [artifact.method for artifact in done.status.artifacts] == [Method.DYNAMIC_RANGE]
        assert seen[0].phase in (Phase.PENDING, Phase.RUNNING)
        assert seen[-1] == done
        assert len(seen) == len({(s.status.to_json(), s.phase) for s in seen})

        assert [found.name for found in blocking.list(labels={"team": "a"})] == ["tiny"]
        assert blocking.list(labels={"team": "b"}) == []
        assert "tiny" in {found.name for found in blocking.list(all_namespaces=True)}
        (pod,) = blocking.pods(done)
        assert [container.exit_code for container in pod.containers] == [0, 0, 0]
        assert pod.troubled is None
        events = blocking.events(done, [pod])
        assert {event.about for event in events} >= {"ModelConversion/tiny"}
        assert [event.time for event in events] == sorted(event.time for event in events if event.time)
        with pytest.raises(errors.NotRetryableError, match="tiny is Succeeded"):
            blocking.retry("tiny")
        blocking.delete("tiny", foreground=True)
        with pytest.raises(errors.NotFoundError):
            blocking.get("tiny")


async def test_apply_changes_what_is_there_and_create_does_not(
    conversions: Conversions, kubeconfig: str
) -> None:
    """No operator is asked here: it leaves conversions of a class of their own alone."""
    asked = spec(conversions, className="nobody")
    async with AsyncModelConversionClient(kubeconfig=kubeconfig) as asynchronous:
        await asynchronous.apply("kept", asked)
        changed = await asynchronous.apply("kept", asked | {"methods": ["Float16"]})
        assert changed.meta.generation == 2
        assert changed.raw_spec["methods"] == ["Float16"]
        with pytest.raises(errors.ConflictError, match="already exists") as conflict:
            await asynchronous.create("kept", asked)
        assert "another name" in conflict.value.next_step
        with pytest.raises(errors.WaitTimeoutError, match="has not ended after 0 s") as late:
            await asynchronous.wait("kept", timeout_seconds=0)
        assert "kubectl mconv why kept" in late.value.next_step
        with pytest.raises(errors.NotRetryableError, match="kept is Pending"):
            await asynchronous.retry("kept")


async def test_sets_and_profiles_are_read(conversions: Conversions, kubeconfig: str) -> None:
    meta = {"namespace": conversions.namespace}
    api = {"apiVersion": "edgeml.dev/v1alpha1"}
    made = [
        {
            **api,
            "kind": "ConversionProfile",
            "metadata": {"name": "p", **meta},
            "spec": {"methods": ["Float16"]},
        },
        {
            **api,
            "kind": "ModelConversionSet",
            "metadata": {"name": "fleet", **meta},
            "spec": {
                "models": [{"name": "a", "source": {"uri": conversions.uri("a.h5")}}],
                "profiles": [{"name": "p"}],
                "output": {"uri": conversions.uri("sets/")},
                "suspend": True,
            },
        },
    ]
    conversions.cluster.apply(made)
    async with AsyncModelConversionClient(kubeconfig=kubeconfig) as asynchronous:
        (profile,) = await asynchronous.list_profiles()
        assert (profile.meta.name, profile.kind, profile.spec.methods) == (
            "p",
            "ConversionProfile",
            [Method.FLOAT16],
        )
        assert await asynchronous.get_profile("p") == profile
        with pytest.raises(errors.NotFoundError):
            await asynchronous.get_profile("p", kind=ProfileKind.CLUSTER)
        assert (await asynchronous.get_set("fleet")).spec.suspend
        assert "fleet" in [found.meta.name for found in await asynchronous.list_sets()]
        await asynchronous.retry_set("fleet")
    annotations = conversions.kubectl("get", "mcset", "fleet", "-o", "jsonpath={.metadata.annotations}")
    assert "edgeml.dev/retry-failed" in annotations


async def test_what_the_server_refuses_comes_with_its_words(
    conversions: Conversions, kubeconfig: str
) -> None:
    async with AsyncModelConversionClient(kubeconfig=kubeconfig) as asynchronous:
        with pytest.raises(errors.RefusedError, match="set either methods") as refused:
            await asynchronous.create("both", spec(conversions, target="Cloud"))
        assert "kubectl explain" in refused.value.next_step
        with pytest.raises(errors.RefusedError, match=r"spec\.methods\[0\]: Unsupported value"):
            await asynchronous.create("odd", spec(conversions, methods=["Float12"]))
        with pytest.raises(errors.NotFoundError, match='namespaces "nowhere" not found') as missing:
            await asynchronous.create("lost", spec(conversions), namespace="nowhere")
        assert "kubectl get namespaces" in missing.value.next_step
        with pytest.raises(errors.NotFoundError, match='"lost" not found') as missing:
            await asynchronous.get("lost", namespace="nowhere")
        assert "kubectl mconv list -A" in missing.value.next_step


@pytest.mark.parametrize(("name", "value"), [("PLURAL", "models"), ("API_VERSION", "absent.example/v1")])
async def test_a_cluster_without_the_crds_says_so(
    kubeconfig: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asks the real server for a kind, and for a group, that it has not."""
    monkeypatch.setattr(client, name, value)
    async with AsyncModelConversionClient(kubeconfig=kubeconfig) as asynchronous:
        for asked in (asynchronous.list(), asynchronous.get("a")):
            with pytest.raises(errors.NotInstalledError, match="no such kind of object") as missing:
                await asked
            assert "docs/INSTALL.md" in missing.value.next_step


async def test_without_a_right_it_says_which_one(conversions: Conversions, operator: Operator) -> None:
    """The operator's own account may not read logs."""
    body = {
        "metadata": {"name": "p", "namespace": conversions.namespace},
        "spec": {"containers": [{"name": "c"}]},
    }
    async with AsyncModelConversionClient(kubeconfig=operator.kubeconfig) as asynchronous:
        with pytest.raises(errors.ForbiddenError, match="pods/log") as forbidden:
            await asynchronous.log(Pod.of(body), "c")
    assert "kubectl auth can-i" in forbidden.value.next_step


def _changed(kubeconfig: str, path: Path, **cluster: object) -> str:
    parsed = yaml.safe_load(Path(kubeconfig).read_text())
    parsed["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(parsed))
    return str(path)


async def test_an_unreachable_server_and_a_kubeconfig_of_no_use(kubeconfig: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    away = _changed(kubeconfig, tmp_path / "away", server=f"https://127.0.0.1:{port}")
    async with AsyncModelConversionClient(kubeconfig=away) as asynchronous:
        with pytest.raises(errors.UnreachableError, match=rf"127\.0\.0\.1:{port} cannot be reached") as gone:
            await asynchronous.list()
        assert "kubectl cluster-info" in gone.value.next_step
    broken = tmp_path / "broken"
    for text in ("{", "[]", "", "contexts: 3", "current-context: a\ncontexts: []"):
        broken.write_text(text)
        with pytest.raises(errors.AccessError, match="cannot be used"):
            await AsyncModelConversionClient(kubeconfig=str(broken)).__aenter__()
    with pytest.raises(errors.AccessError, match=r"nowhere in .*context.* list"):
        await AsyncModelConversionClient(kubeconfig=kubeconfig, context="nowhere").__aenter__()
    with pytest.raises(errors.AccessError, match="there is no kubeconfig at") as absent:
        ModelConversionClient(kubeconfig=str(tmp_path / "absent")).__enter__()
    assert "--kubeconfig" in absent.value.next_step


async def test_the_blocking_client_works_inside_a_running_loop(kubeconfig: str) -> None:
    """As in a notebook."""
    assert asyncio.get_running_loop().is_running()
    with ModelConversionClient(kubeconfig=kubeconfig) as blocking:
        assert blocking.list() == []
