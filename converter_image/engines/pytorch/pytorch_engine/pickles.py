"""What a pickle would do, told without doing it: it may put tensors together, and nothing else."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from typing import Final

from conversion_engine.messages import EngineError, Reason, Stage

_ALLOWED: Final = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|collections OrderedDict|torch (\w+Storage|Size|device)"
    r"|torch\.storage UntypedStorage"
)
"""What is named where tensors are saved; what is saved of them is numbers in entries of their own."""
_PLAIN: Final = {
    *("PROTO", "STOP", "MARK", "POP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2"),
    *(
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINSTRING",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
    ),
    *(
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
    ),
    *("LONG_BINGET", "BINPERSID", "REDUCE"),
}
"""Instructions that make numbers, text and containers, and that call what was named (``REDUCE``)."""
_MOST_BYTES: Final = 16 << 20


def check_tensors(content: bytes, where: str, hint: str) -> None:
    """Refuse what ``torch.save`` wrote where it is more than tensors in tuples, lists and dicts.

    Args:
        content: The file inside of the file.
        where: What it is called in messages.
        hint: What to do.

    Raises:
        EngineError: UnsafeModel.

    """
    if not content:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
            sizes = [info.file_size for info in pickles]
            is_small = len(sizes) == 1 and sizes[0] <= _MOST_BYTES
            problem = _problem(archive.read(pickles[0])) if is_small else "it has no one pickle that is small"
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, IndexError) as error:
        problem = str(error)
    if problem is not None:
        cause = f"{where} is pickled and holds more than tensors: {problem}"
        raise EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, cause, hint=hint)


def _problem(pickled: bytes) -> str | None:
    """Return the first thing in a pickle that is no part of a tensor."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            if not _ALLOWED.fullmatch(str(argument)):
                return f"it names {str(argument).replace(' ', '.')[:80]!r}"
        elif operation.name not in _PLAIN:
            return f"it has the instruction {operation.name}"
    return None
