"""Traces on the wire: OTLP/HTTP with Protobuf, and what a receiver's answer means.

https://opentelemetry.io/docs/specs/otlp/. This is imported where an endpoint is named, and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from modelconversion_api.text import printable
from modelconversion_operator.errors import retry_after_seconds
from modelconversion_operator.telling.events import Moment, View
from modelconversion_operator.telling.sink import Dialect, Outcome, Verdict
from modelconversion_operator.telling.spans import Span, Trace, Value, ends_of, is_ignored, trace_of
from modelconversion_operator.telling.teller import Form

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/x-protobuf"
SERVICE_NAME: Final = "model-conversion-operator"
_PATH: Final = "v1/traces"
_LATER: Final = (429, 502, 503, 504)
"""What may pass, as the specification lists it: every other answer with an error is for good."""
_LONGEST_ANSWER: Final = 300
"""Characters of what a receiver says that are logged."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def traces_url(endpoint: str) -> str:
    """Return where traces go: the path of the specification below the endpoint's own."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    if not path.endswith(f"/{_PATH}"):
        path = f"{path}/{_PATH}"
    return urlunsplit(parts._replace(path=path))


def encode(view: View, _moment: Moment) -> bytes:
    """Return the trace of a run that has ended: what an HTTP request carries."""
    if is_ignored(view.traceparent):
        logger.warning(
            "%s/%s: its annotation edgeml.dev/traceparent is none, and its trace is one of its own",
            view.key.namespace,
            view.key.name,
        )
    return encode_trace(trace_of(view))


def encode_trace(trace: Trace) -> bytes:
    """Return a trace as OTLP has it; the same one as the same bytes."""
    spans = proto.ScopeSpans(
        scope=InstrumentationScope(name="modelconversion_operator.telling"),
        spans=[_span(trace, span) for span in trace.spans],
    )
    resource = Resource(attributes=_attributes({"service.name": SERVICE_NAME}))
    request = ExportTraceServiceRequest(
        resource_spans=[proto.ResourceSpans(resource=resource, scope_spans=[spans])]
    )
    return bytes(request.SerializeToString(deterministic=True))


def _span(trace: Trace, span: Span) -> proto.Span:
    flags = proto.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | 0x01  # what is told is sampled
    if span.is_remote:
        flags |= proto.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    status = proto.Status()
    attributes = dict(span.attributes)
    if span.error is not None:
        words = f"{span.error}: {span.message}" if span.message else span.error
        status = proto.Status(code=proto.Status.STATUS_CODE_ERROR, message=words)
        attributes["error.type"] = span.error
    return proto.Span(
        trace_id=trace.id,
        span_id=span.id,
        parent_span_id=span.parent or b"",
        flags=flags,
        name=span.name,
        kind=proto.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_nanoseconds(span.start),
        end_time_unix_nano=_nanoseconds(span.end),
        attributes=_attributes(attributes),
        status=status,
    )


def _nanoseconds(time: datetime) -> int:
    """Return nanoseconds since 1970, exactly: as a float they would be off by some hundred."""
    since = time - _EPOCH
    return max(0, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in sorted(values.items())]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Say what an answer means: only a few errors may pass, and what was taken in part is not sent again."""
    if status in _LATER:
        return Verdict(Outcome.FAILED, f"it answers {status}", retry_after_seconds(headers))
    if not 200 <= status < 300:
        return Verdict(Outcome.REFUSED, f"it answers {status}")
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Verdict(Outcome.DELIVERED)  # it has answered with success, in another encoding
    words = printable(partial.error_message)[:_LONGEST_ANSWER]
    if partial.rejected_spans > 0:
        return Verdict(Outcome.REFUSED, f"it has rejected {partial.rejected_spans} spans: {words}")
    if words:
        logger.warning("the receiver of traces has taken one, and warns: %s", words)
    return Verdict(Outcome.DELIVERED)


DIALECT: Final = Dialect(CONTENT_TYPE, judge)
FORM: Final = Form("traces", ends_of, encode)
