"""The project's images, from their Dockerfiles: ``python -m devcluster.images [build|sizes|sbom|arm64]``.

Each is kept as an OCI archive in the cache folder under the digest of what it was made from, so that a second
run takes no time, and a change of code builds no more than the layer that holds the code.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from devcluster import host
from devcluster.cache import REPOSITORY, locked
from devcluster.images import pip_settings
from devcluster.images.base_image import ensure_base_image
from devcluster.images.buildah import Buildah
from devcluster.images.emulation import emulated
from devcluster.images.inspecting import inspect
from devcluster.images.node_images import Image, images_dir, program_image
from devcluster.images.oci_archive import layers
from devcluster.local import installed_program
from devcluster.programs import tells_errors
from devcluster.progress import Progress

_SHORT: Final = 48
_KEY: Final = "[0-9a-f]" * 12
"""Pattern of what :func:`digest_of` gives; the name of one image can begin another's."""
_NOT_IN_CONTEXT: Final = ("__pycache__",)
_COMMON: Final = (".dockerignore", "pyproject.toml", "dev/build-requirements.txt")


@dataclass(frozen=True)
class Recipe:
    """An image of this project: its name, its Dockerfile, and what that copies."""

    name: str
    dockerfile: str
    sources: tuple[str, ...]
    target: str | None = None
    """Stage of the Dockerfile; None for the last."""
    engine: str | None = None
    """What the build argument ENGINE names, where the stage wants one."""
    architecture: str | None = None
    """Another one than this machine's, which is then emulated."""

    def files(self) -> list[Path]:
        """All files that the image is made from, in one order."""
        paths = (REPOSITORY / source for source in (self.dockerfile, *_COMMON, *self.sources))
        return sorted(set(_files(paths)))

    def of(self, architecture: str) -> Recipe:
        """Return the recipe of the same image for another architecture than this machine's."""
        return replace(self, name=f"{self.name}-{architecture}", architecture=architecture)

    def key(self) -> str:
        """Return a digest of everything that the image is built from."""
        return digest_of(self.files(), REPOSITORY)


OPERATOR: Final = Recipe("model-conversion-operator", "Dockerfile", ("operator",))
CONVERTER: Final = Recipe(
    "tflite-converter", "converter_image/Dockerfile", ("operator/modelconversion_api", "converter_image")
)
RUNTIME: Final = replace(CONVERTER, name="tflite-runtime", target="runtime")
ONNX: Final = replace(CONVERTER, name="tflite-converter-onnx", target="onnx")
VERIFY: Final = replace(CONVERTER, name="tflite-converter-verify", target="verify")
VERIFY_ONNX: Final = replace(ONNX, name="tflite-converter-onnx-verify", target="verify-engine", engine="onnx")
JAX: Final = replace(CONVERTER, name="tflite-converter-jax", target="engine", engine="jax")
PYTORCH: Final = replace(CONVERTER, name="tflite-converter-pytorch", target="pytorch")
NPU: Final = replace(CONVERTER, name="tflite-converter-npu", target="npu")


@dataclass(frozen=True)
class Images:
    """What runs in a real node."""

    operator: Image
    converter: Image
    object_store: Image


def ensure_images(console: Console) -> Images:
    """Build what is not in the cache. Raises :class:`~devcluster.errors.ImageError`."""
    return Images(ensure(OPERATOR, console), ensure(CONVERTER, console), object_store_image())


def ensure_onnx_image(console: Console) -> Image:
    """Build the converter with the ONNX engine and the guests.

    Raises:
        ImageError: The build failed.

    """
    return ensure(VERIFY_ONNX, console)


def ensure_runtime_image(console: Console) -> Image:
    """Build what boards run. Raises :class:`~devcluster.errors.ImageError`."""
    return ensure(RUNTIME, console)


def ensure_arm64_images(console: Console) -> dict[str, Image]:
    """Build what Arm processors run, by emulation: a quarter of an hour and more, the first time.

    Returns the operator, boards' runtime, the converter, and the converter with the ONNX engine.

    Raises:
        ImageError: A build failed, or programs of that architecture cannot be run here.

    """
    recipes = {"operator": OPERATOR, "runtime": RUNTIME, "converter": CONVERTER, "onnx": ONNX}
    return {name: ensure(recipe.of("arm64"), console) for name, recipe in recipes.items()}


def ensure_engine_images(console: Console) -> dict[str, Image]:
    """Build the converter alone, with the ONNX and with the JAX engine; return them by engine, "" for none.

    PyTorch's is not among them: it takes torch from its makers' own index, which not everybody reaches.

    Raises:
        ImageError: A build failed.

    """
    return {name: ensure(recipe, console) for name, recipe in (("", CONVERTER), ("onnx", ONNX), ("jax", JAX))}


def object_store_image() -> Image:
    """SeaweedFS in an image that holds nothing else: the program links nothing."""
    program = Path(installed_program("weed"))
    return program_image(program, str(program.stat().st_size))


def digest_of(files: Iterable[Path], root: Path) -> str:
    """Return a digest over names and contents of files below ``root``."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\\0{file.stat().st_size}\\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (f for f in path.rglob("*") if f.is_file() and not set(_NOT_IN_CONTEXT) & set(f.parts))
        else:
            yield path


def ensure(recipe: Recipe, console: Console) -> Image:
    """Build an image unless the cache folder has it. Raises :class:`~devcluster.errors.ImageError`."""
    key = recipe.key()
    image = Image(f"localhost/{recipe.name}:{key}", images_dir() / f"{recipe.name}-{key}.tar")
    if image.archive.exists():
        return image
    with locked("images", lambda: console.print("Another run is building images: waiting")):
        if not image.archive.exists():
            _build(recipe, image, console)
    return image


def _build(recipe: Recipe, image: Image, console: Console) -> None:
    host.ensure_host_tools(host.BUILD_TOOLS, console)
    started = time.monotonic()
    buildah = Buildah()
    try:
        log = images_dir() / f"{recipe.name}.log"
        arguments = {"ENGINE": recipe.engine} if recipe.engine else {}
        emulation = emulated(recipe.architecture, console) if recipe.architecture else nullcontext()
        with (
            emulation,
            tempfile.TemporaryDirectory(prefix="devcluster-") as folder,
            Progress(console, f"Building {recipe.name}", 0) as progress,
        ):
            base = ensure_base_image(buildah, console, recipe.architecture)
            buildah.build(
                REPOSITORY / recipe.dockerfile,
                REPOSITORY,
                image.reference,
                log,
                target=recipe.target,
                architecture=recipe.architecture,
                arguments=arguments | ({"BASE": base} if recipe.architecture else {}),
                secrets=_secrets(Path(folder)),
                tell=lambda line: progress.advance(1, line[:_SHORT]),
            )
        for older in image.archive.parent.glob(f"{recipe.name}-{_KEY}.tar"):
            older.unlink()
        buildah.save(image.reference, image.archive)
        buildah.remove_others(image.reference)
    finally:
        buildah.tidy()
    megabytes = image.archive.stat().st_size // 1_000_000
    console.print(f"{image.reference}: {megabytes} MB, {time.monotonic() - started:.0f} s", soft_wrap=True)


def _secrets(folder: Path) -> dict[str, Path]:
    """Files that let pip in a build reach what it reaches here."""
    texts = [file.read_text() for file in pip_settings.host_files() if file.is_file()]
    settings = pip_settings.settings(texts, os.environ)
    authorities = pip_settings.certificates(settings)
    configuration = folder / "pip.conf"
    configuration.write_text(pip_settings.for_build(settings, certificates=authorities is not None))
    return {"pip.conf": configuration} | ({"ca.crt": authorities} if authorities else {})


def _sizes(images: Iterable[Image], console: Console) -> None:
    unpacked = Buildah().layer_sizes()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Image")
    table.add_column("Layer")
    table.add_column("Packed (MB)", justify="right")
    table.add_column("Unpacked (MB)", justify="right")
    for image in images:
        name = image.reference.removeprefix("localhost/").partition(":")[0]
        packed = full = 0
        for layer in layers(image.archive):
            size = unpacked.get(layer.content, layer.size)
            table.add_row(name, _short(layer.instruction), _megabytes(layer.size), _megabytes(size))
            name, packed, full = "", packed + layer.size, full + size
        table.add_row("", "[bold]all layers", f"[bold]{_megabytes(packed)}", f"[bold]{_megabytes(full)}")
        table.add_section()
    console.print(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _short(instruction: str) -> str:
    """Shorten a Dockerfile instruction to what tells layers apart: its target, or how its command begins."""
    text = instruction.replace("#(nop)", "").removeprefix("/bin/sh -c").strip()
    text = re.sub(r"dir:[0-9a-f]+ in", "...", text)
    text = "debootstrap" if text == "/bin/sh" else " ".join(text.split())
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


@tells_errors
def main() -> int:
    """Build the images; ``sizes`` shows their layers, ``sbom`` writes what is in those with engines.

    ``arm64`` builds those for Arm processors, by emulation, and shows their layers.
    """
    parser = argparse.ArgumentParser(prog="python -m devcluster.images", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("build", "sizes", "sbom", "arm64"), default="build")
    parser.add_argument("--into", type=Path, default=Path(), help="folder for the bills of materials")
    parser.add_argument("--markdown", type=Path, help="page whose table of images is written anew")
    options = parser.parse_args()
    if options.markdown is not None and not options.markdown.is_file():
        parser.error(f"there is no page {options.markdown}")
    console = Console(highlight=False)
    if options.action == "sbom":
        inspect(ensure_engine_images(console), options.into, options.markdown, console)
        return 0
    if options.action == "arm64":
        _sizes(ensure_arm64_images(console).values(), console)
        return 0
    built = ensure_images(console)
    runtime = ensure_runtime_image(console)
    if options.action == "sizes":
        more = [ensure(recipe, console) for recipe in (ONNX, VERIFY)]
        _sizes([built.operator, built.converter, runtime, *more, built.object_store], console)
    else:
        images = (built.operator, built.converter, runtime, ensure_onnx_image(console), built.object_store)
        for image in images:
            console.print(f"{image.reference} is in {image.archive}", soft_wrap=True)
    return 0
