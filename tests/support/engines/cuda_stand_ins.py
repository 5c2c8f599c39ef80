"""Stand-ins for the CUDA libraries that PyPI's torch links, so that it starts without 3 GB of them.

They have the names, versions and symbols that torch's own libraries ask for, and nothing behind: every
function returns an error. They are for tests alone; users and images take torch's build for CPUs, which
needs none of it.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Final

_NEEDED: Final = re.compile(r"\(NEEDED\).*\[(.+)\]")
_VERSIONS_OF: Final = re.compile(r"File: (\S+)|Name: (\S+)")
_OTHERS: Final = re.compile(r"_?Py|_Z|_ITM|__gmon|__cxa|__tls")
"""Beginnings of unversioned symbols of Python, of C++ and of the compiler's runtime."""
_ERROR: Final = 100


def make_stand_ins(library: Path) -> list[str]:
    """Write what is missing into ``library``, torch's folder of shared libraries; return the names.

    Raises:
        subprocess.CalledProcessError, OSError: binutils or a C compiler are missing.

    """
    own = sorted(library.glob("*.so*"))
    missing = sorted(name for name in _needed(own) - {path.name for path in own} if _is_missing(name))
    if not missing:
        return []
    by_version = _undefined(own)
    plain = by_version.pop("", set())
    versions_of = _versions(own)
    for name in missing:
        versions = {version: by_version[version] for version in sorted(versions_of[name])}
        # Who has a symbol without a version does not matter: the first one that is loaded is asked.
        _write(library / name, versions, plain if name == missing[0] else set())
    return missing


def _needed(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in _NEEDED.findall(_said("readelf", "-dW", str(path)))}


def _versions(paths: list[Path]) -> dict[str, set[str]]:
    """Return which versions of each library's symbols are asked for."""
    found = defaultdict(set)
    for path in paths:
        asked = _said("readelf", "-VW", str(path)).partition("Version needs section")[2]
        library = ""
        for file, version in _VERSIONS_OF.findall(asked):
            library = file or library
            if version:
                found[library].add(version)
    return found


def _is_missing(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return True
    return False


def _undefined(paths: list[Path]) -> dict[str, set[str]]:
    """Return the symbols that nobody among ``paths`` defines, by their versions."""
    wanted: set[str] = set()
    defined: set[str] = set()
    for path in paths:
        for line in _said("nm", "-D", str(path)).splitlines():
            *_, kind, symbol = line.split()
            if kind in "Uw":
                wanted.add(symbol)
            else:
                defined.add(symbol.partition("@")[0])
    found = defaultdict(set)
    for symbol in wanted:
        name, _, version = symbol.partition("@")
        if name not in defined and not _OTHERS.match(name):
            found[version.lstrip("@")].add(name)
    return found


def _write(path: Path, versions: dict[str, set[str]], plain: set[str]) -> None:
    names = sorted(plain.union(*versions.values()))
    code = "".join(f"int {name}(void) {{ return {_ERROR}; }}\n" for name in names) or "int nothing;\n"
    script = path.with_name(f"{path.name}.map")
    script.write_text(
        "".join(f"{v} {{ global: {' '.join(f'{n};' for n in sorted(versions[v]))} }};\n" for v in versions)
    )
    command = ["cc", "-w", "-x", "c", "-fno-builtin", "-shared", "-fPIC", f"-Wl,-soname,{path.name}"]
    command += [f"-Wl,--version-script={script}"] if versions else []
    subprocess.run([*command, "-o", path, "-"], input=code, text=True, check=True, capture_output=True)
    script.unlink()


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
