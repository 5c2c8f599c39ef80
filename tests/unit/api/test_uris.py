"""Where models and data may lie, and what is read out of a URI."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from modelconversion_api.fields.storage import (
    AzureAccess,
    GoogleCloudAccess,
    RegistriesAccess,
    StorageAccess,
    endpoint_of,
)
from modelconversion_api.request import request_from_spec
from modelconversion_api.spec import ModelConversionSpec, uris_of
from modelconversion_api.uris import (
    HUB,
    SourceUri,
    StoreUri,
    bare,
    digest,
    in_registry,
    origin,
    split_uri,
    web_url,
)
from support.operator.objects import spec

COMMIT, DIGEST = "0a" * 20, "0b" * 32
PIN = f"#sha256={DIGEST}"
OCI = f"@sha256:{DIGEST}"
WEB, HF = f"https://Models.example:8443/v1/a.onnx{PIN}", f"hf://org/repo@{COMMIT}/a b/ü.onnx"
READ = TypeAdapter(SourceUri)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://models/a.h5", ("s3://models/a.h5", None, None)),
        (f"s3://models/a.h5{PIN}", (f"s3://models/a.h5{PIN}", None, None)),
        (f"gs://models_1/a.h5{PIN}", (f"gs://models_1/a.h5{PIN}", None, None)),
        ("az://models/a b?/ü.h5", ("az://models/a b?/ü.h5", None, None)),
        (WEB, ("https://Models.example:8443/v1/a.onnx", DIGEST, "https://models.example:8443")),
        (f"https://h/a{PIN}", ("https://h/a", DIGEST, "https://h")),
        (f"https://h:443/a{PIN}", ("https://h:443/a", DIGEST, "https://h")),
        (f"hf://org/repo@{COMMIT}/a.onnx", (f"hf://org/repo@{COMMIT}/a.onnx", None, HUB)),
        (f"hf://org/repo@{COMMIT}/a.onnx{PIN}", (f"hf://org/repo@{COMMIT}/a.onnx", DIGEST, HUB)),
        (f"oci://r.example:443/a/person{OCI}", ("oci://r.example:443/a/person", None, "https://r.example")),
        (f"oci://r:5000/a-b/c__d{OCI}/m/x.onnx", ("oci://r:5000/a-b/c__d/m/x.onnx", None, "https://r:5000")),
        ("/home/me/a#sha256=1.h5", ("/home/me/a#sha256=1.h5", None, None)),
    ],
)
def test_parts(uri: str, parts: tuple[str, str | None, str | None]) -> None:
    if "://" in uri:
        assert READ.validate_python(uri) == uri
    found = (bare(uri), digest(uri), origin(uri) if "://" in uri else None)
    assert found == parts


@pytest.mark.parametrize("uri", [WEB, HF, f"oci://r.example/a{OCI}", "gs://models", "file:///x/y"])
def test_what_nothing_can_be_written_to(uri: str) -> None:
    with pytest.raises(ValidationError, match="must name a bucket and a key"):
        TypeAdapter(StoreUri).validate_python(uri)


def test_buckets_and_keys() -> None:
    assert split_uri("gs://models/a//b?c://d") == ("models", "a//b?c://d")


@pytest.mark.parametrize(
    ("uri", "access", "server"),
    [
        ("s3://models/a", StorageAccess(), None),
        ("s3://models/a", StorageAccess(endpoint="https://minio:9000/"), "https://minio:9000"),
        ("gs://models/a", StorageAccess(endpoint="https://minio:9000"), "https://storage.googleapis.com"),
        ("gs://m/a", StorageAccess(google_cloud=GoogleCloudAccess(endpoint="https://g/")), "https://g"),
        ("az://models/a", StorageAccess(), None),
        ("az://m/a", StorageAccess(azure=AzureAccess(account="abc")), "https://abc.blob.core.windows.net"),
        ("az://m/a", StorageAccess(azure=AzureAccess(account="abc", endpoint="https://z/")), "https://z"),
        (WEB, StorageAccess(), "https://models.example:8443"),
        (f"oci://r:443/a{OCI}", StorageAccess(), "https://r"),
        (f"oci://r:80/a{OCI}", StorageAccess(oci=RegistriesAccess(insecure=True)), "http://r"),
        (f"oci://r:443/a{OCI}", StorageAccess(oci=RegistriesAccess(insecure=True)), "http://r:443"),
    ],
)
def test_where_it_is_read_from(uri: str, access: StorageAccess, server: str | None) -> None:
    assert endpoint_of(uri, access) == server


def test_urls_of_the_hub() -> None:
    quoted = "a%20b/%C3%BC.onnx"
    assert (
        web_url(HF, "https://mirror.example/") == f"https://mirror.example/org/repo/resolve/{COMMIT}/{quoted}"
    )
    data = f"hf://datasets/org/data@{COMMIT}/x@y.npy{PIN}"
    assert web_url(data, HUB) == f"{HUB}/datasets/org/data/resolve/{COMMIT}/x%40y.npy"
    assert web_url(WEB, HUB) == "https://Models.example:8443/v1/a.onnx"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("https://h/a.h5", "must end in #sha256="),
        (f"https://h/a.h5#sha256={DIGEST[:-1]}", "must end in #sha256="),
        (f"https://h/a.h5#sha256={DIGEST.upper()}", "must end in #sha256="),
        (f"https://u:p@h/a.h5{PIN}", "no user"),
        (f"https://h/a.h5?x=1{PIN}", "no user, no query"),
        (f"https://h{PIN}", "must be s3"),
        (f"https://h/a b{PIN}", "must be s3"),
        (f"https://h/a/../b{PIN}", "must not contain"),
        ("hf://org/repo@main/a.h5", "must name a commit"),
        (f"hf://org/repo@{COMMIT}", "must name a commit"),
        (f"hf://org/re/po@{COMMIT}/a.h5", "must be s3"),
        (f"hf://models/org/repo@{COMMIT}/a.h5", "must be s3"),
        ("file:///etc/passwd", "must be s3"),
        ("http://169.254.169.254/latest", "must be s3"),
        (f"s3://b/x\n{PIN}", "must be s3"),
        ("gs://models", "must be s3"),
        ("gs://m/a.h5", "must be s3"),
        ("gs://Models/a.h5", "must be s3"),
        ("az://mo_dels/a.h5", "must be s3"),
        ("az://mo.dels/a.h5", "must be s3"),
        ("az://models/../b", "must not contain"),
        ("gcs://models/a.h5", "must be s3"),
        ("oci://r.example/a:latest", "must end its repository in @sha256:"),
        ("oci://r.example/a", "must end its repository in @sha256:"),
        ("oci://r.example/a@sha256:0b", "must end its repository in @sha256:"),
        (f"oci://r.example/a:v1{OCI}", "must end its repository in @sha256:"),
        (f"oci://library/a{OCI}", "must be s3"),
        (f"oci://user@r.example/a{OCI}", "must be s3"),
        (f"oci://r.example/A{OCI}", "must be s3"),
        (f"oci://r.example{OCI}", "must be s3"),
        (f"oci://r.example/a{OCI}/", "must be s3"),
        (f"oci://r.example/a{OCI}/x?y", "must be s3"),
        (f"oci://r.example/a{OCI}/../x.onnx", "must not contain"),
    ],
)
def test_what_is_refused(uri: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        READ.validate_python(uri)


def test_a_digest_hides_no_suffix_and_is_in_no_name() -> None:
    wanted = ModelConversionSpec.model_validate(spec(source={"uri": f"https://h/v1/Gesture-2.onnx{PIN}"}))
    assert wanted.source.engine_format == "ONNX"
    assert request_from_spec(wanted).base_name == "Gesture-2"


@pytest.mark.parametrize(
    ("path", "name", "engine"), [("", "person", None), ("/m/Face.onnx", "Face", "ONNX"), ("/m", "m", None)]
)
def test_what_lies_in_a_registry_has_the_name_of_its_repository_or_file(
    path: str, name: str, engine: str | None
) -> None:
    wanted = ModelConversionSpec.model_validate(
        spec(source={"uri": f"oci://r.example/acme/person{OCI}{path}"})
    )
    assert request_from_spec(wanted).base_name == name
    assert wanted.source.engine_format == engine
    named = in_registry(wanted.source.uri)
    assert named == ("r.example", "acme/person", f"sha256:{DIGEST}", path[1:])


def test_all_that_a_conversion_reads() -> None:
    data = {"uri": "s3://data/x.npy", "labelsUri": "s3://data/y.npy"}
    wanted = spec(
        methods=["FullInteger"],
        calibration=data,
        validation={"uri": "s3://data/v.npy"},
        optimize={"training": data, "distillation": {"studentUri": "s3://data/s.h5"}},
        recipes=[{"name": "own", "base": "DynamicRange", "rules": {"uri": "s3://data/r.json"}}],
    )
    assert uris_of(ModelConversionSpec.model_validate(wanted)) == {
        "spec.source.uri": wanted["source"]["uri"],
        "spec.calibration.uri": "s3://data/x.npy",
        "spec.calibration.labelsUri": "s3://data/y.npy",
        "spec.validation.uri": "s3://data/v.npy",
        "spec.optimize.training.uri": "s3://data/x.npy",
        "spec.optimize.training.labelsUri": "s3://data/y.npy",
        "spec.optimize.distillation.studentUri": "s3://data/s.h5",
        "spec.recipes[own].rules.uri": "s3://data/r.json",
    }
