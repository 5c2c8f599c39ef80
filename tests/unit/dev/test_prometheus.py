"""Where Prometheus comes from: PATH, else its Debian package, else a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster.errors import PackageUnavailableError
from devcluster.services.prometheus import PROGRAMS, ensure_prometheus


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def write(program: Path, text: str = "") -> None:
    program.write_text(f"#!/bin/sh\n{text}")
    program.chmod(0o755)


def test_programs_on_the_path_are_taken(programs: Path) -> None:
    for name in PROGRAMS:
        write(programs / name)
    assert ensure_prometheus() == {name: programs / name for name in PROGRAMS}


def test_where_there_is_no_debian_it_says_what_to_install(programs: Path) -> None:
    with pytest.raises(PackageUnavailableError, match="no apt-get and no dpkg-deb"):
        ensure_prometheus()


def test_the_package_is_unpacked_into_the_cache_once(programs: Path, tmp_path: Path) -> None:
    write(programs / "apt-get", 'case "$*" in *download*) : >prometheus.deb ;; esac')
    unpack = "".join(f': >"$3/usr/bin/{name}"\n' for name in PROGRAMS)
    write(programs / "dpkg-deb", f'/bin/mkdir -p "$3/usr/bin"\n{unpack}')
    found = ensure_prometheus()
    assert set(found) == set(PROGRAMS)
    assert all(path.is_relative_to(tmp_path / "cache") and path.exists() for path in found.values())
    (programs / "apt-get").unlink()
    assert ensure_prometheus() == found
    (cache,) = (tmp_path / "cache").iterdir()
    assert not list(cache.glob(".*"))  # nothing half done is left


def test_lists_of_packages_are_read_where_there_are_none(programs: Path) -> None:
    write(
        programs / "apt-get",
        """
        case "$*" in
            *lists=*update*) : >updated ;;
            *lists=*download*) [ -e updated ] && : >prometheus.deb ;;
            *) echo "Unable to locate package prometheus" >&2; exit 100 ;;
        esac
        """,
    )
    unpack = "".join(f': >"$3/usr/bin/{name}"\n' for name in PROGRAMS)
    write(programs / "dpkg-deb", f'/bin/mkdir -p "$3/usr/bin"\n{unpack}')
    assert set(ensure_prometheus()) == set(PROGRAMS)


def test_a_registry_that_cannot_be_reached_is_no_crash(programs: Path) -> None:
    write(programs / "apt-get", "echo 'Temporary failure resolving' >&2; exit 100")
    write(programs / "dpkg-deb")
    with pytest.raises(PackageUnavailableError, match="Temporary failure resolving"):
        ensure_prometheus()
