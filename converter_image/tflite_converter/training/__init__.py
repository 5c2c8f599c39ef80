"""Training before the conversion: distillation, pruning and quantization-aware training.

Runs in the TensorFlow child, but for ``plan`` and ``checkpoint``, which the parent reads and writes too.
Called by ``workers.training``.
"""
