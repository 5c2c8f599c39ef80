"""Who is believed. Signatures are made here by the schemes' own words, with the standard library."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.webhooks.signatures import Replays, problem_of
from modelconversion_operator.webhooks.subjects import concerns

NOW = 1_780_000_000.0
SECRET = "a secret of the test"
BODY = b'{"entity": "model_version"}'


def signed(
    identity: str = "msg-1", stamp: object = int(NOW), body: bytes = BODY, key: bytes = SECRET.encode()
) -> dict[str, str]:
    digest = hmac.new(key, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": identity, "webhook-timestamp": str(stamp), "webhook-signature": signature}


def problem(headers: dict[str, str], body: bytes = BODY, secret: str = SECRET) -> str | None:
    return problem_of(headers, body, secret, NOW, Replays())


def test_the_example_of_standard_webhooks() -> None:
    """Of the specification's own text."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert problem_of(headers, b'{"test": 2432232314}', secret, 1614265330.0, Replays()) is None


def test_mlflow_signs_alike_under_other_names() -> None:
    names = {"id": "delivery-id", "timestamp": "timestamp", "signature": "signature"}
    headers = {f"x-mlflow-{names[k.partition('-')[2]]}": v for k, v in signed().items()}
    assert problem(headers) is None
    assert problem(headers, BODY + b" ") is not None


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (signed(), None),
        (signed() | {"webhook-signature": "v1,AAAA " + signed()["webhook-signature"]}, None),
        ({"authorization": f"Bearer {SECRET}"}, None),
        ({"authorization": f"bearer  {SECRET} "}, None),
        ({}, "neither a signature nor a bearer token"),
        ({"authorization": f"Basic {SECRET}"}, "neither"),
        ({"authorization": "Bearer "}, "another one"),
        ({"authorization": f"Bearer {SECRET}x"}, "another one"),
        ({"authorization": "Bearer é"}, "another one"),
        (signed(key=b"another"), "not by this secret"),
        (signed(body=b"another"), "not by this secret"),
        (signed() | {"webhook-id": "msg-2"}, "not by this secret"),
        (signed() | {"webhook-signature": signed()["webhook-signature"][3:]}, "not by this secret"),
        (signed() | {"webhook-signature": "v1,é"}, "not by this secret"),
        (signed() | {"webhook-signature": "v2" + signed()["webhook-signature"][2:]}, "not by this secret"),
        (signed(stamp=int(NOW) - 301), "more than 300 s ago"),
        (signed(stamp=int(NOW) + 301), "or ahead"),
        (signed(stamp="9" * 400), "or ahead"),
        (signed(stamp="-1"), "no id or time"),
        (signed(stamp="٣"), "no id or time"),
        (signed(identity=""), "no id or time"),
        (signed(identity="x" * 257), "no id or time"),
        # A signature that is wrong is not made up for by a token that is right.
        (signed(key=b"another") | {"authorization": f"Bearer {SECRET}"}, "not by this secret"),
    ],
)
def test_who_is_believed(headers: dict[str, str], words: str | None) -> None:
    found = problem(headers)
    assert found is None if words is None else words in str(found)


def test_nobody_is_believed_by_an_empty_secret() -> None:
    for headers in ({"authorization": "Bearer "}, signed(key=b"")):
        assert problem(headers, secret="") == "the Secret is empty"


def test_a_call_counts_once_and_what_is_forgotten_is_too_old_by_then() -> None:
    replays = Replays()
    assert problem_of(signed(), BODY, SECRET, NOW, replays) is None
    assert problem_of(signed(), BODY, SECRET, NOW + 1, replays) == "it has been here before"
    assert problem_of(signed("msg-2"), BODY, SECRET, NOW + 300, replays) is None
    for seconds in (300, 301, 601, 10_000):
        assert problem_of(signed(), BODY, SECRET, NOW + seconds, replays) is not None


@given(secret=st.text(min_size=1, max_size=40), body=st.binary(max_size=60), other=st.binary(max_size=60))
def test_only_the_signed_body_is_believed(secret: str, body: bytes, other: bytes) -> None:
    key = secret.encode()
    if secret.startswith("whsec_"):
        return
    headers = signed(body=body, key=key)
    assert problem_of(headers, body, secret, NOW, Replays()) is None
    assert (problem_of(headers, other, secret, NOW, Replays()) is None) == (other == body)


S3_EVENT = b"""{"Records": [{"eventName": "ObjectCreated:Put",
 "s3": {"bucket": {"name": "models"}, "object": {"key": "night/person+v%C3%A4%2B1.onnx"}}}]}"""


@pytest.mark.parametrize(
    ("body", "uri", "expected"),
    [
        (S3_EVENT, "s3://models/night/person vä+1.onnx", True),
        (S3_EVENT, "s3://models/night/other.onnx", False),
        (S3_EVENT, "s3://other/night/person vä+1.onnx", False),
        (S3_EVENT, "s3://models/night", True),
        (S3_EVENT, "s3://models/night/", True),
        (S3_EVENT, "s3://models/nigh", False),
        (b'{"specversion": "1.0", "data": %s}' % S3_EVENT, "s3://models/night", True),
        (b'{"specversion": "1.0", "data": %s}' % S3_EVENT, "s3://models/day", False),
        (b'{"key": "/buckets/models/a.h5", "event_type": "update"}', "s3://models/a.h5", True),
        (b'{"key": "/buckets/models/b.h5", "event_type": "update"}', "s3://models/a.h5", False),
        (b'{"data": {"bucket": "models", "name": "a.h5"}}', "gs://models/a.h5", True),
        (b'{"data": {"bucket": "models", "name": "b.h5"}}', "gs://models/a.h5", False),
        (b'{"subject": "/blobServices/default/containers/c/blobs/a/b.h5"}', "az://c/a/b.h5", True),
        (b'{"subject": "/blobServices/default/containers/c/blobs/a/b.h5"}', "az://c/a/c.h5", False),
        (b'{"entity": "model_version", "data": {"name": "person", "version": "3"}}', "s3://models/a", True),
        (b"", "s3://models/a", True),
        (b"\xff\xfe", "s3://models/a", True),
        (b"[1]", "s3://models/a", True),
        (b'{"Records": {"a": 1}}', "s3://models/a", True),
        (b'{"Records": [null, 7, {"s3": []}, {"s3": {"bucket": 1, "object": 2}}]}', "s3://models/a", True),
        (b'{"Records": ' + b"[" * 5000, "s3://models/a", True),
    ],
)
def test_what_a_call_is_about(body: bytes, uri: str, expected: bool) -> None:
    assert concerns(body, uri) is expected
