"""Writes files of jax.export that are refused, or read with care.

``python make_odd_jax_models.py FOLDER`` runs on the Python of the JAX engine, and uses nothing of the
product.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402 - types of 64 bits are chosen before
import numpy as np  # noqa: E402
from jax import export  # noqa: E402

Pair = namedtuple("Pair", "left right")
export.register_namedtuple_serialization(Pair, serialized_name="somebody.Pair")

F32 = jnp.float32
KERNEL = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def spec(*shape: Any, dtype: Any = F32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def exported(function: Callable[..., Any], *specs: Any, **more: Any) -> Any:
    return export.export(jax.jit(function), **more)(*specs)


def dense(x: Any) -> Any:
    return x @ jnp.asarray(KERNEL, x.dtype)


def of(dtype: Any) -> Any:
    return exported(lambda x: jnp.tanh(dense(x)), spec(1, 4, dtype=dtype))


def symbolic(text: str) -> tuple[Any, ...]:
    return tuple(export.symbolic_shape(text))


def deep(levels: int) -> Any:
    tree: Any = spec(1, 4)
    for _ in range(levels):
        tree = (tree,)
    return exported(lambda x: dense(jax.tree.leaves(x)[0]), tree)


def bytecode(made: Any) -> bytes:
    """Return the module as bytecode of MLIR itself, without StableHLO's promise that others can read it."""
    import io

    from jax._src.interpreters.mlir import make_ir_context
    from jaxlib import _jax

    with make_ir_context():
        content = io.BytesIO()
        module = _jax.mlir.deserialize_portable_artifact(made.mlir_module_serialized)
        module.operation.write_bytecode(content)
        return content.getvalue()


def files() -> dict[str, bytes]:
    plain = exported(dense, spec(1, 4))
    whole = bytes(plain.serialize())
    damaged = bytearray(whole)
    module = whole.index(b"ML\xefR")
    damaged[module + 60 : module + 200] = bytes(140)
    version = plain.mlir_module_serialized.index(b"StableHLO_v") + 11
    newer = plain.mlir_module_serialized[:version] + b"9" + plain.mlir_module_serialized[version + 1 :]
    return {
        "plain": whole,
        "truncated": whole[: len(whole) // 2],
        "damaged": bytes(damaged),
        "empty": b"",
        "text": b"no model at all",
        "as_text": plain.mlir_module().encode(),
        "newer": bytes(dataclasses.replace(plain, mlir_module_serialized=newer).serialize()),
        "convention": bytes(dataclasses.replace(plain, calling_convention_version=99).serialize()),
        "two_devices": bytes(dataclasses.replace(plain, nr_devices=2).serialize()),
        "bare": bytes(plain.mlir_module_serialized),
        "bytecode": bytecode(plain),
        "bare_open": bytes(exported(dense, spec(*symbolic("b, 4"))).mlir_module_serialized),
    }


MADE: dict[str, Callable[[], Any]] = {
    "float16": lambda: of(jnp.float16),
    "bfloat16": lambda: of(jnp.bfloat16),
    "float64": lambda: of(jnp.float64),
    "bits": lambda: exported(lambda x: x.view(jnp.int16), spec(1, 4, dtype=jnp.float16)),
    "int64": lambda: exported(lambda x: (x * 2, dense(x.astype(F32))), spec(1, 4, dtype=jnp.int64)),
    "two_platforms": lambda: exported(dense, spec(1, 4), platforms=["cpu", "tpu"]),
    "tpu_only": lambda: exported(dense, spec(1, 4), platforms=["tpu"]),
    "solver": lambda: exported(lambda x: jnp.linalg.eigh(x)[1], spec(4, 4)),
    "random_key": lambda: exported(
        lambda k: jax.random.normal(k, (4,)), jax.eval_shape(lambda: jax.random.key(0))
    ),
    "complex": lambda: exported(jnp.fft.fft, spec(1, 8)),
    "huge_input": lambda: exported(lambda x: x * 2, spec(1 << 20, 1 << 20)),
    "huge_inside": lambda: exported(lambda x: jnp.broadcast_to(x, (1 << 20, 1 << 20)).sum(), spec(1)),
    "bomb": lambda: exported(lambda x: x + jnp.cumsum(jnp.ones((1 << 14, 1 << 15))).max(), spec(1)),
    "endless": lambda: exported(lambda x: jax.lax.fori_loop(0, 1 << 30, lambda i, v: v + i, x), spec(1, 4)),
    "until": lambda: exported(
        lambda x: jax.lax.while_loop(lambda v: v.sum() < 9, lambda v: v * 2, x), spec(1, 4)
    ),
    "sort": lambda: exported(jnp.sort, spec(1, 9)),
    "custom_tree": lambda: exported(lambda p: Pair(dense(p.left), p.right * 2), Pair(spec(1, 4), spec(1, 2))),
    "deep": lambda: deep(100),
    "spaced_keys": lambda: exported(lambda d: dense(d["a b"]) + d["c"], {"a b": spec(1, 4), "c": spec(1, 3)}),
    "unused_input": lambda: exported(lambda x, unused: dense(x), spec(1, 4), spec(1, 2)),
    "expression": lambda: exported(lambda x: x.reshape(x.shape[0], -1, 2).sum(1), spec(*symbolic("b, 2*t"))),
    "two_open": lambda: exported(
        lambda x, y: x.mean(1) + y.mean(1), spec(*symbolic("b, t, 4")), spec(1, 5, 4)
    ),
    "batch_of_four": lambda: exported(lambda x: jnp.tanh(dense(x)), spec(4, 4)),
    "no_batch": lambda: exported(lambda x: jnp.tanh(x @ KERNEL), spec(4)),
    "constant_output": lambda: exported(lambda x: (dense(x), jnp.arange(3.0, dtype=F32)), spec(1, 4)),
    "static_key": lambda: exported(lambda x: x + jax.random.normal(jax.random.key(1), (4,), F32), spec(1, 4)),
    "bool_output": lambda: exported(lambda x: dense(x) > 0, spec(1, 4)),
    "uint8_input": lambda: exported(lambda x: dense(x.astype(F32) / 255), spec(1, 4, dtype=jnp.uint8)),
}


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / f"{name}.jax").write_bytes(content)
    for name, make in MADE.items():
        (folder / f"{name}.jax").write_bytes(bytes(make().serialize()))


if __name__ == "__main__":
    main()
