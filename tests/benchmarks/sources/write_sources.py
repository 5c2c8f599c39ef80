"""Writes small models with whatever TensorFlow this interpreter has, and records what they give there.

``python write_sources.py FOLDER NAME...``: each ``NAME`` is ``ARCHITECTURE.FORMAT``, for instance
``lstm.h5``. For each the folder gets the model under that name, ``ARCHITECTURE.npz`` with the arrays
``input/<name>`` and ``output/<number>``, and in ``written.json`` under the name a null, or the reason why
this TensorFlow could not write it. ``sources.py`` runs it in an environment of its own for each version.
Python 3.6 is enough for it.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import source_architectures as architectures
import tensorflow as tf

SAMPLES = 48
STEPS = 2
"""Training steps: enough for an optimizer to have a state."""

TRUNCATED_TO = 0.6
"""Part of a file that is left of it."""


def optimizer_for(name):
    """Adam; for ``mlp_legacy`` the class that TensorFlow 2.11 to 2.15 call legacy, with more state."""
    if name == "mlp_legacy":
        legacy = getattr(tf.keras.optimizers, "legacy", tf.keras.optimizers)
        return legacy.Adam(learning_rate=0.01, amsgrad=True, decay=1e-4)
    return tf.keras.optimizers.Adam(0.01)


def own_loss(expected, given):
    """A loss that no Keras knows by name."""
    return tf.reduce_mean(tf.square(expected - given), axis=-1)


def train(name, model, inputs):
    """A few steps towards arbitrary targets."""
    arrays = list(inputs.values())
    given = outputs_of(model(arrays[0] if len(arrays) == 1 else arrays, training=False))
    targets = [np.random.RandomState(3).uniform(size=g.shape).astype(np.float32) for g in given]
    loss = own_loss if name in ("two_inputs", "cnn") else "mse"
    model.compile(optimizer_for(name), loss=loss if len(targets) == 1 else [loss] * len(targets))
    x = arrays[0] if len(arrays) == 1 else arrays
    model.fit(x, targets[0] if len(targets) == 1 else targets, epochs=STEPS, verbose=0)


def outputs_of(found):
    """Arrays of whatever a model gives."""
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, (list, tuple)):
        found = [found]
    return [np.asarray(array) for array in found]


class Written:
    """One architecture in one folder: built once, saved in several formats."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        builder = "mlp" if name == "mlp_legacy" else name
        np.random.seed(1)
        tf.random.set_seed(1)
        self.model, self.inputs = getattr(architectures, builder)(SAMPLES)
        trainable = builder not in ("inverse", "inverse_layer", "lambda_layer", "text")
        if trainable:
            train(name, self.model, self.inputs)
        arrays = {"input/" + key: array for key, array in self.inputs.items()}
        batch = [tf.constant(array) for array in self.inputs.values()]
        found = outputs_of(self.model(batch[0] if len(batch) == 1 else batch, training=False))
        arrays.update({f"output/{i}": array for i, array in enumerate(found)})
        if all(array.dtype != object for array in arrays.values()):
            np.savez(str(folder / (name + ".npz")), **arrays)

    def path(self, suffix):
        return str(self.folder / (self.name + "." + suffix))

    def save(self, suffix):
        writers = {
            "h5": self._whole,
            "keras": self._whole,
            "v3.keras": lambda: self.model.save(self.path("v3.keras"), save_format="keras_v3"),
            "weights.h5": lambda: self.model.save_weights(self.path("weights.h5")),
            "savedmodel": lambda: self._saved_model("savedmodel"),
            "zip": lambda: self._packed("zip"),
            "tar.gz": lambda: self._packed("gztar"),
            "unsigned": self._unsigned,
            "positional": self._positional,
            "dictionary": self._dictionary,
            "two_signatures": self._two_signatures,
            "graph": self._graph,
            "tflite": lambda: self._tflite(False),
            "quantized.tflite": lambda: self._tflite(True),
            "truncated.h5": lambda: self._truncated("h5"),
            "truncated.keras": lambda: self._truncated("keras"),
            "truncated": self._truncated_variables,
        }
        writer = writers[suffix]
        if writer == self._whole:
            writer(suffix)
        else:
            writer()

    def _whole(self, suffix):
        self.model.save(self.path(suffix))

    def _saved_model(self, suffix):
        if architectures.IS_KERAS_3:
            self.model.export(self.path(suffix))
        else:
            self.model.save(self.path(suffix), save_format="tf")

    def _packed(self, kind):
        self._saved_model("packed")
        shutil.make_archive(self.path("")[:-1], kind, str(self.folder), self.name + ".packed")
        shutil.rmtree(self.path("packed"))

    def _module(self):
        module = tf.Module()
        module.model = self.model
        return module

    def _specs(self, named):
        return [
            tf.TensorSpec([None, *array.shape[1:]], array.dtype, name=key if named else None)
            for key, array in self.inputs.items()
        ]

    def _unsigned(self):
        module = tf.Module()
        module.weight = tf.Variable([[1.0, 2.0]])
        tf.saved_model.save(module, self.path("unsigned"))

    def _positional(self):
        """A signature whose function takes its tensors by place, and names none."""
        module = self._module()
        serve = tf.function(lambda *tensors: self.model(tensors[0]), input_signature=self._specs(False))
        tf.saved_model.save(module, self.path("positional"), signatures=serve)

    def _dictionary(self):
        """Named outputs, under a signature that is not the usual one."""
        module = self._module()

        def scores(*tensors):
            return {"the scores": self.model(tensors[0])}

        serve = tf.function(scores, input_signature=self._specs(True))
        tf.saved_model.save(module, self.path("dictionary"), signatures={"predict": serve})

    def _two_signatures(self):
        module = self._module()
        specs = self._specs(True)
        serve = tf.function(lambda *tensors: {"scores": self.model(tensors[0])}, input_signature=specs)
        other = tf.function(lambda *tensors: {"sum": tf.reduce_sum(tensors[0])}, input_signature=specs)
        signatures = {"a_first": other, "serving_default": serve}
        tf.saved_model.save(module, self.path("two_signatures"), signatures=signatures)

    def _graph(self):
        """A SavedModel as TensorFlow 1 has it: a graph with variables, no objects."""
        weights = np.random.RandomState(5).normal(size=(12, 4)).astype(np.float32)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            entry = tf.compat.v1.placeholder(tf.float32, [None, 12], name="features")
            kernel = tf.compat.v1.get_variable("kernel", initializer=weights, use_resource=False)
            scores = tf.nn.softmax(tf.matmul(entry, kernel))
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.saved_model.simple_save(
                session, self.path("graph"), {"features": entry}, {"scores": scores}
            )
            given = session.run(scores, {entry: self.inputs["features"]})
        arrays = {"input/features": self.inputs["features"], "output/0": given}
        np.savez(self.path("graph.npz"), **arrays)

    def _tflite(self, quantized):
        self._saved_model("for_tflite")
        converter = tf.lite.TFLiteConverter.from_saved_model(self.path("for_tflite"))
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            first = next(iter(self.inputs.values()))
            converter.representative_dataset = lambda: ([first[i : i + 1]] for i in range(8))
        content = converter.convert()
        shutil.rmtree(self.path("for_tflite"))
        Path(self.path("quantized.tflite" if quantized else "tflite")).write_bytes(content)

    def _truncated(self, suffix):
        whole = self.path("whole." + suffix)
        self.model.save(whole)
        content = Path(whole).read_bytes()
        Path(whole).unlink()
        Path(self.path("truncated." + suffix)).write_bytes(content[: int(TRUNCATED_TO * len(content))])

    def _truncated_variables(self):
        self._saved_model("truncated")
        path = Path(self.path("truncated")) / "variables" / "variables.data-00000-of-00001"
        content = path.read_bytes()
        path.write_bytes(content[: int(TRUNCATED_TO * len(content))])


def versions():
    """What wrote the files."""
    keras = getattr(tf.keras, "__version__", None)
    if keras is None:
        import keras as package

        keras = package.__version__
    return {"tensorflow": tf.__version__, "keras": keras, "python": ".".join(map(str, sys.version_info[:3]))}


def main(folder, names):
    """Writes what can be written; what cannot is no failure of this program."""
    folder.mkdir(parents=True, exist_ok=True)
    made, results = {}, {}
    for name in names:
        architecture, _, suffix = name.partition(".")
        try:
            if architecture not in made:
                made[architecture] = Written(folder, architecture)
            made[architecture].save(suffix)
            results[name] = None
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            results[name] = f"{type(error).__name__}: {lines[0][:200]}"
    report = {"versions": versions(), "results": results}
    (folder / "written.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
