"""What a release consists of: which images for which platforms, and why another is left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from devcluster.cache import REPOSITORY
from devcluster.errors import ReleaseError
from devcluster.images.build import (
    CONVERTER,
    JAX,
    NPU,
    ONNX,
    OPERATOR,
    PYTORCH,
    RUNTIME,
    VERIFY,
    VERIFY_ONNX,
    Recipe,
)
from devcluster.images.emulation import EMULATED, is_native
from devcluster.release.wheels import MACHINES, without_wheels

_ENGINES: Final = "converter_image/engines"
_BUILD: Final = ("dev/build-requirements.txt", "uv.lock")


@dataclass(frozen=True)
class Unit:
    """An image of a release."""

    name: str
    """What one chooses it by."""
    recipe: Recipe
    requirements: tuple[tuple[str, str], ...]
    """Files with what it installs, each with the lock that it comes from."""
    value: str | None = None
    """The chart's value that names it; None where users choose it themselves."""
    only: str | None = None
    """Why it is for amd64 alone; None where wheels decide."""
    unasked: str | None = None
    """Why it is left out unless it is named; None where it is not."""

    def requirement_files(self) -> list[str]:
        """Return everything that fixes what is installed."""
        return sorted({file for pair in (*self.requirements, _BUILD) for file in pair})


_ROOT: Final = ("converter_image/requirements.txt", "uv.lock")
UNITS: Final = (
    Unit("operator", OPERATOR, (("operator/requirements.txt", "uv.lock"),), "image"),
    Unit("converter", CONVERTER, (_ROOT,), "converter.image"),
    Unit(
        "runtime",
        RUNTIME,
        (("converter_image/runtime-requirements.txt", "uv.lock"),),
        "converter.runtimeImage",
    ),
    *(
        Unit(
            name,
            recipe,
            (_ROOT, (f"{_ENGINES}/{name}/requirements.txt", f"{_ENGINES}/{name}/uv.lock")),
            f"converter.engines.{source}",
            unasked=unasked,
        )
        for name, recipe, source, unasked in (
            ("onnx", ONNX, "ONNX", None),
            ("jax", JAX, "StableHLO", None),
            (
                *("pytorch", PYTORCH, "PyTorch"),
                "it takes torch from its makers' index: name it in IMAGES where that is reached",
            ),
        )
    ),
    Unit("verify", VERIFY, (_ROOT,), only="its emulators and old runtimes are those for x86-64"),
    Unit(
        "npu",
        NPU,
        (_ROOT, ("converter_image/npu-requirements.txt", "uv.lock")),
        only="OpenVINO and LiteRT's compiler plugins in it are those for x86-64",
    ),
    Unit(
        "onnx-verify",
        VERIFY_ONNX,
        (_ROOT, (f"{_ENGINES}/onnx/requirements.txt", f"{_ENGINES}/onnx/uv.lock")),
        "converter.engines.ONNX",
        only="its emulators and old runtimes are those for x86-64",
        unasked="it is onnx and verify in one: name it in IMAGES in place of both",
    ),
)
"""All images, in the order in which they are built; the first of two for one value is the chart's."""


@dataclass(frozen=True)
class Build:
    """An image for one platform."""

    unit: Unit
    architecture: str

    @property
    def recipe(self) -> Recipe:
        """What builds it."""
        if is_native(self.architecture):
            return self.unit.recipe
        return self.unit.recipe.of(self.architecture)


@dataclass(frozen=True)
class LeftOut:
    """An image that is not built for a platform, and why."""

    name: str
    platform: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is built and what is not."""

    builds: tuple[Build, ...]
    left_out: tuple[LeftOut, ...]


def architectures(platforms: str) -> list[str]:
    """Return the architectures in ``linux/amd64,linux/arm64``.

    Raises:
        ReleaseError: One of them is not known.

    """
    found = []
    for platform in platforms.split(","):
        system, _, architecture = platform.strip().partition("/")
        if system != "linux" or architecture not in MACHINES:
            known = ", ".join(f"linux/{name}" for name in MACHINES)
            raise ReleaseError(f"PLATFORMS={platforms}: {platform!r} is none of {known}")
        found.append(architecture)
    return list(dict.fromkeys(found))


def plan(chosen: Collection[str], wanted: Sequence[str]) -> Plan:
    """Decide which images are built for which architectures.

    Args:
        chosen: Names of :data:`UNITS`; all that are not left out unasked where it is empty.
        wanted: Architectures.

    Raises:
        ReleaseError: A name is not known, or the chart's two images are not among those built.

    """
    if unknown := sorted(set(chosen) - {unit.name for unit in UNITS}):
        raise ReleaseError(f"IMAGES: {', '.join(unknown)} is none of {', '.join(u.name for u in UNITS)}")
    builds, left_out = [], []
    for unit in UNITS:
        if chosen and unit.name not in chosen:
            continue
        if unit.unasked and not chosen:
            left_out.append(LeftOut(unit.name, ",".join(f"linux/{name}" for name in wanted), unit.unasked))
            continue
        for architecture in wanted:
            reason = _reason(unit, architecture)
            if reason:
                left_out.append(LeftOut(unit.name, f"linux/{architecture}", reason))
            else:
                builds.append(Build(unit, architecture))
    if lacking := [n for n in ("operator", "converter") if n not in {b.unit.name for b in builds}]:
        told = "; ".join(f"{out.name} for {out.platform}: {out.reason}" for out in left_out)
        raise ReleaseError(
            f"the chart needs {' and '.join(lacking)}, and the release would have none. {told}".rstrip()
        )
    return Plan(tuple(builds), tuple(left_out))


def _reason(unit: Unit, architecture: str) -> str | None:
    """Return why an image is not built, or None."""
    if architecture != "amd64" and unit.only:
        return unit.only
    lacking = [
        package
        for requirements, lock in unit.requirements
        for package in without_wheels(REPOSITORY / requirements, REPOSITORY / lock, architecture)
    ]
    if lacking:
        return f"there is no wheel of {', '.join(lacking)} for it"
    if not is_native(architecture) and architecture not in EMULATED:
        return "there is no emulator for it: release on such a machine"
    return None
