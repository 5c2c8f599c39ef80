"""The code for Android, compiled by Kotlin's compiler against a stand-in for LiteRT (tests/data), and run.

Where KOTLIN_COMPILER names a folder with the jars of ``kotlin-compiler-embeddable`` and what it depends on.
The project does not bring them; what can be tested without them is in test_snippets.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.converter.snippet_samples import HOSTILE, code, named, quantized, two_of_each
from support.paths import DATA
from tflite_converter.snippets.choice import SnippetTarget, snippet

STAND_IN = DATA / "litert_kotlin_stand_in"
MAIN = """
fun hex(text: String) = text.map { it.code.toString(16) }.joinToString(" ")

fun main() {
    val context = android.content.Context()
    Signed(context).use { println(it.predict(floatArrayOf(0f, 1.02f, -100f, 100f)).joinToString(" ")) }
    Unsigned(context).use { println(it.predict(floatArrayOf(0f, 1.02f, -100f, 100f)).joinToString(" ")) }
    Two(context).use { println(it.predict(FloatArray(4), FloatArray(2)).keys.joinToString(" ")) }
    Hostile(context).use {
        println(it.predict(IntArray(2), IntArray(2)).keys.joinToString(",") { name -> hex(name) })
    }
}
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    jars, java = os.environ.get("KOTLIN_COMPILER"), shutil.which("java")
    if jars is None or java is None:
        pytest.skip("KOTLIN_COMPILER names no folder of a Kotlin compiler, or there is no Java")
    folder = tmp_path_factory.mktemp("kotlin")
    hostile = snippet(SnippetTarget.ANDROID, "hostile.tflite", named(HOSTILE[:2], HOSTILE, "int32")).code
    sources = {
        "Signed": code("android", quantized(), "signed.tflite"),
        "Unsigned": code("android", quantized(dtype="UINT8"), "unsigned.tflite"),
        "Two": code("android", two_of_each(), "two.tflite"),
        "Hostile": hostile,
        "Main": MAIN,
    }
    for name, text in sources.items():
        (folder / f"{name}.kt").write_text(text)
    (library,) = (jar for jar in Path(jars).glob("kotlin-stdlib-*.jar"))
    compiler = [java, "-cp", f"{jars}/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    options = ["-no-stdlib", "-no-reflect", "-kotlin-home", folder, "-cp", library, "-d", folder / "out"]
    files = [*folder.glob("*.kt"), *STAND_IN.glob("*.kt")]
    made = subprocess.run([*compiler, *options, *files], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    run = [java, "-Dfile.encoding=UTF-8", "-cp", f"{folder / 'out'}:{library}", "MainKt"]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()


def test_it_quantizes_and_dequantizes(printed: list[str]) -> None:
    """The stand-in copies the input: what comes back is the stored number by the output's parameters."""
    signed, unsigned = ([float(value) for value in line.split()] for line in printed[:2])
    assert signed == pytest.approx([(q + 3) * 0.125 for q in (7, 27, -128, 127)])
    assert unsigned == pytest.approx([(q - 125) * 0.125 for q in (135, 155, 0, 255)])


def test_several_outputs_come_by_name(printed: list[str]) -> None:
    assert printed[2].split() == ["one", "other"]


def test_no_name_breaks_out(printed: list[str]) -> None:
    names = [[int(unit, 16) for unit in name.split()] for name in printed[3].split(",")]
    read = [
        "".join(map(chr, units)).encode("utf-16-be", "surrogatepass").decode("utf-16-be") for units in names
    ]
    assert read == HOSTILE, json.dumps(read)
