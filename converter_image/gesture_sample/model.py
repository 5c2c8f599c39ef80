"""The sample model: 46 hand features to 5 gestures, trained on data made here.

The data is synthetic and says nothing about real hands. A hand is five fingers, each bent by a curl from 0
(straight) to 1 (fist); each gesture is a mean curl for each finger. One sample draws the curls around the
gesture's means, turns, scales and mirrors the hand, and adds noise to each coordinate. The curls' spread is
wide enough that neighbouring gestures overlap, so that a good model makes mistakes and quantization shows.

The 46 features, float32:

==========  ====================================================================================
0 to 41     x and y of 21 landmarks (wrist, then four a finger from thumb to little finger),
            wrist at the origin, unit: length of a hand
42 to 44    distances from the thumb's tip to the tips of index, middle and ring finger
45          mean distance of the five tips from the wrist
==========  ====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES = 46
GESTURES = ("fist", "palm", "point", "victory", "thumbs_up")

_CURLS = np.array(
    [  # thumb, index, middle, ring, little finger
        [0.80, 0.85, 0.85, 0.85, 0.85],
        [0.15, 0.10, 0.10, 0.10, 0.15],
        [0.70, 0.15, 0.80, 0.85, 0.85],
        [0.70, 0.15, 0.20, 0.80, 0.80],
        [0.15, 0.80, 0.85, 0.85, 0.85],
    ]
)
_CURL_SPREAD = 0.19
_COORDINATE_NOISE = 0.03
_FINGER_ANGLES = np.radians([50.0, 18.0, 0.0, -16.0, -32.0])
_FINGER_BASES = np.array([0.25, 0.48, 0.50, 0.47, 0.42])
_SEGMENTS = np.array([0.22, 0.16, 0.12])


@dataclass(frozen=True)
class Samples:
    """Features of shape ``(n, 46)``, float32, and labels of shape ``(n,)``, int64."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def make_samples(count: int, seed: int) -> Samples:
    """``count`` samples, the gestures in equal shares and random order."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % len(GESTURES))
    curls = np.clip(generator.normal(_CURLS[labels], _CURL_SPREAD), 0.0, 1.0)
    landmarks = _landmarks(curls)
    angle = generator.normal(0.0, 0.35, count)
    scale = generator.normal(1.0, 0.08, count)
    mirror = generator.choice([-1.0, 1.0], count)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    x, y = landmarks[..., 0] * mirror[:, None], landmarks[..., 1]
    turned = np.stack([x * cos[:, None] - y * sin[:, None], x * sin[:, None] + y * cos[:, None]], axis=-1)
    turned[:, 1:] += generator.normal(0.0, _COORDINATE_NOISE, turned[:, 1:].shape)
    tips = turned[:, 4::4]
    pinches = np.linalg.norm(tips[:, 1:4] - tips[:, :1], axis=-1)
    reach = np.linalg.norm(tips, axis=-1).mean(axis=1, keepdims=True)
    features = np.concatenate([turned.reshape(count, 42), pinches, reach], axis=1)
    return Samples(features.astype(np.float32), labels.astype(np.int64))


def _landmarks(curls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joints of shape ``(n, 21, 2)``: along each finger, every joint bends by the finger's curl."""
    count = len(curls)
    points = np.zeros((count, 21, 2))
    for finger in range(5):
        direction = np.array([np.sin(-_FINGER_ANGLES[finger]), np.cos(_FINGER_ANGLES[finger])])
        at = np.tile(_FINGER_BASES[finger] * direction, (count, 1))
        points[:, 1 + 4 * finger] = at
        for joint, length in enumerate(_SEGMENTS):
            # A bent segment points out of the image plane: seen from above it shrinks and turns back.
            seen = np.cos(curls[:, finger] * np.pi * 0.45 * (joint + 1))
            at = at + (length * seen)[:, None] * direction
            points[:, 2 + 4 * finger + joint] = at
    return points


def build_model(seed: int) -> Any:
    """Build the classifier: 46 - 128 - 64 - 5, 14,597 parameters."""
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((FEATURES,), name="features"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(len(GESTURES), activation="softmax", name="gesture"),
        ],
        name="gesture_classifier",
    )


def save_samples(samples: Samples, folder: Path, name: str) -> None:
    """Write ``NAME_features.npy`` and ``NAME_labels.npy``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}_features.npy", samples.features, allow_pickle=False)
    np.save(folder / f"{name}_labels.npy", samples.labels, allow_pickle=False)
