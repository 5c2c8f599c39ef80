"""Boards: one after another, whatever becomes of each; what they gave decides which file is recommended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.fields.boards import Accelerator
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.board import BoardFile, BoardSummary, Machine
from modelconversion_api.reports.conversion import RecommendedMethod, StageResult
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.decisions import CreateJob, DeleteJob, PatchJob
from modelconversion_operator.deciding.manifest import JobSettings, Part, job_manifest, job_name
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import JobView, PodView
from support.operator import objects
from support.operator.board_story import (
    BOTH,
    FAST,
    GATED,
    NONE,
    VETO,
    Story,
    file,
    of_board,
    on_board,
    told,
)
from support.operator.objects import (
    DEFAULTS,
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    job,
    pod,
    running,
    spec,
    summary,
    waiting,
)


def test_the_boards_follow_the_conversion_one_by_one() -> None:
    story = Story(FAST, GATED)
    assert story.status.phase is Phase.RUNNING
    assert len(story.status.artifacts) == 2, "what is published stands in the status at once"
    assert story.status.job_name == job_name(KEY, "1")
    waits = story.see(job(), pod(ended(), ended(), ended(message="gone")))
    assert waits.status.job_name == job_name(KEY, "1"), "the Job that has published ends by itself"
    assert (waits.recheck_seconds or 0) > 0
    for name in ("fast", "pi5"):
        made = story.to_board() if name == "fast" else story.see(None)
        assert made.job_action == CreateJob(
            "1", ModelConversionSpec.model_validate(spec(**story.boards)), Part(board=name)
        )
        assert made.status.job_name == job_name(KEY, "1", Part(board=name))
        shown = story.see(of_board(name), on_board(ended(), running()))
        assert (shown.status.phase, shown.status.progress.stage) == (Phase.RUNNING, "Measure")
        story.ends(name)
        if name == "fast":
            assert story.status.job_name == job_name(KEY, "1", Part(board="fast")), "so does a board's"
            story.see(of_board("fast", complete=True))
    assert story.status.phase is Phase.SUCCEEDED
    assert [m.board for m in story.status.measurements] == ["fast", "pi5"]
    row = story.status.measurements[1]
    assert (row.node, row.processor, row.runtime) == ("node-7", "aarch64, Cortex-A76", "LiteRT 2.3.0")
    assert [(f.method, f.latency_millis, f.passed) for f in row.files] == [
        ("FullInteger", "12.0000", True),
        ("Float32", "12.0000", True),
    ]
    assert row.report_uri == "s3://models/out/boards/pi5.json"
    assert story.status.recommended.method == Method.FULL_INTEGER
    assert "measured on fast, pi5" in story.status.conditions[0].message


def test_a_gate_of_a_board_vetoes_the_recommendation() -> None:
    story = Story(GATED)
    story.to_board()
    story.ends("pi5", VETO)
    assert story.status.phase is Phase.SUCCEEDED
    assert story.status.recommended.method == Method.FLOAT32
    assert story.status.recommended.uri.endswith("gesture_float32.tflite")
    assert "FullInteger did not pass on pi5" in story.status.recommended.reason


def test_what_ran_the_files_and_what_it_left_stand_in_the_row() -> None:
    gpu = file(Method.FULL_INTEGER).changed(accelerated_operators=29, fallback_operators=1)
    none = BoardFile(
        method=Method.FLOAT32, passed=False, reason=FailureReason.NOTHING_MAPPED, message="it takes nothing"
    )
    summary_of = StageResult(
        board=BoardSummary(
            board="pi5",
            accelerator=Accelerator.GPU,
            machine=Machine(runtime="LiteRT 2.3.0 on llvmpipe, a software driver", is_software=True),
            files=(gpu, none),
        )
    )
    story = Story(FAST | {"name": "pi5", "accelerator": "GPU"})
    story.to_board()
    story.ends("pi5", summary_of.encode())
    (row,) = story.status.measurements
    assert (row.accelerator, row.reason) == (Accelerator.GPU, None)
    assert row.message == (
        "the accelerator's driver is software that runs on the processor: the figures are no device's"
    )
    taken, refused = row.files
    assert (taken.accelerated_operators, taken.fallback_operators, taken.reason) == (29, 1, None)
    assert (refused.reason, refused.passed, refused.latency_millis) == ("NothingMapped", False, None)


def test_only_the_container_that_runs_the_files_gets_the_device() -> None:
    device = {"limits": {"squat.ai/dri": 1, "memory": "1Gi"}, "requests": {"squat.ai/dri": 1, "cpu": "1"}}
    board = FAST | {"accelerator": "GPU", "resources": device}
    wanted = ModelConversionSpec.model_validate(
        spec(benchmark={"boards": [board]}, job={"activeDeadlineSeconds": 1234})
    )
    assert Policy().violation("models", wanted) is not None
    assert Policy(resources=("cpu", "memory", "squat.ai/dri")).violation("models", wanted) is None
    pod = job_manifest(KEY, "1", wanted, DEFAULTS, part=Part(board="fast"))["spec"]["template"]["spec"]
    containers = {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}
    assert containers["measure"]["resources"]["limits"]["squat.ai/dri"] == 1
    for name in ("fetch", "publish"):
        resources = containers[name]["resources"]
        assert resources["limits"]["memory"] == "1Gi"
        assert "squat.ai/dri" not in {**resources["limits"], **resources["requests"]}
    seconds = {"name": "CONVERSION_BOARD_SECONDS", "value": "1234"}
    assert [seconds in containers[name]["env"] for name in ("fetch", "measure", "publish")] == [
        False,
        True,
        False,
    ]


def test_a_board_without_gates_vetoes_nothing() -> None:
    story = Story(FAST)
    story.to_board()
    story.ends("fast", NONE.replace("pi5", "fast"))
    assert story.status.phase is Phase.SUCCEEDED
    assert story.status.recommended.method == Method.FULL_INTEGER


def test_where_nothing_passes_on_a_board_the_conversion_has_failed_with_its_files_in_the_status() -> None:
    story = Story(GATED)
    story.to_board()
    story.ends("pi5", NONE)
    assert (story.status.phase, story.status.failure.reason) == (Phase.FAILED, "GatesNotMet")
    assert "pi5: 31 ms are more than 25 ms" in story.status.failure.message
    assert story.status.recommended is None
    assert len(story.status.artifacts) == 2


LOST: dict[str, tuple[JobView | None, tuple[PodView, ...], str]] = {
    "no node": (
        of_board("pi5", created=NOW - timedelta(seconds=99999)),
        (
            on_board(
                waiting("PodInitializing"),
                phase="Pending",
                age=99999,
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}
                ],
            ),
        ),
        "Unschedulable",
    ),
    "its Job failed": (
        of_board("pi5", failed="BackoffLimitExceeded"),
        (on_board(ended(137, reason="OOMKilled"), phase="Failed"),),
        "OutOfMemory",
    ),
    "its time was over": (of_board("pi5", failed="DeadlineExceeded"), (), "ActiveDeadlineExceeded"),
    "its name is taken": (replace(of_board("pi5"), owner_uid="somebody"), (), "JobRejected"),
    "nobody saw the result": (of_board("pi5", complete=True), (), "ReportLost"),
    "the summary of a conversion": (
        of_board("pi5", complete=True),
        (on_board(ended(), ended(), ended(message=objects.published()), phase="Succeeded"),),
        "ReportLost",
    ),
    "only measure says something": (
        of_board("pi5", complete=True),
        (on_board(ended(), ended(message=BOTH), ended(), phase="Succeeded"),),
        "ReportLost",
    ),
}


@pytest.mark.parametrize(("seen", "pods", "reason"), LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("gated", [True, False], ids=["with gates", "without"])
def test_a_board_that_gives_nothing_is_a_row_with_its_reason(seen, pods, reason, *, gated) -> None:
    board = GATED if gated else FAST | {"name": "pi5"}
    story = Story(board, FAST)
    story.to_board()
    if reason != "JobRejected":
        story.see(of_board("pi5"), on_board(waiting("PodInitializing"), phase="Pending"))
    decision = story.see(seen, *pods, seconds=901)
    (row,) = story.status.measurements
    assert (row.board, row.reason, row.files) == ("pi5", reason, [])
    assert row.message
    assert [e.reason for e in decision.events] == [reason]
    assert decision.events[0].message.startswith("board pi5: ")
    assert decision.job_action is None, "its Job stays until that is written"
    assert story.see(seen, *pods, seconds=901).events == (), "nothing is told twice"
    assert story.status.job_name == job_name(KEY, "1", Part(board="fast")), (
        "the next board is asked all the same"
    )
    story.see(None)
    story.ends("fast", told(file(Method.FULL_INTEGER), board="fast"))
    if gated:
        assert (story.status.phase, story.status.failure.reason) == (Phase.FAILED, reason)
        assert "pi5 has gates, and nothing was measured there" in story.status.failure.message
    else:
        assert story.status.phase is Phase.SUCCEEDED
        assert f"not on pi5 ({reason})" in story.status.conditions[0].message


def test_the_last_board_s_job_is_removed_where_it_has_not_ended() -> None:
    story = Story(FAST)
    story.to_board()
    seen, pods, _ = LOST["no node"]
    story.see(replace(seen, name=job_name(KEY, "1", Part(board="fast"))), *pods, seconds=901)
    assert story.status.phase is Phase.SUCCEEDED
    after = story.see(of_board("fast"), *pods)
    assert after.job_action == DeleteJob(job_name(KEY, "1", Part(board="fast")))


def test_a_finished_job_gets_its_time_to_live_on_the_way() -> None:
    story = Story(FAST)
    moved = story.see(job(complete=True, ttl=100000))
    assert isinstance(moved.job_action, PatchJob)
    assert moved.job_action.ttl_seconds == 86400


def test_suspend_holds_a_board_back_and_resume_lets_it_go_on() -> None:
    story = Story(FAST)
    story.to_board()
    story.boards["suspend"] = True
    assert story.see(of_board("fast")).job_action == PatchJob(of_board("fast").name, suspend=True)
    assert story.status.phase is Phase.SUSPENDED
    del story.boards["suspend"]
    assert story.see(of_board("fast", suspend=True)).job_action == PatchJob(
        of_board("fast").name, suspend=False
    )


def test_a_throttled_board_is_told() -> None:
    story = Story(FAST)
    story.to_board()
    hot = Machine(megahertz=(2400, 1500), max_megahertz=2400, celsius=(61.0, 85.5))
    story.ends("fast", told(file(Method.FULL_INTEGER), board="fast", machine=hot))
    assert "throttled" in story.status.measurements[0].message


def test_where_a_conversion_misses_its_own_gates_no_board_is_asked() -> None:
    story = Story()
    story.boards = {"benchmark": {"boards": [FAST]}}
    story.status = decide(conversion(**story.boards), None, [], NOW).status
    missed = StageResult(summary=summary(passed=False)).encode()
    story.see(job(), pod(ended(), ended(), ended(message=missed)))
    assert (story.status.phase, story.status.measurements) == (Phase.FAILED, [])


def manifest_of(board: dict[str, Any], **changes: Any) -> dict[str, Any]:
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": [board]}, **changes))
    settings = JobSettings("converter:1", runtime_image="runtime:1")
    return job_manifest(KEY, "1", wanted, settings, part=Part(board=board["name"]))


def test_the_pod_of_a_board() -> None:
    taint = {"key": "board", "operator": "Exists"}
    small = {"requests": {"cpu": "100m"}, "limits": {"memory": "200Mi"}}
    made = manifest_of(
        GATED | {"tolerations": [taint], "resources": small},
        job={"nodeSelector": {"pool": "big"}, "resources": {"limits": {"memory": "8Gi"}}},
        output={"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}},
    )
    pod = made["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"board": "pi5"}, "not the conversion's own"
    assert pod["tolerations"] == [taint]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert [c["name"] for c in containers] == ["fetch", "measure", "publish"]
    assert {c["image"] for c in containers} == {"runtime:1"}
    assert [c["command"][1] for c in containers] == [
        "job-board-fetch",
        "job-board-measure",
        "job-board-publish",
    ]
    secrets = ["AWS_SECRET_ACCESS_KEY" in str(c["env"]) for c in containers]
    assert secrets == [True, False, True]
    assert "CONVERSION_SIGNING_KEY" not in str(pod), "nothing is signed there"
    for container in containers:
        assert container["resources"]["limits"]["memory"] == "200Mi"
        assert "ephemeral-storage" in container["resources"]["limits"]
        assert {"name": "CONVERSION_BOARD", "value": "pi5"} in container["env"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
    inputs = [m["readOnly"] for c in containers for m in c["volumeMounts"] if m["mountPath"] == "/work/input"]
    assert inputs == [False, True, True]
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == "measure"
    assert not pod["automountServiceAccountToken"]


def test_without_a_runtime_image_boards_run_the_converter_s() -> None:
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": [FAST]}))
    made = job_manifest(KEY, "1", wanted, DEFAULTS, part=Part(board="fast"))
    assert {c["image"] for c in made["spec"]["template"]["spec"]["containers"]} == {DEFAULTS.image}


@pytest.mark.parametrize(
    ("board", "words"),
    [
        ({"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}, "board pi5 chooses nodes by"),
        ({"tolerations": [{"operator": "Exists"}]}, "board pi5 has no key"),
        (
            {"tolerations": [{"key": "node-role.kubernetes.io/control-plane"}]},
            "board pi5 tolerates the taint",
        ),
        (
            {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
            "board pi5 asks for the resource nvidia.com/gpu",
        ),
    ],
)
def test_the_platform_s_policy_holds_for_boards(board, words) -> None:
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": [GATED | board]}))
    violation = Policy().violation(KEY.namespace, wanted)
    assert violation is not None
    assert words in violation


def test_sixteen_files_fit_into_a_termination_message() -> None:
    files = tuple(
        file(method, millis=0.123456789 * n, message="a gate " * 60, passed=False).changed(
            recipe_name=f"recipe-{n}"
        )
        for n, method in enumerate(list(Method) * 3)
    )[:16]
    text = told(*files)
    assert len(text.encode()) <= 2048
    back = StageResult.decode(text)
    assert back is not None
    assert [f.made_by for f in back.board.files] == [f"recipe-{n}" for n in range(16)]
    assert back.board.files[3].latency.median_millis == pytest.approx(0.123456789 * 3, rel=1e-5)


def test_the_words_of_a_foreign_reason_are_kept() -> None:
    assert FailureReason("SomethingNew").bounded == "Unknown"
    assert RecommendedMethod(method=Method.FLOAT32, reason="x").made_by == "Float32"


def test_a_seen_board_of_another_conversion_counts_for_nothing() -> None:
    story = Story(GATED)
    story.to_board()
    stranger = Seen(conversion(story.status, **story.boards), of_board("pi5"), ())
    assert objects.deciding.decide(stranger, NOW).status.measurements == []
