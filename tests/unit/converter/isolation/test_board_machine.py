"""What a board shows of itself: folders as Linux lays them out, and texts of /proc/cpuinfo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reports.board import Machine
from tflite_converter.isolation.board_machine import Look, look, machine_between
from tflite_converter.isolation.machine import names_in


def board(folder: Path, thermal: Mapping[str, bytes], processors: Mapping[str, bytes]) -> Look:
    """Look at a board with these files: zone to its temp, and a processor's file to its content."""
    for name, content in thermal.items():
        _write(folder / "thermal" / name / "temp", content)
    for name, content in processors.items():
        _write(folder / "cpu" / name, content)
    return look(folder / "thermal", folder / "cpu")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def clocks(*kilohertz: tuple[int, int]) -> dict[str, bytes]:
    """Present and highest clock of each processor."""
    files = {}
    for number, (now, highest) in enumerate(kilohertz):
        files[f"cpu{number}/cpufreq/scaling_cur_freq"] = f"{now}\n".encode()
        files[f"cpu{number}/cpufreq/cpuinfo_max_freq"] = f"{highest}\n".encode()
    return files


NOTHING = Look(None, None, None)
BOARDS: dict[str, tuple[dict[str, bytes], dict[str, bytes], Look]] = {
    "a Raspberry Pi 5": (
        {"thermal_zone0": b"61950\n"},
        clocks(*[(2_400_000, 2_400_000)] * 4),
        Look(62.0, 2400, 2400),
    ),
    "its clock is lowered": (
        {"thermal_zone0": b"85123\n"},
        clocks(*[(1_500_345, 2_400_000)] * 4),
        Look(85.1, 1500, 2400),
    ),
    "big.LITTLE, its big ones asleep": (
        {"thermal_zone0": b"41000", "thermal_zone1": b"55499", "thermal_zone2": b"39000"},
        clocks((1_800_000, 1_800_000), (408_000, 2_256_000)),
        Look(55.5, 1800, 2256),
    ),
    "a container without both": ({}, {}, NOTHING),
    "zones without a sensor": ({"thermal_zone0": b"0\n", "thermal_zone1": b"-274000\n"}, {}, NOTHING),
    "garbage": (
        {"thermal_zone0": b"\xff\xfe", "thermal_zone1": b"", "thermal_zone2": b"hot"},
        {"cpu0/cpufreq/scaling_cur_freq": b"<unknown>\n", "cpu0/cpufreq/cpuinfo_max_freq": b"1.5"},
        NOTHING,
    ),
    "clocks that are none": ({}, clocks((0, 0), (-1, -2_400_000)), NOTHING),
    "numbers beyond all": (
        {"thermal_zone0": b"9" * 30},
        clocks((10**30, 10**30)),
        NOTHING,
    ),
    "one of two shows something": (
        {"thermal_zone0": b"nan", "thermal_zone1": b"50000"},
        {"cpu0/cpufreq/scaling_cur_freq": b"x", **clocks((900_000, 1_000_000))},
        Look(50.0, 900, 1000),
    ),
    "other folders": (
        {"cooling_device0": b"99000"},
        {"cpufreq/scaling_cur_freq": b"5000000", "cpuidle/cpufreq/scaling_cur_freq": b"5000000"},
        NOTHING,
    ),
}


@pytest.mark.parametrize(("thermal", "processors", "expected"), BOARDS.values(), ids=BOARDS.keys())
def test_a_look_is_what_the_board_shows(tmp_path, thermal, processors, expected) -> None:
    assert board(tmp_path, thermal, processors) == expected


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path) -> None:
    (tmp_path / "thermal/thermal_zone0/temp").mkdir(parents=True)
    assert board(tmp_path, {"thermal_zone1": b"50000"}, {}).celsius == 50.0


@pytest.mark.parametrize(
    ("before", "after", "highest", "is_throttled"),
    [
        (2400, 2400, 2400, False),
        (600, 2400, 2400, False),
        (2400, 2161, 2400, False),
        (2400, 2159, 2400, True),
        (1500, 1500, 2400, True),
        (2400, 1500, None, True),
        (1500, 1500, None, False),
    ],
)
def test_a_clock_far_under_the_highest_is_throttled(before, after, highest, is_throttled) -> None:
    made = machine_between(Look(50.0, before, highest), Look(70.5, after, highest), "node-7", "LiteRT 2.3.0")
    assert made.is_throttled is is_throttled
    assert (made.celsius, made.megahertz, made.max_megahertz) == ((50.0, 70.5), (before, after), highest)


@pytest.mark.parametrize("half", [Look(50.0, None, None), Look(None, 900, None), NOTHING])
def test_what_was_seen_once_only_is_left_out(half) -> None:
    made = machine_between(half, NOTHING, "node-7", "")
    assert (made.celsius, made.megahertz, made.is_throttled) == (None, None, False)
    assert made.node == "node-7"


@given(st.binary(max_size=40) | st.integers(-(10**40), 10**40).map(lambda n: str(n).encode()))
def test_whatever_stands_there_makes_a_machine(tmp_path_factory, content) -> None:
    files = {f"cpu0/cpufreq/{name}": content for name in ("scaling_cur_freq", "cpuinfo_max_freq")}
    seen = board(tmp_path_factory.mktemp("board"), {"thermal_zone0": content}, files)
    made = machine_between(seen, seen, "", "")
    assert Machine.model_validate_json(made.to_json()) == made


PI5 = """processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
PI5_END = """Revision\t: c04170
Serial\t\t: 1000000000000000
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
ONE = """processor\t: {number}
BogoMIPS\t: 48.00
Features\t: fp asimd
CPU implementer\t: {maker}
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 4

"""
X86 = """processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping\t: 8
flags\t\t: fpu vme de

"""
PI3_32_BITS = """processor\t: 0
model name\t: ARMv7 Processor rev 4 (v7l)
BogoMIPS\t: 38.40
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

Hardware\t: BCM2835
"""


def cores(*kinds: tuple[str, str]) -> str:
    return "".join(ONE.format(number=n, maker=maker, part=part) for n, (maker, part) in enumerate(kinds))


CPUINFO = {
    "Raspberry Pi 5": ("".join(PI5.format(number=n) for n in range(4)) + PI5_END, ["Cortex-A76"]),
    "Rockchip RK3588": (
        cores(*[("0x41", "0xd05")] * 4, *[("0x41", "0xd0b")] * 4),
        ["Cortex-A55", "Cortex-A76"],
    ),
    "x86": (
        "".join(X86.format(number=n) for n in range(2)),
        ["Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"],
    ),
    "Raspberry Pi 3, 32 bits": (PI3_32_BITS, ["ARMv7 Processor rev 4 (v7l)", "Cortex-A53"]),
    "an Arm core that is newer than the table": (cores(("0x41", "0xfff")), ["Arm part 0xfff"]),
    "Apple": (cores(("0x61", "0x022")), ["part 0x022 of 0x61"]),
    "RISC-V": ("processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\nmmu\t\t: sv39\n", []),
    "nothing": ("", []),
    "cut off": ("CPU implementer\t: 0x41\nCPU architecture: 8\n", []),
    "a part of the next core": ("CPU implementer\t: 0x41\n\nCPU part\t: 0xd0b\n", []),
    "no numbers": ("CPU implementer\t: 0x41\nCPU part\t: 0xzz\n", []),
}


@pytest.mark.parametrize(("text", "names"), CPUINFO.values(), ids=CPUINFO.keys())
def test_the_names_of_processors(text, names) -> None:
    assert names_in(text) == names


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from([*PI5.splitlines(), "CPU part\t: 0xg", ""])).map("\n".join)
)
def test_whatever_stands_in_cpuinfo_gives_names(text) -> None:
    assert all(isinstance(name, str) for name in names_in(text))
