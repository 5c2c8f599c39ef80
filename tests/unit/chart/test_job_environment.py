"""What the platform gives Jobs in their environment: chart and operator refuse the same, and say why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.defaults import Defaults, JobTemplate, read_defaults
from modelconversion_operator.deciding.manifest import JobSettings, Part, job_manifest
from modelconversion_operator.errors import SettingsError
from support.chart.charts import Json, refusal, render
from support.operator.objects import KEY, spec

pytestmark = pytest.mark.slow

REFERENCE = {"secretKeyRef": {"name": "proxy", "key": "password"}}
BY_REFERENCE = {"name": "PROXY_PASSWORD", "valueFrom": REFERENCE}
CLOUDS = (
    "localhost,127.0.0.1,169.254.169.254,[fd00:ec2::254],169.254.170.2,169.254.170.23,[fd00:ec2::23],"
    "metadata.google.internal"
)

OURS = ["CONVERSION_REQUEST", "CONVERSION_ANYTHING", "TMPDIR", "HOME", "home", "PATH"]
OURS += ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"]
OURS += ["AZURE_AUTHORITY_HOST", "azure_federated_token_file"]
LOAD = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "OPENSSL_CONF",
]
LOAD += ["GCONV_PATH", "GLIBC_TUNABLES", "BASH_ENV", "SSLKEYLOGFILE", "AWS_CONFIG_FILE", "Ld_Preload"]


def variable(name: str, value: str = "x") -> Json:
    return {"name": name, "value": value}


REFUSED: list[tuple[Json, str]] = [
    *(({"env": [variable(name)]}, f"{name}") for name in (*OURS, *LOAD)),
    ({"env": [{"name": "LD_PRELOAD", "valueFrom": REFERENCE}]}, "cannot be given"),
    ({"env": [variable("all_proxy", "http://p")]}, "nothing here reads all_proxy: give HTTPS_PROXY"),
    ({"env": [variable("PROXY_PASSWORD")]}, "PROXY_PASSWORD"),
    ({"env": [variable("NPM_TOKEN")]}, "which sounds like a secret|sounds like a secret"),
    ({"env": [variable("HTTPS_PROXY", "http://edge:hunter2@proxy:3128")]}, "has a password|is a password"),
    ({"proxy": {"httpsProxy": "http://edge:hunter2@proxy:3128"}}, "has a password|is a password"),
    ({"proxy": {"httpProxy": "http://edge:$(P)hunter2@proxy:3128"}}, "has a password|is a password"),
    ({"env": [variable("A"), variable("a")]}, "A is in env twice|a, which is there"),
    ({"env": [variable("NO_PROXY")], "proxy": {"noProxy": ".svc"}}, "NO_PROXY"),
    ({"env": [variable("https_proxy", "http://p")], "proxy": {"httpsProxy": "http://p"}}, "(?i)https_proxy"),
    # By the schema:
    ({"env": [{"name": "A"}]}, "needs either|oneOf"),
    ({"env": [{"name": "A", "value": "x", "valueFrom": REFERENCE}]}, "needs either|oneOf"),
    ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}, "fieldRef"),
    ({"env": [variable("A-B")]}, "pattern"),
    ({"env": [{"name": "A", "value": 1}]}, "string"),
    ({"envFrom": [{"secretRef": {"name": "proxy"}}]}, "envFrom"),
    ({"proxy": {"httpProxy": "proxy.example:3128"}}, "pattern"),
    ({"proxy": {"httpProxy": "socks5://proxy.example"}}, "pattern"),
    ({"proxy": {"noProxy": "a, b"}}, "pattern"),
    ({"proxy": {"noProxy": "http://a"}}, "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[json.dumps(given)[:60] for given, _ in REFUSED])
def test_what_the_chart_and_the_operator_refuse(given: Json, words: str, tmp_path: Path):
    file = tmp_path / "defaults.yaml"
    file.write_text(yaml.safe_dump({"job": given}))
    with pytest.raises(SettingsError, match=words) as caught:
        read_defaults(str(file))
    said = refusal({"converter": given})
    assert re.search(words, said), said
    assert "hunter2" not in str(caught.value) + said


@pytest.mark.parametrize("names", [OURS, LOAD])
def test_a_name_that_is_refused_is_told_why(names: list[str]):
    why = "operator" if names is OURS else "load code"
    for name in names:
        with pytest.raises(ValidationError, match=why):
            JobTemplate.model_validate({"env": [variable(name)]})
    assert why in refusal({"converter": {"env": [variable(names[0])]}})


BY_NAME = "http://edge:$(PROXY_PASSWORD)@proxy.example:3128"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"proxy": {"noProxy": ".svc"}}, []),
        ({"env": [variable("AWS_MAX_ATTEMPTS", "9")]}, [variable("AWS_MAX_ATTEMPTS", "9")]),
        (
            {"proxy": {"httpsProxy": "http://proxy:3128"}},
            [variable("HTTPS_PROXY", "http://proxy:3128"), variable("NO_PROXY", CLOUDS)],
        ),
        (
            {"env": [BY_REFERENCE],
             "proxy": {"httpProxy": "http://p", "httpsProxy": BY_NAME, "noProxy": "*.corp,10.0.0.0/8"}},
            [BY_REFERENCE, variable("HTTP_PROXY", "http://p"), variable("HTTPS_PROXY", BY_NAME),
             variable("NO_PROXY", CLOUDS + ",.corp,10.0.0.0/8")],
        ),
        (
            {"env": [{"name": "HTTPS_PROXY", "valueFrom": REFERENCE}]},
            [{"name": "HTTPS_PROXY", "valueFrom": REFERENCE}, variable("NO_PROXY", CLOUDS)],
        ),
        (
            {"env": [variable("NO_PROXY", "*")], "proxy": {"httpProxy": "http://proxy"}},
            [variable("NO_PROXY", "*"), variable("HTTP_PROXY", "http://proxy")],
        ),
    ],
)  # fmt: skip
def test_what_reaches_the_containers_and_which_of_them(given: Json, told: list[Json]):
    """The pods of all kinds of Jobs, by the file that the chart writes."""
    defaults = Defaults.model_validate(render({"converter": given}).defaults)
    boards = [{"name": "pi", "nodeSelector": {"board": "pi"}}]
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": boards}))
    seen: dict[str, list[Json]] = {}
    for part in (Part(), Part(board="pi"), Part(reads_report=True)):
        without = environments(job_manifest(KEY, "1", wanted, JobSettings("i"), part=part))
        job = job_manifest(KEY, "1", wanted, JobSettings("i", defaults=defaults), part=part)
        for name, env in environments(job).items():
            seen[f"{name} {part.board}"] = [entry for entry in env if entry not in without[name]]
            assert seen[f"{name} {part.board}"] + without[name] == sorted(env, key=without[name].__contains__)
    expected = [entry if "value" in entry else required(entry) for entry in told]
    speaking = dict.fromkeys(("fetch ", "publish ", "fetch pi", "publish pi"), expected)
    assert seen == speaking | {"convert ": [], "measure pi": []}


def required(entry: Json) -> Json:
    return {
        "name": entry["name"],
        "valueFrom": {"secretKeyRef": REFERENCE["secretKeyRef"] | {"optional": False}},
    }


def environments(job: Json) -> dict[str, list[Json]]:
    """The variables of each container."""
    pod = job["spec"]["template"]["spec"]
    return {c["name"]: c["env"] for c in (*pod.get("initContainers", ()), *pod["containers"])}


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {}),
        ({"runtimeClassName": "gvisor"}, {"runtimeClassName": "gvisor"}),
        ({"hostUsers": False}, {"hostUsers": False}),
        (
            {"hostUsers": False, "runtimeClassName": "kata"},
            {"hostUsers": False, "runtimeClassName": "kata"},
        ),
    ],
)
def test_the_walls_of_the_platform_are_around_every_job_s_pod(given: Json, fields: Json):
    defaults = Defaults.model_validate(render({"converter": given}).defaults)
    boards = [{"name": "pi", "nodeSelector": {"board": "pi"}}]
    wanted = ModelConversionSpec.model_validate(spec(benchmark={"boards": boards}))
    for part in (Part(), Part(board="pi"), Part(reads_report=True)):
        job = job_manifest(KEY, "1", wanted, JobSettings("i", defaults=defaults), part=part)
        pod = job["spec"]["template"]["spec"]
        assert {name: pod[name] for name in ("runtimeClassName", "hostUsers") if name in pod} == fields
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("proxy", "ports"),
    [
        ({}, {53, 443}),
        ({"httpsProxy": BY_NAME}, {53, 443, 3128}),
        ({"httpProxy": "http://proxy.example", "httpsProxy": "https://[fd00::1]:8443/"}, {53, 443, 80, 8443}),
    ],
)  # fmt: skip
def test_the_jobs_policy_opens_the_way_to_the_proxy(proxy: Json, ports: set[int]):
    values = {
        "converter": {"proxy": proxy},
        "networkPolicy": {"jobs": {"enabled": True, "namespaces": ["a"]}},
    }
    rules = render(values).one("NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == ports
