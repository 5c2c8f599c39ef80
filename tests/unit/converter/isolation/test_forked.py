"""Work in a fork: what it finds comes back, and however it dies, only it is lost."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from conversion_engine import sandbox
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import Task, forked, forked_beside
from tflite_converter.isolation.isolated import run_isolated
from tflite_converter.isolation.protocol import ChildLimits, WorkerFailure


class Found(ApiModel):
    """What a fork found."""

    text: str


def run(folder: Path, work: Callable[[], Found]) -> Found | WorkerFailure:
    return forked(Child(folder), "the LiteRT process", "measuring full_integer", Found, work)


def die(number: int) -> NoReturn:
    faulthandler.disable()  # pytest's, which would tell of it at length
    os.kill(os.getpid(), number)
    time.sleep(60)
    os._exit(9)


def segfault() -> NoReturn:
    faulthandler.disable()
    ctypes.string_at(0)
    os._exit(9)


def abort_with(words: str) -> NoReturn:
    faulthandler.disable()
    os.write(2, words.encode())
    os.abort()


def refuse() -> NoReturn:
    raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, "no range", hint="give more")


def fail() -> NoReturn:
    raise KeyError("odd\nsecond line")


def leave(result: Callable[[Path], object], folder: Path) -> NoReturn:
    result(folder / f"fork-{os.getppid()}-0.json")
    os._exit(0)


def test_what_it_finds_comes_back(tmp_path: Path) -> None:
    assert run(tmp_path, lambda: Found(text="ä")) == Found(text="ä")


@pytest.mark.parametrize(
    ("work", "reason", "says"),
    [
        (segfault, FailureReason.CONVERTER_CRASHED, "died of SIGSEGV"),
        (lambda: die(signal.SIGABRT), FailureReason.CONVERTER_CRASHED, "died of SIGABRT"),
        (lambda: abort_with("what():  std::bad_alloc"), FailureReason.OUT_OF_MEMORY, "ran out of memory"),
        (
            lambda: abort_with("F: Check failed: a < 3"),
            FailureReason.CONVERTER_CRASHED,
            ": Check failed: a < 3",
        ),
        (lambda: die(signal.SIGKILL), FailureReason.OUT_OF_MEMORY, "SIGKILL"),
        (lambda: os._exit(7), FailureReason.CONVERTER_CRASHED, "without a result"),
        (lambda: os._exit(0), FailureReason.CONVERTER_CRASHED, "without a result"),
    ],
)
def test_a_death_says_what_was_being_done(
    tmp_path: Path, work: Callable[[], Found], reason: FailureReason, says: str
) -> None:
    found = run(tmp_path, work)
    assert isinstance(found, WorkerFailure)
    assert (found.reason, found.stage) == (reason, Stage.LOAD)
    assert says in found.cause
    assert found.cause.endswith("while measuring full_integer")


@pytest.mark.parametrize(
    ("work", "reason", "cause"),
    [
        (refuse, FailureReason.QUANTIZATION_FAILED, "no range"),
        (fail, FailureReason.INTERNAL_ERROR, r"KeyError: 'odd\nsecond line'"),
    ],
)
def test_an_exception_comes_back_as_a_reason(
    tmp_path: Path, work: Callable[[], Found], reason: FailureReason, cause: str
) -> None:
    found = run(tmp_path, work)
    assert isinstance(found, WorkerFailure)
    assert (found.reason, found.cause) == (reason, cause)


@pytest.mark.parametrize(
    "result",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text('{"text": 3}'),
        lambda path: path.symlink_to("/etc/hostname"),
        os.mkfifo,
        Path.mkdir,
    ],
)
def test_a_result_that_is_none_is_a_reason(tmp_path: Path, result: Callable[[Path], object]) -> None:
    found = run(tmp_path, lambda: leave(result, tmp_path))
    assert isinstance(found, WorkerFailure)
    assert found.reason is FailureReason.CONVERTER_CRASHED


def test_one_that_never_comes_back_is_ended(tmp_path: Path) -> None:
    def hang() -> Found:
        ctypes.CDLL(None).pause()  # in native code, where Python's own handlers do not run
        return Found(text="back")

    child, words, name = Child(tmp_path), "the LiteRT process", "verifying float32 on GPU"
    found = forked(child, words, name, Found, hang, most_seconds=0.3)
    assert isinstance(found, WorkerFailure)
    assert found.reason is FailureReason.CONVERTER_TIMED_OUT
    assert found.cause == "the LiteRT process was not done after 0 s, while verifying float32 on GPU"
    assert forked(child, words, name, Found, lambda: Found(text="ä"), most_seconds=60) == Found(text="ä")
    assert isinstance(run(tmp_path, lambda: die(signal.SIGALRM)), WorkerFailure)


def test_an_earlier_result_is_not_taken_for_this_one(tmp_path: Path) -> None:
    run(tmp_path, lambda: Found(text="old"))
    found = run(tmp_path, lambda: os._exit(0))
    assert isinstance(found, WorkerFailure)


def data_bytes() -> int:
    """Data of this process, which a fork begins with: that of a worker that has run other tests is large."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmData:")]
    return int(line.split()[1]) << 10


def test_an_error_in_a_confined_fork_is_told_apart_from_want_of_memory(tmp_path: Path) -> None:
    """The fork may not read /proc, not even its own status."""

    def confined(act: Callable[[], Found]) -> Found | WorkerFailure:
        child = Child(tmp_path)

        def outer() -> Found:
            child.restrict(ChildLimits(memory_limit_bytes=data_bytes() + (1 << 30)))
            inner = forked(child, "the LiteRT process", "trying", Found, act)
            return Found(text=inner.model_dump_json())

        found = forked(child, "the LiteRT process", "confining", Found, outer)
        assert isinstance(found, Found), found
        return WorkerFailure.model_validate_json(found.text)

    def devour() -> Found:
        eaten = []
        while True:
            eaten.append(bytearray(64 << 20))

    assert confined(fail).reason is FailureReason.INTERNAL_ERROR
    assert confined(devour).reason is FailureReason.OUT_OF_MEMORY


def test_an_interruption_of_the_parent_ends_the_fork(tmp_path: Path) -> None:
    """A command that is told to stop must not leave its fork at work."""
    reader, writer = os.pipe()

    def work() -> NoReturn:
        os.write(writer, str(os.getpid()).encode())
        time.sleep(
            0.2
        )  # in a process with several threads, a signal can hit fork's own hooks and be lost there
        os.kill(os.getppid(), signal.SIGUSR1)
        time.sleep(300)
        os._exit(9)

    def interrupt(_number: int, _frame: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedError):
            run(tmp_path, work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(os.read(reader, 20)), 0)


def test_an_interruption_during_the_fork_itself_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fork and the wait for it, nobody would end it."""
    pids: list[int] = []

    def fork_and_interrupt(fork: Callable[[], int] = os.fork) -> int:
        pid = fork()
        if pid:
            pids.append(pid)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", fork_and_interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, lambda: time.sleep(300) or Found())
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


class Times(ApiModel):
    """When a fork began and ended."""

    name: str
    begin: float
    end: float


def timed(name: str, seconds: float, lane: str | None = None) -> Task[Times]:
    def work() -> Times:
        begin = time.monotonic()
        time.sleep(seconds)
        return Times(name=name, begin=begin, end=time.monotonic())

    return Task(name, Times, work, lane)


def together(folder: Path, tasks: list[Task[Times]], most: int) -> list[Times]:
    ended = forked_beside(Child(folder), "the LiteRT process", tasks, most)
    found = [one.answer for one in ended if isinstance(one.answer, Times)]
    assert len(found) == len(tasks)
    assert all(one.seconds >= answer.end - answer.begin for one, answer in zip(ended, found, strict=True))
    return found


@pytest.mark.parametrize("most", [1, 2, 5])
def test_forks_run_beside_each_other_and_answer_in_order(tmp_path: Path, most: int) -> None:
    found = together(tmp_path, [timed(str(i), 0.3 if i == 0 else 0.05) for i in range(4)], most)
    assert [one.name for one in found] == ["0", "1", "2", "3"]
    at_once = max(sum(other.begin <= one.begin < other.end for other in found) for one in found)
    assert at_once <= most
    assert (at_once == 1) == (most == 1)


def test_of_a_lane_one_runs_at_a_time_and_others_go_past(tmp_path: Path) -> None:
    tasks = [timed("a", 0.3, "slow"), timed("b", 0.05, "slow"), timed("c", 0.05)]
    first, second, other = together(tmp_path, tasks, 2)
    assert second.begin >= first.end
    assert other.begin < first.end


def test_a_death_takes_nothing_else_along(tmp_path: Path) -> None:
    def fails(name: str) -> Task[Found]:
        return Task(name, Found, lambda: die(signal.SIGSEGV))

    def finds(name: str) -> Task[Found]:
        return Task(name, Found, lambda: Found(text=name))

    child, words = Child(tmp_path), "the LiteRT process"
    tasks = [fails("one"), finds("two"), Task("three", Found, refuse), finds("four")]
    one, two, three, four = (ended.answer for ended in forked_beside(child, words, tasks, 4))
    assert isinstance(one, WorkerFailure)
    assert one.cause == "the LiteRT process died of SIGSEGV while one"
    assert (two, four) == (Found(text="two"), Found(text="four"))
    assert isinstance(three, WorkerFailure)
    assert three.reason is FailureReason.QUANTIZATION_FAILED
    assert forked_beside(child, words, [], 4) == ()


def test_an_interruption_ends_all_forks(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def hang() -> NoReturn:
        os.write(writer, f"{os.getpid()}\n".encode())
        time.sleep(300)
        os._exit(9)

    def interrupt(_number: int, _frame: object) -> None:
        raise InterruptedError

    def tell() -> NoReturn:
        time.sleep(0.5)
        os.kill(os.getppid(), signal.SIGUSR1)
        time.sleep(300)
        os._exit(9)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        tasks = [Task("hanging", Found, hang), Task("hanging", Found, hang), Task("telling", Found, tell)]
        with pytest.raises(InterruptedError):
            forked_beside(Child(tmp_path), "the LiteRT process", tasks, 3)
    finally:
        signal.signal(signal.SIGUSR1, before)
    pids = os.read(reader, 100).split()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_fork_of_somebody_else_is_left_to_them(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    time.sleep(0.05)
    together(tmp_path, [timed("a", 0.05), timed("b", 0.05)], 2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_isolated_work_reads_what_it_may_and_writes_nothing(tmp_path: Path) -> None:
    given, other, out = tmp_path / ("given" * 50), tmp_path / "other", tmp_path / "out"
    given.write_text("given")
    other.write_text("other")

    def work() -> Found:
        seen = []
        for attempt in (given.read_text, other.read_text, lambda: out.write_text("x"), os.getppid):
            try:
                seen.append(str(attempt()))
            except PermissionError:
                seen.append("refused")
        return Found(text=",".join(seen[:3]))

    if (pid := os.fork()) == 0:
        os._exit("own-files-only" in sandbox.enter([], []))
    if not os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        pytest.skip("this kernel has no Landlock")
    found = run_isolated(f"running {given.name}", Found, [given], work)
    assert found.text == "given,refused,refused"


def test_isolated_work_has_no_terminal_to_type_into() -> None:
    found = run_isolated(
        "looking", Found, [], lambda: Found(text=f"{os.getsid(0) == os.getpid()} {os.read(0, 10)!r}")
    )
    assert found.text == "True b''"


def test_isolated_work_may_use_the_devices_it_is_given_and_no_others(tmp_path: Path) -> None:
    given, other = tmp_path / "renderD128", tmp_path / "nvme0"
    for device in (given, other):
        device.touch()

    def write() -> Found:
        given.write_bytes(b"commands")
        try:
            other.write_bytes(b"commands")
        except PermissionError:
            return Found(text="kept out")
        return Found(text="let in")

    found = run_isolated("trying", Found, [], write, devices=[given])
    if found.text == "let in":
        pytest.skip("this kernel has no Landlock")
    assert (given.read_bytes(), other.read_bytes()) == (b"commands", b"")


def test_isolated_work_raises_what_it_found() -> None:
    with pytest.raises(ConverterError, match=r"no range\. Hint: give more") as caught:
        run_isolated("trying", Found, [], refuse)
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED
