"""Conversions whose files lie in the clouds: who gets which credentials, and what the platform allows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelconversion_api.fields.cache import Cache
from modelconversion_api.fields.storage import Azure, GoogleCloud, Storage
from modelconversion_api.request import request_from_spec
from modelconversion_api.spec import ModelConversionSpec, Retain
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.manifest import (
    CONVERTS,
    JobSettings,
    Part,
    job_manifest,
    request_problem,
)
from modelconversion_operator.deciding.policy import secrets_of
from modelconversion_operator.settings import load
from support.operator.objects import KEY, spec

PI5 = {"name": "pi5", "nodeSelector": {"board": "pi5"}}
ALL = {
    "secretRef": {"name": "s3"},
    "googleCloud": {"secretRef": {"name": "google"}},
    "azure": {"account": "models", "secretRef": {"name": "azure"}},
}
IDENTITIES = {"googleCloud": {}, "azure": {"account": "models"}}
USE = "azure.workload.identity/use"


def conversion(source: str, output: str, storage: Any = ALL, **changes: Any) -> ModelConversionSpec:
    """One that reads its calibration data where its source is."""
    wanted = spec(
        source={"uri": f"{source}://models/a.h5"},
        calibration={"uri": f"{source}://models/val.npy"},
        output={"uri": f"{output}://models/out/"},
        storage=storage,
        benchmark={"boards": [PI5]},
        **changes,
    )
    return ModelConversionSpec.model_validate(wanted)


def job(wanted: ModelConversionSpec, part: Part = CONVERTS) -> Any:
    return job_manifest(KEY, "1", wanted, JobSettings("x"), part=part)


def containers(manifest: Any) -> dict[str, list[dict[str, Any]]]:
    pod = manifest["spec"]["template"]["spec"]
    return {c["name"]: c["env"] for c in (*pod.get("initContainers", ()), *pod["containers"])}


def secrets(manifest: Any) -> dict[str, set[str]]:
    """Names of the Secrets that each container has keys of."""
    return {
        name: {
            e["valueFrom"]["secretKeyRef"]["name"] for e in env if "secretKeyRef" in e.get("valueFrom", {})
        }
        for name, env in containers(manifest).items()
    }


def test_an_output_that_keeps_what_it_has_is_looked_at_before_anything_is_converted():
    wanted = conversion("s3", "gs")
    assert secrets(job(wanted))["fetch"] == {"s3"}
    kept = wanted.output.model_copy(update={"retain": Retain.IMMUTABLE})
    of = secrets(job(wanted.model_copy(update={"output": kept})))
    assert (of["fetch"], of["convert"], of["publish"]) == ({"s3", "google"}, set(), {"google"})


def test_a_cache_is_read_by_fetch_and_kept_apart_by_namespace_and_image():
    wanted = conversion("gs", "s3")
    cache = Cache(uri="s3://models/cache/")
    wanted = wanted.model_copy(update={"output": wanted.output.model_copy(update={"cache": cache})})
    assert secrets(job(wanted)) == {"fetch": {"s3", "google"}, "convert": set(), "publish": {"s3"}}
    scopes = {
        json.loads(containers(job_manifest(key, "1", wanted, JobSettings(image)))["fetch"][0]["value"])[
            "cacheScope"
        ]
        for key in (KEY, replace(KEY, namespace="other"))
        for image in ("x", "y")
    }
    assert len(scopes) == 4
    same = [replace(KEY, name="other", uid="other"), KEY]
    assert (
        len(
            {
                json.dumps(containers(job_manifest(key, "1", wanted, JobSettings("x")))["fetch"][0])
                for key in same
            }
        )
        == 2
    )
    plain = conversion("gs", "s3")
    assert "cacheScope" not in containers(job(plain))["fetch"][0]["value"]


@pytest.mark.parametrize(
    ("source", "output", "fetch", "publish"),
    [
        ("s3", "s3", {"s3"}, {"s3"}),
        ("gs", "gs", {"google"}, {"google"}),
        ("az", "az", {"azure"}, {"azure"}),
        ("s3", "az", {"s3"}, {"azure"}),
        ("az", "gs", {"azure"}, {"google"}),
    ],
)
def test_a_container_has_the_credentials_of_what_it_speaks_with(
    source: str, output: str, fetch: set[str], publish: set[str]
) -> None:
    wanted = conversion(source, output)
    assert secrets(job(wanted)) == {"fetch": fetch, "convert": set(), "publish": publish}
    board = {"fetch": publish, "measure": set(), "publish": publish}
    assert secrets(job(wanted, Part(board="pi5"))) == board
    assert secrets(job(wanted, Part(reads_report=True))) == {"publish": publish}


OCI = f"oci://registry.example/acme/person@sha256:{'0' * 64}"
LOGINS = {"oci": {"secretRef": {"name": "logins"}}}


def test_logins_of_registries_are_for_fetch_where_the_source_is_in_one() -> None:
    changes = {"source": {"uri": OCI}, "storage": ALL | LOGINS}
    pushed = {"repository": "registry.example/edge", "secretRef": {"name": "push", "key": "config"}}
    output = {"uri": "gs://models/out/", "oci": pushed}
    wanted = ModelConversionSpec.model_validate(spec(**changes, output=output))
    manifest = job(wanted)
    # The data are in S3.
    assert secrets(manifest) == {"fetch": {"logins", "s3"}, "convert": set(), "publish": {"google", "push"}}
    (variable,) = (e for e in containers(manifest)["fetch"] if e["name"] == "CONVERSION_REGISTRY_LOGINS")
    assert variable["valueFrom"]["secretKeyRef"] == {
        "name": "logins",
        "key": ".dockerconfigjson",
        "optional": False,
    }
    assert secrets(job(wanted, Part(reads_report=True))) == {"publish": {"google"}}
    assert secrets(job(conversion("s3", "s3", ALL | LOGINS)))["fetch"] == {"s3"}
    assert set(secrets_of(wanted)) == {"s3", "google", "azure", "logins", "push"}
    told = request_from_spec(wanted)
    assert told.to_wire()["storage"]["oci"] == {"insecure": False}
    assert told.base_name == "person"


@pytest.mark.parametrize(
    ("allowed", "storage", "place"),
    [
        ("https://registry.example", {}, None),
        ("https://registry.example", {"oci": {"insecure": True}}, "spec.source.uri is at http://registry.ex"),
        ("http://registry.example", {"oci": {"insecure": True}}, None),
        ("https://other.example", LOGINS, "spec.source.uri is at https://registry.example, which"),
    ],
)
def test_registries_are_endpoints_of_the_policy(allowed: str, storage: Any, place: str | None) -> None:
    policy = load(["--converter-image", "x", "--allowed-endpoints", allowed]).rules(Defaults()).policy
    wanted = ModelConversionSpec.model_validate(spec(source={"uri": OCI}, storage=storage))
    problem = policy.violation("ml", wanted)
    assert (problem is None) if place is None else (problem or "").startswith(place)


def test_the_labels_of_the_data_and_a_recipe_are_read_as_well() -> None:
    wanted = spec(
        calibration={"uri": "s3://models/val.npy", "labelsUri": "gs://models/labels.npy"},
        recipes=[{"name": "own", "base": "DynamicRange", "rules": {"uri": "az://models/r.json"}}],
        storage=ALL,
    )
    found = secrets(job(ModelConversionSpec.model_validate(wanted)))
    assert found == {"fetch": {"s3", "google", "azure"}, "convert": set(), "publish": {"s3"}}


def test_which_keys_of_the_secrets_are_taken() -> None:
    storage = {
        "googleCloud": {"secretRef": {"name": "google", "key": "key.json"}},
        "azure": {
            "account": "models",
            "secretRef": {"name": "azure", "accountKeyKey": "key", "sasTokenKey": "sas"},
        },
    }
    found = containers(job(conversion("az", "gs", storage)))

    def keys(container: str) -> dict[str, Any]:
        references = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in found[container] if "valueFrom" in e}
        return {n: (r["key"], r["optional"]) for n, r in references.items() if n.startswith("CONVERSION_")}

    assert keys("fetch") == {
        "CONVERSION_AZURE_KEY": ("key", True),
        "CONVERSION_AZURE_SAS": ("sas", True),
        "CONVERSION_AZURE_ENDPOINT": ("AZURE_STORAGE_ENDPOINT_URL", True),
    }
    assert {"name": "CONVERSION_AZURE_SECRET", "value": "azure"} in found["fetch"]
    assert keys("publish") == {
        "CONVERSION_GOOGLE_CREDENTIALS": ("key.json", False),
        "CONVERSION_GOOGLE_ENDPOINT": ("GOOGLE_CLOUD_ENDPOINT_URL", True),
    }


def test_the_request_tells_no_container_the_name_of_a_secret() -> None:
    told = request_from_spec(conversion("az", "gs")).to_json()
    assert json.loads(told)["storage"]["azure"] == {"account": "models"}
    assert "secretRef" not in told


@pytest.mark.parametrize(
    ("source", "output", "storage", "labelled"),
    [
        ("az", "az", IDENTITIES, {"": True, "board": True, "report": True}),
        ("s3", "az", IDENTITIES, {"": True, "board": True, "report": True}),
        ("az", "s3", IDENTITIES, {"": True, "board": False, "report": False}),
        ("az", "az", ALL, {"": False, "board": False, "report": False}),
        ("gs", "s3", IDENTITIES, {"": False, "board": False, "report": False}),
    ],
)
def test_an_identity_of_azure_is_asked_for_only_where_it_is_used(
    source: str, output: str, storage: Any, labelled: dict[str, bool]
) -> None:
    wanted = conversion(source, output, storage)
    parts = {"": Part(), "board": Part(board="pi5"), "report": Part(reads_report=True)}
    templates = {name: job(wanted, part)["spec"]["template"]["metadata"] for name, part in parts.items()}
    found = {name: template["labels"].get(USE) == "true" for name, template in templates.items()}
    assert found == labelled
    skipped = {
        name: {
            t["annotations"][f"{who}/skip-containers"]
            for who in ("eks.amazonaws.com", "azure.workload.identity")
        }
        for name, t in templates.items()
    }
    assert skipped == {"": {"convert"}, "board": {"measure"}, "report": {"convert"}}


def test_an_az_uri_without_an_account_makes_no_job() -> None:
    nothing_said = conversion("az", "s3", {})
    problem = request_problem(nothing_said, JobSettings("x"))
    assert problem is not None
    assert problem.startswith("an az uri needs the name of its storage account: set storage.azure.account")
    platform = JobSettings("x", defaults=Defaults(storage=Storage(azure=Azure(account="platforms"))))
    assert request_problem(nothing_said, platform) is None
    assert request_problem(conversion("s3", "az", {"region": "eu-west-1"}), platform) == problem
    assert request_problem(conversion("gs", "gs", {}), JobSettings("x")) is None


def test_each_secret_must_be_released() -> None:
    assert secrets_of(conversion("s3", "s3")) == ("s3", "google", "azure")
    assert secrets_of(conversion("s3", "s3", IDENTITIES)) == ()


@pytest.mark.parametrize(
    ("field", "is_allowed"),
    [
        ({"googleCloud": {"secretRef": {"name": "x"}}}, True),
        ({"googleCloud": {"secretRef": {"name": "x", "key": "tls.key"}}}, False),
        ({"azure": {"account": "abc", "secretRef": {"name": "x"}}}, True),
        ({"oci": {"secretRef": {"name": "x"}}}, True),
        ({"oci": {"secretRef": {"name": "x", "key": "tls.key"}}}, False),
        ({"azure": {"account": "abc", "secretRef": {"name": "x", "accountKeyKey": "tls.key"}}}, False),
        ({"azure": {"account": "abc", "secretRef": {"name": "x", "sasTokenKey": "tls.key"}}}, False),
    ],
)
def test_keys_of_secrets_are_those_of_the_policy(field: Any, *, is_allowed: bool) -> None:
    policy = load(["--converter-image", "x"]).rules(Defaults()).policy
    problem = policy.violation("ml", ModelConversionSpec.model_validate(spec(storage=field)))
    assert (problem is None) is is_allowed
    assert is_allowed or "names the key tls.key of a Secret" in (problem or "")


GOOGLE = "https://storage.googleapis.com"
OURS = "https://ours.blob.core.windows.net"


@pytest.mark.parametrize(
    ("allowed", "source", "output", "storage", "place"),
    [
        ("*", "gs", "az", IDENTITIES, None),
        ("", "s3", "s3", IDENTITIES, None),
        ("", "gs", "s3", IDENTITIES, f"spec.source.uri is at {GOOGLE}"),
        ("", "s3", "gs", IDENTITIES, f"spec.output.uri is at {GOOGLE}"),
        (GOOGLE, "gs", "gs", IDENTITIES, None),
        (GOOGLE, "gs", "az", IDENTITIES, "spec.output.uri is at https://models.blob.core.windows.net"),
        (OURS, "az", "az", {"azure": {"account": "ours"}}, None),
        (OURS, "az", "az", {"azure": {"account": "theirs"}}, "spec.source.uri is at https://theirs.blob"),
        (
            OURS,
            "az",
            "az",
            {"azure": {"account": "ours", "endpoint": "https://attacker.example/"}},
            "spec.source.uri is at https://attacker.example, which",
        ),
        (
            GOOGLE,
            "gs",
            "gs",
            {"googleCloud": {"endpoint": "https://attacker.example"}},
            "spec.source.uri is at https://attacker.example, which",
        ),
        ("https://*.blob.core.windows.net", "az", "az", IDENTITIES, None),
    ],
)
def test_the_clouds_are_endpoints_of_the_policy(
    allowed: str, source: str, output: str, storage: Any, place: str | None
) -> None:
    policy = load(["--converter-image", "x", "--allowed-endpoints", allowed]).rules(Defaults()).policy
    problem = policy.violation("ml", conversion(source, output, storage))
    assert (problem is None) if place is None else (problem or "").startswith(place)


def test_the_stores_of_the_platform_are_free_to_those_who_name_none() -> None:
    clouds = Storage(google_cloud=GoogleCloud(), azure=Azure(account="platforms"))
    load_with = load(["--converter-image", "x", "--allowed-endpoints", ""]).rules
    of_platform, of_none = load_with(Defaults(storage=clouds)).policy, load_with(Defaults()).policy
    nothing_said = conversion("gs", "az", {})
    assert of_platform.violation("ml", nothing_said) is None
    assert (of_none.violation("ml", nothing_said) or "").startswith(f"spec.source.uri is at {GOOGLE}")
    said = conversion("gs", "az", {"googleCloud": {}, "azure": {"account": "platforms"}})
    assert (of_platform.violation("ml", said) or "").startswith(f"spec.source.uri is at {GOOGLE}")
