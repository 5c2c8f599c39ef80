"""What a child process gives up before it touches a model: network, other programs, foreign files.

Loading a model can run code that its author chose, and the libraries that load it have had faults that let
code through. Two kernel features that need no privilege, and so work in a restricted pod and on a laptop
alike, take away what such code would want:

- seccomp (:data:`_DENIED`): no sockets, so no network and no metadata service; no other programs; no look
  into other processes and what they share; no kernel interfaces that reach around these rules.
- Landlock: files can be read only where Python and the model are, and written only in the work folder; the
  parent's environment and its signals are out of reach.

What the kernel lacks is left out and the report says what held (``provenance.isolation``). System call
numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 6.18; the
Landlock structures: include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

NO_NETWORK = "no-network"
NO_PROGRAMS = "no-other-programs"
OWN_FILES = "own-files-only"

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_EACCES, _ENOSYS = 13, 38
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32_BIT = 0x40000000

_DENIED = {
    # name: (x86-64, generic, as on aarch64)
    "socket": (41, 198),
    # A pair of datagram sockets can send to any socket that has a name, e.g. the system log's.
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # All that a child starts stays in its process group, and ends with it.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_OF_PROGRAMS = ("execve", "execveat")
"""What a child that runs a compiler is not denied."""
_CLONE = (56, 220)
_CLONE3 = 435
"""Its flags lie in memory, where a filter cannot look; the C library takes ``clone`` where it is missing."""
_NEW_NAMESPACES = 0x7E020000
"""The flags of ``clone`` that ``unshare`` is denied for; threads and forks have none of them."""
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of :data:`_DENIED` and the kernel's AUDIT_ARCH value."""

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_READ = _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many of the lowest bits name file system rights."""
_NET_TCP = 0b11
_SCOPE_SOCKETS_AND_SIGNALS = 0b11
_O_PATH = 0o10000000

_KERNEL_PATHS = (
    # Of /proc the process's own folder only: another's environ may hold credentials.
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/dev/null",
)
_SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", *_KERNEL_PATHS)
_WRITABLE_DEVICES = ("/dev/null",)
_SYSTEM_PROGRAMS = ("/usr", "/lib", "/lib64")
"""A program that may be run needs the loader and perhaps a shell; /bin is a link to /usr/bin."""


def enter(
    readable: Iterable[Path], writable: Iterable[Path], programs: Iterable[Path] = ()
) -> tuple[str, ...]:
    """Confine this process and its future children for the rest of their lives.

    ``readable`` and ``writable`` are files and folders besides those that Python itself needs. ``programs``
    are files and folders of programs that may be run, those of the system along with them, for a compiler
    that is one; they are held to the same rules. Returns which protections hold; never raises, because a
    kernel without them must not keep anybody from converting.
    """
    programs = list(programs)
    run = [*programs, *map(Path, _SYSTEM_PROGRAMS)] if programs else []
    return _enter([*_python_paths(), *readable], writable, run)


def enter_as_guest(readable: Iterable[Path], writable: Iterable[Path], program: Path) -> tuple[str, ...]:
    """Do as :func:`enter`, for a program that brings along all that it needs.

    Of the system it can read what the kernel says of the machine, and nothing else; ``program`` is the one
    file that can be run.
    """
    return _enter([*map(Path, _KERNEL_PATHS), *readable], writable, [program])


def _enter(readable: Iterable[Path], writable: Iterable[Path], run: Sequence[Path]) -> tuple[str, ...]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return ()
    restrictions = []
    if _restrict_files(libc, readable, writable, run):
        restrictions.append(OWN_FILES)
    if _deny_system_calls(libc, set(_OF_PROGRAMS) if run else set()):
        restrictions += [NO_NETWORK] if run else [NO_NETWORK, NO_PROGRAMS]
    return tuple(sorted(restrictions))


def _python_paths() -> list[Path]:
    here = Path.cwd()
    # The folder that somebody stands in (``python -m``) may be their home.
    searched = [p for p in sys.path if p and not here.is_relative_to(p)]
    ours = str(Path(__file__).parents[1])
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *searched, ours, *_SYSTEM_PATHS}
    return [Path(p) for p in sorted(paths)]


def filter_for_programs() -> bytes:
    """Return the seccomp filter of a process that runs programs, for one in another language to load.

    Instructions of 8 bytes (``struct sock_filter``); none on a processor that there is no filter for.
    """
    return b"".join(_instructions(set(_OF_PROGRAMS)))


def _instructions(granted: set[str]) -> list[bytes]:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return []
    column, audit_arch = machine
    denied = [numbers[column] for name, numbers in _DENIED.items() if name not in granted]
    return _filter(denied, _CLONE[column], audit_arch)


def _deny_system_calls(libc: ctypes.CDLL, granted: set[str]) -> bool:
    instructions = _instructions(granted)
    if not instructions:
        return False
    code = ctypes.create_string_buffer(b"".join(instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _filter(denied: Sequence[int], clone: int, audit_arch: int) -> list[bytes]:
    """Return a classic BPF program: EACCES for denied calls and other architectures, else allow."""

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    allow = 4 + len(denied) + 4
    refuse, unknown = allow + 1, allow + 2
    # struct seccomp_data: the call's number at 0, the architecture at 4, the first argument at 16.
    body = [
        instruction(_LOAD, 4),
        instruction(_JUMP_EQUAL, audit_arch, 0, refuse - 2),
        instruction(_LOAD, 0),
        instruction(_JUMP_AT_LEAST, _X32_BIT, refuse - 4, 0),
    ]
    body += [instruction(_JUMP_EQUAL, n, refuse - at - 1) for at, n in enumerate(denied, start=len(body))]
    body += [
        instruction(_JUMP_EQUAL, _CLONE3, unknown - allow + 3),
        instruction(_JUMP_EQUAL, clone, 0, 2),
        instruction(_LOAD, 16),
        instruction(_JUMP_ANY_BIT, _NEW_NAMESPACES, 1, 0),
    ]
    return [
        *body,
        instruction(_RETURN, _RET_ALLOW),
        instruction(_RETURN, _RET_ERRNO | _EACCES),
        instruction(_RETURN, _RET_ERRNO | _ENOSYS),
    ]


def _restrict_files(
    libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path], programs: Iterable[Path]
) -> bool:
    abi = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    handled = (1 << _FS_RIGHTS_BY_ABI.get(abi, 16)) - 1
    # Rights on TCP came with version 4, scopes with version 6; older kernels want a shorter structure.
    attributes = struct.pack("QQQ", handled, _NET_TCP, _SCOPE_SOCKETS_AND_SIGNALS)
    attributes = attributes[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path, _READ & handled)
        for path in (*writable, *map(Path, _WRITABLE_DEVICES)):
            _allow(libc, ruleset, path, handled & ~_EXECUTE)
        for path in programs:
            _allow(libc, ruleset, path, (_READ | _EXECUTE) & handled)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Add a rule; a missing path needs none."""
    try:
        fd = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
    finally:
        os.close(fd)
