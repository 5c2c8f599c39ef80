"""A child that does as a test says: the worst that code out of a model could.

``python -m hostile_child FOLDER``, started by ``run_worker`` and confined by ``Child.restrict`` like the
children that convert. What it tries is real: without the confinement most of it works.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pydantic import Field

from conversion_engine.files import error_file, result_file
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.protocol import ChildLimits, Preparation

NAME = "hostile_child"
SECRET = "canary-9c1f"


class Order(ApiModel):
    """What to do."""

    act: str
    limits: ChildLimits = ChildLimits()
    secret: Path
    """A file that the child has no business with, in a folder that it has none with either."""


class Found(ApiModel):
    """What came of it, by what was tried: ``got ...``, or the error's name."""

    tried: dict[str, str] = Field(default_factory=dict)
    isolation: tuple[str, ...] = ()


def tried(attempt: Callable[[], object]) -> str:
    try:
        return f"got {attempt()!r}"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except subprocess.SubprocessError as error:
        return f"got as far as {error!r}"


def system_call(number: int, *arguments: object) -> int:
    libc, itself = ctypes.CDLL(None, use_errno=True), os.getpid()
    found = int(libc.syscall(number, *arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), "")
    if os.getpid() != itself:
        os._exit(0)  # clone has worked, and this is its child
    return found


def attacks(order: Order, folder: Path) -> dict[str, Callable[[], object]]:
    secret, parent = order.secret, os.getppid()
    outside = secret.parent

    def through_a_link() -> str:
        (folder / "link").symlink_to(secret)
        return (folder / "link").read_text()

    def through_its_descriptor() -> str:
        fd = os.open(secret, os.O_PATH)
        return Path(f"/proc/self/fd/{fd}").read_text()

    def in_a_fork() -> str:
        return _in_a_fork(secret.read_text)

    def datagram() -> int:
        ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return ours.fileno()

    return {
        "read": secret.read_text,
        "read through a link": through_a_link,
        "read through its descriptor": through_its_descriptor,
        "read in a fork": in_a_fork,
        "list": lambda: list(outside.iterdir()),
        "hard link": lambda: os.link(secret, folder / "hard"),
        "take": lambda: secret.rename(folder / "taken"),
        "truncate": lambda: os.truncate(secret, 4),
        "write": lambda: (outside / "planted").write_text("x"),
        "make a folder": lambda: (outside / "made").mkdir(),
        "plant a link": lambda: (outside / "planted link").symlink_to("/"),
        "remove": lambda: (outside / "victim").unlink(),
        "parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes()[:1],
        "parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "parent's files": lambda: list(Path(f"/proc/{parent}/fd").iterdir()),
        "signal": lambda: os.kill(parent, 0),
        "signal in a fork": lambda: _in_a_fork(lambda: str(os.kill(parent, 0))),
        "internet": lambda: socket.socket(socket.AF_INET).fileno(),
        "internet 6": lambda: socket.socket(socket.AF_INET6).fileno(),
        "local socket": lambda: socket.socket(socket.AF_UNIX).fileno(),
        "pair of sockets": datagram,
        "socket in a fork": lambda: _in_a_fork(lambda: str(socket.socket().fileno())),
        "program": lambda: subprocess.run(["/bin/true"], check=True).returncode,
        "process descriptor": lambda: os.pidfd_open(parent),
        "leave the group": os.setsid,
    }


def _in_a_fork(attempt: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, tried(attempt).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    said = os.read(reader, 4096).decode()
    os.close(reader)
    if said.startswith("got"):
        return said
    raise OSError(getattr(errno, said), "")


def rare_system_calls() -> dict[str, str]:
    """By name. Most would be refused for their arguments alone, but with another error than EACCES."""
    parent = os.getppid()
    numbers = {
        "ptrace": ((101, 16, parent, 0, 0), (117, 16, parent, 0, 0)),
        "process_vm_readv": ((310, parent, 0, 0, 0, 0, 0), (270, parent, 0, 0, 0, 0, 0)),
        "io_uring_setup": ((425, 1, 0), (425, 1, 0)),
        "bpf": ((321, 99, 0, 0), (280, 99, 0, 0)),
        "userfaultfd": ((323, 1 << 20), (282, 1 << 20)),
        "unshare": ((272, 1), (97, 1)),
        "clone": ((56, 0x10000011, 0, 0, 0, 0), (220, 0x10000011, 0, 0, 0, 0)),
        "keyctl": ((250, 99), (219, 99)),
        "shmget": ((29, 0, 0, 0), (194, 0, 0, 0)),
    }
    column = 0 if os.uname().machine == "x86_64" else 1
    return {name: tried(lambda c=calls[column]: system_call(*c)) for name, calls in numbers.items()}


def attack(order: Order, process: Child) -> Found:
    found = {name: tried(attempt) for name, attempt in attacks(order, process.folder).items()}
    found |= rare_system_calls()
    found["own environment"] = str(dict(os.environ)) + Path("/proc/self/environ").read_text()
    found["own file"] = tried(lambda: (process.folder / "own").write_text("x"))
    return Found(tried=found, isolation=process.isolation)


def die(number: int) -> NoReturn:
    os.kill(os.getpid(), number)
    time.sleep(60)
    os._exit(9)


def segfault(_order: Order, _process: Child) -> NoReturn:
    ctypes.string_at(0)
    os._exit(9)


def hang(_order: Order, process: Child) -> NoReturn:
    process.say(Stage.CONVERT, "thinking")
    time.sleep(300)
    os._exit(9)


def hang_in_silence(_order: Order, process: Child) -> NoReturn:
    """Closes the pipe first: whoever reads it must not take that for the end."""
    process.say(Stage.CONVERT, "thinking")
    os.close(int(os.environ["CONVERTER_PROGRESS_FD"]))
    time.sleep(300)
    os._exit(9)


def eat(_order: Order, process: Child) -> NoReturn:
    process.say(Stage.CONVERT, "eating")
    eaten = []
    while True:
        eaten.append(b"x" * (8 << 20))
        time.sleep(0.001)


def eat_in_a_fork(order: Order, process: Child) -> NoReturn:
    process.say(Stage.CONVERT, "eating")
    if (pid := os.fork()) == 0:
        eat(order, process)
    os.waitpid(pid, 0)
    os._exit(9)


def abort_with_words(_order: Order, _process: Child) -> NoReturn:
    sys.stderr.write("Check failed: shape mismatch\n*** Check failure stack trace: ***\n")
    sys.stderr.flush()
    os.abort()


def abort_for_want_of_memory(_order: Order, _process: Child) -> NoReturn:
    sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n  what(): x\n")
    sys.stderr.flush()
    os.abort()


def eat_all_and_segfault(order: Order, process: Child) -> NoReturn:
    """What native code does that is given no more memory and does not look."""
    eaten = []
    with contextlib.suppress(OSError):
        while True:
            eaten.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    time.sleep(0.5)
    segfault(order, process)


def exit_without_words(_order: Order, _process: Child) -> NoReturn:
    os._exit(3)


def exit_with_words(_order: Order, _process: Child) -> NoReturn:
    sys.stderr.write("last\n\x1b[2Jwords\n")
    sys.stderr.flush()
    os._exit(3)


def garbage(_order: Order, process: Child) -> NoReturn:
    (process.folder / result_file(NAME)).write_text('{"tried": "' + "x" * 100)
    os._exit(0)


def secret_as_result(order: Order, process: Child) -> NoReturn:
    (process.folder / result_file(NAME)).symlink_to(order.secret)
    os._exit(0)


def secret_as_error(order: Order, process: Child) -> NoReturn:
    (process.folder / error_file(NAME)).symlink_to(order.secret)
    os._exit(1)


def secret_as_log(order: Order, process: Child) -> NoReturn:
    for name in ("child.log", "log", f"{NAME}.log"):
        (process.folder / name).symlink_to(order.secret)
    os._exit(1)


def pipe_as_result(_order: Order, process: Child) -> NoReturn:
    os.mkfifo(process.folder / result_file(NAME))
    os._exit(0)


def giant_as_result(_order: Order, process: Child) -> NoReturn:
    with (process.folder / result_file(NAME)).open("wb") as stream:
        stream.truncate(1 << 40)
    os._exit(0)


def nothing(_order: Order, _process: Child) -> NoReturn:
    os._exit(0)


def leave_a_fork(_order: Order, process: Child) -> Found:
    """One that has the pipe, and would hold it for ever."""
    if (pid := os.fork()) == 0:
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(300)
        os._exit(9)
    return Found(tried={"fork": str(pid)})


def chatter(_order: Order, process: Child) -> Found:
    pipe = int(os.environ["CONVERTER_PROGRESS_FD"])
    os.write(pipe, b'{"stage": "Nowhere"}\n\xff\xfe\n[]\n')
    for _ in range(64):
        os.write(pipe, b"x" * (1 << 16))
    os.write(pipe, b"\n")
    process.say(Stage.LOAD, "\x1b]0;owned\x07hello", 0.5)
    return Found()


def count(_order: Order, process: Child) -> Found:
    step = process.counter(Stage.EVALUATE, "counting", 41)
    for i in range(41):
        step(i + 1)
    return Found()


def tell_when_it_was_asked(_order: Order, process: Child) -> Found:
    return Found(tried={"asked at": str(process.asked_at)})


def complain(_order: Order, _process: Child) -> NoReturn:
    raise ConverterError(FailureReason.WEIGHTS_ONLY, Stage.LOAD, "weights\x1b only", hint="do\x07 better")


ACTS: dict[str, Callable[[Order, Child], Found]] = {
    "segfault": segfault,
    "abort": lambda _o, _p: os.abort(),
    "kill": lambda _o, _p: die(signal.SIGKILL),
    "terminate": lambda _o, _p: die(signal.SIGTERM),
    "real-time signal": lambda _o, _p: die(60),
    **{
        act.__name__.replace("_", " "): act
        for act in (
            attack,
            hang,
            hang_in_silence,
            eat,
            eat_in_a_fork,
            eat_all_and_segfault,
            abort_with_words,
            abort_for_want_of_memory,
            exit_with_words,
            exit_without_words,
            garbage,
            secret_as_result,
            secret_as_error,
            secret_as_log,
            pipe_as_result,
            giant_as_result,
            nothing,
            leave_a_fork,
            chatter,
            count,
            complain,
            tell_when_it_was_asked,
        )
    },
}


def _work(order: Order, process: Child) -> Found:
    return ACTS[order.act](order, process)


def _prepare(preparation: Preparation, process: Child) -> None:
    """Do already what the name of the source says, before there is an order."""
    if preparation.source is not None:
        ACTS[preparation.source.name](Order(act="", secret=Path()), process)


def _classify(error: Exception, stage: Stage, at_memory_limit: bool) -> ConverterError:
    if isinstance(error, ConverterError):
        return error
    reason = FailureReason.OUT_OF_MEMORY if at_memory_limit else FailureReason.INTERNAL_ERROR
    return ConverterError(reason, stage, repr(error))


if __name__ == "__main__":
    child.run(NAME, Order, lambda order: order.limits, _work, _classify, _prepare)
