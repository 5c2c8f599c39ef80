"""The guests' pins: the same LiteRT as the converter's, and files that the lock knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from devcluster.cache import REPOSITORY
from devcluster.tools import guests

GUESTS = REPOSITORY / "converter_image" / "guests"
PIN = re.compile(r"^(\S+)==(\S+) \\\n {4}--hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def pins(architecture: str) -> dict[str, tuple[str, str]]:
    """Version and digest of each package."""
    text = (GUESTS / f"{architecture}.txt").read_text()
    return {name: (version, digest) for name, version, digest in PIN.findall(text)}


def test_64_bit_arm_has_what_files_are_measured_on() -> None:
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text())
    wheels = {
        (package["name"], package["version"]): {wheel["hash"] for wheel in package.get("wheels", ())}
        for package in lock["package"]
    }
    pinned = pins("arm64")
    assert pinned.keys() == {"ai-edge-litert", "numpy"}
    for name, (version, digest) in pinned.items():
        assert f"sha256:{digest}" in wheels[name, version]


def test_the_old_ones_are_the_last_and_the_first_of_their_names() -> None:
    assert {name: version for name, (version, _) in pins("amd64").items()} == {
        "ai-edge-litert": "1.0.1",
        "numpy": "1.26.4",
        "tflite-runtime": "2.14.0",
    }
    assert {name: version for name, (version, _) in pins("armhf").items()} == {"tflite-runtime": "2.14.0"}


def test_the_folder_is_another_once_something_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.sh").write_text("a")
    monkeypatch.setattr(guests, "_SOURCE", tmp_path)
    before = guests.guests_folder()
    assert guests.guests_folder() == before
    (tmp_path / "roots.sh").write_text("b")
    assert guests.guests_folder() != before


def test_it_says_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert guests.lacking() == "they are for x86-64, and this machine is aarch64"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(guests, "_KEYS", tmp_path / "keys")
    assert guests.lacking() == "there is no apt-get, dpkg-deb, package debian-archive-keyring"
