"""The Job's stages on Azurite, and on SeaweedFS behind a stand-in for what only Google has, over TLS.

What the two clouds do with faults is in ``tests/unit/converter/job/test_cloud_faults.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from devcluster.services.azurite import Azurite
from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.data import Calibration, Images, ImageScaling
from modelconversion_api.fields.optimization import Optimize
from modelconversion_api.fields.storage import AzureAccess, GoogleCloudAccess, StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ConversionReport, Look, StageResult
from modelconversion_api.spec import Output, Source
from modelconversion_api.triggers import STAMP_ENV
from support.cluster.board_stages import BOARD, Published
from support.cluster.clouds import forget_environment
from support.cluster.google_stand_in import GoogleStandIn, service_account
from support.cluster.stages import METHODS, MODEL, MODEL_DIGEST, TFLITE, Job, new_job
from tflite_converter.files.digests import source_digest
from tflite_converter.job import fetch as job_fetch
from tflite_converter.job.fetch import DATA_RULES
from tflite_converter.job.look import look
from tflite_converter.job.stores import connections
from tflite_converter.job.stores.azure import AzureStore
from tflite_converter.job.stores.base import Limit, Stored
from tflite_converter.job.stores.places import Places

AUTHORITY = trustme.CA()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    folder = tmp_path_factory.mktemp("azurite")
    issued = AUTHORITY.issue_cert("localhost")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    with Azurite(certificate, key) as running:
        yield running


@pytest.fixture(scope="session")
def google(object_store: Server) -> Iterator[GoogleStandIn]:
    with GoogleStandIn(object_store, AUTHORITY) as running:
        yield running


@dataclass
class Clouds:
    """Both clouds, with a bucket and a container of the same name, and a Job that may use them."""

    job: Job
    azurite: Azurite
    google: GoogleStandIn
    store: Places = field(init=False)

    def __post_init__(self) -> None:
        forget_environment(self.job.patch)
        self.job.patch.setattr(connections, "_WAIT_SECONDS", 0.0)
        self.log_in()
        self.store = Places(self.access, Stage.PUBLISH)
        self.store._store("gs://")  # while its credentials are there
        azure = self.store._store("az://")
        assert isinstance(azure, AzureStore)
        made = azure._answer("az://", "PUT", azure.path(self.job.bucket), {"restype": "container"}, NOTHING)
        assert made.status == 201
        made.close()

    def log_in(self) -> None:
        """What the operator's manifest gives to the containers."""
        for name, value in {
            "CONVERSION_GOOGLE_CREDENTIALS": self.google.credentials,
            "CONVERSION_GOOGLE_ENDPOINT": self.google.endpoint,
            "CONVERSION_AZURE_SECRET": "azure",
            "CONVERSION_AZURE_KEY": self.azurite.key,
            "CONVERSION_AZURE_ENDPOINT": self.azurite.endpoint,
        }.items():
            self.job.patch.setenv(name, value)

    @property
    def access(self) -> StorageAccess:
        return StorageAccess(
            endpoint=self.job.server.endpoint,
            ca_bundle=BUNDLE,
            google_cloud=GoogleCloudAccess(endpoint=self.google.endpoint),
            azure=AzureAccess(account=self.azurite.account, endpoint=self.azurite.endpoint),
        )

    def uri(self, scheme: str, key: str) -> str:
        return f"{scheme}://{self.job.bucket}/{key}"

    def put(self, scheme: str, key: str, content: bytes) -> str:
        """Puts an object there, and gives its URI; SeaweedFS is behind ``gs`` as well."""
        uri = self.uri(scheme, key)
        if scheme == "az":
            stored = Stored(hashlib.sha256(content).hexdigest(), len(content))
            self.store.upload(uri, io.BytesIO(content), stored, "application/octet-stream")
        else:
            self.job.put(key, content)
        return uri

    def read(self, scheme: str, key: str) -> bytes:
        path = self.job.folder / "read"
        self.store.download(self.uri(scheme, key), path, Limit(1 << 20))
        return path.read_bytes()

    def keys(self, scheme: str, prefix: str) -> set[str]:
        return {item.key for item in self.store.list(self.uri(scheme, prefix))}

    def between(self, there: str, to: str, **changes: Any) -> Job:
        """A Job that reads the model and its data from one store, and writes to another."""
        given: dict[str, Any] = {
            "source": Source(uri=self.put(there, "gesture.h5", MODEL)),
            "calibration": Calibration(
                uri=self.put(there, "val.npy", b"data"), labels_uri=self.put(there, "labels.npy", b"labels")
            ),
            "output": Output(uri=self.uri(to, "out/")),
            "storage": self.access,
        }
        return self.job.ask(**given | changes)

    def run(self, job: Job, stage: Stage, *, reads_report: bool = False) -> StageResult:
        """Runs a stage in a container of its own; no secret may be in its result."""
        self.log_in()
        result = job.run(stage, reads_report=reads_report)
        secrets = (self.google.token, self.azurite.key, "PRIVATE KEY", "sig=")
        assert not [secret for secret in secrets if secret in result.to_json()]
        return result

    def fails(self, job: Job, stage: Stage = Stage.FETCH) -> FailureReason:
        failure = self.run(job, stage).failure
        assert failure is not None
        assert not list(job.input.rglob("*.part"))
        return failure.reason


NOTHING = {"Content-Length": "0"}


@pytest.fixture
def clouds(
    object_store: Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    azurite: Azurite,
    google: GoogleStandIn,
) -> Clouds:
    return Clouds(new_job(object_store, bucket, tmp_path, monkeypatch), azurite, google)


@pytest.fixture(params=["gs", "az"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.mark.parametrize(
    ("source", "output"), [("gs", "gs"), ("az", "az"), ("s3", "az"), ("az", "gs"), ("gs", "s3")]
)
def test_a_conversion_from_store_to_store(clouds: Clouds, source: str, output: str) -> None:
    job = clouds.between(source, output, run="6f1c/1")
    assert clouds.run(job, Stage.FETCH) == StageResult()
    assert (job.input / "source").read_bytes() == MODEL
    record = job.record()
    assert (record.source.sha256, record.source.name) == (MODEL_DIGEST, "gesture.h5")
    assert (job.input / record.data["calibration-labels"].path).read_bytes() == b"labels"
    job.converted()
    told = clouds.run(job, Stage.PUBLISH).summary
    assert told is not None
    names = {f"out/{method.file_name('gesture')}" for method in METHODS}
    assert clouds.keys(output, "out/") == names | {"out/report.json", "out/report.html"}
    assert {clouds.read(output, name) for name in names} == {TFLITE}
    report = json.loads(clouds.read(output, "out/report.json"))
    assert report["request"]["output"]["uri"] == clouds.uri(output, "out/")
    assert "PRIVATE KEY" not in json.dumps(report)
    read = clouds.run(job, Stage.PUBLISH, reads_report=True).summary
    assert read is not None
    assert read.artifacts == told.artifacts


def test_publish_again_and_a_run_that_is_lost(clouds: Clouds, scheme: str) -> None:
    job = clouds.between("s3", scheme, run="6f1c/1")
    failure = clouds.run(job, Stage.PUBLISH, reads_report=True).failure
    assert failure is not None
    assert failure.reason is FailureReason.REPORT_LOST
    clouds.run(job, Stage.FETCH)
    job.converted()
    for _ in range(2):
        assert clouds.run(job, Stage.PUBLISH).failure is None
    assert len(clouds.keys(scheme, "out/")) == len(METHODS) + 2


def test_a_board_reads_and_writes_there(clouds: Clouds, scheme: str) -> None:
    """Through S3 for what a run has published; from there the board's three stages are in the cloud."""
    published = Published(clouds.job.ask(storage=clouds.access))
    for item in clouds.job.server.client().list_objects_v2(Bucket=clouds.job.bucket)["Contents"]:
        body = clouds.job.server.client().get_object(Bucket=clouds.job.bucket, Key=item["Key"])["Body"].read()
        if item["Key"].endswith("report.json"):
            report = ConversionReport.model_validate_json(body)
            request = report.request
            assert request is not None
            there = request.changed(output=Output(uri=clouds.uri(scheme, "out/")))
            body = report.changed(request=there).to_json().encode()
        clouds.put(scheme, item["Key"], body)
    published.job = published.job.ask(output=Output(uri=clouds.uri(scheme, "out/")))
    clouds.log_in()
    published.measured()
    clouds.log_in()
    summary = published.run(Stage.PUBLISH).board
    assert summary is not None
    assert summary.board == BOARD.name
    assert json.loads(clouds.read(scheme, f"out/boards/{BOARD.name}.json"))["run"] == "6f1c/1"


def test_saved_model_under_a_prefix(clouds: Clouds, scheme: str) -> None:
    for key in ("sm/saved_model.pb", "sm/variables/variables.index", "sm-other/saved_model.pb"):
        clouds.put(scheme, key, key.encode())
    for uri in (clouds.uri(scheme, "sm"), clouds.uri(scheme, "sm/")):
        job = clouds.between("s3", "s3", source=Source(uri=uri))
        assert clouds.run(job, Stage.FETCH).failure is None
        assert job.downloaded("source").keys() == {"saved_model.pb", "variables/variables.index"}
        record = job.record()
        assert (record.source.sha256, record.source.size_bytes) == source_digest(job.input / "source")


def test_a_folder_of_images_is_fetched_by_several_threads(clouds: Clouds, scheme: str) -> None:
    images = {f"{label}/{n:02}.png": f"{label}{n}".encode() for label in "ab" for n in range(15)}
    for key, content in images.items():
        clouds.put(scheme, f"images/{key}", content)
    data = Calibration(uri=clouds.uri(scheme, "images/"), images=Images(scaling=ImageScaling.ZERO_TO_ONE))
    job = clouds.between("s3", "s3", calibration=data)
    assert clouds.run(job, Stage.FETCH).failure is None
    assert job.downloaded("calibration") == images
    assert not list(job.input.rglob("*.part"))


def test_training_data_a_student_and_a_recipe_may_lie_there_too(clouds: Clouds, scheme: str) -> None:
    wanted = {
        "training": {"uri": clouds.put(scheme, "train.npy", b"train")},
        "distillation": {"studentUri": clouds.put(scheme, "small.keras", b"student")},
    }
    job = clouds.between("s3", "s3", optimize=Optimize.model_validate(wanted))
    assert clouds.run(job, Stage.FETCH).failure is None
    fetched = job.record().data
    assert (job.input / fetched["training"].path).read_bytes() == b"train"
    assert (job.input / fetched["student"].path).read_bytes() == b"student"


CANNOT_BE_HAD = [
    ({"uri": "SCHEME://BUCKET/nope.h5"}, FailureReason.SOURCE_NOT_FOUND),
    ({"uri": "SCHEME://BUCKET/nope.h5", "format": "KerasH5"}, FailureReason.SOURCE_NOT_FOUND),
    ({"uri": "SCHEME://BUCKET/nope", "format": "SavedModel"}, FailureReason.SOURCE_NOT_FOUND),
    ({"uri": "SCHEME://no-such-bucket-here/gesture.h5"}, FailureReason.BUCKET_NOT_FOUND),
    ({"uri": "SCHEME://no-such-bucket-here/m/", "format": "SavedModel"}, FailureReason.BUCKET_NOT_FOUND),
    ({"uri": "SCHEME://BUCKET/gesture.h5", "sha256": "0" * 64}, FailureReason.DIGEST_MISMATCH),
]


def test_sources_that_cannot_be_had(clouds: Clouds, scheme: str) -> None:
    clouds.put(scheme, "gesture.h5", MODEL)
    found = []
    for source, _ in CANNOT_BE_HAD:
        uri = source["uri"].replace("SCHEME", scheme).replace("BUCKET", clouds.job.bucket)
        job = clouds.between("s3", "s3", source=Source.model_validate(source | {"uri": uri}))
        found.append((source, clouds.fails(job)))
    assert found == CANNOT_BE_HAD


def test_an_output_bucket_that_is_missing(clouds: Clouds, scheme: str) -> None:
    job = clouds.between("s3", scheme)
    clouds.run(job, Stage.FETCH)
    job.converted()
    job = job.ask(output=Output(uri=f"{scheme}://no-such-bucket-here/out/"))
    assert clouds.fails(job, Stage.PUBLISH) is FailureReason.BUCKET_NOT_FOUND


def test_what_is_too_large_is_refused(clouds: Clouds, scheme: str) -> None:
    uri = clouds.put(scheme, "big.npy", bytes(5000))
    clouds.job.patch.setattr(job_fetch, "DATA_RULES", replace(DATA_RULES, limit=Limit(2000, "give less")))
    job = clouds.between("s3", "s3", calibration=Calibration(uri=uri))
    assert clouds.fails(job) is FailureReason.SOURCE_TOO_LARGE


def test_wrong_credentials(clouds: Clouds, scheme: str) -> None:
    """Signed with keys that are not the account's."""
    job = clouds.between(scheme, scheme)
    other = service_account(f"{clouds.google.endpoint}/token", rsa.generate_private_key(65537, 2048))
    clouds.log_in()
    clouds.job.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", json.dumps(other))
    clouds.job.patch.setenv("CONVERSION_AZURE_KEY", "YW5vdGhlcg==")
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert ("invalid_grant" if scheme == "gs" else "AuthorizationFailure") in failure.message


def test_a_sas_token_reads_and_writes(clouds: Clouds, tmp_path: Path) -> None:
    """One that Azurite checks: made as Microsoft's page says, apart from the product."""
    sas = account_sas(clouds.azurite.account, clouds.azurite.key)
    job = clouds.between("az", "az")
    for stage in (Stage.FETCH, Stage.PUBLISH):
        clouds.log_in()
        clouds.job.patch.setenv("CONVERSION_AZURE_SAS", sas)
        clouds.job.patch.delenv("CONVERSION_AZURE_KEY")
        assert job.run(stage).failure is None
        job.converted()
    clouds.log_in()
    clouds.job.patch.setenv("CONVERSION_AZURE_SAS", sas[:-9] + "AAAAA%3D")
    clouds.job.patch.delenv("CONVERSION_AZURE_KEY")
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_ACCESS_DENIED
    assert "sig=" not in failure.message


def account_sas(account: str, key: str) -> str:
    """An account SAS by https://learn.microsoft.com/rest/api/storageservices/create-account-sas."""
    import base64
    import hmac
    from urllib.parse import urlencode

    fields = {"sp": "rwdlc", "ss": "b", "srt": "co", "st": "", "se": "2099-01-01T00:00:00Z", "sip": "",
              "spr": "https", "sv": "2020-08-04"}  # fmt: skip
    text = "\n".join([account, *fields.values(), ""])
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return urlencode(
        {name: value for name, value in fields.items() if value} | {"sig": base64.b64encode(digest).decode()}
    )


def test_old_report_is_withdrawn_before_its_artifacts_are_replaced(clouds: Clouds, scheme: str) -> None:
    job = clouds.between("s3", scheme)
    clouds.run(job, Stage.FETCH)
    job.converted()
    clouds.run(job, Stage.PUBLISH)

    def upload(*_: object) -> None:
        raise ConnectionError("the network is gone")

    store = "google.GoogleStore" if scheme == "gs" else "azure.AzureStore"
    job.patch.setattr(f"tflite_converter.job.stores.{store}.upload", upload)
    assert clouds.run(job, Stage.PUBLISH).failure is not None
    assert clouds.keys(scheme, "out/") >= {f"out/{METHODS[0].file_name('gesture')}", "out/report.html"}
    assert "out/report.json" not in clouds.keys(scheme, "out/")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_look_reads_only_what_has_changed(clouds: Clouds, scheme: str) -> None:
    """A trigger's look: the store says that something was written, the digest whether it is another model."""
    job = clouds.between(scheme, "s3")
    first, read = looked(clouds, job, "")
    assert (read, first.sha256, first.size_bytes) == (True, MODEL_DIGEST, len(MODEL))
    assert looked(clouds, job, first.stamp) == (Look(stamp=first.stamp), False)
    clouds.put(scheme, "gesture.h5.bak", b"beside it")
    assert looked(clouds, job, first.stamp)[1] is False
    clouds.put(scheme, "gesture.h5", MODEL + b"!")
    second, read = looked(clouds, job, first.stamp)
    assert (read, second.sha256) == (True, hashlib.sha256(MODEL + b"!").hexdigest())
    assert second.stamp != first.stamp
    folder = job.request.source.uri.replace("gesture.h5", "sm")
    clouds.put(scheme, "sm/saved_model.pb", b"graph")
    job = job.ask(source=Source(uri=folder))
    third, read = looked(clouds, job, "")
    assert read
    assert looked(clouds, job, third.stamp)[1] is False
    clouds.put(scheme, "sm/variables/variables.index", b"index")
    assert looked(clouds, job, third.stamp)[0].sha256 not in (None, third.sha256)
    missing = job.ask(source=Source(uri=folder + "-missing"))
    clouds.log_in()
    code, result = missing.end(Stage.FETCH, look)
    assert (code, result.failure and result.failure.reason) == (11, FailureReason.SOURCE_NOT_FOUND)


def looked(clouds: Clouds, job: Job, known: str) -> tuple[Look, bool]:
    """What a look finds, and whether it has read the source."""
    clouds.log_in()
    job.patch.setenv(STAMP_ENV, known)
    code, result = job.end(Stage.FETCH, look)
    assert code == 0
    assert result.look is not None
    assert not list(job.input.iterdir()), "nothing stays"
    return result.look, result.look.sha256 is not None
