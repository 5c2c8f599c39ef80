"""What a board's process may use for its accelerator, and how files share the board's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelconversion_api.fields.boards import Accelerator, Board
from modelconversion_api.reasons import FailureReason, Stage
from support.converter.tflite_files import dense
from tflite_converter.errors import ConverterError
from tflite_converter.job.board_measuring import SharedTime
from tflite_converter.verifying.accelerators import ON_MACHINE, AcceleratedLoad
from tflite_converter.verifying.drivers import devices_of, loader_of_board, readable_for


def test_a_process_gets_the_nodes_of_its_accelerator_and_no_others(tmp_path: Path) -> None:
    for name in ("dri", "nvidia0", "nvidiactl", "apex_0", "sda", "mem", "kmsg"):
        (tmp_path / name).touch()

    def names(accelerator: Accelerator) -> list[str]:
        return [path.name for path in devices_of(accelerator, tmp_path)]

    assert names(Accelerator.CPU) == []
    assert names(Accelerator.GPU) == ["dri", "nvidia0", "nvidiactl"]
    assert names(Accelerator.EDGE_TPU) == ["apex_0"]


def test_a_driver_that_the_environment_names_can_be_read_with_its_library() -> None:
    named = {"VK_DRIVER_FILES": "/a/icd.json:/b/lvp.json"}
    found = list(readable_for(Accelerator.GPU, named))
    assert {Path("/a"), Path("/b"), Path("/etc/vulkan")} <= set(found)
    assert list(readable_for(Accelerator.CPU, named)) == []


def test_a_board_takes_the_loader_beside_the_driver_or_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflite_converter.verifying.drivers._FOLDERS", (tmp_path / "vulkan",))
    beside = tmp_path / "libvulkan.so.1"
    beside.touch()
    assert loader_of_board({"VK_DRIVER_FILES": f"{tmp_path}/icd.json:/other.json"}) == str(beside)
    assert loader_of_board({}) == "libvulkan.so.1"
    (tmp_path / "vulkan").mkdir()
    (tmp_path / "vulkan/libvulkan.so.1").touch()
    assert loader_of_board({}) == str(tmp_path / "vulkan/libvulkan.so.1")


def test_the_cpu_takes_all_and_says_nothing_of_it() -> None:
    load = AcceleratedLoad(Accelerator.CPU, Stage.EVALUATE, ON_MACHINE)
    load(dense(), 1)
    assert (load.taken.device, load.taken.accelerated_operators, load.taken.fallback_operators) == (
        "",
        None,
        None,
    )


def test_a_file_that_was_not_compiled_for_the_edge_tpu_is_not_run_on_the_cpu_instead() -> None:
    load = AcceleratedLoad(Accelerator.EDGE_TPU, Stage.EVALUATE, ON_MACHINE)
    with pytest.raises(ConverterError, match="has no part that the Edge TPU compiler has made") as caught:
        load(dense(), 1)
    assert caught.value.reason is FailureReason.NOTHING_MAPPED


@pytest.mark.parametrize(
    ("left", "files", "expected"),
    [
        (3240, 2, 600),  # the board's own limit
        (3240, 12, 270),  # its share
        (10, 1, 10),
        (-5, 3, 1),  # there is no time left: it ends at once, and says why
    ],
)
def test_files_share_what_is_left_of_the_job_s_time(left: float, files: int, expected: float) -> None:
    board = Board(name="pi5", node_selector={"board": "pi5"})
    assert SharedTime(deadline=1000.0 + left).share(board, files, now=1000.0) == expected


def test_where_the_operator_says_no_time_the_board_s_limit_counts() -> None:
    board = Board(name="pi5", node_selector={"board": "pi5"}, timeout_seconds=60)
    assert SharedTime.of({}, now=5.0).share(board, 4, now=6.0) == 60
    assert SharedTime.of({"CONVERSION_BOARD_SECONDS": "100"}, now=0.0).share(board, 3, now=0.0) == 30
