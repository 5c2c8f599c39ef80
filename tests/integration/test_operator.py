"""Whole conversions: kubectl, a real API server, the operator, the real converter, a real S3 server."""

from __future__ import annotations

import hashlib
import io
import json
import time

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from modelconversion_api.reports.conversion import ConversionReport
from support.cluster.conversions import until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]

ALL = ["Float32", "DynamicRange", "Float16", "FullInteger"]


def calibration(uploaded):
    return {"uri": uploaded.uri("val.npy"), "labelsUri": uploaded.uri("val_labels.npy")}


def validation(uploaded, **gates):
    return {"uri": uploaded.uri("test.npy"), "labelsUri": uploaded.uri("test_labels.npy"), **gates}


def test_the_main_job(uploaded, operator, object_store):
    before = operator.metric('modelconversion_conversions_total{outcome="succeeded",reason="Converted"}')
    uploaded.apply(
        "gesture",
        methods=ALL,
        calibration=calibration(uploaded),
        validation=validation(uploaded, maxAccuracyDrop="0.03", minAgreement="0.9"),
    )
    uploaded.kubectl("wait", "--for=condition=Succeeded", "--timeout=150s", "mconv/gesture")
    status = uploaded.status("gesture")

    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    assert [a["method"] for a in status["artifacts"]] == ALL
    assert all(a["passed"] for a in status["artifacts"])
    sizes = {a["method"]: a["sizeBytes"] for a in status["artifacts"]}
    assert sizes["FullInteger"] < sizes["Float16"] < sizes["Float32"]
    assert status["source"]["format"] == "KerasH5"
    assert status["source"]["inputs"][0]["shape"][-1] == 46
    assert status["recommended"]["method"] in ALL

    objects = uploaded.objects("out/gesture/")
    names = ["float32", "dynamic_range", "float16", "int8"]
    expected = {f"out/gesture/gesture_classifier_{n}.{e}" for n in names for e in ("tflite", "graph.json")}
    assert set(objects) == expected | {"out/gesture/report.json", "out/gesture/report.html"}
    for artifact in status["artifacts"]:
        content = objects[artifact["uri"].removeprefix(f"s3://{uploaded.bucket}/")]
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
        assert len(content) == artifact["sizeBytes"]
    report = ConversionReport.model_validate_json(objects["out/gesture/report.json"])
    assert [a.sha256 for a in report.artifacts] == [a["sha256"] for a in status["artifacts"]]
    assert report.evaluation.original_accuracy is not None

    int8 = Interpreter(model_content=objects["out/gesture/gesture_classifier_int8.tflite"])
    assert int8.get_input_details()[0]["dtype"] is np.int8
    assert int8.get_output_details()[0]["dtype"] is np.int8

    after = operator.metric('modelconversion_conversions_total{outcome="succeeded",reason="Converted"}')
    assert after == before + 1
    assert operator.metric('modelconversion_artifact_size_fraction_count{method="FullInteger"}') >= 1
    until(lambda: uploaded.events("gesture") == ["Converted"], "the event of the good end")

    everything = uploaded.kubectl("get", "mconv,jobs,pods,events", "-o", "yaml") + operator.log.read_text()
    assert object_store.secret_key not in everything
    assert object_store.access_key not in everything


def test_a_saved_model_for_a_target(conversions, gesture):
    folder = gesture.saved_model
    conversions.upload(
        {f"saved/{p.relative_to(folder)}": p for p in sorted(folder.rglob("*")) if p.is_file()}
        | {"val.npy": gesture.data("val_features.npy")}
    )
    conversions.apply(
        "pi",
        source={"uri": conversions.uri("saved/")},
        target="RaspberryPi",
        calibration={"uri": conversions.uri("val.npy")},
        recipes=[
            {"name": "wide", "base": "Int16Activations", "gates": {"maxSizeBytes": 1}},
            {
                "name": "lost",
                "base": "DynamicRange",
                "layers": [{"match": "nowhere", "precision": "Float32"}],
            },
        ],
    )
    status = conversions.finished("pi")
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    assert status["source"]["format"] == "SavedModel"
    assert status["recommended"]["name"] == status["recommended"]["method"] == "FullInteger"
    assert status["methods"] == "FullInteger,DynamicRange"
    wide = status["artifacts"][2]
    assert (wide["method"], wide["recipeName"], wide["passed"]) == ("Int16Activations", "wide", False)
    assert wide["message"].endswith("bytes are more than 1")
    (failed,) = status["failedMethods"]
    assert (failed["recipeName"], failed["reason"]) == ("lost", "InvalidRequest")
    assert "layers[0].match 'nowhere' is in no layer's name" in failed["message"]
    assert set(conversions.objects("out/")) == {
        "out/pi/saved_recipe-wide.tflite",
        "out/pi/saved_recipe-wide.graph.json",
        "out/pi/saved_int8.tflite",
        "out/pi/saved_int8.graph.json",
        "out/pi/saved_dynamic_range.tflite",
        "out/pi/saved_dynamic_range.graph.json",
        "out/pi/report.html",
        "out/pi/report.json",
    }


def test_a_signed_conversion_of_sensor_logs_in_csv(uploaded, gesture, process_node, tmp_path):
    """Labels in a column, gates on the calibration data's rest, and a key for the last container only."""
    rows = np.load(gesture.data("val_features.npy")), np.load(gesture.data("val_labels.npy"))
    names = [*(f"f{i}" for i in range(rows[0].shape[1])), "gesture"]
    lines = [",".join([*map(str, x), str(int(y))]) for x, y in zip(*rows, strict=True)]
    uploaded.upload({"log.csv": "\n".join([",".join(names), *lines]).encode()})
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, *form).decode()
    meta = {"name": "signing-key", "namespace": uploaded.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"private.pem": private}}
    uploaded.cluster.apply([secret])
    uploaded.release("signing-key")
    uploaded.apply(
        "signed",
        output={"uri": uploaded.uri("out/signed/"), "signing": {"secretRef": {"name": "signing-key"}}},
        methods=["FullInteger"],
        calibration={"uri": uploaded.uri("log.csv"), "labelColumn": "gesture", "samples": 100},
        validation={"maxAccuracyDrop": "0.05", "maxSizeBytes": 100000},
    )
    status = uploaded.finished("signed")
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)

    folder, public = tmp_path / "signed", tmp_path / "public.pem"
    folder.mkdir()
    for name, content in uploaded.objects("out/signed/").items():
        (folder / name.removeprefix("out/signed/")).write_bytes(content)
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, subject))
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")

    logs = list(process_node.logs.glob(f"{uploaded.namespace}_signed-*/*.log"))
    assert {log.stem for log in logs} == {"fetch", "convert", "publish"}
    everything = uploaded.kubectl("get", "mconv,jobs,pods,events", "-o", "yaml") + "".join(
        path.read_bytes().decode("latin-1") for path in (*logs, *folder.iterdir())
    )
    assert private.splitlines()[1] not in everything


def test_a_signing_key_that_is_not_there_has_a_reason_and_publishes_nothing(uploaded):
    uploaded.release("no-such-secret")
    signing = {"secretRef": {"name": "no-such-secret"}}
    uploaded.apply(
        "unsigned", output={"uri": uploaded.uri("out/u/"), "signing": signing}, methods=["DynamicRange"]
    )
    status = uploaded.finished("unsigned")
    assert status["failure"]["reason"] == "SigningFailed"
    assert "Secret no-such-secret has no key private.pem" in status["failure"]["message"]
    assert uploaded.objects("out/u/") == {}


def test_a_uri_with_dollar_signs_reaches_the_converter_as_it_is(uploaded):
    key = "$(AWS_SECRET_ACCESS_KEY)/$$(HOME)/a$$b.h5"
    uploaded.apply("dollars", source={"uri": uploaded.uri(key)}, methods=["Float16"])
    failure = uploaded.finished("dollars")["failure"]
    assert failure["reason"] == "SourceNotFound"
    assert uploaded.uri(key) in failure["message"]


def test_a_conversion_of_another_class_is_left_to_another_operator(uploaded):
    """Whose class it gets later, or loses before anything runs, is taken up or let go."""
    asked = {"source": {"uri": uploaded.uri("none.h5")}, "methods": ["Float16"]}
    uploaded.apply("theirs", className="edge", **asked)
    uploaded.apply("ours", **asked)
    assert uploaded.finished("ours")["failure"]["reason"] == "SourceNotFound"
    assert uploaded.status("theirs") == {}
    uploaded.patch("theirs", {"className": None})
    assert uploaded.finished("theirs")["failure"]["reason"] == "SourceNotFound"
    uploaded.patch("ours", {"className": "edge", "methods": ["DynamicRange"]})
    time.sleep(2)
    assert uploaded.status("ours")["observedGeneration"] == 1


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_every_bad_input_has_its_own_reason_and_leaves_nothing_behind(uploaded, gesture, object_store):
    whole = gesture.model.read_bytes()
    samples = np.load(gesture.data("val_features.npy"))[:50]
    poisoned = samples.copy()
    poisoned[3, 7] = np.nan
    uploaded.upload(
        {
            "truncated.h5": whole[: len(whole) // 2],
            "random.h5": np.random.default_rng(0).bytes(50_000),
            "nan.npy": npy(poisoned),
            "shape.npy": npy(samples[:, :45]),
            "text.npy": b"not an array",
        }
    )
    uploaded.secret("wrong-credentials", object_store.access_key, "not-the-secret-key")
    uri = uploaded.uri
    int8 = {"methods": ["FullInteger"]}
    cases = {
        "SourceNotFound": {"source": {"uri": uri("missing.h5")}},
        "BucketNotFound": {"source": {"uri": "s3://no-such-bucket-here/gesture_classifier.h5"}},
        "StorageAccessDenied": {
            "storage": {"endpoint": object_store.endpoint, "secretRef": {"name": "wrong-credentials"}}
        },
        "DigestMismatch": {"source": {"uri": uri("gesture_classifier.h5"), "sha256": "0" * 64}},
        "UnreadableModel": {"source": {"uri": uri("truncated.h5")}},
        "UnsupportedFormat": {"source": {"uri": uri("random.h5")}},
        "DataNotFinite": int8 | {"calibration": {"uri": uri("nan.npy")}},
        "DataShapeMismatch": int8 | {"calibration": {"uri": uri("shape.npy")}},
        "DataUnreadable": int8 | {"calibration": {"uri": uri("text.npy")}},
    }
    for reason, spec in cases.items():
        uploaded.apply(reason.lower(), **({"methods": ["DynamicRange"]} | spec))
    for reason in cases:
        status = uploaded.finished(reason.lower())
        assert status["phase"] == "Failed"
        assert status["failure"]["reason"] == reason, json.dumps(status["failure"], indent=1)
        assert status["failure"]["exitCode"] >= 10
        assert status["failure"]["message"]
        condition = status["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Succeeded", "False", reason)
        until(lambda name=reason: name in uploaded.events(name.lower()), f"the event {reason}")
    assert uploaded.objects("out/") == {}
    text = uploaded.kubectl("get", "mconv,jobs,pods,events", "-o", "yaml")
    assert "not-the-secret-key" not in text


def test_artifacts_that_miss_their_gates_are_kept_with_the_figures(uploaded):
    # Calibrated on a single sample, full integer cannot agree with the original everywhere.
    uploaded.apply(
        "strict",
        methods=["FullInteger"],
        calibration=calibration(uploaded) | {"samples": 1},
        validation=validation(uploaded, minAgreement="1.0"),
    )
    status = uploaded.finished("strict")
    assert status["failure"]["reason"] == "GatesNotMet", json.dumps(status, indent=1)
    assert status["artifacts"][0]["passed"] is False
    assert "agreement" in status["artifacts"][0]["message"]
    assert set(uploaded.objects("out/")) == {
        "out/strict/gesture_classifier_int8.tflite",
        "out/strict/gesture_classifier_int8.graph.json",
        "out/strict/report.html",
        "out/strict/report.json",
    }


def test_a_missing_secret_is_said_while_waiting_and_ends_at_the_deadline(uploaded, object_store):
    uploaded.release("absent")
    uploaded.apply(
        "keyless",
        methods=["Float16"],
        storage={"endpoint": object_store.endpoint, "secretRef": {"name": "absent"}},
        job={"pendingDeadlineSeconds": 10},
    )
    status = uploaded.finished("keyless")
    assert status["failure"]["reason"] == "SecretNotFound"
    assert 'secret "absent" not found' in status["failure"]["message"]
    until(lambda: uploaded.jobs() == [], "the Job that can never run is removed")


def test_a_secret_that_comes_a_moment_later_is_early_enough(uploaded, object_store):
    uploaded.release("late")
    storage = {"endpoint": object_store.endpoint, "secretRef": {"name": "late"}}
    uploaded.apply("patient", source={"uri": uploaded.uri("none.h5")}, methods=["Float16"], storage=storage)
    until(lambda: uploaded.status("patient")["conditions"][0]["reason"] == "SecretNotFound", "it says so")
    uploaded.secret("late", object_store.access_key, object_store.secret_key)
    assert uploaded.finished("patient")["failure"]["reason"] == "SourceNotFound"


def test_progress_is_that_of_the_running_pod(uploaded, tmp_path):
    """The operator asks the pod; what is written moves forward, and seldom.

    A quarter of a million samples keep the converter at work for longer than the time between two writes.
    """
    many = tmp_path / "many.npy"
    np.save(many, np.random.default_rng(0).normal(size=(250_000, 46)).astype(np.float32))
    uploaded.upload({"many.npy": many.read_bytes()})
    uploaded.apply(
        "moving",
        methods=ALL,
        calibration=calibration(uploaded),
        validation={"uri": uploaded.uri("many.npy"), "samples": 250_000},
    )
    seen: list[tuple[str, int, str]] = []

    def ended() -> bool:
        status = uploaded.status("moving")
        if progress := status.get("progress"):
            entry = (progress["stage"], progress["percent"], progress["time"])
            if entry not in seen:
                seen.append(entry)
        return status.get("phase") in ("Succeeded", "Failed")

    until(ended, "the conversion ends")
    assert uploaded.status("moving")["phase"] == "Succeeded"
    percents = [percent for _, percent, _ in seen]
    assert percents == sorted(percents)
    assert [p for p in percents if 10 < p < 90], seen
    assert {stage for stage, *_ in seen} & {"Load", "Calibrate", "Quantize", "Evaluate"}, seen


def test_killed_and_started_again_in_mid_conversion(uploaded, operator):
    uploaded.apply("survivor", methods=["DynamicRange", "Float16"])
    uploaded.wait_for_phase("survivor", "Running")
    operator.kill()
    try:
        (job,) = uploaded.jobs()
        until(
            lambda: bool(uploaded.jobs()[0]["status"].get("succeeded")), "the Job ends without the operator"
        )
        assert uploaded.status("survivor")["phase"] == "Running"
    finally:
        operator.start()
    status = uploaded.finished("survivor")
    assert status["phase"] == "Succeeded"
    assert [j["metadata"]["uid"] for j in uploaded.jobs()] == [job["metadata"]["uid"]]


def test_suspend_stops_it_and_resume_finishes_it(uploaded):
    uploaded.apply("paused", methods=["Float16"])
    uploaded.wait_for_phase("paused", "Running")
    uploaded.patch("paused", {"suspend": True})
    uploaded.wait_for_phase("paused", "Suspended")
    until(lambda: "No resources" in pods_of(uploaded), "the pod is gone")
    assert uploaded.objects("out/") == {}
    uploaded.patch("paused", {"suspend": False})
    assert uploaded.finished("paused")["phase"] == "Succeeded"
    assert len(uploaded.jobs()) == 1


def pods_of(conversions) -> str:
    result = conversions.cluster.kubectl("-n", conversions.namespace, "get", "pods")
    return result.stdout + result.stderr


def test_a_new_generation_after_the_end_runs_again_and_the_ttl_does_not(uploaded):
    uploaded.apply("again", methods=["Float16"])
    first = uploaded.finished("again")
    uploaded.patch("again", {"job": {"ttlSecondsAfterFinished": 7200}})
    until(lambda: uploaded.jobs()[0]["spec"]["ttlSecondsAfterFinished"] == 7200, "the Job has the new TTL")
    assert len(uploaded.jobs()) == 1
    uploaded.patch("again", {"methods": ["DynamicRange"]})
    until(lambda: uploaded.status("again").get("runGeneration") == 3, "the third generation runs")
    second = uploaded.finished("again")
    assert [a["method"] for a in second["artifacts"]] == ["DynamicRange"]
    assert second["jobName"] != first["jobName"]
    assert second["observedGeneration"] == 3
    uploaded.kubectl("annotate", "mconv", "again", "edgeml.dev/run-again=once more")
    until(lambda: uploaded.status("again").get("runAgain") == "once more", "the same generation runs again")
    third = uploaded.finished("again")
    assert third["jobName"] not in (first["jobName"], second["jobName"])
    assert (third["phase"], third["runGeneration"], third["observedGeneration"]) == ("Succeeded", 3, 3)
    report = json.loads(uploaded.objects()[third["reportUri"].split("/", 3)[3]])
    assert report["request"]["run"].count("/3-") == 1


def test_the_same_request_ends_in_the_same_objects(uploaded):
    spec = {"methods": ["DynamicRange"], "output": {"uri": uploaded.uri("same/")}}
    uploaded.apply("one", **spec)
    uploaded.finished("one")
    first = uploaded.objects("same/")
    uploaded.apply("two", **spec)
    assert uploaded.finished("two")["phase"] == "Succeeded"
    second = uploaded.objects("same/")
    assert set(first) == set(second)
    artifact = "same/gesture_classifier_dynamic_range.tflite"
    assert first[artifact] == second[artifact]


def test_deleting_a_conversion_removes_its_job_and_pods_and_keeps_its_artifacts(uploaded):
    uploaded.apply("gone", methods=["Float16"])
    uploaded.finished("gone")
    uploaded.kubectl("delete", "mconv", "gone", "--wait=true", "--timeout=30s")
    until(lambda: uploaded.jobs() == [], "the Job is gone")
    until(lambda: "No resources" in pods_of(uploaded), "the pod is gone")
    assert "out/gone/report.json" in uploaded.objects("out/gone/")


def test_without_an_operator_nothing_is_stuck(uploaded, operator):
    uploaded.apply("orphan", methods=["Float16"])
    uploaded.wait_for_phase("orphan", "Running")
    assert operator.stop() == 0
    try:
        assert "finalizers" not in uploaded.get("orphan")["metadata"]
        uploaded.kubectl("delete", "mconv", "orphan", "--wait=true", "--timeout=30s")
        until(lambda: uploaded.jobs() == [], "the Job is gone")
    finally:
        operator.start()


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "pods/log"),
        ("update", "modelconversions"),
        ("deletecollection", "modelconversions"),
        ("patch", "modelconversionsets"),
        ("delete", "modelconversiontriggers"),
        ("patch", "modelchannels"),
        ("update", "conversionprofiles"),
        ("delete", "namespaces"),
        ("create", "clusterrolebindings"),
    ],
)
def test_the_operator_may_not(control_plane, verb, resource):
    answer = control_plane.kubectl(
        "auth",
        "can-i",
        verb,
        resource,
        "--as=system:serviceaccount:default:model-conversion-operator",
        check=False,
    )
    assert answer.stdout.strip() == "no"
