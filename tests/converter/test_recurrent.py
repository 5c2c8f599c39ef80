"""LSTM layers as one operator: of both Keras generations, in every form, one sequence after another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from modelconversion_api.methods import Method
from support.converter.converting import Converted, convert_into
from support.paths import REPOSITORY
from tflite_converter.measuring.metrics import snr_db

FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
STEPS, FEATURES = 12, 5

# One model with a layer of each form; an output for each, so that one conversion shows them all.
_WRITE = f"""
import sys
import numpy as np
api = __import__(sys.argv[1])
api.utils.set_random_seed(5)
layers, LSTM = api.layers, api.layers.LSTM
steps = api.Input(({STEPS}, {FEATURES}), name="steps")
forms = {{
    "plain": LSTM(6)(steps),
    "stacked": LSTM(4)(LSTM(6, return_sequences=True)(steps)),
    "both_ways": layers.Bidirectional(LSTM(5))(steps),
    "backwards": LSTM(6, go_backwards=True)(steps),
    "without_bias": LSTM(6, use_bias=False)(steps),
    "masked": LSTM(6)(layers.Masking()(steps)),
    "other_activation": LSTM(6, activation="relu")(steps),
}}
outputs = [layers.Dense(3, name=name)(x) for name, x in forms.items()]
model = api.Model(steps, outputs)
draw = np.random.default_rng(0)
model.set_weights([w + 0.3 * draw.normal(size=w.shape) for w in model.get_weights()])
samples = draw.normal(size=(90, {STEPS}, {FEATURES})).astype("float32") * 2
samples[::3, 9:] = 0  # padding, which the mask hides
if sys.argv[2].endswith(("h5", "keras")):
    model.save(sys.argv[2])
elif api.__name__ == "keras":
    model.export(sys.argv[2], verbose=False)
else:
    model.save(sys.argv[2], save_format="tf")
np.save(sys.argv[3], samples)
answers = model.predict(samples, verbose=0)
answers = dict(zip(forms, answers)) if not isinstance(answers, dict) else answers
np.savez(sys.argv[4], **answers)
"""


@pytest.fixture(
    scope="module",
    params=[("tf_keras", "m.h5"), ("keras", "m.keras"), ("tf_keras", "saved"), ("keras", "saved")],
    ids=["keras2", "keras3", "keras2_saved_model", "keras3_saved_model"],
)
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Converted, Path]:
    folder = tmp_path_factory.mktemp("recurrent")
    api, name = request.param
    paths = [folder / name, folder / "samples.npy", folder / "answers.npz"]
    subprocess.run([sys.executable, "-c", _WRITE, api, *map(str, paths)], check=True, capture_output=True)
    methods = (Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16)
    return convert_into(folder / "out", paths[0], *methods, validation=paths[1]), folder


def run_in_a_row(path: Path, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Run one sample after another on one interpreter, as a program does that resets nothing."""
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner()
    answers = [runner(steps=sample[None]) for sample in samples]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


@pytest.mark.parametrize(
    ("method", "least"), [(Method.FLOAT32, 100.0), (Method.FLOAT16, 30.0), (Method.DYNAMIC_RANGE, 20.0)]
)
def test_every_form_gives_what_keras_gives(
    converted: tuple[Converted, Path], method: Method, least: float
) -> None:
    result, folder = converted
    answers = np.load(folder / "answers.npz")
    files = run_in_a_row(result.file(method), np.load(folder / "samples.npy"))
    if files.keys() != set(answers.files):  # Keras 3 exports numbers; their order is that of the outputs
        files = {name: files[f"output_{number}"] for number, name in enumerate(answers.files)}
    for name in answers.files:
        ratio = snr_db({name: answers[name]}, {name: files[name]})
        assert ratio is None or ratio > least, (name, ratio)


def test_layers_are_fused_where_the_operator_computes_them(converted: tuple[Converted, Path]) -> None:
    result, _ = converted
    for artifact in result.report.artifacts:
        assert artifact.passed
        assert artifact.inventory is not None
        counts = {o.operator: o.count for o in artifact.inventory.operators}
        # Plain, two stacked, both ways, backwards, without bias; the mask and the activation need loops.
        assert (counts[FUSED], counts["WHILE"]) == (7, 2), artifact.method
        assert artifact.min_runtime_version is not None


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What became of loops that were written by hand, by ``lstm_checks.py``."""
    program = REPOSITORY / "tests/support/converter/lstm_checks.py"
    folder = tmp_path_factory.mktemp("by_hand")
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        *(("plain", 1), ("basic_cell", 1), ("output_first", 1), ("own_weights", 1), ("last_only", 1)),
        *(("scanned", 1), ("from_the_end", 1), ("sequence_and_last", 2), ("on_each_other", 2)),
    ],
)
def test_an_lstm_is_known_by_what_it_computes(
    by_hand: dict[str, dict[str, float]], name: str, layers: int
) -> None:
    assert by_hand[name]["fused"] == layers
    assert by_hand[name]["distance"] < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        *("peephole", "coupled", "rectified", "projected", "swapped_states", "begins_with_ones"),
        *("reads_backwards", "gives_its_state", "as_long_as_told"),
    ],
)
def test_what_is_nearly_an_lstm_stays_a_loop(by_hand: dict[str, dict[str, float]], name: str) -> None:
    assert by_hand[name] == {"fused": 0}


def test_what_is_quantized_gets_smaller(converted: tuple[Converted, Path]) -> None:
    result, _ = converted
    size = {a.method: a.size_bytes for a in result.report.artifacts}
    assert size[Method.DYNAMIC_RANGE] < size[Method.FLOAT32]
    (dynamic,) = [a for a in result.report.artifacts if a.method is Method.DYNAMIC_RANGE]
    assert dynamic.inventory is not None
    assert dynamic.inventory.constant_bytes["int8"] > dynamic.inventory.constant_bytes.get("float32", 0) / 2
