"""What is said to be in an image: read from the files of a root that was made for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from devcluster.errors import ImageError
from devcluster.images.inspecting import BEGIN, END, TITLES, with_table
from devcluster.images.packages import (
    DebianPackage,
    PythonPackage,
    System,
    debian_packages,
    python_packages,
    system,
)
from devcluster.images.sbom import bill
from devcluster.images.starting import measured

VENV = "opt/venv/lib/python3.13/site-packages"
ENGINE = "opt/engines/onnx/lib/python3.13/site-packages"
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12
Description: GNU C Library
 of several lines
 .
 with a stop

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

"""
DEBIAN = System("debian", "13")
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def distribution(root: Path, place: str, name: str, version: str, *lines: str) -> None:
    folder = root / place / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    text = "\n".join(("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines))
    (folder / "METADATA").write_text(f"{text}\n\nLicense: words of the description\n")


def test_python_distributions_are_found_wherever_they_lie(tmp_path: Path) -> None:
    distribution(tmp_path, VENV, "numpy", "2.3.0", "License-Expression: BSD-3-Clause")
    distribution(tmp_path, ENGINE, "numpy", "2.2.6", "License-Expression: BSD-3-Clause")
    distribution(tmp_path, f"{VENV}/setuptools/_vendor", "zipp", "3.1", "License: MIT")
    distribution(tmp_path, "proc/1/root/site-packages", "not-of-the-image", "1")
    (tmp_path / VENV / "half.dist-info").mkdir()
    assert python_packages(tmp_path) == [
        PythonPackage("numpy", "2.2.6", f"/{ENGINE}", "BSD-3-Clause"),
        PythonPackage("numpy", "2.3.0", f"/{VENV}", "BSD-3-Clause"),
        PythonPackage("zipp", "3.1", f"/{VENV}/setuptools/_vendor", "MIT"),
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("License-Expression: MIT OR Apache-2.0", "License: something else"), "MIT OR Apache-2.0"),
        (("Classifier: License :: OSI Approved :: MIT License", "License: words"), "MIT License"),
        (("Classifier: License :: OSI Approved", "License: ISC"), "ISC"),
        (("Classifier: License :: B", "Classifier: License :: A :: C"), "B AND C"),
        (("License: " + "a" * 101,), ""),
        (("License: first line", "        second line"), ""),
        (("License: UNKNOWN",), ""),
        ((), ""),
    ],
)
def test_a_licence_is_what_the_distribution_calls_it(
    tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    distribution(tmp_path, VENV, "some", "1", *lines)
    assert [package.license for package in python_packages(tmp_path)] == [said]


def test_debian_packages_are_those_that_are_installed(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    (folder.parent / "status").write_text(STATUS)
    (folder / "tzdata").write_text("Package: tzdata\nVersion: 2026a-1\nArchitecture: all\n")
    (folder / "tzdata.md5sums").write_text("0123  usr/share/zoneinfo/UTC\n")
    assert debian_packages(tmp_path) == [
        DebianPackage("libc6", "2.41-12", "amd64"),
        DebianPackage("tzdata", "2026a-1", "all"),
    ]


def test_a_root_without_packages_has_none(tmp_path: Path) -> None:
    assert (python_packages(tmp_path), debian_packages(tmp_path)) == ([], [])
    assert system(tmp_path) == System("linux", "")


def test_the_system_is_that_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Debian"\n# a remark\nVERSION_ID="13"\nID=debian\n')
    assert system(tmp_path) == DEBIAN


def written(python: list[PythonPackage], debian: list[DebianPackage]) -> tuple[str, dict[str, Any]]:
    text = bill("localhost/some:1", "sha256:abc", DEBIAN, python, debian)
    assert VALIDATOR.validate_str(text) is None
    return text, json.loads(text)


def test_the_document_names_each_package_once_with_its_places() -> None:
    python = [
        PythonPackage("Typing_Extensions", "4.1", "/a", "PSF-2.0"),
        PythonPackage("Typing_Extensions", "4.1", "/b", "PSF-2.0"),
        PythonPackage("other", "1", "/b", "Some License"),
    ]
    text, document = written(python, [DebianPackage("libstdc++6", "1:14.2-1", "amd64")])
    assert (document["specVersion"], document["metadata"]["component"]["name"]) == ("1.6", "localhost/some")
    by_name = {component["name"]: component for component in document["components"]}
    assert by_name.keys() == {"Typing_Extensions", "other", "libstdc++6"}
    assert {name: component["purl"] for name, component in by_name.items()} == {
        "Typing_Extensions": "pkg:pypi/typing-extensions@4.1",
        "other": "pkg:pypi/other@1",
        "libstdc++6": "pkg:deb/debian/libstdc%2B%2B6@1:14.2-1?arch=amd64&distro=debian-13",
    }
    places = [place["location"] for place in by_name["Typing_Extensions"]["evidence"]["occurrences"]]
    assert places == ["/a", "/b"]
    assert by_name["Typing_Extensions"]["licenses"][0]["license"]["id"] == "PSF-2.0"
    assert by_name["other"]["licenses"][0]["license"]["name"] == "Some License"
    assert text == written(python, [DebianPackage("libstdc++6", "1:14.2-1", "amd64")])[0]


NAMES = st.from_regex(r"[a-z]([a-z0-9.+-]{0,8}[a-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"([0-9]:)?[0-9]+(\.[0-9]+)*([+~][a-z0-9.]+)?", fullmatch=True)


@settings(max_examples=25)  # each is held against the whole schema
@given(
    st.sets(
        st.builds(PythonPackage, NAMES, VERSIONS, st.sampled_from(["/a", "/b"]), st.just("MIT")), max_size=5
    ),
    st.sets(st.builds(DebianPackage, NAMES, VERSIONS, st.sampled_from(["amd64", "all"])), max_size=5),
)
def test_nothing_is_lost_and_nothing_added(python: set[PythonPackage], debian: set[DebianPackage]) -> None:
    _, document = written(sorted(python), sorted(debian))
    found_python, found_debian = set(), set()
    for component in document.get("components", []):
        name, version = component["name"], component["version"]
        if component["purl"].startswith("pkg:deb/"):
            architecture = component["purl"].partition("arch=")[2].partition("&")[0]
            found_debian.add(DebianPackage(name, version, architecture))
        else:
            occurrences = component["evidence"]["occurrences"]
            found_python |= {PythonPackage(name, version, o["location"], "MIT") for o in occurrences}
    assert (found_python, found_debian) == (python, debian)


def test_a_table_takes_the_place_of_the_one_before() -> None:
    rows = [tuple(f"{place}" for place in range(len(TITLES)))]
    once = with_table(f"above\n{BEGIN}\n\nold\n\n{END}\nbelow\n", rows)
    assert "| 0 | 1 | 2 | 3 | 4 | 5 | 6 |" in once.splitlines()
    assert (once[:6], once[-6:], "old" in once) == ("above\n", "below\n", False)
    assert with_table(once, rows) == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_a_place_for_the_table_is_refused(page: str) -> None:
    with pytest.raises(ImageError, match="has no lines"):
        with_table(page, [])


def test_a_start_is_measured_by_what_the_program_is_given_and_answers(tmp_path: Path) -> None:
    program = f"import sys; open({str(tmp_path / 'runs')!r}, 'a').write(sys.stdin.read())"
    found = measured([sys.executable, "-c", program], "one.", 3)
    assert (tmp_path / "runs").read_text() == "one." * 3
    assert found["seconds"] > 0
    assert found["processor"] > 0
    with pytest.raises(subprocess.CalledProcessError):
        measured([sys.executable, "-c", "raise SystemExit(1)"], "", 3)
