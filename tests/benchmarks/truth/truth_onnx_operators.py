"""Hold the ONNX engine against the ONNX project's own tests of operators, with the outputs that it expects.

``python tests/benchmarks/truth/truth_onnx_operators.py [--markdown docs/ENGINES.md] [NAME ...]`` has the
engine make the float file of each test's model, runs it on LiteRT, and compares every output with the
expected one. A test *agrees* where all are equal within 1e-3 of the largest value, as the project's own
comparison has it for float32; it is *refused* where the engine says why there is no file, and *differs*
otherwise, which is a fault.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.engines.engines_of_tests import ONNX, engine_python, write_models  # noqa: E402 - needs the path
from support.engines.onnx_operator_truth import Verdict, verdict  # noqa: E402

BEGIN, END = "<!-- operators: written by truth_onnx_operators.py -->", "<!-- end of operators -->"


def page(verdicts: list[Verdict]) -> list[str]:
    """Return the lines for the page: how many of each, the reasons, and every test that differs."""
    counts = Counter(v.word for v in verdicts)
    told = f"{counts['agrees']} agree, {counts['refused']} are refused and {counts['differs']} differ"
    lines = [f"Of {len(verdicts)} tests {told}.", ""]
    reasons: dict[str, list[str]] = defaultdict(list)
    for v in verdicts:
        if v.word == "refused":
            reasons[v.why.partition(":")[0]].append(v.name)
    lines += ["| refused with | tests | some of them |", "| --- | --- | --- |"]
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        lines.append(f"| `{reason}` | {len(names)} | {', '.join(names[:6])} |")
    if counts["differs"]:
        lines += ["", "| differs | how |", "| --- | --- |"]
        lines += [f"| {v.name} | {v.why.replace('|', '/')[:120]} |" for v in verdicts if v.word == "differs"]
    return lines


def main() -> None:
    """Print each verdict, and write the summary into the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    python = engine_python(ONNX)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(python, "write_onnx_operator_tests.py", folder, *arguments.names)
        models = sorted(folder.glob("*.onnx"))
        with ThreadPoolExecutor(arguments.at_once) as pool:
            verdicts = []
            for found in pool.map(lambda model: verdict(python, model), models):
                verdicts.append(found)
                sys.stdout.write(f"{found.word:8} {found.name}  {found.why[:160]}\n")
                sys.stdout.flush()
    lines = page(verdicts)
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.markdown is not None:
        text = arguments.markdown.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        arguments.markdown.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + after)


if __name__ == "__main__":
    main()
