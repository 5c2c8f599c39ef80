"""Both clouds to a test that is about either: their URIs, paths, credentials and words."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from modelconversion_api.fields.storage import AzureAccess, GoogleCloudAccess, StorageAccess
from modelconversion_api.reasons import Stage
from support.cluster.google_stand_in import service_account
from support.cluster.web_server import WebServer, sends
from tflite_converter.job.stores.azure import AzureStore
from tflite_converter.job.stores.base import Store
from tflite_converter.job.stores.google import GoogleStore

ACCOUNT = "models"
TOKEN = "ya29.a-token-that-nobody-may-see"
RSA_KEY = rsa.generate_private_key(65537, 2048)
ACCOUNT_KEY = base64.b64encode(b"the key of an account: nobody may see it" * 2).decode()
SAS = "sv=2021-12-02&sp=rwdl&sig=nobody%2Fmay%2Bsee%3D"
OF_GOOGLE = ("CONVERSION_GOOGLE_CREDENTIALS", "CONVERSION_GOOGLE_ENDPOINT")
OF_AZURE = (
    "CONVERSION_AZURE_SECRET",
    "CONVERSION_AZURE_KEY",
    "CONVERSION_AZURE_SAS",
    "CONVERSION_AZURE_ENDPOINT",
)
OF_IDENTITY = ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass
class Cloud:
    """One of the two, at a server of the test's."""

    scheme: str
    server: WebServer
    patch: pytest.MonkeyPatch

    @property
    def is_google(self) -> bool:
        return self.scheme == "gs"

    def uri(self, key: str) -> str:
        return f"{self.scheme}://bucket/{key}"

    def path(self, key: str = "") -> str:
        """Where the server is asked for an object, or for a listing."""
        bucket = "/bucket" if self.is_google else f"/{ACCOUNT}/bucket"
        return f"{bucket}/{key}" if key else bucket

    @property
    def asked(self) -> list[str]:
        """Paths that were asked for, but for those of a token."""
        return [path for path in self.server.asked if path != "/token"]

    def access(self, bundle: str | None = None) -> StorageAccess:
        """How it is reached."""
        url = self.server.url
        return StorageAccess(
            ca_bundle=bundle or self.server.bundle,
            google_cloud=GoogleCloudAccess(endpoint=url),
            azure=AzureAccess(account=ACCOUNT, endpoint=url),
        )

    def credentials(self, bound: str | None = None) -> None:
        """Puts credentials that are for this server, or for ``bound``, into the environment."""
        bound = self.server.url if bound is None else bound
        if self.is_google:
            self.server.answers.setdefault("/token", gives_token())
            account = service_account(f"{self.server.url}/token", RSA_KEY)
            self.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", json.dumps(account))
            self.patch.setenv("CONVERSION_GOOGLE_ENDPOINT", bound)
        else:
            self.patch.setenv("CONVERSION_AZURE_SECRET", "azure")
            self.patch.setenv("CONVERSION_AZURE_KEY", ACCOUNT_KEY)
            self.patch.setenv("CONVERSION_AZURE_ENDPOINT", bound)

    def store(self, access: StorageAccess | None = None, bound: str | None = None) -> Store:
        """A store with these credentials."""
        self.credentials(bound)
        return self.bare_store(access)

    def bare_store(self, access: StorageAccess | None = None) -> Store:
        """A store with what is in the environment."""
        made = GoogleStore if self.is_google else AzureStore
        return made(access or self.access(), Stage.FETCH)

    def error(self, code_of_google: str, code_of_azure: str) -> bytes:
        code = code_of_google if self.is_google else code_of_azure
        words = f"<Code>{code}</Code><Message>{escape(SAS)}</Message>"
        return f"<?xml version='1.0'?><Error>{words}</Error>".encode()


def gives_token(token: str = TOKEN, seconds: float = 3599, status: int = 200):
    return sends(json.dumps({"access_token": token, "expires_in": seconds}).encode(), status=status)


def forget_environment(patch: pytest.MonkeyPatch) -> None:
    """Leaves nothing that would be taken for credentials or for a way to the store."""
    for name in (*OF_GOOGLE, *OF_AZURE, *OF_IDENTITY, *PROXIES, *map(str.upper, PROXIES)):
        patch.delenv(name, raising=False)
