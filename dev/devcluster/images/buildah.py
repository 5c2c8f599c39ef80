"""Builds images from Dockerfiles without a daemon: buildah, with a store of its own in the cache folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster import host
from devcluster.cache import cache_dir
from devcluster.errors import HostError, ImageError
from devcluster.images.mounts import unmount_below
from devcluster.processes import Process

_TAIL_LINES: Final = 40
_READ_EVERY_SECONDS: Final = 0.5
_EPOCH: Final = "0"
"""The time of every file and of the image: alike inputs give alike images."""


class Buildah:
    """buildah with its images in the cache folder, apart from those of whoever else uses it here."""

    def __init__(self) -> None:
        self._store = cache_dir() / "image-store"
        self._global = ["--root", str(self._store), "--runroot", str(self._store / "run")]

    def run(self, *arguments: str | Path) -> str:
        """Run a command; its output."""
        try:
            return host.run("buildah", *self._global, *arguments).strip()
        except HostError as error:
            raise ImageError(str(error)) from error

    def exists(self, reference: str) -> bool:
        """Whether the store has an image of this name."""
        command = [host.tool("buildah"), *self._global, "inspect", "--type=image", reference]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def build(
        self,
        dockerfile: Path,
        context: Path,
        reference: str,
        log: Path,
        *,
        target: str | None,
        architecture: str | None,
        arguments: Mapping[str, str],
        secrets: Mapping[str, Path],
        tell: Callable[[str], None],
        anew: bool = False,
    ) -> None:
        """Build a Dockerfile; raises :class:`ImageError` with the log's end when it fails.

        Args:
            dockerfile: The file.
            context: What it copies from.
            reference: The image's name.
            log: Where the build's output goes.
            target: The stage to build; None for the last.
            architecture: Another one than this machine's; None for its own.
            arguments: The build's arguments, by name.
            secrets: Files that commands of the build can mount, by their names there.
            tell: Is given the build's output, line by line.
            anew: Take no layer of an earlier build.

        """
        command: list[str | Path] = [host.tool("buildah"), *self._global, "build", "--layers", "--pull-never"]
        # Without namespaces of its own for commands: those need rights that containers often lack.
        command += ["--isolation=chroot", "--network=host", f"--timestamp={_EPOCH}"]
        command += [f"--secret=id={name},src={file}" for name, file in secrets.items()]
        command += ["--no-cache"] if anew else []
        command += [f"--target={target}"] if target else []
        command += [f"--platform=linux/{architecture}"] if architecture else []
        command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        command += [f"--file={dockerfile}", f"--tag={reference}", context]
        log.unlink(missing_ok=True)
        process = Process("buildah", command, log)
        try:
            with log.open(errors="replace") as output:
                ended = False
                while not ended:
                    ended = process.wait(_READ_EVERY_SECONDS) is not None
                    for line in output:
                        tell(line.strip())
        finally:
            code = process.kill()
        if code:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            raise ImageError(f"{dockerfile} could not be built; the log {log} ends:\n{tail}")

    def from_folder(
        self, folder: Path, reference: str, command: Sequence[str], architecture: str | None = None
    ) -> None:
        """Make an image of one layer from a folder, for this machine unless an architecture is named."""
        chosen = [f"--arch={architecture}"] if architecture else []
        container = self.run("from", *chosen, "scratch")
        try:
            self.run("add", "--quiet", container, folder, "/")
            self.run("config", *chosen, f"--cmd={' '.join(command)}", container)
            self.run("commit", "--quiet", f"--timestamp={_EPOCH}", container, reference)
        finally:
            self.run("rm", container)

    @contextmanager
    def container(self, reference: str) -> Iterator[tuple[str, Path]]:
        """Give a container of an image, and the folder where its files are while this lasts."""
        container = self.run("from", "--pull-never", reference)
        try:
            yield container, Path(self.run("mount", container))
        finally:
            self.run("umount", container)
            self.run("rm", container)

    def run_in(self, container: str, *command: str) -> str:
        """Run a command in a container as the image's user; return its output."""
        return self.run("run", "--isolation=chroot", container, "--", *command)

    def start_in(self, container: str, log: Path, *command: str) -> Process:
        """Start a command in a container as the image's user; stop what is returned."""
        program: list[str | Path] = [host.tool("buildah"), *self._global, "run", "--isolation=chroot"]
        return Process("buildah", [*program, container, "--", *command], log)

    def digest(self, reference: str) -> str:
        """Return the digest of an image of the store, ``sha256:...``."""
        return self.run("inspect", "--type=image", "--format={{.FromImageDigest}}", reference)

    def tidy(self) -> None:
        """Remove the containers that builds have left, and what the store has mounted."""
        self.run("rm", "--all")
        unmount_below(self._store)

    def remove_others(self, reference: str) -> None:
        """Remove older images of the same name; what they share with this one stays."""
        name, _, tag = reference.rpartition(":")
        tags = self.run("images", "--noheading", "--format={{.Tag}}", "--filter", f"reference={name}")
        for other in set(tags.split()) - {tag}:
            self.run("rmi", f"{name}:{other}")

    def layer_sizes(self) -> dict[str, int]:
        """How large each layer in the store is when it is unpacked, by the digest of its content."""
        file = self._store / "overlay-layers" / "layers.json"
        known = json.loads(file.read_text()) if file.exists() else []
        return {layer["diff-digest"]: layer.get("diff-size", 0) for layer in known if "diff-digest" in layer}

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into an OCI archive."""
        partial = archive.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        # Half the time of gzip, and smaller.
        compression = ("--compression-format=zstd", "--compression-level=1")
        self.run("push", "--quiet", *compression, reference, f"oci-archive:{partial}:{reference}")
        partial.rename(archive)
