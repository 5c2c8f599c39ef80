"""The system call filter, number by number, and what is said where the kernel has no such thing.

What the sandbox keeps real code from is in ``test_converter_worker.py``.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_engine import sandbox
from support.paths import SCRIPTS

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of include/uapi/linux/audit.h."""
X32_BIT = 0x40000000
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | 13, 0x00050000 | 38
CLONE3 = 435


def denied(machine: str) -> set[int]:
    column, _ = sandbox._MACHINES[machine]
    return {numbers[column] for numbers in sandbox._DENIED.values()}


def program(machine: str) -> list[bytes]:
    column, architecture = sandbox._MACHINES[machine]
    denied = [numbers[column] for numbers in sandbox._DENIED.values()]
    return sandbox._filter(denied, sandbox._CLONE[column], architecture)


def run(instructions: list[bytes], number: int, architecture: int, first: int = 0) -> int:
    """What the kernel's classic BPF machine would return for a system call (``struct seccomp_data``)."""
    signed = number if number < 1 << 31 else number - (1 << 32)
    data = struct.pack("=iIQ6Q", signed, architecture, 0, first, *[0] * 5)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack("=HBBI", instructions[at])
        at += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                at += if_true if accumulator == value else if_false
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                at += if_true if accumulator >= value else if_false
            case 0x45:  # BPF_JMP | BPF_JSET | BPF_K
                at += if_true if accumulator & value else if_false
            case 0x06:  # BPF_RET | BPF_K
                return int(value)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine: str) -> None:
    header = HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"{header} is not installed")
    defined = re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    numbers = {name: int(number) for name, number in defined}
    column, _ = sandbox._MACHINES[machine]
    # Headers older than a call do not have it; none that is denied is new.
    assert {n: c[column] for n, c in sandbox._DENIED.items()} == {n: numbers.get(n) for n in sandbox._DENIED}


@pytest.mark.parametrize("machine", HEADERS)
def test_every_number_up_to_the_last_is_decided_as_the_table_says(machine: str) -> None:
    instructions = program(machine)
    assert sandbox._MACHINES[machine][1] == ARCHITECTURES[machine]
    refused = {n for n in range(1024) if run(instructions, n, ARCHITECTURES[machine]) == REFUSE}
    allowed = {n for n in range(1024) if run(instructions, n, ARCHITECTURES[machine]) == ALLOW}
    assert refused == denied(machine)
    assert refused | allowed == set(range(1024)) - {CLONE3}
    assert run(instructions, CLONE3, ARCHITECTURES[machine]) == UNKNOWN


@pytest.mark.parametrize("machine", HEADERS)
@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (17, ALLOW),  # SIGCHLD: a fork
        (0x3D0F00, ALLOW),  # what pthread_create asks for
        (0x01200011, ALLOW),  # what the C library's fork asks for
        (0x10000011, REFUSE),  # CLONE_NEWUSER
        (0x40000000, REFUSE),  # CLONE_NEWNET
        (0x00020000, REFUSE),  # CLONE_NEWNS
        (0x7C020011, REFUSE),
    ],
)
def test_processes_and_threads_may_be_made_and_namespaces_may_not(
    machine: str, flags: int, answer: int
) -> None:
    column, architecture = sandbox._MACHINES[machine]
    assert run(program(machine), sandbox._CLONE[column], architecture, flags) == answer


@given(
    machine=st.sampled_from([*HEADERS]),
    number=st.integers(0, 2**32 - 1),
    architecture=st.one_of(st.sampled_from([*ARCHITECTURES.values(), 0x40000003]), st.integers(0, 2**32 - 1)),
)
def test_other_architectures_and_x32_are_refused(machine: str, number: int, architecture: int) -> None:
    """Through them the same calls have other numbers."""
    is_ours = architecture == ARCHITECTURES[machine] and number < X32_BIT
    expected = ALLOW if is_ours and number not in denied(machine) else REFUSE
    if is_ours and number == CLONE3:
        expected = UNKNOWN
    assert run(program(machine), number, architecture) == expected


def test_a_jump_reaches_as_far_as_the_table_is_long() -> None:
    """A jump's distance is one byte."""
    assert len(sandbox._DENIED) < 250


def in_a_fork(work: Callable[[], str]) -> str:
    """What ``work`` gives, in a process that it may confine."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, work().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def held_in_a_fork(*, readable: list[Path] | None = None) -> tuple[str, ...]:
    """What :func:`sandbox.enter` returns."""
    said = in_a_fork(lambda: ",".join(sandbox.enter(readable or [], [])))
    return tuple(filter(None, said.split(",")))


class StandInKernel:
    """The C library's ``syscall`` and ``prctl`` as an older kernel answers them; the rest is real."""

    def __init__(
        self, real: Any, *, landlock_abi: int | None, seccomp: bool, privileges: bool = True
    ) -> None:
        self._real = real
        self._abi = landlock_abi
        self._seccomp = seccomp
        self._privileges = privileges
        self.rulesets: list[bytes] = []

    def syscall(self, number: int, *arguments: Any) -> int:
        if number == 444 and self._abi is None:
            return -1  # ENOSYS
        if number == 444 and arguments[0] is None:
            return self._abi or 0
        if number == 444:
            self.rulesets.append(arguments[0])
        return int(self._real.syscall(number, *arguments))

    def prctl(self, option: int, *arguments: Any) -> int:
        if option == 22 and not self._seccomp:
            return -1  # EINVAL
        if option == 38 and not self._privileges:
            return -1
        return int(self._real.prctl(option, *arguments))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandInKernel]:
    real = sandbox.ctypes.CDLL(None, use_errno=True)

    def stand_in(**has: Any) -> StandInKernel:
        made = StandInKernel(real, **has)
        monkeypatch.setattr(sandbox.ctypes, "CDLL", lambda *_a, **_k: made)
        return made

    return stand_in


EVERYTHING = ("no-network", "no-other-programs", "own-files-only")


def test_what_the_kernel_lacks_is_not_claimed(kernel: Callable[..., StandInKernel]) -> None:
    if held_in_a_fork() != EVERYTHING:
        pytest.skip("this kernel has no Landlock, or no seccomp")
    kernel(landlock_abi=None, seccomp=True)
    assert held_in_a_fork() == ("no-network", "no-other-programs")
    kernel(landlock_abi=7, seccomp=False)
    assert held_in_a_fork() == ("own-files-only",)
    kernel(landlock_abi=None, seccomp=False)
    assert held_in_a_fork() == ()
    kernel(landlock_abi=7, seccomp=True, privileges=False)
    assert held_in_a_fork() == ()


@pytest.mark.parametrize(
    ("abi", "size", "rights"),
    [(1, 8, 13), (2, 8, 14), (3, 8, 15), (4, 16, 15), (5, 16, 16), (6, 24, 16), (7, 24, 16), (99, 24, 16)],
)
def test_each_version_of_landlock_is_asked_for_what_it_knows(
    kernel: Callable[..., StandInKernel], tmp_path: Path, abi: int, size: int, rights: int
) -> None:
    """The numbers are those of the tables in Linux's Documentation/userspace-api/landlock.rst."""
    if "own-files-only" not in held_in_a_fork():
        pytest.skip("this kernel has no Landlock")
    made = kernel(landlock_abi=abi, seccomp=True)
    asked = tmp_path / "asked"
    # Opened before: the fork can then no longer.
    with asked.open("wb") as stream:
        if (pid := os.fork()) == 0:
            held = sandbox.enter([], [])
            stream.write(made.rulesets[0] if "own-files-only" in held else b"")
            stream.flush()
            os._exit(0)
        os.waitpid(pid, 0)
    attributes = asked.read_bytes()
    assert len(attributes) == size
    assert struct.unpack_from("=Q", attributes)[0] == (1 << rights) - 1


def test_a_compilers_child_may_run_its_programs_and_nothing_that_it_brought(tmp_path: Path) -> None:
    """Native code that parses a model is no better than the model: it keeps what can be kept."""
    if held_in_a_fork() != EVERYTHING:
        pytest.skip("this kernel has no Landlock, or no seccomp")
    granted, brought = tmp_path / "granted", tmp_path / "brought"
    for folder in (granted, brought):
        folder.mkdir()
        (folder / "program").write_text("#!/bin/sh\nexit 7\n")
        (folder / "program").chmod(0o755)

    def tried() -> str:
        held = sandbox.enter([brought], [brought], [granted])
        ran = []
        for folder in (granted, brought):
            try:
                ran.append(subprocess.run([str(folder / "program")], check=False).returncode)
            except OSError as error:
                ran.append(error.errno or 0)
        try:
            socket.socket()
        except OSError as error:
            ran.append(error.errno or 0)
        return f"{','.join(held)} {ran}"

    assert in_a_fork(tried) == f"no-network,own-files-only {[7, 13, 13]}"


def test_an_unknown_machine_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "no-network" not in held_in_a_fork()


def test_a_readable_path_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert held_in_a_fork(readable=[tmp_path / "nope"]) == held_in_a_fork()


def test_the_folder_that_one_stands_in_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m`` puts it on the search path; it may be somebody's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path.parent)
    assert not {tmp_path, tmp_path.parent} & set(sandbox._python_paths())
    assert SCRIPTS in sandbox._python_paths()
