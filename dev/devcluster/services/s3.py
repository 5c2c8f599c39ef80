"""A real S3 server on 127.0.0.1: SeaweedFS from its Python package."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from devcluster.errors import ProcessError
from devcluster.local import installed_program, write_private
from devcluster.processes import Process, free_ports, port_is_free
from devcluster.services.service import Service

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Seven volumes a bucket are the default: too many where every test has its own bucket.
_ONE_VOLUME = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
_SOCKETS = Path("/tmp")  # noqa: S108 - where SeaweedFS makes its Unix sockets, and leaves them
_REGION = "us-east-1"


class ObjectStore(Service):
    """An S3 server that runs while the context is open.

    ``port`` is a free one unless given. ``state`` keeps the objects; without it they lie in a temporary
    folder that goes with the context. There is one identity, with random keys; other keys are refused.
    ``hook`` is a URL, and a bearer token for it, that is told of every change.
    """

    def __init__(
        self, state: Path | None = None, port: int | None = None, hook: tuple[str, str] | None = None
    ) -> None:
        if port is not None and not port_is_free(port):
            raise ProcessError(
                f"port {port} of 127.0.0.1, where the S3 server should listen, is in use: "
                f"end the program that listens there (`ss -ltnp 'sport = :{port}'` names it)"
            )
        self._hook = hook
        self._temporary = state is None
        self.state = state or Path(tempfile.mkdtemp(prefix="devcluster-s3-"))
        self._port = port
        self.access_key = secrets.token_hex(10).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self._client: S3Client | None = None
        self.endpoint = ""

    def _start(self) -> Process:
        data = self.state / "data"
        data.mkdir(parents=True, exist_ok=True)
        s3, *ports = free_ports(8)
        s3 = self._port or s3
        self.endpoint = f"http://127.0.0.1:{s3}"
        self._ports = [s3, *ports]
        self._master = f"http://127.0.0.1:{ports[0]}"
        flags = [
            f"-dir={data} -ip=127.0.0.1 -ip.bind=127.0.0.1",
            f"-s3 -s3.port={s3} -s3.config={self._write_identity()}",
            f"-master.port={ports[0]} -master.port.grpc={ports[1]}",
            f"-volume.port={ports[2]} -volume.port.grpc={ports[3]}",
            f"-filer.port={ports[4]} -filer.port.grpc={ports[5]}",
            f"-s3.port.grpc={ports[6]}",
            "-s3.port.iceberg=0 -s3.port.lance=0",
            # A bucket that is missing must be an error, as it is on S3 itself.
            "-s3.autoCreateBucket=false",
            # One server elects itself at once; the volumes are small files that grow as they are filled.
            "-master.electionTimeout=1s -master.volumeSizeLimitMB=64 -volume.max=1000",
            "-master.telemetry=false",
        ]
        command: list[str | Path] = [
            installed_program("weed"),
            "-logtostderr",
            "server",
            *" ".join(flags).split(),
        ]
        if self._hook is not None:
            url, token = self._hook
            write_private(
                self.state / "notification.toml",
                f'[notification.webhook]\nenabled = true\nendpoint = "{url}"\nbearer_token = "{token}"\n',
            )
        return Process(
            "SeaweedFS",
            command,
            self.state / "seaweedfs.log",
            environment=os.environ | _ONE_VOLUME,
            folder=self.state,  # where it looks for what to tell, and whom
        )

    def _clean(self) -> None:
        for port in self._ports:
            for socket in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)
        if self._temporary:
            shutil.rmtree(self.state, ignore_errors=True)

    def client(self) -> S3Client:
        """Return a boto3 client with the store's own keys."""
        return s3_client(self.endpoint, self.access_key, self.secret_key)

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        self.client().create_bucket(Bucket=name)

    def _ready(self) -> bool:
        """Whether S3 answers and has volumes to write to; a write that comes too early takes five seconds."""
        self._client = self._client or self.client()
        try:
            self._client.list_buckets()
            topology = httpx.get(f"{self._master}/dir/status", trust_env=False).json()["Topology"]
        except (BotoCoreError, ClientError, httpx.HTTPError):
            return False
        return bool(topology["Free"])

    def _write_identity(self) -> Path:
        path = self.state / "identities.json"
        identity = {
            "name": "devcluster",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(path, json.dumps({"identities": [identity]}))
        return path


def s3_client(endpoint: str, access_key: str, secret_key: str) -> S3Client:
    """Return a client of a server of this kind, wherever it runs."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=_REGION,
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 2},
            proxies={},
        ),
    )
