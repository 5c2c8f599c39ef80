"""The code that is written for a target: it runs, it quantizes as the file asks, and no name breaks out.

Python runs with LiteRT itself. C++ is compiled against a stand-in for TFLite Micro (tests/data). JavaScript
runs in Node with a stand-in for LiteRT.js, and with LiteRT.js itself where LITERTJS names a folder that has
``node_modules/@litertjs/core``. There is no compiler for Kotlin and Swift: of these, literals are read back.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inference import TFLiteInference
from modelconversion_api.reports.measurements import OperatorCount
from support.converter.snippet_samples import HOSTILE, code, loaded, named, quantized, run, two_of_each
from support.converter.tflite_files import O, T, dense, tflite
from support.paths import DATA
from tflite_converter.compilers.c_source import source
from tflite_converter.snippets import android as snippet_android
from tflite_converter.snippets import ios as snippet_ios
from tflite_converter.snippets.choice import SnippetTarget, snippet
from tflite_converter.snippets.model import NoSnippetError
from tflite_converter.tflite.file import read_file

STAND_IN = DATA / "tflite_micro_stand_in"
names = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


@pytest.mark.parametrize(
    "content", [dense(), quantized(), quantized(dtype="UINT8")], ids=["float", "int8", "uint8"]
)
def test_python_gives_what_the_runtime_library_gives(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net_int8.tflite").write_bytes(content)
    text = code("raspberry-pi", content)
    model = TFLiteInference(tmp_path / "net_int8.tflite")
    predict = loaded(text, tmp_path)["predict"]
    for sample in np.random.default_rng(0).normal(scale=3, size=(20, 4)).astype(np.float32):
        found = predict(sample)
        assert list(found) == list(model.outputs)
        np.testing.assert_allclose(found["scores"][0], model.predict(sample)["scores"], rtol=1e-6)
    assert "scores" in run([sys.executable, "-c", text], tmp_path)


def test_several_inputs_go_where_their_names_are(tmp_path: Path) -> None:
    content = two_of_each()
    (tmp_path / "net_int8.tflite").write_bytes(content)
    predict = loaded(code("raspberry-pi", content), tmp_path)["predict"]
    found = predict(first=np.arange(4), second=np.array([1, 10]))
    np.testing.assert_array_equal(found["one"], [[14, 38, 62]])
    np.testing.assert_array_equal(found["other"], [[10, 32, 54]])


def test_coral_loads_the_delegate_and_the_compiled_file() -> None:
    text = code("coral", quantized())
    assert "MODEL = 'net_int8_edgetpu.tflite'" in text
    assert "libedgetpu.so.1" in text
    again = code("coral", quantized(), "net_int8_edgetpu.tflite")
    assert "MODEL = 'net_int8_edgetpu.tflite'" in again
    assert "Compile first" not in again
    compile(text, "coral.py", "exec")


@given(
    st.lists(names, min_size=1, max_size=4, unique=True), st.lists(names, min_size=1, max_size=4, unique=True)
)
def test_no_name_breaks_out_of_python(inputs: list[str], outputs: list[str]) -> None:
    text = snippet(SnippetTarget.RASPBERRY_PI, "m.tflite", named(inputs, outputs)).code
    (function,) = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    result = function.body[-1]
    assert isinstance(result, ast.Return)
    assert isinstance(result.value, ast.Dict)
    assert [ast.literal_eval(key) for key in result.value.keys if key is not None] == outputs
    assert len(function.args.args) == len(inputs)
    fresh = snippet(
        SnippetTarget.RASPBERRY_PI, "m.tflite", named(["?"] * len(inputs), ["?"] * len(outputs))
    ).code
    assert len(text.splitlines()) == len(fresh.splitlines())


@pytest.mark.parametrize("target", list(SnippetTarget))
@given(inputs=st.lists(names, min_size=1, max_size=3, unique=True), file=names)
@settings(max_examples=50, deadline=None)
def test_code_is_ascii_and_has_as_many_lines_whatever_the_names(
    target: SnippetTarget, inputs: list[str], file: str
) -> None:
    plain = [f"n{i}" for i in range(len(inputs))]
    if target is SnippetTarget.MICROCONTROLLER:
        file = "m"
    text = snippet(target, f"{file}.tflite", named(inputs, ["y"])).code
    assert text.isascii()
    assert not set(text) & {chr(c) for c in range(32)} - {"\n"}
    assert text.count("\n") == snippet(target, "m.tflite", named(plain, ["y"])).code.count("\n")


KOTLIN = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", '"': '"', "\\": "\\", "$": "$"}
SWIFT = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


@given(names)
def test_kotlin_and_swift_read_the_name_back(name: str) -> None:
    """By their grammars: Kotlin 1.9, characterEscapes and templates; Swift 5, string literals."""
    made = snippet_android.literal(name)
    body = re.fullmatch(r'"((?:[^"\\$]|\\.)*)"', made)
    assert body is not None
    utf16 = re.sub(
        r"\\(?:u([0-9a-f]{4})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else KOTLIN[m[2]], body[1]
    )
    assert utf16.encode("utf-16-be", "surrogatepass").decode("utf-16-be") == name
    body = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', snippet_ios.literal(name))
    assert body is not None
    read = re.sub(
        r"\\(?:u\{([0-9a-f]{1,8})\}|(.))", lambda m: chr(int(m[1], 16)) if m[1] else SWIFT[m[2]], body[1]
    )
    assert read == name


@pytest.mark.parametrize("target", ["android", "ios"])
def test_mobile_code_has_the_files_own_numbers_and_closes_what_it_opens(target: str) -> None:
    text = code(target, quantized())
    for word in ("0.05", "0.125", "+ (7)", "- (-3)", "NetInt8", "-128", "127", "x"):
        assert word in text
    for pair in ("()", "[]", "{}"):
        assert text.count(pair[0]) == text.count(pair[1])


# C++


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("g++") or shutil.which("clang++")
    if found is None:
        pytest.skip("no C++ compiler on PATH")
    return found


def test_microcontroller_code_quantizes_and_dequantizes(compiler: str, tmp_path: Path) -> None:
    content, name = quantized(), "net_int8.tflite"
    file = read_file(content, name)
    for written, text in source(content, file, 2048, "0" * 64).items():
        (tmp_path / written).write_bytes(text)
    main = """
#include <cstdio>
int main() {
  if (!setup()) return 1;
  const float x[] = {0.0f, 1.02f, -100.0f, 0.05f};
  float scores[3];
  if (!predict(x, scores)) return 2;
  for (float value : scores) std::printf("%.6f ", value);
}
"""
    (tmp_path / "run.cc").write_text(code("microcontroller", content) + main)
    sources = [p.name for p in tmp_path.glob("*.cc")]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STAND_IN}", "-I."]
    run([compiler, *flags, *sources, "-o", "run"], tmp_path)
    printed = [float(value) for value in run([tmp_path / "run"], tmp_path).split()]
    # The stand-in copies the input: 0 is stored as 7, 1.02 as 27 (20.4 steps) and -100 as the least, -128.
    assert printed == pytest.approx([(q + 3) * 0.125 for q in (7, 27, -128)])


@given(st.lists(names, min_size=1, max_size=6, unique=True))
@settings(max_examples=4, deadline=None)
def test_no_name_breaks_out_of_cpp(
    compiler: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "m.h").write_text(
        "#include <cstddef>\nnamespace m { extern const unsigned char kModel[];"
        " constexpr std::size_t kArenaBytes = 64; }\n"
    )
    text = snippet(SnippetTarget.MICROCONTROLLER, "m.tflite", named([*HOSTILE, *texts], texts)).code
    (folder / "m.cc").write_text(text)
    run(
        [
            compiler,
            "-std=c++17",
            "-fsyntax-only",
            "-trigraphs",
            "-Wcomment",
            "-Werror",
            f"-I{STAND_IN}",
            "m.cc",
        ],
        folder,
    )


@pytest.mark.parametrize(
    ("operator", "method"),
    [("CONV_2D", "AddConv2D"), ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM")],
)
def test_each_operator_is_registered(operator: str, method: str) -> None:
    found = named(["x"], ["y"]).model_copy(
        update={"operators": (OperatorCount(operator=operator, dtype="int8", count=3),)}
    )
    text = snippet(SnippetTarget.MICROCONTROLLER, "m.tflite", found).code
    assert f"resolver.{method}();" in text
    assert "MicroMutableOpResolver<1>" in text


# JavaScript


LITERTJS = """
export const loadLiteRt = async folder => {};
export class Tensor {
  constructor(data, shape) {
    if (data.length !== shape.reduce((a, b) => a * b, 1)) throw new Error('shape');
    Object.assign(this, {values: data, shape});
  }
  async data() { return this.values; }
  delete() {}
}
export const loadAndCompile = async (file, options) => ({
  run: async tensors => {
    const names = Object.getOwnPropertyNames(tensors);
    globalThis.asked = {file, names, first: Array.from(tensors[names[0]].values)};
    const results = Object.create(null);
    for (const name of globalThis.gives) results[name] = tensors[names[0]];
    return results;
  },
});
"""


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js on PATH")
    return found


def in_node(node: str, folder: Path, text: str, gives: Sequence[str], arguments: str) -> Any:
    """What ``predict`` gives, and what reached the stand-in."""
    package = folder / "node_modules" / "@litertjs" / "core"
    package.mkdir(parents=True, exist_ok=True)
    (package / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (package / "index.js").write_text(LITERTJS)
    (folder / "model.mjs").write_text(text)
    (folder / "run.mjs").write_text(
        f"globalThis.gives = {json.dumps(list(gives))};\n"
        "const {predict} = await import('./model.mjs');\n"
        f"const found = await predict({arguments});\n"
        "const entries = Object.getOwnPropertyNames(found).map(name => [name, Array.from(found[name])]);\n"
        "console.log(JSON.stringify({asked: globalThis.asked, entries}));\n"
    )
    return json.loads(run([node, "run.mjs"], folder))


def test_javascript_quantizes_and_dequantizes(node: str, tmp_path: Path) -> None:
    found = in_node(
        node, tmp_path, code("browser", quantized(dtype="UINT8")), ["scores"], "[0, 1.02, -100, 100]"
    )
    assert found["asked"] == {"file": "/net_int8.tflite", "names": ["x"], "first": [135, 155, 0, 255]}
    ((name, values),) = found["entries"]
    assert name == "scores"
    assert values == pytest.approx([(q - 125) * 0.125 for q in (135, 155, 0, 255)])


@given(st.lists(names, min_size=1, max_size=20, unique=True))
@settings(max_examples=6, deadline=None)
def test_no_name_breaks_out_of_javascript(
    node: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    text = snippet(SnippetTarget.BROWSER, f"{texts[0]}.tflite", named(texts, HOSTILE)).code
    found = in_node(node, tmp_path_factory.mktemp("js"), text, HOSTILE, ", ".join(["[1, 2]"] * len(texts)))
    assert sorted(found["asked"]["names"]) == sorted(texts)
    assert found["asked"]["file"] == f"/{texts[0]}.tflite"
    assert sorted(name for name, _ in found["entries"]) == sorted(HOSTILE)


IN_NODE = """
import fs from 'node:fs';
import vm from 'node:vm';
import {createRequire} from 'node:module';
const wasm = process.argv[2] + '/node_modules/@litertjs/core/wasm';
const local = url =>
  String(url).replace(/^\\/wasm\\//, wasm + '/').replace(/^\\/net/, process.cwd() + '/net');
Object.assign(globalThis, {self: globalThis, require: createRequire(import.meta.url), __dirname: wasm});
globalThis.importScripts = url => vm.runInThisContext(fs.readFileSync(local(url), 'utf8'));
globalThis.fetch = async url => new Response(fs.readFileSync(local(url)));
const {predict} = await import('./model.mjs');
const found = await predict([1, 2, 3, 4]);
console.log('RESULT' + JSON.stringify(Array.from(found.scores)));
"""


def test_javascript_runs_with_litertjs_itself(node: str, tmp_path: Path) -> None:
    folder = os.environ.get("LITERTJS")
    if folder is None:
        pytest.skip("LITERTJS names no folder in which @litertjs/core is installed")
    (tmp_path / "node_modules").symlink_to(Path(folder).resolve() / "node_modules")
    (tmp_path / "net.tflite").write_bytes(dense())
    (tmp_path / "model.mjs").write_text(code("browser", dense(), "net.tflite"))
    (tmp_path / "run.mjs").write_text(IN_NODE)
    printed = run([node, "run.mjs", str(Path(folder).resolve())], tmp_path)
    found = json.loads(printed.partition("RESULT")[2].splitlines()[0])
    expected = TFLiteInference(tmp_path / "net.tflite").predict([1, 2, 3, 4])["scores"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# What has no code


@pytest.mark.parametrize(
    ("target", "content", "says"),
    [
        ("browser", quantized(), "LiteRT.js has no int8"),
        ("android", tflite([T("x", (1, 4), "INT16"), T("y", (1, 4), "INT16")]), "no int16"),
        ("microcontroller", tflite([T("x"), T("y")], [O("GELU")]), 'TFLite Micro has no "GELU"'),
        ("microcontroller", tflite([T("x"), T("y")], [O("EvilOp")]), 'no "EvilOp"'),
        ("raspberry-pi", tflite([T("x"), T("y")], [O("FlexErf")]), "Flex delegate for FlexErf"),
        ("ios", tflite([T("x", scales=(float("inf"),)), T("y")]), "nothing can be quantized"),
        ("ios", tflite([T("x", scales=(-1.0,)), T("y")]), "nothing can be quantized"),
        ("ios", tflite([T("x", scales=(1.0,), zero_points=(1 << 40,)), T("y")]), "nothing can be quantized"),
        ("ios", tflite([T("x", dtype="STRING"), T("y")]), "no string"),
    ],
)
def test_files_that_a_target_cannot_take_are_refused_with_the_reason(
    target: str, content: bytes, says: str
) -> None:
    with pytest.raises(NoSnippetError, match=re.escape(says)):
        code(target, content)


def test_open_sizes_are_told() -> None:
    assert "open along axis 0" in code("raspberry-pi", dense())


def test_the_command_prints_code_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "net_int8.tflite").write_bytes(quantized())
    program = [sys.executable, "-m", "tflite_converter", "snippet"]
    text = run([*program, "net_int8.tflite", "--target", "raspberry-pi"], tmp_path)
    assert text == code("raspberry-pi", quantized())
    for arguments, status, says in [
        (["none.tflite", "--target", "ios"], 11, "File not found"),
        (["net_int8.tflite", "--target", "browser"], 20, "no code for browser: LiteRT.js has no int8"),
        (["net_int8.tflite", "--target", "toaster"], 2, "toaster"),
    ]:
        found = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert found.returncode == status, found.stderr
        assert says in found.stderr
        assert not found.stdout
