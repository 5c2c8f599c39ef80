"""Lookup tables of integers as comparisons with all keys: TFLite's own take or give text. Child only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.original.errors import layer_of
from tflite_converter.original.graphs.reading import (
    PASSES_ON,
    by_name,
    data_inputs,
    keep_only,
    producer,
    source,
)

_LARGEST = 4096
"""Keys of a table; each lookup is compared with all of them."""
_FIND = "LookupTableFindV2"


def tables_as_comparisons(graph: Any, tables: dict[str, Any]) -> None:
    """Write each lookup in a small table of integers as comparisons; take its table from ``tables``.

    Raises:
        ConverterError: UnsupportedOperation for any other table that the graph uses.

    """
    nodes = by_name(graph.node)
    for node in graph.node:
        if node.op == _FIND and (name := producer(source(nodes, node.input[0]))) in tables:
            _compare(graph, node, tables[name])
    for node in graph.node:
        used = {producer(source(nodes, reference)) for reference in data_inputs(node)}
        if node.op not in PASSES_ON and used & tables.keys():
            raise _unsupported(node)
    keep = {node.name for node in graph.node if not _hands_on_a_table(nodes, node, tables)}
    keep_only(graph, keep)
    tables.clear()


def _hands_on_a_table(nodes: Mapping[str, Any], node: Any, tables: Mapping[str, Any]) -> bool:
    return node.name in tables or any(
        producer(source(nodes, reference)) in tables for reference in data_inputs(node)
    )


def _compare(graph: Any, node: Any, table: Any) -> None:
    key_type = tf.as_dtype(node.attr["Tin"].type)
    value_type = tf.as_dtype(node.attr["Tout"].type)
    if not (key_type.is_integer and (value_type.is_integer or value_type.is_floating)):
        raise _no_such_table(node.name, key_type, value_type)
    keys, values = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key_type, Tvalues=value_type)
    if len(keys) > _LARGEST:
        raise _no_such_table(node.name, key_type, value_type, f" of {len(keys)} keys")
    order = np.argsort(keys.numpy(), kind="stable")  # a table has no order of its own
    sorted_keys, sorted_values = keys.numpy()[order], values.numpy()[order]

    def find(sought: Any, default: Any) -> Any:
        if not len(order):
            return tf.zeros_like(sought, value_type) + default
        matches = tf.equal(tf.expand_dims(sought, -1), sorted_keys)
        number = tf.argmax(tf.cast(matches, tf.int32), -1, output_type=tf.int32)
        return tf.where(tf.reduce_any(matches, -1), tf.gather(sorted_values, number), default)

    signature = [tf.TensorSpec(None, key_type), tf.TensorSpec([], value_type)]
    function = tf.function(find, input_signature=signature, autograph=False).get_concrete_function()
    definition = function.function_def
    graph.library.function.add().CopyFrom(definition)
    replacement = type(node)(name=node.name, op="PartitionedCall", input=node.input[1:])
    replacement.attr["Tin"].list.type[:] = [key_type.as_datatype_enum, value_type.as_datatype_enum]
    replacement.attr["Tout"].list.type[:] = [value_type.as_datatype_enum]
    replacement.attr["f"].func.name = definition.signature.name
    node.CopyFrom(replacement)


def _unsupported(user: Any) -> ConverterError:
    if user.op == _FIND:
        return _no_such_table(
            user.name, tf.as_dtype(user.attr["Tin"].type), tf.as_dtype(user.attr["Tout"].type)
        )
    return _error(f"the model uses a table, queue or iterator by {user.op} (in {layer_of(user.name)})")


def _no_such_table(path: str, key_type: Any, value_type: Any, size: str = "") -> ConverterError:
    where = layer_of(path)
    kinds = f"from {key_type.name} to {value_type.name}"
    return _error(f"the model looks values up in a table {kinds}{size} (in {where})")


def _error(cause: str) -> ConverterError:
    return ConverterError(
        FailureReason.UNSUPPORTED_OPERATION,
        Stage.CONVERT,
        f"{cause}, and TFLite has no such tables",
        hint="export the part of the model behind the lookup, and look values up before it",
    )
