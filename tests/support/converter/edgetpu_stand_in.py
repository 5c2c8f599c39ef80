"""A stand-in for ``edgetpu_compiler``, which is closed and cannot be had here.

It follows what users of Edge TPU Compiler 16.0 have published of its output, log, errors and traps. It
reads a real TFLite file and writes a real one, with a custom operator in the place of the first ones. A file
``behaviour.json`` beside it says how many, and what goes wrong. It computes nothing for an Edge TPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

VERSION = "16.0.384591198"
INVALID = "Invalid model: {model}\nModel not quantized\n"
ERRORS = {
    "not-quantized": INVALID,
    "not-parsed": "Invalid model: {model}\nModel could not be parsed\n",
    "op-version": "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'\n\nCompilation failed!\n",
    "dynamic": "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that"
    " has dynamic-sized tensors.\n\nCompilation failed!\n",
    "activations": "Compilation failed due to large activation tensors in model.\nCompilation failed!\n",
    "overflow": "third_party/darwinn/driver.cc:1: no_integer_overflow_from_quantization was not true.\n"
    "Compilation failed!\n",
    "internal": "Internal compiler error. Aborting! \n",
    "alone": "Compilation failed!\n",
}


def main() -> int:
    here = Path(__file__).parent
    says = json.loads((here / "behaviour.json").read_text())
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--out_dir", default=".")
    parser.add_argument("-m", "--min_runtime_version", type=int, default=14)
    parser.add_argument("-d", "--search_delegate", action="store_true")
    parser.add_argument("-n", "--num_segments", type=int, default=1)
    parser.add_argument("-t", "--timeout_sec", type=int, default=180)
    parser.add_argument("model")
    given = parser.parse_args()
    out, model = Path(given.out_dir), Path(given.model)
    (out / "asked.json").write_text(json.dumps(vars(given) | {"environment": sorted(os.environ)}))
    mode = says["mode"]
    print(f"Edge TPU Compiler version {VERSION}")
    if given.search_delegate:
        print("Searching for valid delegate with step 1")
        print("Try to compile segment with 3 ops")
    print(f"Started a compilation timeout timer of {given.timeout_sec} seconds.")
    sys.stdout.flush()
    if mode == "flaky":
        marker = out / "tried-before"
        if not marker.is_file():
            marker.touch()
            (out / f"{model.stem}_edgetpu.tflite").write_bytes(bytes(1024))
            print("Internal compiler error. Aborting! ")
            return 1
        mode = "compiles"
    if mode == "spies":
        (out / "spied.json").write_text(json.dumps(spied(Path(says["secret"]), int(says["pid"]))))
        mode = "compiles"
    if mode in ERRORS:
        (out / f"{model.stem}_edgetpu.tflite").write_bytes(bytes(1024))
        print(ERRORS[mode].format(model=model), file=sys.stderr)
        return 1
    if mode == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "times-out":
        time.sleep(given.timeout_sec)
        print("Compilation child process timed out; killing it.")
        return 1
    if mode == "hangs":
        time.sleep(3600)
    if mode == "silent":
        return 0
    return compiled(given, out, model, says | {"mode": mode})


def compiled(given: argparse.Namespace, out: Path, model: Path, says: dict[str, object]) -> int:
    segments, mode = given.num_segments, says["mode"]
    print(f"\nModel compiled successfully in {1354} ms.\n")
    for i in range(segments):
        part = f"_segment_{i}_of_{segments}" if segments > 1 else ""
        name = f"{model.stem}{part}_edgetpu"
        names, kept = rewritten(
            model, out / f"{name}.tflite", 0 if mode == "maps-nothing" else says.get("mapped")
        )
        mapped, total = len(names) - kept, len(names)
        if mode == "stub":
            (out / f"{name}.tflite").write_bytes(bytes(1024))
        if mode == "no-file":
            (out / f"{name}.tflite").unlink()
        if mode == "no-custom":
            (out / f"{name}.tflite").write_bytes(model.read_bytes())
        on_tpu = mapped + 1 if mode == "counts-differ" else mapped
        print(f"Input model: {model}")
        print("Input size: 5.10MiB")
        print(f"Output model: {out / name}.tflite")
        print("Output size: 5.35MiB")
        if mode != "newer-lines":
            print("On-chip memory used for caching model parameters: 6.03MiB")
            print("On-chip memory remaining for caching model parameters: 1.21MiB")
            print("Off-chip memory used for streaming uncached model parameters: 512.00B")
        else:
            print("A line that another version prints: 3.00MiB")
        print(f"Number of Edge TPU subgraphs: {1 if mapped else 0}")
        print(f"Total number of operations: {total}")
        print(f"Operation log: {out / name}.log\n")
        if kept:
            print(
                "Model successfully compiled but not all operations are supported by the Edge TPU. A"
                " percentage of the model will instead run on the CPU, which is slower."
            )
            print(f"Number of operations that will run on Edge TPU: {on_tpu}")
            print(f"Number of operations that will run on CPU: {kept}")
            print("See the operation log file for individual operation details.")
        write_log(
            out / f"{name}.log", model, names, mapped, str(says.get("status", "Operation not supported"))
        )
    print("Compilation child process completed within timeout period.")
    print("Compilation succeeded! ")
    return int(str(says.get("code", 0)))


def write_log(path: Path, model: Path, names: list[str], mapped: int, status: str) -> None:
    counts: dict[tuple[str, str], int] = {}
    for i, name in enumerate(names):
        key = (name, "Mapped to Edge TPU" if i < mapped else status)
        counts[key] = counts.get(key, 0) + 1
    rows = [f"{name:<31}{count:<11}{what}" for (name, what), count in counts.items()]
    path.write_text(
        f"Edge TPU Compiler version {VERSION}\nInput: {model}\nOutput: {path.with_suffix('.tflite')}\n\n"
        f"{'Operator':<31}{'Count':<11}Status\n\n" + "\n".join(rows) + "\n"
    )


def rewritten(source: Path, target: Path, mapped: object) -> tuple[list[str], int]:
    """Writes the file with its first ``mapped`` operators as a custom one; names, and how many remain."""
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes())
    (graph,) = model.subgraphs
    by_code = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    names = [by_code[model.operatorCodes[o.opcodeIndex].builtinCode] for o in graph.operators]
    count = len(names) if mapped is None else int(str(mapped))
    if count:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
        code.customCode = b"edgetpu-custom-op"
        model.operatorCodes.append(code)
        custom = schema.OperatorT()
        custom.opcodeIndex = len(model.operatorCodes) - 1
        custom.inputs = graph.operators[0].inputs[:1]
        custom.outputs = graph.operators[count - 1].outputs
        graph.operators = [custom, *graph.operators[count:]]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return names, len(names) - count


def spied(secret: Path, pid: int) -> dict[str, str]:
    """What a compiler that has been taken over could reach."""
    found = {}
    try:
        found["secret"] = secret.read_text()
    except OSError as error:
        found["secret"] = type(error).__name__
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        found["network"] = "open"
    except OSError as error:
        found["network"] = type(error).__name__
    try:
        found["environment"] = Path(f"/proc/{pid}/environ").read_text()[:40]
    except OSError as error:
        found["environment"] = type(error).__name__
    return found


if __name__ == "__main__":
    sys.exit(main())
