"""A stand-in for a runtime that does harm: the module ``interpreter`` of a guest. The file says which.

It is real code of a guest, in the guest's own Python, behind the real sandbox.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import time
import zipfile
from pathlib import Path

import numpy as np


def _archive(**arrays: object) -> None:
    np.savez("outputs.npz", **arrays)
    os._exit(0)


def died() -> None:
    import ctypes

    ctypes.string_at(0)


def hungry() -> None:
    kept = []
    while True:
        kept.append(np.ones(1 << 22))


def full() -> None:
    """Play a disk that is full: the part of the outputs that was written goes, and the reason stays."""
    Path("outputs.npz").write_bytes(b"PK")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def silent() -> None:
    time.sleep(600)


def talkative() -> None:
    pipe = int(os.environ["CONVERTER_PROGRESS_FD"])
    while True:
        os.write(pipe, b'{"stage": "Evaluate", "text": "still at it"}\n')
        time.sleep(0.05)


def wordless() -> None:
    os._exit(0)


def garbage() -> None:
    Path("outputs.npz").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    os._exit(0)


def shape() -> None:
    _archive(scores=np.zeros((4, 3, 7), np.float32))


def short_header() -> None:
    with zipfile.ZipFile("outputs.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1000000000), }".ljust(117) + b"\n"
        archive.writestr("scores.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    os._exit(0)


def bomb() -> None:
    with (
        zipfile.ZipFile("outputs.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("scores.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(600):
            member.write(bytes(1 << 20))
    os._exit(0)


def pickled() -> None:
    _archive(scores=np.array([{}] * 4, dtype=object))


def none() -> None:
    _archive(scores=np.zeros((0, 3), np.float32))


def not_a_number() -> None:
    _archive(scores=np.full((4, 3), np.nan, np.float32))


def linked() -> None:
    Path("outputs.npz").symlink_to("/etc/passwd")
    os._exit(0)


def large() -> None:
    with Path("outputs.npz").open("wb") as file:
        file.truncate(1 << 40)
    os._exit(0)


def _copy() -> str:
    copy = Path("mine").absolute()
    copy.write_bytes(Path(sys.executable).read_bytes())
    copy.chmod(0o700)
    return str(copy)


def _started(program: str) -> None:
    os.posix_spawn(program, [program, "-c", ""], {})


def reaches_out() -> None:
    """Say in the message what of the parent's it could get at: nothing, it is hoped."""
    got = sorted(set(os.environ) - {"CONVERTER_PROGRESS_FD"})
    for name, attempt in {
        "network": socket.socket,
        "passwd": lambda: Path("/etc/passwd").read_text(),
        "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "beside": lambda: list(Path("..").iterdir()),
        "system": lambda: list(Path("/usr").iterdir()),
        "root": (Path(__file__).parent / "new").touch,
        "shell": lambda: _started("/bin/sh"),
        "python": lambda: _started(sys.executable),
        "copy": lambda: _started(_copy()),
    }.items():
        with contextlib.suppress(OSError):
            attempt()
            got.append(name)
    raise RuntimeError("got " + json.dumps(got))


class Interpreter:
    def __init__(self, **given: object) -> None:
        globals()[bytes(given["model_content"]).decode()]()
