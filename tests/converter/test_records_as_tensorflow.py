"""TFRecords that TensorFlow itself writes are the arrays that went into them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelconversion_api.reasons import Stage
from tflite_converter.data.records.making import read
from tflite_converter.data.records.messages import Form, ReadingJob
from tflite_converter.isolation.protocol import ChildLimits

tf = pytest.importorskip("tensorflow")


def feature(values: np.ndarray) -> object:
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@settings(max_examples=40, deadline=None)
@given(
    floats=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(width=32)
    ),
    integers=hnp.arrays(np.int64, (12, 3)),
    compression=st.sampled_from(["", "GZIP", "ZLIB"]),
)
def test_what_tf_io_writes(floats: np.ndarray, integers: np.ndarray, compression: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tfrecord"
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for row, numbers in zip(floats, integers, strict=False):
                features = tf.train.Features(feature={"x": feature(row), "i": feature(numbers)})
                writer.write(tf.train.Example(features=features).SerializeToString())
        job = ReadingJob(
            limits=ChildLimits(), form=Form.TFRECORD, files=(path,), name="x", stage=Stage.CALIBRATE
        )
        result = read(job, Path(folder))
        arrays = {key: np.load(Path(folder) / f"{i}.npy") for i, key in enumerate(result.arrays)}
    assert result.samples == len(floats)
    np.testing.assert_array_equal(arrays["x"], floats if floats.shape[1] > 1 else floats[:, 0])
    np.testing.assert_array_equal(arrays["i"], integers[: len(floats)])
