"""However a child ends, and whatever it leaves, its parent has a reason; and what the child cannot do.

The children are real processes, started and confined as those that convert: see ``hostile_child.py``.
"""

from __future__ import annotations

import ast
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from conversion_engine import sandbox
from modelconversion_api.reasons import FailureReason, Stage
from support.converter import hostile_child
from support.converter.hostile_child import NAME, SECRET, Found, Order, attacks
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import parent as worker
from tflite_converter.isolation.parent import Program, Watch, begin, run_worker
from tflite_converter.isolation.protocol import ChildLimits, Preparation
from tflite_converter.isolation.starting import child_environment
from tflite_converter.original.errors import classify
from tflite_converter.progress import Event, Listener, ignore

pytestmark = pytest.mark.slow

PATIENT = Watch(timeout_seconds=100, memory_limit_bytes=None)


HOSTILE = Program(NAME, NAME, "the child")


class Runner:
    """Runs the hostile child in a folder beside one with a secret."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.secret = folder / "home" / "credentials"
        self.work.mkdir()
        self.secret.parent.mkdir()
        (self.secret.parent / "victim").write_text("x")
        self.secret.write_text(f"secret\n{SECRET}\n")

    def order(self, act: str, memory: int | None = None) -> Order:
        return Order(act=act, limits=ChildLimits(memory_limit_bytes=memory), secret=self.secret)

    def __call__(self, act: str, watch: Watch = PATIENT, listener: Listener = ignore) -> Found:
        return run_worker(HOSTILE, self.order(act), Found, self.work, watch, listener)

    def begun(self, act: str, prepared: str | None = None) -> Found:
        """Run the child so that it begins before there is an order, and does ``prepared`` until then."""
        source = None if prepared is None else Path(prepared)
        with begin(HOSTILE, Preparation(limits=ChildLimits(), source=source), self.work, ignore) as child:
            return run_worker(HOSTILE, self.order(act), Found, self.work, PATIENT, ignore, child)

    def failure(
        self, act: str, watch: Watch = PATIENT, listener: Listener = ignore, memory: int | None = None
    ) -> ConverterError:
        with pytest.raises(ConverterError) as caught:
            run_worker(HOSTILE, self.order(act, memory), Found, self.work, watch, listener)
        assert SECRET not in caught.value.message
        return caught.value


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The only difference to a child that converts: this folder is searched for its module."""

    def environment(folder: Path, parent: Mapping[str, str]) -> dict[str, str]:
        found = child_environment(folder, parent)
        here = str(Path(hostile_child.__file__).parent)
        return found | {"PYTHONPATH": os.pathsep.join([found["PYTHONPATH"], here])}

    monkeypatch.setattr(worker, "child_environment", environment)
    return Runner(tmp_path)


@pytest.fixture
def confined() -> None:
    """For what only the kernel's help can show."""
    if (pid := os.fork()) == 0:
        os._exit(len(sandbox.enter([], [])))
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) < 3:
        pytest.skip("this kernel has no Landlock, or no seccomp")


def test_child_sees_no_secret(tmp_path: Path) -> None:
    parent = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "MY_TOKEN": "t", "KUBERNETES_SERVICE_HOST": "k"}
    found = child_environment(tmp_path, parent)
    assert found["PATH"] == "/bin"
    assert not (parent.keys() - {"PATH"}) & found.keys()
    assert found["HOME"] == str(tmp_path)


@pytest.mark.usefixtures("confined")
def test_hostile_code_gets_nothing(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = run("attack")
    own_file, own_environment = found.tried.pop("own file"), found.tried.pop("own environment")
    assert {name: said for name, said in found.tried.items() if said.startswith("got")} == {}
    assert set(found.tried.values()) <= {"EACCES", "EPERM", "EXDEV"}
    assert SECRET not in own_environment
    assert own_file == "got 1"
    assert found.isolation == ("no-network", "no-other-programs", "own-files-only")
    assert sorted(p.name for p in run.secret.parent.iterdir()) == ["credentials", "victim"]
    assert SECRET in run.secret.read_text()


@pytest.mark.usefixtures("confined")
def test_nor_does_it_where_it_has_begun_before_its_job(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = run.begun("attack")
    own_environment = found.tried.pop("own environment")
    assert {name for name, said in found.tried.items() if said.startswith("got")} == {"own file"}
    assert SECRET not in own_environment
    assert found.isolation == ("no-network", "no-other-programs", "own-files-only")


def test_the_same_code_gets_it_all_where_it_is_not_confined(run: Runner) -> None:
    """So that the test above can fail."""
    if (pid := os.fork()) == 0:
        found = {n: hostile_child.tried(a) for n, a in attacks(run.order("attack"), run.work).items()}
        refused = {name: said for name, said in found.items() if not said.startswith("got")}
        (run.work / "refused").write_text(str(refused))
        os._exit(0)
    os.waitpid(pid, 0)
    refused = ast.literal_eval((run.work / "refused").read_text())
    # The secret is gone by then; another's memory may be kept from it by Yama.
    assert refused.keys() <= {"truncate", "parent's memory"}
    assert SECRET in (run.work / "taken").read_text()


@pytest.mark.parametrize(
    ("act", "reason", "says"),
    [
        ("segfault", FailureReason.CONVERTER_CRASHED, "the child died of SIGSEGV"),
        ("abort", FailureReason.CONVERTER_CRASHED, "the child died of SIGABRT"),
        ("abort with words", FailureReason.CONVERTER_CRASHED, "SIGABRT: Check failed: shape mismatch"),
        ("abort for want of memory", FailureReason.OUT_OF_MEMORY, "ran out of memory"),
        ("kill", FailureReason.OUT_OF_MEMORY, "SIGKILL"),
        ("terminate", FailureReason.CONVERTER_CRASHED, "SIGTERM"),
        ("real-time signal", FailureReason.CONVERTER_CRASHED, "signal 60"),
        ("exit with words", FailureReason.CONVERTER_CRASHED, "exit code 3: �[2Jwords"),
        ("exit without words", FailureReason.CONVERTER_CRASHED, "exit code 3: without a word"),
        ("complain", FailureReason.WEIGHTS_ONLY, "weights� only. Hint: do� better"),
        ("nothing", FailureReason.CONVERTER_CRASHED, "without a result"),
        ("garbage", FailureReason.CONVERTER_CRASHED, "without a result"),
        ("pipe as result", FailureReason.CONVERTER_CRASHED, "without a result"),
        ("giant as result", FailureReason.CONVERTER_CRASHED, "without a result"),
        ("secret as result", FailureReason.CONVERTER_CRASHED, "without a result"),
        ("secret as error", FailureReason.CONVERTER_CRASHED, "exit code 1"),
        ("secret as log", FailureReason.CONVERTER_CRASHED, "exit code 1: without a word"),
    ],
)
def test_every_end_is_a_reason(run: Runner, act: str, reason: FailureReason, says: str) -> None:
    found = run.failure(act)
    assert (found.reason, found.stage) == (reason, Stage.LOAD)
    assert says in found.message


@pytest.mark.parametrize(
    ("act", "reason", "says"),
    [
        ("complain", FailureReason.WEIGHTS_ONLY, "weights� only. Hint: do� better"),
        ("segfault", FailureReason.CONVERTER_CRASHED, "the child died of SIGSEGV"),
        ("exit with words", FailureReason.CONVERTER_CRASHED, "exit code 3: �[2Jwords"),
        ("nothing", FailureReason.CONVERTER_CRASHED, "without a result"),
    ],
)
def test_an_end_before_there_is_a_job_is_a_reason_as_well(
    run: Runner, act: str, reason: FailureReason, says: str
) -> None:
    with pytest.raises(ConverterError, match=re.escape(says)) as caught:
        run.begun("count", prepared=act)
    assert caught.value.reason is reason


def test_a_child_knows_when_it_got_its_job(run: Runner) -> None:
    before = time.monotonic()
    with begin(HOSTILE, Preparation(limits=ChildLimits()), run.work, ignore) as child:
        given = time.monotonic()
        found = run_worker(
            HOSTILE, run.order("tell when it was asked"), Found, run.work, PATIENT, ignore, child
        )
    assert before < given <= float(found.tried["asked at"]) <= time.monotonic()
    assert before < float(run("tell when it was asked").tried["asked at"]) <= time.monotonic()


@pytest.mark.parametrize("act", ["count", "hang"])
def test_a_child_that_gets_no_job_ends_with_the_block(run: Runner, act: str) -> None:
    with begin(HOSTILE, Preparation(limits=ChildLimits(), source=Path(act)), run.work, ignore) as child:
        pid = child.process.pid
        assert is_running(pid)
    assert not is_running(pid)


def test_nothing_is_written_through_what_a_child_has_left(run: Runner) -> None:
    """The next child's job and log must not land where links of the first one point."""
    before = run.secret.read_text()
    with pytest.raises(ConverterError):
        run("secret as log")
    names = [p.name for p in run.work.iterdir()]
    assert names
    run("count")
    assert run.secret.read_text() == before


@pytest.mark.parametrize("act", ["hang", "hang in silence"])
def test_a_hang_names_what_was_done(run: Runner, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock leaps once the child has said what it is about: no machine is too slow for this."""
    real, leaped = time.monotonic, [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: real() + leaped[0])

    def leap(event: Event) -> None:
        leaped[0] = 1000.0

    found = run.failure(act, Watch(900, None), leap)
    assert (found.reason, found.stage) == (FailureReason.CONVERTER_TIMED_OUT, Stage.CONVERT)
    assert "said nothing for 1000 s while thinking" in found.message


@pytest.mark.parametrize("act", ["eat", "eat in a fork"])
def test_a_glutton_is_ended_with_figures(run: Runner, act: str) -> None:
    found = run.failure(act, Watch(100, 300 << 20))
    assert (found.reason, found.stage) == (FailureReason.OUT_OF_MEMORY, Stage.CONVERT)
    assert re.search(r"took \d+\.\dMiB of memory while eating, more than the 300\.0MiB", found.message)


def test_the_limit_of_data_is_a_reason(run: Runner) -> None:
    found = run.failure("eat", memory=300 << 20)
    assert (found.reason, found.stage) == (FailureReason.OUT_OF_MEMORY, Stage.CONVERT)


@pytest.mark.parametrize(
    ("act", "reason", "says"),
    [
        ("eat all and segfault", FailureReason.OUT_OF_MEMORY, "ran out of memory (it ended by SIGSEGV)"),
        ("segfault", FailureReason.CONVERTER_CRASHED, "died of SIGSEGV"),
    ],
)
def test_a_crash_is_want_of_memory_only_near_the_limit(
    run: Runner, act: str, reason: FailureReason, says: str
) -> None:
    found = run.failure(act, memory=300 << 20)
    assert found.reason is reason
    assert says in found.message


def test_what_the_child_started_ends_with_it(run: Runner) -> None:
    """Though the fork holds the progress pipe, and hears no signal that it can close its ears to."""
    fork = int(run("leave a fork").tried["fork"])
    while is_running(fork):  # until pytest's own timeout
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """A zombie, which its new parent has not looked at yet, runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_noise_on_the_pipe_is_not_heard(run: Runner) -> None:
    heard: list[Event] = []
    run("chatter", listener=heard.append)
    assert [(e.text, e.fraction) for e in heard] == [("�]0;owned�hello", 0.5)]


def test_progress_is_told_in_twentieths(run: Runner) -> None:
    heard: list[Event] = []
    run("count", listener=heard.append)
    assert [round((e.fraction or 0) * 41) for e in heard] == [*range(2, 41, 2), 41]
    assert {(e.text, e.stage, e.warning) for e in heard} == {("counting", Stage.EVALUATE, False)}


@pytest.mark.parametrize(
    ("text", "stage", "reason", "says"),
    [
        ("Unknown layer: 'Swish2'. Please ensure", Stage.LOAD, FailureReason.CUSTOM_OBJECT, "Swish2"),
        (
            "Could not locate class 'Mine'. Make sure custom classes are decorated",
            Stage.LOAD,
            FailureReason.CUSTOM_OBJECT,
            "Mine",
        ),
        ("Unable to open file", Stage.LOAD, FailureReason.UNREADABLE_MODEL, "Unable"),
        (
            "x: error: 'tf.MatrixInverse' op is neither a custom op nor a flex op",
            Stage.CONVERT,
            FailureReason.UNSUPPORTED_OPERATION,
            "MatrixInverse",
        ),
        (
            "'tf.TensorListReserve' op requires element_shape to be static",
            Stage.CONVERT,
            FailureReason.UNSUPPORTED_SHAPE,
            "TensorListReserve",
        ),
        ("/a/b/secret/file.py broke", Stage.CONVERT, FailureReason.CONVERSION_FAILED, "file.py broke"),
        ("std::bad_alloc", Stage.CONVERT, FailureReason.OUT_OF_MEMORY, "memory"),
    ],
)
def test_exceptions_of_tensorflow(text: str, stage: Stage, reason: FailureReason, says: str) -> None:
    found = classify(ValueError(text), stage)
    assert found.reason is reason
    assert says in found.cause
    assert "/a/b" not in found.cause


def test_our_own_errors_pass_through() -> None:
    own = ConverterError(FailureReason.DATA_TOO_FEW, Stage.CALIBRATE, "x")
    assert classify(own, Stage.LOAD) is own
