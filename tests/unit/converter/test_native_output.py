"""What native code prints is discarded, or heard, and the terminal is as before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tflite_converter.native_output import heard, silenced


def test_what_is_written_to_both_descriptors_is_heard_and_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for turn in range(3):
        with heard() as said:
            os.write(2, b"to stderr\n")
            os.write(1, f"to stdout {turn}\n".encode())
            assert said() == f"to stderr\nto stdout {turn}\n"
        assert said() == f"to stderr\nto stdout {turn}\n"
    os.write(2, b"after")
    assert tuple(capfd.readouterr()) == ("", "after")


def test_only_the_beginning_of_much_is_kept() -> None:
    with heard() as said:
        for _ in range(200):
            os.write(1, b"x" * 1000)
    assert said() == "x" * 65536


def test_nothing_is_heard_of_what_is_silenced(capfd: pytest.CaptureFixture[str]) -> None:
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    with silenced():
        os.write(1, b"noise")
    with heard() as said:
        pass
    assert said() == ""
    assert tuple(capfd.readouterr()) == ("", "")
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == descriptors
