"""What a real API server says to good and bad ModelConversions at kubectl apply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.errors import ProcessError
from modelconversion_api.methods import Method
from modelconversion_api.spec import ModelConversionSpec
from support.cluster.asking import refusal_of_change, refusal_of_new
from support.cluster.conversions import manifest, until
from support.paths import REPOSITORY

CALIBRATION = {"uri": "s3://models/val.npy"}
AZ = {"uri": "az://models/x.h5"}
PIN = f"#sha256={'0a' * 32}"
IMAGES = {"uri": "s3://models/images/", "images": {"scaling": "ZeroToOne"}}
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFkw...\n-----END PUBLIC KEY-----\n"
SIGNED = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}}


PI5 = {"name": "pi5", "nodeSelector": {"board": "pi5"}}


WAVES = {"sampleRate": 16000, "clipMillis": 1000, "features": "Waveform"}
FRAMES = {"sampleRate": 16000, "clipMillis": 1000, "frameLength": 480, "frameStep": 320}
MEL = FRAMES | {"numMelBins": 40, "lowerEdgeHertz": 20, "upperEdgeHertz": 4000}
FOR_CORAL = {"methods": ["FullInteger"], "calibration": CALIBRATION}


METRIC = {
    "name": "business",
    "image": f"registry.example:5000/metrics/cost@sha256:{'0a' * 32}",
    "command": ["/usr/bin/python3", "/cost.py"],
}


def judged(*metrics: Any) -> dict[str, Any]:
    """A spec with these metrics."""
    return {"validation": {"uri": "s3://models/val.npy", "metrics": list(metrics)}}


def on(*boards: Any) -> dict[str, Any]:
    """A spec with these boards."""
    return {"benchmark": {"boards": list(boards)}}


class _Gone:
    """Stands for a field that is taken away; its name is the same in every worker's test names."""

    def __repr__(self) -> str:
        return "GONE"


GONE = _Gone()


def spec(**changes: Any) -> dict[str, Any]:
    base = {
        "source": {"uri": "s3://models/gesture.h5"},
        "output": {"uri": "s3://models/out/"},
        "methods": ["DynamicRange"],
    }
    return {k: v for k, v in (base | changes).items() if v is not GONE}


@pytest.fixture(scope="module")
def room(crd: ControlPlane) -> str:
    """A namespace in which nothing is written."""
    crd.create_namespace("asked")
    return "asked"


def refusal(cluster: ControlPlane, namespace: str, changes: dict[str, Any], name: str = "tested") -> str:
    return refusal_of_new(cluster, manifest(name, namespace, spec(**changes)))


def apply(cluster: ControlPlane, namespace: str, changes: dict[str, Any], name: str = "tested") -> str:
    text = json.dumps(manifest(name, namespace, spec(**changes)))
    result = cluster.kubectl("apply", "-f", "-", input=text, check=False)
    return result.stderr if result.returncode else ""


FLOAT_HEAD = {"name": "own", "layers": [{"match": "head/", "precision": "Float32"}]}
GATES = {"minAgreement": "0.9", "maxAccuracyDrop": "0.02", "maxSizeBytes": 9, "maxLatencyMillis": "1.5"}
RULES = {"uri": "s3://models/recipe.json"}


def sounds(audio):
    return {"calibration": {"uri": "s3://models/words/", "audio": audio}}


def of_layer(base, rules=None, **rule):
    """A spec without calibration data and with a recipe for some layers."""
    recipe = {"name": "own", "base": base, "layers": [{"match": "head/", **rule}]}
    return {"recipes": [recipe | ({"rules": rules} if rules else {})]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        on(PI5),
        on(*(PI5 | {"name": f"board-{n}"} for n in range(8))),
        on(PI5 | {"maxLatencyMillis": "25", "minAgreement": "0.98", "threads": 4, "runs": 10000}),
        on(PI5 | {"accelerator": "CPU", "profile": True}, PI5 | {"name": "jetson", "accelerator": "GPU"}),
        on(PI5 | {"accelerator": "GPU", "resources": {"limits": {"squat.ai/dri": 1}}, "timeoutSeconds": 60}),
        FOR_CORAL | {"edgeTPU": {}} | on(PI5 | {"accelerator": "EdgeTPU"}),
        {"methods": GONE, "target": "Mobile"},
        {"methods": GONE, "profileRef": {"name": "doorbell"}},
        {
            "methods": GONE,
            "profileRef": {"kind": "ClusterConversionProfile", "name": "doorbell"},
            "edgeTPU": {},
        },
        {"methods": GONE, "profileRef": {"name": "doorbell"}, "npu": {"vendor": "Intel", "socs": ["CPU"]}},
        {"profileRef": {"name": "doorbell"}},
        {"methods": GONE, "target": "RaspberryPi"},
        {"methods": GONE, "target": "EdgeTPU", "calibration": CALIBRATION},
        {"methods": GONE, "target": "EdgeTPU", "calibration": CALIBRATION, "edgeTPU": {}},
        {"methods": GONE, "target": "RaspberryPi", "calibration": CALIBRATION, "microcontroller": {}},
        {
            "methods": ["FullInteger"],
            "calibration": CALIBRATION,
            "edgeTPU": {"numSegments": 2, "minRuntimeVersion": 13, "minMappedFraction": "0.9"},
            "ethosU": {"accelerator": "ethos-u85-256", "systemConfig": "Ethos_U85_SYS_DRAM_Mid"},
        },
        {"methods": ["Float32"], "npu": {"vendor": "Qualcomm", "socs": ["SM8650", "SM8750"]}},
        {
            "methods": GONE,
            "target": "Mobile",
            "npu": {"vendor": "Intel", "socs": ["CPU"], "maxPartitions": 2},
        },
        {
            "methods": GONE,
            "target": "RaspberryPi",
            "calibration": CALIBRATION,
            "npu": {"vendor": "GoogleTensor", "socs": ["Tensor_G5"], "minDelegatedFraction": "0.95"},
        },
        {"methods": ["Float32", "DynamicRange", "Float16", "FullInteger"], "calibration": CALIBRATION},
        {"methods": [method.value for method in Method], "calibration": CALIBRATION},
        {"methods": ["WeightOnlyInt8", "Int4"]},
        {"methods": ["Float32"], "tuning": {"objective": "FastestThatPasses", "try": ["Int4", "Float16"]}},
        {"methods": ["Float32"], "tuning": {"try": ["FullInteger"]}, "calibration": CALIBRATION},
        {"tuning": {"budgetSeconds": 0, "objective": "MostFaithful"}},
        {"storage": {"endpoint": "https://minio.storage.svc:9000", "secretRef": {"name": "s3"}}},
        {"source": {"uri": "gs://models_1.example.com/a.h5"}, "output": {"uri": "gs://models/out/"}},
        {"source": {"uri": "pvc://models/a.h5"}, "output": {"uri": "pvc://models/out/"}},
        {"source": {"uri": "pvc://team-a.models/a/b c.h5"}},
        {
            "source": {"uri": "az://models/sm/"},
            "output": {"uri": "az://models/out/"},
            "storage": {"azure": {"account": "models", "secretRef": {"name": "azure"}}},
        },
        {"source": {"uri": "az://models/a.h5"}},  # the platform may have named an account
        {"source": {"uri": "az://models/a.h5"}, "storage": {}},
        {
            "output": {"uri": "gs://models/out/"},
            "storage": {
                "region": "eu-west-1",
                "googleCloud": {
                    "endpoint": "https://storage-x.p.googleapis.com",
                    "secretRef": {"name": "google", "key": "key.json"},
                },
            },
        },
        {"validation": {"uri": "s3://m1x/v.npy", "minAgreement": "0.98"}},
        {"validation": {"task": "Segmentation", "ignoreLabel": 0}},
        judged(),
        judged(METRIC | {"min": "-0.5", "timeoutSeconds": 1}),
        judged(METRIC | {"max": "12"}, METRIC | {"name": "cost", "maxDrop": "0.000001"}),
        judged(*(METRIC | {"name": f"m{n}"} for n in range(4))),
        {
            "validation": {
                "uri": "s3://m1x/v.npy",
                "labelsUri": "s3://m1x/instances.json",
                "task": "Detection",
                "detection": {"decoder": "YOLOv8"},
                "minAccuracy": "0.3",
            }
        },
        {"validation": {"uri": "s3://m1x/v.npy", "labelsUri": "s3://m1x/l.npy", "maxAccuracyDrop": "0.02"}},
        {"job": {"resources": {"limits": {"cpu": 2, "memory": "4Gi"}}, "nodeSelector": {"disk": "ssd"}}},
        {"source": {"uri": "s3://models/a..b/model..h5"}},
        {"source": {"uri": f"https://models.example:8443/v1/a%20b.keras{PIN}"}},
        {"source": {"uri": f"https://[fd00::1]/a.keras{PIN}"}},
        {"source": {"uri": f"hf://org/repo.v1@{'0a' * 20}/onnx/model.onnx"}},
        {"source": {"uri": f"hf://org/repo@{'0a' * 20}/model.onnx{PIN}"}},
        {"source": {"uri": f"oci://registry.example/acme/person@sha256:{'0a' * 32}"}},
        {"source": {"uri": f"oci://r.example/a@sha256:{'0a' * 32}", "verify": {"publicKey": PUBLIC_KEY}}},
        {
            "source": {"uri": f"oci://registry:5000/acme/person@sha256:{'0a' * 32}/models/a-b.tflite"},
            "storage": {"oci": {"insecure": True, "secretRef": {"name": "registry-logins"}}},
        },
        {"methods": ["FullInteger"], "calibration": {"uri": f"hf://datasets/org/data@{'0a' * 20}/val.npy"}},
        {"calibration": {"uri": f"https://models.example/log.csv{PIN}", "labelColumn": "gesture"}},
        {"source": {"uri": "s3://models/net.tflite", "format": "TFLite"}},
        {"source": {"uri": "s3://models/net.tar.gz", "format": "SavedModel", "selectTensorFlowOps": True}},
        {"source": {"uri": "s3://models/net/", "signature": "serve:encode"}},
        {"source": {"uri": "s3://models/net/", "inputs": [{"name": "image:0", "shape": [1, 96, 96, 3]}]}},
        {"output": SIGNED},
        {"calibration": IMAGES},
        {"calibration": {"uri": "s3://models/images.ZIP", "images": {"scaling": "None", "resize": "Pad"}}},
        {"calibration": {"uri": "s3://models/log.csv", "labelColumn": "gesture"}},
        {"calibration": {"uri": "s3://models/log.csv", "labelsUri": "s3://models/labels.csv"}},
        {"calibration": {"uri": "s3://models/arrays.npz"}},
        {"calibration": {"uri": "s3://models/rows.parquet", "labelColumn": "gesture"}},
        {"calibration": {"uri": "s3://models/shards/", "labelColumn": "label"}},
        {"calibration": {"uri": "s3://models/words/", "audio": WAVES}},
        {"calibration": {"uri": "s3://models/words/", "audio": FRAMES | {"features": "Spectrogram"}}},
        {"calibration": {"uri": "s3://models/w.parquet", "audio": MEL | {"features": "LogMelSpectrogram"}}},
        {"calibration": {"uri": "s3://models/w.zip", "audio": MEL | {"features": "MFCC", "numMfccs": 13}}},
        {"validation": {"uri": "s3://models/w.zip", "audio": WAVES, "maxAccuracyDrop": "0.1"}},
        {"validation": {"uri": "s3://models/x.tfrecord.gz", "labelColumn": "y", "maxAccuracyDrop": "0.1"}},
        {"calibration": {"uri": "s3://models/photos.parquet", "images": {"scaling": "ZeroToOne"}}},
        {"validation": {"maxSizeBytes": 100000, "maxLatencyMillis": "12.5", "minAgreement": "1"}},
        {"validation": IMAGES | {"maxAccuracyDrop": "0.02", "task": "Classification", "samples": 500}},
        {"validation": {"maxAccuracyDrop": "0.02"}, "calibration": IMAGES},
        {"benchmark": {"threads": 4, "runs": 10, "batchSize": 1}, "tuning": {"budgetSeconds": 0}},
        {"source": {"uri": "s3://models/net/"}, "output": {"uri": "s3://models/net-converted/"}},
        {"calibration": IMAGES, "output": {"uri": "s3://models/images-out/"}},
        {"optimize": {"training": CALIBRATION, "pruning": {"targetSparsity": "0.8"}}},
        {"optimize": {"training": IMAGES | {"learningRate": "0.0005"}, "quantizationAwareTraining": {}}},
        {"optimize": {"training": CALIBRATION, "distillation": {"width": "0.5"}}},
        {"optimize": {"training": CALIBRATION, "distillation": {"studentUri": "s3://models/small.keras"}}},
        {"recipes": [FLOAT_HEAD], "calibration": CALIBRATION},
        {"recipes": [FLOAT_HEAD | {"name": f"r-{n}", "base": "DynamicRange"} for n in range(8)]},
        {"recipes": [{"name": "file", "base": "DynamicRange", "rules": {"uri": "s3://models/recipe.json"}}]},
        {"recipes": [{"name": "g", "algorithm": "GPTQ", "gates": GATES}], "calibration": CALIBRATION},
    ],
)
def test_accepted(crd, room, changes):
    assert refusal(crd, room, changes) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "Mobile"}, "set either methods (e.g. [DynamicRange]) or target"),
        ({"methods": GONE}, "set either methods (e.g. [DynamicRange]) or target"),
        ({"methods": []}, "should have at least 1 items"),
        ({"edgeTPU": {}}, "take the full-integer file on: add FullInteger"),
        ({"methods": ["Float16"], "calibration": CALIBRATION, "microcontroller": {}}, "add FullInteger"),
        ({"methods": GONE, "target": "Mobile", "calibration": CALIBRATION, "edgeTPU": {}}, "add FullInteger"),
        (
            {"methods": GONE, "target": "RaspberryPi", "ethosU": {"accelerator": "ethos-u55-32"}},
            "and calibration",
        ),
        ({"ethosU": {"accelerator": "ethos-u55-100"}}, "Unsupported value"),
        ({"edgeTPU": {"numSegments": 17}}, "should be less than or equal to 16"),
        ({"edgeTPU": {"minRuntimeVersion": 9}}, "should be greater than or equal to 10"),
        ({"edgeTPU": {"minMappedFraction": "1.5"}}, 'must be a share from "0" to "1"'),
        (
            {
                "methods": ["FullInteger"],
                "calibration": CALIBRATION,
                "ethosU": {"accelerator": "ethos-u55-128", "systemConfig": "Ethos_U65_Embedded"},
            },
            "systemConfig is another core's",
        ),
        (
            {"methods": ["DynamicRange"], "npu": {"vendor": "Intel", "socs": ["CPU"]}},
            "npu compiles the files of FullInteger, Float32 and Float16",
        ),
        (
            {"methods": GONE, "target": "RaspberryPi", "npu": {"vendor": "Intel", "socs": ["CPU"]}},
            "or calibration where the target has no other of them",
        ),
        (
            {"methods": ["Float32"], "npu": {"vendor": "Qualcomm", "socs": ["SM8750", "LNL"]}},
            "socs has a chip that is not the maker's: Qualcomm has SA8255",
        ),
        ({"methods": ["Float32"], "npu": {"vendor": "Apple", "socs": ["M4"]}}, "Unsupported value"),
        ({"methods": ["Float32"], "npu": {"vendor": "Intel", "socs": []}}, "should have at least 1 items"),
        ({"methods": ["Float32"], "npu": {"vendor": "Intel"}}, "socs: Required value"),
        (
            {"methods": ["Float32"], "npu": {"vendor": "Intel", "socs": ["CPU"], "maxPartitions": 0}},
            "should be greater than or equal to 1",
        ),
        ({"methods": ["Int3"]}, "Unsupported value"),
        ({"recipes": [FLOAT_HEAD]}, "needs calibration data: set calibration.uri"),
        ({"recipes": [{"name": "g", "base": "DynamicRange", "algorithm": "GPTQ"}]}, "or with GPTQ, needs"),
        (of_layer("DynamicRange", algorithm="GPTQ"), "or with GPTQ, needs calibration data"),
        (of_layer("DynamicRange", precision="Int16"), "Int16 is for activations"),
        (of_layer("FullInteger", precision="Int4"), "Int4 weights have kernels beside float activations"),
        (of_layer("DynamicRange"), "set precision, algorithm, or both"),
        (of_layer("Float32", precision="Int4"), "Unsupported value"),
        (of_layer("WeightOnlyInt8", precision="Int4", rules=RULES), "set either rules or layers"),
        ({"recipes": [{"name": "a", "algorithm": "MSE", "rules": RULES}]}, "set either rules or layers"),
        ({"recipes": [FLOAT_HEAD | {"name": "Own"}]}, "should match"),
        ({"recipes": [FLOAT_HEAD, FLOAT_HEAD]}, "Duplicate value"),
        ({"recipes": [FLOAT_HEAD | {"name": f"r-{n}"} for n in range(9)]}, "at most 8 items"),
        ({"optimize": {"training": CALIBRATION}}, "nothing to train for: set pruning"),
        (
            {
                "optimize": {
                    "training": CALIBRATION | {"deadlineSeconds": 3600},
                    "quantizationAwareTraining": {},
                }
            },
            "training may take as long as the whole Job: raise job.activeDeadlineSeconds",
        ),
        (
            {"optimize": {"training": CALIBRATION, "pruning": {"targetSparsity": "1"}}},
            'must be a number between "0" and "1" in quotes',
        ),
        (
            {
                "optimize": {
                    "training": CALIBRATION,
                    "pruning": {"targetSparsity": "0.5", "initialSparsity": "0.6"},
                }
            },
            "initialSparsity must be less than targetSparsity",
        ),
        (
            {
                "optimize": {
                    "training": CALIBRATION,
                    "distillation": {"width": "0.5", "studentUri": "s3://models/small.h5"},
                }
            },
            "set either studentUri or width",
        ),
        (
            {"optimize": {"training": CALIBRATION | {"temperature": "0.5"}, "distillation": {}}},
            'must be a number from "1" to "999" in quotes',
        ),
        (
            {
                "optimize": {"training": CALIBRATION, "quantizationAwareTraining": {}},
                "source": {"uri": "s3://models/net/"},
            },
            "which needs the Keras file (.h5 or .keras)",
        ),
        (
            {
                "optimize": {"training": CALIBRATION, "quantizationAwareTraining": {}},
                "source": {"uri": "s3://models/net.tflite"},
            },
            "which needs the Keras file (.h5 or .keras)",
        ),
        (
            {
                "optimize": {"training": IMAGES, "quantizationAwareTraining": {}},
                "output": {"uri": "s3://models/images/out/"},
            },
            "output.uri lies inside optimize.training.uri",
        ),
        ({"methods": ["Float32", "Float32"]}, "Duplicate value"),
        ({"methods": ["FullInteger"]}, "Int16Activations need calibration data: set calibration.uri"),
        (
            {"tuning": {"try": ["Int4", "FullInteger"]}},
            "tuning.try names a method that needs",
        ),
        ({"tuning": {"try": ["Int4"], "budgetSeconds": 0}}, "tuning.try without time: raise"),
        ({"tuning": {"try": ["Int4", "Int4"]}}, "Duplicate value"),
        ({"tuning": {"try": ["Int3"]}}, "Unsupported value"),
        ({"tuning": {"objective": "Cheapest"}}, "Unsupported value"),
        ({"methods": ["Int4", "Int16Activations"]}, "need calibration data: set calibration.uri"),
        ({"methods": GONE, "target": "EdgeTPU"}, "need calibration data: set calibration.uri"),
        ({"methods": GONE, "target": "Microcontroller"}, "need calibration data: set calibration.uri"),
        ({"source": {"uri": "http://models/a.h5"}}, "must be s3://bucket/path/model.h5, gs://bucket"),
        ({"source": {"uri": "s3://models"}}, "must be s3://bucket/path/model.h5, gs://bucket"),
        ({"source": {"uri": "pvc://models/../other/a.h5"}}, "must not contain '.' or '..'"),
        ({"source": {"uri": "pvc://models"}}, "pvc://claim/path/model.h5"),
        ({"source": {"uri": "pvc://Models/a.h5"}}, "pvc://claim/path/model.h5"),
        ({"source": {"uri": "pvc://models/a\u0000.h5"}}, "pvc://claim/path/model.h5"),
        ({"output": {"uri": "pvc:///out/"}}, "a claim and a file (pvc://claim/path/model.h5)"),
        ({"output": {"uri": "https://models/out"}}, "must name a bucket and a key of S3"),
        ({"output": {"uri": "gs://models"}}, "Google Cloud Storage (gs://bucket/path/model.h5)"),
        ({"output": {"uri": "az://mo_dels/out"}}, "Azure Blob Storage (az://container/path/model.h5)"),
        ({"output": {"uri": "gs://models/../out"}}, "must not contain '.' or '..'"),
        ({"source": {"uri": "gs://Models/a.h5"}}, "must be s3://bucket/path/model.h5, gs://bucket/path"),
        ({"source": {"uri": "az://models/net/"}, "output": {"uri": "az://models/net/out/"}}, "lies inside"),
        ({"storage": {"azure": {}}}, "spec.storage.azure.account: Required value"),
        ({"storage": {"azure": {"account": "My-Models"}}}, "spec.storage.azure.account"),
        ({"storage": {"azure": {"account": "ab"}}}, "spec.storage.azure.account"),
        ({"storage": {"azure": {"account": "abc", "endpoint": "https://h/p"}}}, "must be a URL without path"),
        ({"storage": {"googleCloud": {"endpoint": "ftp://h"}}}, "must be a URL without path"),
        *(
            (changes | {"storage": {"region": "eu-west-1"}}, "needs the name of its storage account")
            for changes in (
                {"source": AZ},
                {"output": AZ},
                {"calibration": AZ},
                {"calibration": CALIBRATION | {"labelsUri": AZ["uri"]}},
                {"validation": AZ},
                {"validation": CALIBRATION | {"labelsUri": AZ["uri"]}},
                {"optimize": {"training": AZ, "pruning": {"targetSparsity": "0.5"}}},
                {"optimize": {"training": CALIBRATION, "distillation": {"studentUri": AZ["uri"]}}},
                {"recipes": [{"name": "own", "base": "DynamicRange", "rules": AZ}]},
            )
        ),
        (
            {"source": {"uri": "https://models.example/a.h5"}},
            "must end in #sha256= and the digest",
        ),
        ({"source": {"uri": f"https://user@models.example/a.h5{PIN}"}}, "(no user, no query)"),
        ({"source": {"uri": f"https://models.example/a.h5?token=x{PIN}"}}, "(no user, no query)"),
        ({"source": {"uri": f"https://models.example/net/{PIN}"}}, "(no user, no query)"),
        ({"source": {"uri": f"https://models.example/../a.h5{PIN}"}}, "must not contain '.' or '..'"),
        ({"calibration": {"uri": f"https://models.example/a.npy#{PIN}"}}, "(no user, no query)"),
        ({"source": {"uri": "hf://org/repo@main/a.onnx"}}, "must name a commit of 40 digits"),
        ({"source": {"uri": "oci://registry.example/acme/person:v1"}}, "must end its repository in @sha256:"),
        ({"source": {"uri": "oci://registry.example/person"}}, "oras resolve or crane digest prints"),
        ({"source": {"uri": f"oci://r.example/a:v1@sha256:{'0' * 64}"}}, "and have no tag"),
        ({"source": {"uri": f"oci://library/a@sha256:{'0' * 64}"}}, "should match '^(oci://"),
        ({"source": {"uri": "ocr://r.example/a"}}, "should match '^(oci://"),
        ({"source": {"uri": "ftp://r.example/a"}}, "oci://host/repository@sha256:DIGEST (no tag)"),
        ({"source": {"uri": f"oci://r.example/a@sha256:{'0' * 64}/../b"}}, "must not contain '.' or '..'"),
        ({"output": {"uri": f"oci://r.example/a@sha256:{'0' * 64}"}}, "must name a bucket and a key of S3"),
        (
            {"source": {"uri": f"hf://repo@{'0' * 40}/a.onnx"}},
            "must be s3://bucket/path/model.h5, gs://bucket",
        ),
        (
            {"source": {"uri": f"https://models.example/a.onnx{PIN}", "signature": "serve"}},
            "an ONNX model has no signatures",
        ),
        ({"source": {"uri": "s3://models/../secret.h5"}}, "must not contain '.' or '..'"),
        ({"output": {"uri": "s3://models/out/../../x"}}, "must not contain '.' or '..'"),
        ({"calibration": {"uri": "s3://models/./v.npy"}}, "must not contain '.' or '..'"),
        ({"source": {"uri": "s3://models/a.h5", "sha256": "abc"}}, "should match"),
        ({"storage": {"endpoint": "minio:9000"}}, "must be a URL without path or user"),
        ({"storage": {"endpoint": "http://user:pw@minio:9000"}}, "must be a URL without path or user"),
        (
            {"validation": {"uri": "s3://m1x/v.npy", "maxAccuracyDrop": "0.02"}},
            "maxAccuracyDrop and minAccuracy need labels",
        ),
        (
            {"validation": {"uri": "s3://m1x/v.npy", "minAccuracy": "0.5"}},
            "maxAccuracyDrop and minAccuracy need labels",
        ),
        ({"validation": {"uri": "s3://m1x/v.npy", "minAgreement": "1.5"}}, 'a share from "0" to "1"'),
        ({"validation": {"uri": "s3://m1x/v.npy", "maxLatencyMillis": "1.5ms"}}, "milliseconds in quotes"),
        ({"validation": {"maxLatencyMillis": "-1"}}, "milliseconds in quotes"),
        ({"validation": {"maxSizeBytes": 0}}, "greater than or equal to 1"),
        ({"validation": {"task": "Guessing"}}, "Unsupported value"),
        ({"validation": {"task": "Detection"}}, "detection.decoder belong together"),
        ({"validation": {"detection": {"decoder": "YOLOv8"}}}, "detection.decoder belong together"),
        (
            {"validation": {"task": "Detection", "detection": {"decoder": "YOLOv1"}}},
            "Unsupported value",
        ),
        (
            {"validation": {"task": "Regression", "ignoreLabel": 0}},
            "ignoreLabel is a value in the masks",
        ),
        ({"validation": {"labelsUri": "s3://models/l.npy"}}, "say how validation.uri is read: set it"),
        ({"validation": {"images": {"scaling": "None"}}}, "say how validation.uri is read: set it"),
        ({"validation": {"maxAccuracyDrop": "0.02"}}, "minAccuracy need labelled data"),
        ({"validation": {"minAccuracy": "0.02"}}, "minAccuracy need labelled data"),
        (
            {"validation": {"maxAccuracyDrop": "0.02"}, "calibration": CALIBRATION},
            "set validation.uri and validation.labelsUri, or calibration.labelsUri",
        ),
        (
            {
                "calibration": {
                    "uri": "s3://models/l.csv",
                    "labelColumn": "y",
                    "labelsUri": "s3://models/l.npy",
                }
            },
            "set either labelsUri (a file of labels) or labelColumn",
        ),
        (
            {
                "validation": {
                    "uri": "s3://models/l.csv",
                    "labelColumn": "y",
                    "labelsUri": "s3://models/l.npy",
                }
            },
            "set either labelsUri (a file of labels) or labelColumn",
        ),
        (
            {"calibration": CALIBRATION | {"labelColumn": "y"}},
            "set labelsUri for arrays instead",
        ),
        (
            {"calibration": CALIBRATION | {"images": {"scaling": "None"}}},
            "images is for images: remove it",
        ),
        ({"calibration": IMAGES | {"audio": WAVES}}, "data hold images or sounds: set images or audio"),
        ({"calibration": CALIBRATION | {"audio": WAVES}}, "audio is for sounds: remove it"),
        ({"validation": {"audio": WAVES}}, "say how validation.uri is read: set it"),
        (sounds(WAVES | {"frameLength": 480, "frameStep": 320}), "a Waveform has neither"),
        (sounds(FRAMES | {"features": "LogMelSpectrogram"}), "need numMelBins, lowerEdgeHertz"),
        (sounds(MEL | {"features": "Spectrogram"}), "nothing else has them"),
        (sounds(MEL | {"features": "MFCC"}), "MFCC needs numMfccs"),
        (sounds(MEL | {"features": "MFCC", "numMfccs": 41}), "at most numMelBins"),
        (sounds(FRAMES | {"features": "Spectrogram", "fftLength": 256}), "must be at least frameLength"),
        (sounds(MEL | {"features": "LogMelSpectrogram", "upperEdgeHertz": 8001}), "half of sampleRate"),
        (sounds(FRAMES | {"features": "Spectrogram", "clipMillis": 29}), "shorter than one frame"),
        (sounds(WAVES | {"mean": "many"}), 'must be a number in quotes, e.g. "-6.5"'),
        (sounds(WAVES | {"deviation": "0"}), 'must be a number over "0" in quotes'),
        ({"calibration": IMAGES | {"images": {}}}, "calibration.images.scaling: Required value"),
        ({"calibration": IMAGES | {"images": {"scaling": "Auto"}}}, "Unsupported value"),
        (
            {"calibration": CALIBRATION | {"labelsUri": "s3://models/../l.npy"}},
            "must not contain '.' or '..'",
        ),
        (
            {"source": {"uri": "s3://models/net.tflite", "selectTensorFlowOps": True}},
            "a TFLite file has its operations already: remove selectTensorFlowOps",
        ),
        (
            {"source": {"uri": "s3://models/net", "format": "TFLite", "selectTensorFlowOps": True}},
            "a TFLite file has its operations already: remove selectTensorFlowOps",
        ),
        (
            {"source": {"uri": "s3://models/net.keras", "signature": "serve"}},
            "a Keras file has no signatures",
        ),
        (
            {"source": {"uri": "s3://models/net", "format": "KerasH5", "signature": "serve"}},
            "a Keras file has no signatures",
        ),
        ({"source": {"uri": "s3://models/net/", "format": "KerasH5"}}, "is the prefix of a SavedModel"),
        (
            {"source": {"uri": "s3://models/net.onnx", "selectTensorFlowOps": True}},
            "an ONNX model has no operations of TensorFlow's",
        ),
        (
            {"source": {"uri": "s3://models/net.pt2", "signature": "serve"}},
            "a PyTorch model has neither signatures nor operations of TensorFlow's",
        ),
        (
            {"source": {"uri": "s3://models/net", "format": "PyTorch", "selectTensorFlowOps": True}},
            "a PyTorch model has neither signatures nor operations of TensorFlow's",
        ),
        (
            {"source": {"uri": "s3://models/net.zip", "format": "ONNX", "signature": "serve"}},
            "an ONNX model has no signatures",
        ),
        (
            {"source": {"uri": "s3://models/net.JAX", "selectTensorFlowOps": True}},
            "a function of JAX has no operations of TensorFlow's",
        ),
        (
            {"source": {"uri": "s3://models/net", "format": "StableHLO", "signature": "serve"}},
            "a function of JAX has no signatures",
        ),
        ({"source": {"uri": "s3://models/net.h5", "inputs": [{"name": "x"}]}}, "shape: Required value"),
        (
            {"source": {"uri": "s3://models/net.h5", "inputs": [{"name": "x", "shape": [0, 3]}]}},
            "greater than or equal to 1",
        ),
        (
            {"source": {"uri": "s3://models/net.h5", "inputs": [{"name": "x", "shape": [1]}] * 2}},
            "Duplicate value",
        ),
        (
            {"source": {"uri": "s3://models/net/"}, "output": {"uri": "s3://models/net/tflite/"}},
            "output.uri lies inside source.uri",
        ),
        (
            {"calibration": IMAGES, "output": {"uri": "s3://models/images"}},
            "output.uri lies inside calibration.uri",
        ),
        (
            {"validation": IMAGES, "output": {"uri": "s3://models/images/out/"}},
            "output.uri lies inside validation.uri",
        ),
        ({"output": {"uri": "s3://models/out/", "signing": {}}}, "secretRef: Required value"),
        (
            {"source": {"uri": "s3://models/gesture.h5", "verify": {"publicKey": "MFkw..."}}},
            "should match",
        ),
        (
            {
                "source": {
                    "uri": f"https://models.example/a.h5#sha256={'0' * 64}",
                    "verify": {"publicKey": PUBLIC_KEY},
                }
            },
            "set verify.signatureUri to one in a store",
        ),
        *(
            ({"output": {"uri": "s3://models/out/", "oci": {"repository": name}}}, "must be a registry")
            for name in (
                "edge/gesture",
                "registry.example.com",
                "https://r.example/a",
                "r.example/A",
                "r.example/a:1",
            )
        ),
        (
            {
                "output": {
                    "uri": "s3://models/out/",
                    "oci": {"repository": "r.example/a", "tag": "a/{digest}"},
                }
            },
            "must be a tag",
        ),
        (
            {"output": {"uri": "s3://models/out/", "cache": {"uri": "s3://others/cache/"}}},
            "must lie in the bucket",
        ),
        (
            {"output": {"uri": "s3://models/out/", "cache": {"uri": "gs://models/cache/"}}},
            "must lie in the bucket",
        ),
        (
            {"output": {"uri": "pvc://ours/out/", "cache": {"uri": "pvc://theirs/cache/"}}},
            "must lie in the bucket",
        ),
        ({"tuning": {"budgetSeconds": -1}}, "greater than or equal to 0"),
        (on(PI5, PI5), "Duplicate value"),
        (on(*(PI5 | {"name": f"board-{n}"} for n in range(9))), "must have at most 8 items"),
        (on({"name": "pi5"}), "nodeSelector: Required value"),
        (on(PI5 | {"nodeSelector": {}}), "should have at least 1 properties"),
        (on({"nodeSelector": {"board": "pi5"}}), "name: Required value"),
        (on(PI5 | {"name": "../pi5"}), "should match"),
        (on(PI5 | {"name": "Pi5"}), "should match"),
        (on(PI5 | {"name": "p" * 33}), "may not be more than 32"),
        (on(PI5 | {"threads": 0}), "greater than or equal to 1"),
        (on(PI5 | {"runs": 10001}), "less than or equal to 10000"),
        (on(PI5 | {"accelerator": "NPU"}), "Unsupported value"),
        (on(PI5 | {"accelerator": "/lib/evil.so"}), "Unsupported value"),
        (on(PI5 | {"timeoutSeconds": 0}), "greater than or equal to 1"),
        (on(PI5 | {"accelerator": "GPU", "profile": True}), "set accelerator to CPU"),
        (on(PI5 | {"accelerator": "EdgeTPU"}), "set edgeTPU, with compile true and numSegments 1"),
        (
            FOR_CORAL | {"edgeTPU": {"compile": False}} | on(PI5 | {"accelerator": "EdgeTPU"}),
            "set edgeTPU, with compile true",
        ),
        (
            FOR_CORAL
            | {"edgeTPU": {"numSegments": 2}}
            | on(PI5, PI5 | {"name": "b", "accelerator": "EdgeTPU"}),
            "numSegments 1",
        ),
        (on(PI5 | {"maxLatencyMillis": "fast"}), "must be milliseconds in quotes"),
        (on(PI5 | {"minAgreement": "1.1"}), "must be a share"),
        ({"calibration": CALIBRATION | {"samples": 0}}, "greater than or equal to 1"),
        (judged(METRIC | {"min": "0", "max": "1"}), "a metric has one gate"),
        (judged(METRIC | {"max": "0", "maxDrop": "1"}), "a metric has one gate"),
        (judged(METRIC | {"min": "1e3"}), "must be a number in quotes"),
        (judged(METRIC | {"min": "NaN"}), "must be a number in quotes"),
        (judged(METRIC | {"image": "registry.example/metrics:1"}), "@sha256:"),
        (judged(METRIC | {"image": "registry.example/metrics@sha256:0a0a"}), "@sha256:"),
        (judged(METRIC | {"image": f"a b@sha256:{'0a' * 32}"}), "@sha256:"),
        (judged({k: v for k, v in METRIC.items() if k != "image"}), "Required value"),
        (judged({k: v for k, v in METRIC.items() if k != "command"}), "Required value"),
        (judged(METRIC | {"command": []}), "should have at least 1 items"),
        (judged(METRIC | {"command": ["python3", "x.py"]}), "needs its path in the image"),
        (judged(METRIC | {"command": [""]}), "should be at least 1 chars long"),
        (judged(METRIC | {"name": "Business"}), "should match"),
        (judged(METRIC, METRIC), "Duplicate value"),
        (judged(*(METRIC | {"name": f"m{n}"} for n in range(5))), "must have at most 4 items"),
        (judged(METRIC | {"timeoutSeconds": 0}), "greater than or equal to 1"),
        (judged(METRIC | {"env": [{"name": "TOKEN"}]}), "unknown field"),
        ({"validation": {"metrics": [METRIC]}}, "set validation.uri"),
        ({"job": {"activeDeadlineSeconds": 1}}, "greater than or equal to 30"),
        ({"job": {"resources": {"limits": {"memory": "lots"}}}}, "should match"),
        ({"sauce": {}}, "unknown field"),
    ],
)
def test_refused_with_words_that_say_what_to_do(crd, room, changes, words):
    assert words in refusal(crd, room, changes)


def test_kubectl_apply_shows_the_words_of_every_mistake_at_once(crd, namespace):
    said = apply(crd, namespace, {"methods": ["Float32", "Fast"], "sauce": {}, "benchmark": {"runs": 0}})
    assert 'unknown field "spec.sauce"' in said
    said = apply(crd, namespace, {"methods": ["Float32", "Fast"], "benchmark": {"runs": 0}})
    assert 'spec.methods[1]: Unsupported value: "Fast"' in said
    assert "spec.benchmark.runs" in said


def test_every_fixed_field_of_the_spec_is_in_the_table():
    assert {name for changes in FIXED for name in changes} >= {
        info.alias
        for name, info in ModelConversionSpec.model_fields.items()
        if name not in ("suspend", "job")
    }


def test_defaults_are_written_into_what_is_stored(crd, namespace):
    changes = {"calibration": IMAGES, "output": SIGNED, "validation": {"minAgreement": "0.9"}}
    assert apply(crd, namespace, changes) == ""
    found = json.loads(crd.kubectl("-n", namespace, "get", "mconv", "tested", "-o", "json").stdout)["spec"]
    assert found["source"] == {
        "uri": "s3://models/gesture.h5",
        "format": "Auto",
        "selectTensorFlowOps": False,
    }
    assert found["output"]["signing"]["secretRef"] == {"name": "signing-key", "key": "private.pem"}
    assert found["calibration"]["images"] == {"scaling": "ZeroToOne", "resize": "Stretch"}
    assert found["calibration"]["samples"] == 200
    assert found["validation"] == {"minAgreement": "0.9", "samples": 1000}
    assert found["benchmark"] == {"threads": 1, "runs": 50, "batchSize": 8}
    assert found["tuning"] == {"budgetSeconds": 300}


EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(crd, namespace, path):
    crd.kubectl("-n", namespace, "apply", "--dry-run=server", "-f", str(path))


def test_names_end_where_the_job_name_would_not_fit(crd, room):
    assert refusal(crd, room, {}, name="a" * 52) == ""
    assert "at most 52 characters" in refusal(crd, room, {}, name="a" * 53)


FREE = [{"suspend": True}, {"job": {"ttlSecondsAfterFinished": 60}}]
FIXED = [
    {"methods": ["Float16"]},
    {"methods": GONE, "target": "Cloud"},
    {"source": {"uri": "s3://models/other.h5"}},
    {"output": {"uri": "s3://models/elsewhere/"}},
    {"register": {"mlflow": {"uri": "https://mlflow.example", "model": "gesture"}}},
    {"source": {"uri": "s3://models/gesture.h5", "inputs": [{"name": "x", "shape": [1, 46]}]}},
    {"source": {"uri": "s3://models/gesture.h5", "selectTensorFlowOps": True}},
    {"output": SIGNED},
    {"output": {"uri": "s3://models/out/", "retain": "Immutable"}},
    {"output": {"uri": "s3://models/out/", "cache": {"uri": "s3://models/cache/"}}},
    {"output": {"uri": "s3://models/out/", "oci": {"repository": "registry.example.com/edge/gesture"}}},
    {"source": {"uri": "s3://models/gesture.h5", "verify": {"publicKey": PUBLIC_KEY}}},
    {"storage": {"region": "eu-west-1"}},
    {"storage": {"googleCloud": {"secretRef": {"name": "google"}}}},
    {"storage": {"azure": {"account": "models"}}},
    {"storage": {"oci": {"secretRef": {"name": "registry-logins"}}}},
    {"benchmark": {"runs": 7}},
    on(PI5),
    {"tuning": {"budgetSeconds": 7}},
    {"tuning": {"objective": "MostFaithful", "try": ["Float16"]}},
    {"recipes": [{"name": "own", "base": "DynamicRange", "algorithm": "OCTAV"}]},
    {"verifyOn": ["Microcontroller"]},
    {"huggingFace": {"secretRef": {"name": "hub"}}},
    {"className": "edge"},
    {"optimize": {"training": CALIBRATION, "pruning": {"targetSparsity": "0.5"}}},
    {"validation": {"maxSizeBytes": 1}},
    {"validation": {"task": "Detection", "detection": {"decoder": "Boxes"}}},
    judged(METRIC),
    {"calibration": CALIBRATION},
    {"validation": {"uri": "s3://m1x/v.npy"}},
    {"job": {"backoffLimit": 5}},
    {"job": {"nodeSelector": {"disk": "ssd"}}},
    {"job": {"serviceAccountName": "other"}},
    {"methods": ["FullInteger"], "calibration": CALIBRATION, "edgeTPU": {"compile": False}},
    {
        "methods": ["FullInteger"],
        "calibration": CALIBRATION,
        "ethosU": {"accelerator": "ethos-u55-128"},
        "microcontroller": {},
    },
    {"methods": ["Float32"], "npu": {"vendor": "Intel", "socs": ["CPU"]}},
    {"methods": GONE, "profileRef": {"name": "doorbell"}},
]


@pytest.fixture(scope="module")
def running(crd):
    """A conversion in each phase, set by hand: no operator runs in this module."""
    crd.create_namespace("phases")
    for phase in ("Pending", "Running", "Suspended", "Succeeded", "Failed"):
        assert apply(crd, "phases", {}, name=phase.lower()) == ""
        patch = json.dumps({"status": {"phase": phase}})
        crd.kubectl(
            "-n",
            "phases",
            "patch",
            "mconv",
            phase.lower(),
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        )
    return crd


@pytest.mark.parametrize("phase", ["pending", "running", "suspended"])
@pytest.mark.parametrize("changes", FREE + FIXED, ids=str)
def test_while_it_runs_only_suspend_and_the_ttl_may_change(running, phase, changes):
    said = refusal_of_change(running, manifest(phase, "phases", spec(**changes)))
    if changes in FREE:
        assert said == ""
    else:
        assert "spec cannot change while the conversion runs" in said


@pytest.mark.parametrize("phase", ["succeeded", "failed"])
@pytest.mark.parametrize("changes", FREE + FIXED, ids=str)
def test_after_the_end_everything_may_change(running, phase, changes):
    assert refusal_of_change(running, manifest(phase, "phases", spec(**changes))) == ""


def test_a_user_cannot_write_a_status_through_the_resource(crd, namespace):
    body = manifest("tested", namespace, spec()) | {"status": {"phase": "Succeeded"}}
    crd.kubectl("apply", "-f", "-", input=json.dumps(body))
    assert crd.kubectl("-n", namespace, "get", "mconv", "tested", "-o", "jsonpath={.status}").stdout == ""


def explained(crd: ControlPlane, field: str) -> str:
    """What kubectl explains; a server publishes a new resource's schema some seconds after its CRD."""
    answers: list[str] = []

    def is_there() -> bool:
        try:
            answers.append(crd.kubectl("explain", field).stdout)
        except ProcessError:
            return False
        return True

    until(is_there, f"{field} is explained", 60)
    return answers[-1]


def test_kubectl_explains_the_fields(crd):
    text = explained(crd, "modelconversion.spec.calibration")
    assert "Representative dataset; FullInteger and Int16Activations need it." in text
    assert "How many samples calibrate the model" in text
    scaling = explained(crd, "modelconversion.spec.calibration.images.scaling")
    assert "MinusOneToOne" in scaling
    assert "it must be the one that the model" in scaling


def test_short_name_category_and_columns(running):
    header = running.kubectl("-n", "phases", "get", "mconv", "-o", "wide").stdout.splitlines()[0].split()
    assert header == [
        "NAME", "PHASE", "PERCENT", "METHODS", "RECOMMENDED", "SIZE", "PROFILE", "DURATION", "REASON",
        "MESSAGE", "AGE",
    ]  # fmt: skip
    assert "suspended" in running.kubectl("-n", "phases", "get", "ml").stdout
