"""Programs that try to get out of the sandbox of metrics: the real one, without a container around it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conversion_engine.sandbox import filter_for_programs
from modelconversion_api.reasons import FailureReason, exit_code
from modelconversion_api.reports.conversion import StageResult
from support.converter.metric_sandbox import metric_sandbox
from tflite_converter.errors import ConverterError
from tflite_converter.job.metrics.sandbox import PROGRAM_ENV, hand_over_sandbox

PYTHON = os.path.realpath(sys.executable)


class Box:
    """The folders of a metric's container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results, self.message, self.filter = folder / "results", folder / "message", folder / "filter"
        (folder / "data" / "outputs").mkdir(parents=True)
        self.results.mkdir()
        self.filter.write_bytes(filter_for_programs())
        self.outputs("original", "b_int8")

    def outputs(self, *names: str) -> None:
        for name in names:
            (self.folder / "data" / "outputs" / f"{name}.npz").write_bytes(b"")

    def run(self, *command: str, seconds: int = 20, **environment: str) -> subprocess.CompletedProcess[str]:
        told = (self.filter, self.folder / "data", self.results, self.message, str(seconds), *command)
        return subprocess.run(
            [metric_sandbox(), *told],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def note(self, name: str = "original") -> str:
        return (self.results / f"{name}.exit").read_text()

    def told(self, name: str = "original") -> dict[str, object]:
        return json.loads((self.results / f"{name}.json").read_text())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


TELLS = """
import json, os
with open(os.environ["METRIC_RESULT"], "w") as file:
    json.dump(FOUND, file)
"""


def test_each_file_is_a_run_of_its_own_the_original_first(box):
    box.outputs("a_float32", "zz")
    (box.folder / "data" / "labels.npz").write_bytes(b"")
    (box.folder / "data" / "outputs" / "notes.txt").write_bytes(b"")
    environment = '{k: v for k, v in os.environ.items() if k.startswith(("METRIC_", "KUBERNETES_", "PLAIN"))}'
    done = box.run(
        PYTHON, "-c", TELLS.replace("FOUND", environment), PLAIN="1", KUBERNETES_SERVICE_HOST="10.0.0.1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        word for name in ("original", "a_float32", "b_int8", "zz") for word in ("metric-sandbox:", name)
    ]
    data = box.folder / "data"
    assert box.told("zz") == {
        "METRIC_OUTPUTS": f"{data}/outputs/zz.npz",
        "METRIC_ORIGINAL": f"{data}/outputs/original.npz",
        "METRIC_LABELS": f"{data}/labels.npz",
        "METRIC_RESULT": f"{box.results}/zz.json",
        "PLAIN": "1",
    }
    assert {box.note(name) for name in ("original", "a_float32", "b_int8", "zz")} == {"exited 0\n"}


def test_there_are_no_sockets_for_any_of_its_processes(box):
    tries = """
import ctypes, os, socket, subprocess, sys
def reached():
    found = []
    for kind in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
        for form in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(kind, form)
                found.append([int(kind), int(form)])
            except OSError:
                pass
    try:
        socket.socketpair()
        found.append("pair")
    except OSError:
        pass
    libc = ctypes.CDLL(None, use_errno=True)
    calls = {"io_uring_setup": (425, 8, 0), "pidfd_getfd": (438, 1, 0, 0), "x32": (0x40000029, 2, 1, 0)}
    for name, numbers in calls.items():
        if libc.syscall(*numbers) >= 0:
            found.append(name)
    return found
if len(sys.argv) > 1:
    print(reached())
else:
    child = subprocess.run([sys.executable, "-c", TEXT, "child"], capture_output=True, text=True)
    FOUND = {"here": reached(), "below": child.stdout.strip(), "ran": child.returncode}
"""
    text = f"TEXT = {tries!r}\nTEXT = 'TEXT = None' + chr(10) + TEXT\n{tries}\n{TELLS}"
    done = box.run(PYTHON, "-c", text)
    assert done.returncode == 0, done.stderr
    assert box.note() == "exited 0\n", done.stderr
    assert box.told() == {"here": [], "below": "[]", "ran": 0}


def test_nothing_is_inherited_but_the_standard_streams(box):
    listing = TELLS.replace("FOUND", 'sorted(map(int, os.listdir("/proc/self/fd")))[:3]')
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    try:
        told = (box.filter, box.folder / "data", box.results, box.message, "20", PYTHON, "-c", listing)
        subprocess.run([metric_sandbox(), *told], pass_fds=(reader,), check=True, capture_output=True)
    finally:
        os.close(reader)
        os.close(writer)
    assert box.told() == [0, 1, 2]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody without capabilities")
def test_the_sandbox_itself_cannot_be_written_to(box):
    """It has no filter: whoever could write to its memory would have the network."""
    tries = """
import os
found = []
for name in ("mem", "environ"):
    try:
        open(f"/proc/{os.getppid()}/{name}", "r+b" if name == "mem" else "rb")
        found.append(name)
    except OSError:
        pass
FOUND = found
"""
    for folder in (box.folder, *box.folder.rglob("*")):
        folder.chmod(0o777)
    shutil.copyfile(metric_sandbox(), box.folder / "sandbox")
    (box.folder / "sandbox").chmod(0o755)
    for parent in box.folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    told = (box.filter, box.folder / "data", box.results, box.message, "20")
    nobody = ("--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all")
    setpriv = shutil.which("setpriv") or pytest.skip("needs setpriv")
    python = shutil.which("python3", path="/usr/bin:/bin") or pytest.skip("needs a Python for everybody")
    done = subprocess.run(
        [setpriv, *nobody, box.folder / "sandbox", *told, python, "-c", tries + TELLS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert box.told() == []


@pytest.mark.parametrize(
    ("command", "note"),
    [
        (("/bin/sh", "-c", "exit 3"), "exited 3\n"),
        (("/bin/sh", "-c", "kill -SEGV $$"), "signal 11\n"),
        (("/bin/sh", "-c", "kill -KILL $$"), "signal 9\n"),
        (("/no/such/program",), "noexec 2\n"),
        (("/etc/passwd",), "noexec 13\n"),
        (("/bin/sh", "-c", "ln -s /etc/passwd ${METRIC_RESULT%.json}.exit"), "exited 0\n"),
        (("/bin/sh", "-c", "exec truncate -s 256M $METRIC_RESULT"), "exited 0\n"),
        (("/bin/sh", "-c", "exec truncate -s 257M $METRIC_RESULT"), "signal 25\n"),
    ],
    ids=str,
)
def test_how_a_run_ended_is_noted(box, command, note):
    assert box.run(*command).returncode == 0
    assert {box.note(), box.note("b_int8")} == {note}


def test_a_run_that_takes_too_long_is_ended_with_all_that_it_started(box):
    marker = f"marker-{time.time_ns()}"
    started = time.monotonic()
    text = f"trap '' TERM; (trap '' TERM; exec -a {marker} sleep 50) & setsid sleep 50; sleep 50"
    bash = shutil.which("bash") or "/bin/bash"
    assert box.run(bash, "-c", text, seconds=1).returncode == 0
    assert time.monotonic() - started < 20
    assert box.note() == "timeout 1\n"
    listing = subprocess.run(["/bin/ps", "axo", "args"], capture_output=True, text=True, check=False).stdout
    assert marker not in listing


def test_what_a_run_leaves_running_is_gone_before_the_next(box):
    text = f"({TELLS.split()[0]} 2>/dev/null; sleep 50) & exit 0"
    started = time.monotonic()
    assert box.run("/bin/sh", "-c", text, seconds=30).returncode == 0
    assert time.monotonic() - started < 20
    assert box.note() == "exited 0\n"


@pytest.mark.parametrize("content", [b"", b"\xff" * 64])
def test_without_a_filter_nothing_is_run(box, content):
    box.filter.write_bytes(content)
    done = box.run("/bin/sh", "-c", "touch $METRIC_RESULT")
    assert done.returncode == exit_code(FailureReason.METRIC_FAILED)
    assert list(box.results.iterdir()) == []
    failure = StageResult.decode(box.message.read_text()).failure
    assert failure.reason is FailureReason.METRIC_FAILED
    assert "filter" in failure.message or "network" in failure.message


def test_an_image_without_the_program_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(PROGRAM_ENV, str(tmp_path / "nothing"))
    with pytest.raises(ConverterError) as caught:
        hand_over_sandbox()
    assert caught.value.reason is FailureReason.METRIC_FAILED


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another root")
def test_it_needs_nothing_of_the_image(box):
    """A foreign image may have no C library, no shell and no folders but those that are mounted."""
    shutil.copyfile(metric_sandbox(), box.folder / "sandbox")
    (box.folder / "sandbox").chmod(0o755)
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or pytest.skip("needs chroot")
    told = ("/sandbox", "/filter", "/data", "/results", "/message", "20", "/sandbox")
    done = subprocess.run([chroot, box.folder, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert box.note("b_int8") == "exited 2\n", "what a sandbox says that is told nothing"
