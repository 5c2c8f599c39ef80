"""From a checked file to torch's own objects."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from pytorch_engine.archive import EXPORT_AGAIN, Archive
from pytorch_engine.program import Program, checked

_CLEAN: Final = "checked.pt2"
_NAME: Final = "model"


def read(path: Path) -> tuple[Archive, Program]:
    """Return a file's entries and graph, which have been looked at; nothing is loaded.

    Raises:
        EngineError: UnreadableModel, UnsafeModel, UnsupportedFormat, UnsupportedOperation, SourceTooLarge.

    """
    archive = Archive(path)
    return archive, checked(archive.document(f"models/{archive.model}.json"), path.name)


def load(archive: Archive, program: Program, folder: Path) -> Any:
    """Return the ``torch.export.ExportedProgram``.

    What was understood is written into a file of its own in ``folder``, and that is what torch reads: two
    readers of zip archives may see two things in one file. It has nothing in it that is pickled, so that
    nothing can be unpickled; sample inputs are left out.

    Raises:
        EngineError: UnreadableModel; UnsupportedFormat for files of a newer torch.

    """
    path = folder / _CLEAN
    _write(archive, program, path)
    try:
        from torch.export.pt2_archive._package import load_pt2

        return load_pt2(str(path)).exported_programs[_NAME]
    except MemoryError:
        raise
    except Exception as error:  # torch has a class for each of its errors
        raise _explained(archive, program, error) from error
    finally:
        path.unlink(missing_ok=True)


def _write(archive: Archive, program: Program, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as clean:

        def add(entry: str, content: bytes | str) -> None:
            clean.writestr(f"{_NAME}/{entry}", content)

        add("archive_format", "pt2")
        add("archive_version", "0")
        add(".data/version", "6")
        add("byteorder", "little")
        add(f"models/{_NAME}.json", json.dumps(program.document))
        add(f"data/sample_inputs/{_NAME}.pt", b"")
        for kind in ("weights", "constants"):
            config = archive.payload(kind)
            for entry in sorted({item["path_name"] for item in config.values()}):
                add(f"data/{kind}/{entry}", archive.read(f"data/{kind}/{entry}"))
            add(f"data/{kind}/{_NAME}_{kind}_config.json", json.dumps({"config": config}))


def _explained(archive: Archive, program: Program, error: Exception) -> EngineError:
    import torch

    written, own = program.torch_version.partition("+")[0], str(torch.__version__).partition("+")[0]
    cause = f"torch {own} does not read {archive.name}, which torch {written} exported: {first_line(error)}"
    if written != own:
        hint = f"export it again with torch {own}, or with one that is nearer to it"
        return EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    return EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=EXPORT_AGAIN)
