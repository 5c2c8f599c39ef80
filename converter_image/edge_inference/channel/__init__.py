"""Follows a channel: runs the file that its signed pointer names, and goes back where that file does badly.

Needs cryptography beside what :mod:`edge_inference` needs.

::

    from edge_inference.channel import ModelChannel

    channel = ModelChannel(
        "https://models.example/gesture/stable/channel.json",
        name="ml/gesture-stable",
        public_key=Path("channel.pem").read_bytes(),
        folder="/var/lib/gesture",
    )
    channel.poll()  # now and then
    gesture, confidence = channel.model.predict_single(features)
"""

from .following import ModelChannel, Outcome, Update
from .guard import DriftLimits
from .pointer import Pointer

__all__ = ["DriftLimits", "ModelChannel", "Outcome", "Pointer", "Update"]
