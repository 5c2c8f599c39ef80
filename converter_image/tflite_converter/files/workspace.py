"""Where a conversion writes: a hidden folder inside the output folder, emptied by renames at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelconversion_api.reasons import Stage
from tflite_converter.errors import from_os_error

PREFIX = ".conversion-"


class Workspace:
    """A folder for files in the making, on the output folder's own file system."""

    def __init__(self, output: Path, folder: Path) -> None:
        self.output = output
        self.folder = folder
        self._finished: list[Path] = []

    def write(self, name: str, content: bytes) -> Path:
        """Write a file that :meth:`publish` will move."""
        path = self.folder / name
        try:
            with path.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise from_os_error(error, Stage.CONVERT, f"writing {name}") from error
        self._finished.append(path)
        return path

    def adopt(self, name: str) -> None:
        """Have :meth:`publish` move a file that was written into the folder without :meth:`write`."""
        self._finished.append(self.folder / name)

    @property
    def finished(self) -> dict[str, Path]:
        """The files that :meth:`publish` will move, by name."""
        return {path.name: path for path in self._finished}

    def publish(self) -> list[Path]:
        """Move the written files to the output folder, each by a rename, in the order they were written."""
        moved = []
        for path in self._finished:
            try:
                moved.append(path.replace(self.output / path.name))
            except OSError as error:
                raise from_os_error(error, Stage.CONVERT, f"writing {path.name}") from error
        self._finished.clear()
        return moved


@contextlib.contextmanager
def workspace(output: Path) -> Iterator[Workspace]:
    """Yield a workspace inside ``output``, and remove it afterwards, with ``output`` if that stayed empty.

    Raises:
        ConverterError: OutputNotWritable or NoSpace.

    """
    existed = output.is_dir()
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=output))
    except OSError as error:
        raise from_os_error(error, Stage.CONVERT, "making the output folder") from error
    try:
        yield Workspace(output, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):  # not empty: the conversion has succeeded
                output.rmdir()


def remove_leftovers(output: Path) -> None:
    """Remove workspaces that a killed conversion has left in ``output``."""
    for folder in output.glob(f"{PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
