"""Continuous integration does what `make` does, with the rights that it takes, and all pins are renewed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from support.paths import REPOSITORY

Json = dict[str, Any]

WORKFLOWS = {f.name: yaml.safe_load(f.read_text()) for f in (REPOSITORY / ".github/workflows").glob("*.yml")}
TARGETS = set(re.findall(r"(?m)^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text()))


def steps(workflow: Json) -> list[Json]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_target_is_there(name: str) -> None:
    called = re.findall(
        r"\bmake ([a-z0-9-]+)", "\n".join(step.get("run", "") for step in steps(WORKFLOWS[name]))
    )
    assert called
    assert set(called) <= TARGETS


def test_the_ladder_is_climbed() -> None:
    runs = "\n".join(step.get("run", "") for step in steps(WORKFLOWS["ci.yml"]))
    assert {"check", "test", "e2e"} == set(re.findall(r"\bmake ([a-z0-9-]+)", runs))
    release = WORKFLOWS["release.yml"]
    assert release["jobs"]["release"]["needs"] == "ci"
    assert release["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 takes "on" for true


def test_nobody_has_more_rights_than_it_takes() -> None:
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        given = {job: w["permissions"] for job, w in workflow["jobs"].items() if "permissions" in w}
        pushes = {"release": {"contents": "read", "packages": "write"}}
        assert given == (pushes if name == "release.yml" else {})
        for step in steps(workflow):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # What somebody else wrote, such as a branch's name, would be read by the shell.
            assert "${{" not in step.get("run", "")


def test_every_pin_is_renewed() -> None:
    updates = yaml.safe_load((REPOSITORY / ".github/dependabot.yml").read_text())["updates"]
    covered = {
        (update["package-ecosystem"], folder.strip("/"))
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    for kind, name in (("uv", "uv.lock"), ("docker", "Dockerfile"), ("gomod", "go.mod")):
        folders = [
            found.parent
            for found in REPOSITORY.rglob(name)
            if not set(found.relative_to(REPOSITORY).parts) & {".venv", ".git"}
        ]
        assert folders
        here = {"" if f == REPOSITORY else str(f.relative_to(REPOSITORY)) for f in folders}
        assert here == {folder for ecosystem, folder in covered if ecosystem == kind}, kind
    assert ("github-actions", "") in covered
