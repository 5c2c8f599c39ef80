"""What a release consists of, what it may be made from, and where it goes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from devcluster.errors import ReleaseError
from devcluster.generated.version import changelog_problem
from devcluster.release.chart import image_values, node_values, with_values
from devcluster.release.credentials import Credentials, auth_files, docker_config, find_credentials
from devcluster.release.plan import UNITS, architectures, plan
from devcluster.release.registry import is_loopback, parsed
from devcluster.release.source import Source, check_source
from devcluster.release.wheels import without_wheels

LOCK = """
[[package]]
name = "everywhere"
version = "1.0"
wheels = [{ url = "https://example.com/everywhere-1.0-py3-none-any.whl" }]

[[package]]
name = "both"
version = "2.0"
wheels = [
    { url = "https://example.com/both-2.0-cp313-cp313-manylinux_2_28_x86_64.whl" },
    { url = "https://example.com/both-2.0-cp39-abi3-manylinux2014_aarch64.whl" },
]

[[package]]
name = "one"
version = "3.0"
wheels = [
    { url = "https://example.com/one-3.0-cp313-cp313-manylinux2014_x86_64.whl" },
    { url = "https://example.com/one-3.0-cp312-cp312-manylinux2014_aarch64.whl" },
    { url = "https://example.com/one-3.0-cp313-cp313-musllinux_1_2_aarch64.whl" },
    { url = "https://example.com/one-3.0-cp313-cp313-macosx_11_0_arm64.whl" },
]

[[package]]
name = "new"
version = "4.0"
wheels = [
    { url = "https://example.com/new-4.0-cp313-cp313-manylinux_2_17_x86_64.whl" },
    { url = "https://example.com/new-4.0-cp313-cp313-manylinux_2_42_aarch64.whl" },
]

[[package]]
name = "source"
version = "5.0"
"""
REQUIREMENTS = """\
# words
everywhere==1.0 ; sys_platform == 'linux' \\
    --hash=sha256:00
both==2.0 \\
    --hash=sha256:00
one==3.0 ; platform_machine == 'x86_64' or platform_machine == 'aarch64' \\
    --hash=sha256:00
new==4.0 \\
    --hash=sha256:00
source==5.0 \\
    --hash=sha256:00
"""


def test_wheels_are_looked_for_in_the_lock(tmp_path: Path) -> None:
    lock, wanted = tmp_path / "uv.lock", tmp_path / "requirements.txt"
    lock.write_text(LOCK)
    wanted.write_text(REQUIREMENTS)
    # Of one there are wheels for another Python, C library and system; new needs a newer C library than
    # Debian has; source has none for any machine.
    assert without_wheels(wanted, lock, "arm64") == ["one 3.0", "new 4.0"]
    assert without_wheels(wanted, lock, "amd64") == []
    wanted.write_text(REQUIREMENTS.replace(" or platform_machine == 'aarch64'", ""))
    assert without_wheels(wanted, lock, "arm64") == ["new 4.0"]


def test_nothing_is_left_out_unsaid() -> None:
    made = plan((), ["amd64", "arm64"])
    told = {(build.unit.name, f"linux/{build.architecture}") for build in made.builds}
    for out in made.left_out:
        assert out.reason
        told |= {(out.name, platform) for platform in out.platform.split(",")}
    assert told == {(unit.name, f"linux/{name}") for unit in UNITS for name in ("amd64", "arm64")}
    assert {"operator", "converter", "runtime", "onnx"} == {
        b.unit.name for b in made.builds if b.architecture == "arm64"
    }


def test_a_release_without_what_the_chart_needs_is_refused() -> None:
    with pytest.raises(ReleaseError, match="needs converter"):
        plan(("operator", "runtime"), ["amd64"])
    with pytest.raises(ReleaseError, match="IMAGES: nonsense is none of operator, converter"):
        plan(("nonsense",), ["amd64"])


def test_platforms_are_read() -> None:
    assert architectures("linux/arm64, linux/amd64,linux/arm64") == ["arm64", "amd64"]
    for wrong in ("arm64", "linux/riscv64", "windows/amd64", ""):
        with pytest.raises(ReleaseError, match=r"none of linux/amd64, linux/arm64"):
            architectures(wrong)


TAGGED = Source("c" * 40, dirty=False, tags=("other", "v1.2.3"), seconds=0)
CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n"


def test_the_tag_of_a_version_may_be_released() -> None:
    assert check_source(TAGGED, "1.2.3", CHANGES, untagged=False) is None


@pytest.mark.parametrize(
    ("source", "version", "changes", "words"),
    [
        (replace(TAGGED, dirty=True), "1.2.3", CHANGES, "files differ from the commit"),
        (TAGGED, "1.2.4", CHANGES.replace("1.2.3", "1.2.4"), r"no tag v1\.2\.4.*its tags: other, v1\.2\.3"),
        (replace(TAGGED, tags=()), "1.2.3", CHANGES, r"no tag v1\.2\.3.*its tags: none"),
        (Source("", True, (), 0), "1.2.3", CHANGES, "no checkout of git"),
        (TAGGED, "1.2.3", CHANGES.replace(" - 2026-01-31", ""), r"no section `## \[1\.2\.3\]"),
        (TAGGED, "1.2.3", CHANGES.replace("1.2.3", "1.2.30"), r"no section `## \[1\.2\.3\]"),
    ],
)
def test_anything_else_only_where_that_is_asked_for(
    source: Source, version: str, changes: str, words: str
) -> None:
    with pytest.raises(ReleaseError, match=words) as caught:
        check_source(source, version, changes, untagged=False)
    assert "UNTAGGED=1" in str(caught.value)
    told = check_source(source, version, changes, untagged=True)
    assert told is not None
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("sections", "number", "words"),
    [
        (["Unreleased"], "0.1.0", None),
        (["Unreleased", "0.1.0"], "0.1.0", None),
        (["Unreleased", "0.9.0", "0.8.0"], "0.10.0", None),
        (["Unreleased", "0.10.0", "0.9.0"], "0.9.1", "has version 0.10.0"),
        (["Unreleased", "0.9.0", "0.10.0"], "0.10.0", "put them in order"),
        (["0.1.0"], "0.1.0", "does not begin with"),
        ([], "0.1.0", "does not begin with"),
    ],
)
def test_changelog_and_version_agree(sections: list[str], number: str, words: str | None) -> None:
    problem = changelog_problem("\n".join(f"## [{s}] - 2026-01-31" for s in sections), number)
    assert (problem is None) == (words is None)
    assert words is None or words in str(problem)


def test_registries_are_read() -> None:
    assert parsed("ghcr.io/edge-ml/models/") == ("ghcr.io", "edge-ml/models")
    assert parsed("localhost/x") == ("localhost", "x")
    assert parsed("[::1]:5000") == ("[::1]:5000", "")
    for wrong in (
        "https://ghcr.io/x",
        "edge/models",
        "ghcr.io/Edge",
        "ghcr.io//x",
        "ghcr.io/x:1",
        "gh cr.io/x",
        "",
    ):
        with pytest.raises(ReleaseError, match="is no registry"):
            parsed(wrong)
    loopback = ("127.0.0.1", "127.1.2.3:5000", "localhost:5000", "[::1]:5000")
    assert all(map(is_loopback, loopback))
    assert not any(map(is_loopback, ("10.0.0.1:5000", "ghcr.io", "127.example.com", "localhost.example.com")))


def entry(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_the_narrowest_entry_of_the_first_file_counts(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    first, _, _, last = auth_files(environment)
    auths = {
        "example.com": entry("host:a:b"),
        "example.com/team": entry("team:c"),
        "example.com/team/sub/more": entry("more:d"),
    }
    for file, content in (
        (first, auths),
        (last, {"example.com": entry("docker:e"), "other.com": entry("o:f")}),
    ):
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"auths": content}))
    assert find_credentials("example.com", "team/sub", environment) == Credentials("team", "c")
    assert find_credentials("example.com", "teams", environment) == Credentials("host", "a:b")
    assert find_credentials("other.com", "x", environment) == Credentials("o", "f")
    assert find_credentials("example.org", "x", environment) is None
    named = environment | {"REGISTRY_AUTH_FILE": str(last)}
    assert find_credentials("example.com", "team", named) == Credentials("docker", "e")
    last.write_text("no JSON")
    with pytest.raises(ReleaseError, match=r"config\.json is no file of credentials"):
        find_credentials("example.org", "x", environment)
    assert "a:b" not in repr(Credentials("host", "a:b"))


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-tests"
    program.write_text(
        "#!/bin/sh\nread -r name\n"
        '[ "$name" = example.com ] || { echo "credentials not found in native keychain"; exit 1; }\n'
        """echo '{"ServerURL": "example.com", "Username": "u", "Secret": "s"}'\n"""
    )
    program.chmod(0o755)
    file = tmp_path / "config.json"
    helpers = {"example.com": "tests", "example.org": "tests", "example.net": "absent"}
    file.write_text(json.dumps({"credHelpers": helpers}))
    environment = {"REGISTRY_AUTH_FILE": str(file)}
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_credentials("example.com", "x", environment) == Credentials("u", "s")
    assert find_credentials("example.org", "x", environment) is None
    with pytest.raises(ReleaseError, match="docker-credential-absent, which is not on PATH"):
        find_credentials("example.net", "x", environment)


def test_helm_gets_the_one_entry_that_it_needs() -> None:
    assert json.loads(docker_config("h:1", Credentials("u", "p"))) == {"auths": {"h:1": {"auth": "dTpw"}}}
    assert json.loads(docker_config("h:1", None)) == {"auths": {}}


VALUES = """\
# Comment.
image:
  # One.
  repository: name # here
  digest: ""
converter:
  engines: {}
  image: {repository: other, digest: ""}
  runtimeImage: ""
"""


def test_values_change_and_comments_stay() -> None:
    images = {
        "image": "r:1/a@sha256:aa",
        "converter.image": "r:1/b@sha256:bb",
        "converter.engines.ONNX": "r:1/c@sha256:cc",
        "converter.engines.StableHLO": "r:1/d@sha256:dd",
        "converter.runtimeImage": "r:1/e@sha256:ee",
    }
    written = with_values(VALUES, image_values(images))
    assert yaml.safe_load(written) == {
        "image": {"repository": "r:1/a", "digest": "sha256:aa"},
        "converter": {
            "engines": {"ONNX": "r:1/c@sha256:cc", "StableHLO": "r:1/d@sha256:dd"},
            "image": {"repository": "r:1/b", "digest": "sha256:bb"},
            "runtimeImage": "r:1/e@sha256:ee",
        },
    }
    assert "# Comment." in written
    assert "# here" in written
    assert with_values(VALUES, {}) == VALUES


def test_pods_stay_where_all_their_images_are_for() -> None:
    both, amd64, arm64 = ["linux/amd64", "linux/arm64"], ["linux/amd64"], ["linux/arm64"]
    images = {"image": both, "converter.image": both, "converter.engines.ONNX": both}
    assert node_values(images) == {}
    jobs = {"defaults.job.nodeSelector": {"kubernetes.io/arch": "amd64"}}
    only = images | {"converter.image": amd64, "converter.engines.ONNX": amd64}
    assert node_values(only | {"converter.runtimeImage": arm64}) == jobs
    # Of one engine alone, the others' Jobs know nothing.
    assert node_values(images | {"converter.engines.StableHLO": amd64}) == {
        "converter.engineArchitectures": {"StableHLO": "amd64"}
    }
    operator = {"nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}}
    assert node_values(images | {"image": arm64}) == operator


def test_a_mapping_takes_the_place_of_another() -> None:
    written = with_values("a:\n  # words\n  b:\n    c: 1\n  d: 2 # more\n", {"a.b": {"e/f": "g"}})
    assert yaml.safe_load(written) == {"a": {"b": {"e/f": "g"}, "d": 2}}
    assert "# more" in written


@pytest.mark.parametrize("path", ["absent", "image.absent", "image.repository.more", "converter.absent.more"])
def test_a_value_that_the_chart_does_not_have_is_refused(path: str) -> None:
    with pytest.raises(ReleaseError, match="has no place for"):
        with_values(VALUES, {path: "x"})
