"""What the clouds are shown, by whom, and where it must not go.

Google's tokens, Microsoft Entra and Google's metadata are stand-ins here, which answer as their pages say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from modelconversion_api.fields.storage import AzureAccess, GoogleCloudAccess, StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from support.cluster.clouds import (
    ACCOUNT_KEY,
    OF_AZURE,
    OF_GOOGLE,
    RSA_KEY,
    SAS,
    TOKEN,
    Cloud,
    forget_environment,
    gives_token,
)
from support.cluster.forward_proxy import ForwardProxy
from support.cluster.google_stand_in import service_account
from support.cluster.web_server import DIGEST, Answer, WebServer, sends
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores import connections, google
from tflite_converter.job.stores.azure import AzureStore, string_to_sign
from tflite_converter.job.stores.base import Limit, Store
from tflite_converter.job.stores.google import GoogleStore

LIMIT = Limit(1 << 20)
DENIED, UNAVAILABLE = FailureReason.STORAGE_ACCESS_DENIED, FailureReason.STORAGE_UNAVAILABLE


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    names = ("localhost", "storage.googleapis.com", "models.blob.core.windows.net", "login.example")
    with WebServer(names) as running:
        yield running


@pytest.fixture(autouse=True)
def _quick_and_alone(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.forget()
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.0)
    forget_environment(monkeypatch)


@pytest.fixture
def of_google(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud("gs", server, monkeypatch)


@pytest.fixture
def of_azure(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud("az", server, monkeypatch)


@pytest.fixture(params=["gs", "az"])
def cloud(request: pytest.FixtureRequest, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud(request.param, server, monkeypatch)


def failure(work: Callable[[], object]) -> ConverterError:
    with pytest.raises(ConverterError) as raised:
        work()
    message = raised.value.message
    secrets = (TOKEN, ACCOUNT_KEY, SAS, "sig=", "PRIVATE KEY", "canary", "federated")
    assert not [secret for secret in secrets if secret in message]
    assert message.isprintable()
    return raised.value


def read(store: Store, cloud: Cloud, folder: Path) -> str:
    (folder / "file").unlink(missing_ok=True)
    return store.download(cloud.uri("file"), folder / "file", LIMIT).sha256


# Where they may go.


NOT_ITS_OWN = (
    "https://attacker.example",
    "https://storage.googleapis.com.attacker.example",
    "https://xgoogleapis.com",
    "https://googleapis.com",
    "http://storage.googleapis.com",
    "http://models.blob.core.windows.net",
    "https://models.blob.core.windows.net.attacker.example",
)
OURS = "https://ours.example"


@pytest.mark.parametrize(
    ("endpoint", "bound"),
    [
        *((endpoint, "") for endpoint in NOT_ITS_OWN),
        *((endpoint, None) for endpoint in NOT_ITS_OWN),
        ("https://storage.googleapis.com", OURS),
        ("https://models.blob.core.windows.net", OURS),
        ("https://ours.example:444", OURS),
        ("http://ours.example", OURS),
    ],
)
def test_credentials_go_to_the_cloud_or_where_the_secret_says(
    cloud: Cloud, endpoint: str, bound: str | None
) -> None:
    """``bound`` is None where there is no Secret, and so an identity."""
    access = StorageAccess(
        google_cloud=GoogleCloudAccess(endpoint=endpoint),
        azure=AzureAccess(account="models", endpoint=endpoint),
    )
    if bound is not None:
        cloud.credentials(bound)
    error = failure(lambda: cloud.bare_store(access))
    assert error.reason is DENIED
    assert f"for another endpoint than {endpoint}" in error.cause
    assert "ENDPOINT_URL in the Secret" in error.hint
    assert cloud.server.asked == []


@pytest.mark.parametrize("endpoint", ["https://Ours.example", "https://ours.example/"])
def test_a_slash_at_the_end_is_no_other_endpoint(cloud: Cloud, endpoint: str) -> None:
    access = StorageAccess(
        google_cloud=GoogleCloudAccess(endpoint=endpoint),
        azure=AzureAccess(account="models", endpoint=endpoint),
    )
    if endpoint.endswith("/"):
        cloud.store(access, bound=" https://ours.example ")
    else:
        assert failure(lambda: cloud.store(access, bound="https://ours.example")).reason is DENIED


@pytest.mark.parametrize(
    "endpoint",
    [None, "https://storage-ours.p.googleapis.com", "https://models.privatelink.blob.core.windows.net/"],
)
def test_the_cloud_s_own_hosts_need_no_key_in_the_secret(cloud: Cloud, endpoint: str | None) -> None:
    is_other = endpoint is not None and ("windows" in endpoint) is cloud.is_google
    access = StorageAccess(
        google_cloud=None if is_other else GoogleCloudAccess(endpoint=endpoint),
        azure=AzureAccess(account="models", endpoint=None if is_other else endpoint),
    )
    if cloud.is_google:
        account = service_account("https://oauth2.googleapis.com/token", RSA_KEY)
        cloud.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", json.dumps(account))
    else:
        cloud.credentials("")
    assert cloud.bare_store(access)


def test_they_leave_the_environment(cloud: Cloud) -> None:
    cloud.patch.setenv("CONVERSION_AZURE_SAS", SAS)
    cloud.store()
    secrets = ("CONVERSION_GOOGLE_CREDENTIALS",) if cloud.is_google else OF_AZURE[1:3]
    assert not [name for name in secrets if name in os.environ]


# Google's.


def token_requests(server: WebServer) -> list[dict[str, list[str]]]:
    return [parse_qs(asked.body.decode()) for asked in server.requests if asked.path == "/token"]


def test_a_signed_assertion_is_exchanged_once_for_many_requests(of_google: Cloud, tmp_path: Path) -> None:
    of_google.server.answers[of_google.path("file")] = sends()
    store = of_google.store()
    assert [read(store, of_google, tmp_path) for _ in range(3)] == [DIGEST] * 3
    (form,) = token_requests(of_google.server)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    signed, _, signature = form["assertion"][0].rpartition(".")
    header, claims = (json.loads(decoded(part)) for part in signed.split("."))
    RSA_KEY.public_key().verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert header == {"alg": "RS256", "typ": "JWT"}
    assert claims.pop("exp") - claims.pop("iat") == 3600
    assert claims == {
        "iss": "converter@tests.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/devstorage.read_write",
        "aud": f"{of_google.server.url}/token",
    }
    shown = {a.headers["Authorization"] for a in of_google.server.requests if a.path != "/token"}
    assert shown == {f"Bearer {TOKEN}"}


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_token_that_ends_is_asked_for_anew(of_google: Cloud, tmp_path: Path) -> None:
    of_google.server.answers[of_google.path("file")] = sends()
    of_google.server.answers["/token"] = gives_token(seconds=0)
    store = of_google.store()
    assert [read(store, of_google, tmp_path) for _ in range(2)] == [DIGEST] * 2
    assert len(token_requests(of_google.server)) == 2


def changed(**fields: Any) -> str:
    account = service_account("https://oauth2.googleapis.com/token", RSA_KEY) | fields
    return json.dumps({name: value for name, value in account.items() if value is not None})


def pem(key: Any, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(serialization.Encoding.PEM, form, encryption)
    return text.decode()


EXTERNAL = {
    "type": "external_account",
    "audience": "canary",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"executable": {"command": "/bin/canary"}},
}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no key of a service account"),
        ("canary", "no key of a service account"),
        ("[]", "no key of a service account"),
        ("{}", "no key of a service account"),
        ('"type"', "no key of a service account"),
        (json.dumps(EXTERNAL), "no key of a service account"),
        (changed(type="external_account"), "no key of a service account"),
        (changed(type="authorized_user"), "no key of a service account"),
        (changed(client_email=None), "no key of a service account"),
        (changed(client_email=["canary"]), "no key of a service account"),
        (changed(private_key=""), "no key of a service account"),
        (changed(token_uri="http://oauth2.googleapis.com/token"), "token_uri"),
        (changed(token_uri="http://169.254.169.254/canary"), "token_uri"),
        (changed(token_uri="https://169.254.169.254/canary"), "token_uri"),
        (changed(token_uri="https://metadata.google.internal/canary"), "token_uri"),
        (changed(token_uri="https://canary.example/token"), "token_uri"),
        (changed(token_uri="https://u:p@oauth2.googleapis.com/token"), "token_uri"),
        (changed(token_uri="https://oauth2.googleapis.com/token?canary=1"), "token_uri"),
        (changed(token_uri="https://oauth2.googleapis.com:99999/"), "token_uri"),
        (changed(token_uri="https://canary.example\n.googleapis.com/"), "token_uri"),
        (changed(token_uri="file:///etc/passwd"), "token_uri"),
    ],
)
def test_a_file_that_is_no_key_of_a_service_account_leads_nowhere(
    of_google: Cloud, text: str, says: str
) -> None:
    of_google.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", text)
    error = failure(lambda: GoogleStore(StorageAccess(ca_bundle=of_google.server.bundle), Stage.FETCH))
    assert error.reason is DENIED
    assert says in error.cause
    assert "unchanged" in error.hint
    assert of_google.server.asked == []


@pytest.mark.parametrize(
    "url", ["http://localhost:PORT/token", "https://u@localhost:PORT/token", "https:///"]
)
def test_a_secret_of_an_own_endpoint_has_its_tokens_over_tls_as_well(of_google: Cloud, url: str) -> None:
    of_google.credentials()
    account = service_account(url.replace("PORT", str(of_google.server.port)), RSA_KEY)
    of_google.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", json.dumps(account))
    assert "token_uri" in failure(of_google.bare_store).cause


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("canary", "private_key of the credentials for Google Cloud is none"),
        (pem(RSA_KEY, b"canary"), "private_key of the credentials for Google Cloud is none"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "is not of RSA"),
    ],
)
def test_a_key_that_cannot_sign(of_google: Cloud, tmp_path: Path, key: str, says: str) -> None:
    of_google.credentials()
    account = service_account(f"{of_google.server.url}/token", RSA_KEY) | {"private_key": key}
    of_google.patch.setenv("CONVERSION_GOOGLE_CREDENTIALS", json.dumps(account))
    store = of_google.bare_store()
    error = failure(lambda: read(store, of_google, tmp_path))
    assert (error.reason, of_google.server.asked) == (DENIED, [])
    assert says in error.cause


REFUSED = json.dumps({"error": "invalid_grant", "error_description": "canary"}).encode()


@pytest.mark.parametrize(
    ("answer", "reason", "says", "asked"),
    [
        (sends(REFUSED, status=400), DENIED, "answers 400 invalid_grant", 1),
        (sends(b"canary", status=401), DENIED, "answers 401", 1),
        (sends(b'{"error": "\\u001b[31mcanary"}', status=403), DENIED, "answers 403", 1),
        (sends(b"", status=302), DENIED, "answers 302", 1),
        (sends(b"", status=503), UNAVAILABLE, "answers 503", 3),
        (sends(b"{}"), UNAVAILABLE, "something else than a token", 1),
        (sends(b"[]"), UNAVAILABLE, "something else than a token", 1),
        (sends(b"canary"), UNAVAILABLE, "something else than a token", 1),
        (gives_token("canary\r\nX-Evil: 1"), UNAVAILABLE, "something else than a token", 1),
        (gives_token(""), UNAVAILABLE, "something else than a token", 1),
        (gives_token(seconds="canary"), UNAVAILABLE, "something else than a token", 1),  # type: ignore[arg-type]
        (sends(b"x", promised=9), UNAVAILABLE, "the connection broke off", 3),
        (sends(bytes(1 << 17)), UNAVAILABLE, "an answer of more than 64.0KiB", 3),
    ],
)
def test_every_end_of_an_exchange_has_a_reason(
    of_google: Cloud, tmp_path: Path, answer: Answer, reason: FailureReason, says: str, asked: int
) -> None:
    of_google.server.answers["/token"] = answer
    store = of_google.store()
    error = failure(lambda: read(store, of_google, tmp_path))
    assert (error.reason, of_google.server.asked) == (reason, ["/token"] * asked)
    assert says in error.cause


@pytest.fixture
def behind_proxy(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    """The clouds by their own names, as a proxy knows them."""
    names = ("storage.googleapis.com", "models.blob.core.windows.net", "login.example")
    with ForwardProxy({f"{name}:443": ("127.0.0.1", server.port) for name in names}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        yield proxy


def identity(monkeypatch: pytest.MonkeyPatch, metadata: WebServer, answer: Answer) -> None:
    url = f"{metadata.url}/computeMetadata/v1/instance/service-accounts/default/token"
    monkeypatch.setattr(google, "_IDENTITY_URL", url)
    metadata.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = answer


def flavored(answer: Answer) -> Answer:
    """An answer of Google's metadata service."""

    def with_flavor(request: Any) -> None:
        end_headers = request.end_headers

        def ends() -> None:
            request.send_header("Metadata-Flavor", "Google")
            end_headers()

        request.end_headers = ends
        answer(request)

    return with_flavor


def test_without_a_secret_google_s_machines_are_asked_and_never_by_a_proxy(
    of_google: Cloud, tmp_path: Path, behind_proxy: ForwardProxy
) -> None:
    of_google.server.answers["/bucket/file"] = sends()
    with WebServer(encrypted=False) as metadata:
        identity(of_google.patch, metadata, flavored(gives_token()))
        store = GoogleStore(StorageAccess(ca_bundle=of_google.server.bundle), Stage.FETCH)
        assert read(store, of_google, tmp_path) == DIGEST
        (asked,) = metadata.requests
    assert asked.headers["Metadata-Flavor"] == "Google"
    assert of_google.server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert set(behind_proxy.asked) == {("CONNECT", "storage.googleapis.com:443")}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (gives_token(), "is not Google's"),
        (flavored(sends(b"canary", status=404)), "answers 404"),
        (flavored(sends(b"", status=503)), "answers 503"),
        (None, "cannot be reached"),
    ],
)
def test_nothing_is_read_without_credentials(
    of_google: Cloud, tmp_path: Path, answer: Answer | None, says: str, behind_proxy: ForwardProxy
) -> None:
    of_google.server.answers["/bucket/file"] = sends()
    with WebServer(encrypted=False) as metadata:
        if answer is None:
            of_google.patch.setattr(google, "_IDENTITY_URL", "http://127.0.0.1:1/token")
        else:
            identity(of_google.patch, metadata, answer)
        store = GoogleStore(StorageAccess(ca_bundle=of_google.server.bundle), Stage.FETCH)
        error = failure(lambda: read(store, of_google, tmp_path))
    assert error.reason is DENIED
    assert "no credentials for Google Cloud Storage were found" in error.cause
    assert says in error.cause
    assert "spec.storage.googleCloud.secretRef" in error.hint
    assert behind_proxy.asked == of_google.server.asked == []


# Azure's.


def test_the_text_that_a_key_signs_is_that_of_microsoft_s_page() -> None:
    """The example of "Authorize with Shared Key", for a container's metadata."""
    headers = {"x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT", "x-ms-version": "2015-02-21"}
    query = {"comp": "metadata", "restype": "container", "timeout": "20"}
    assert string_to_sign("myaccount", "GET", "/mycontainer", query, headers) == (
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    )


def test_a_key_signs_and_is_not_sent(of_azure: Cloud, tmp_path: Path) -> None:
    of_azure.server.answers[of_azure.path("file")] = sends()
    assert read(of_azure.store(), of_azure, tmp_path) == DIGEST
    (asked,) = of_azure.server.requests
    scheme, _, rest = asked.headers["Authorization"].partition(" ")
    text = string_to_sign("models", "GET", asked.path, {}, asked.headers)
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    assert (scheme, rest) == ("SharedKey", f"models:{base64.b64encode(digest).decode()}")
    assert ACCOUNT_KEY not in str(asked)


@pytest.mark.parametrize("prefix", ["", "?", " \n"])
def test_a_sas_token_counts_before_a_key(of_azure: Cloud, tmp_path: Path, prefix: str) -> None:
    of_azure.credentials()
    of_azure.patch.setenv("CONVERSION_AZURE_SAS", f"{prefix}{SAS}\n")
    of_azure.server.answers[of_azure.path("file")] = sends()
    of_azure.server.answers[of_azure.path()] = sends(b"<EnumerationResults/>")
    store = of_azure.bare_store()
    assert read(store, of_azure, tmp_path) == DIGEST
    assert list(store.list(of_azure.uri("a/"))) == []
    assert of_azure.server.asked == [
        f"{of_azure.path('file')}?{SAS}",
        f"{of_azure.path()}?restype=container&comp=list&prefix=a%2F&{SAS}",
    ]
    assert not [a for a in of_azure.server.requests if "Authorization" in a.headers]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "Secret azure has neither a key of the storage account nor a SAS token"),
        ({"KEY": " ", "SAS": ""}, "has neither"),
        ({"KEY": "canary!"}, "the key of the storage account is none"),
        (
            {"KEY": "DefaultEndpointsProtocol=https;AccountKey=canary"},
            "the key of the storage account is none",
        ),
        ({"SAS": "canary"}, "the SAS token is none"),
        ({"SAS": "sv=1&sig=a b"}, "the SAS token is none"),
        ({"SAS": "sv=1&sig=a\r\nX-Evil: canary"}, "the SAS token is none"),
        ({"SAS": "https://models.blob.core.windows.net/?sig=canary#x"}, "the SAS token is none"),
    ],
)
def test_a_secret_without_what_it_is_for(of_azure: Cloud, variables: dict[str, str], says: str) -> None:
    of_azure.patch.setenv("CONVERSION_AZURE_SECRET", "azure")
    for name, value in variables.items():
        of_azure.patch.setenv(f"CONVERSION_AZURE_{name}", value)
    error = failure(lambda: AzureStore(StorageAccess(azure=AzureAccess(account="models")), Stage.FETCH))
    assert error.reason is DENIED
    assert says in error.cause


def test_without_an_account_there_is_nothing_to_ask(of_azure: Cloud) -> None:
    error = failure(lambda: AzureStore(StorageAccess(), Stage.FETCH))
    assert error.reason is FailureReason.INVALID_REQUEST
    assert "set storage.azure.account" in error.cause
    assert of_azure.server.asked == []


@pytest.fixture
def federated(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the webhook of Microsoft Entra Workload ID gives to a container."""
    file = tmp_path / "azure-identity-token"
    file.write_text("federated.token\n")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://login.example/")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    server.answers["/tenant/oauth2/v2.0/token"] = gives_token()
    server.answers["/bucket/file"] = sends()
    return file


def by_identity(of_azure: Cloud) -> Store:
    access = StorageAccess(azure=AzureAccess(account="models"), ca_bundle=of_azure.server.bundle)
    return AzureStore(access, Stage.FETCH)


def test_without_a_secret_the_pod_s_token_is_exchanged(
    of_azure: Cloud, federated: Path, behind_proxy: ForwardProxy
) -> None:
    assert read(by_identity(of_azure), of_azure, federated.parent) == DIGEST
    exchange, asked = of_azure.server.requests
    assert parse_qs(exchange.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client"],
        "scope": ["https://storage.azure.com/.default"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_assertion": ["federated.token"],
    }
    assert (asked.path, asked.headers["Authorization"]) == ("/bucket/file", f"Bearer {TOKEN}")
    assert "x-ms-version" in asked.headers
    assert {host for _, host in behind_proxy.asked} == {
        "login.example:443",
        "models.blob.core.windows.net:443",
    }


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AZURE_CLIENT_ID", None, "no credentials for Azure Blob Storage were found"),
        ("AZURE_FEDERATED_TOKEN_FILE", "", "no credentials for Azure Blob Storage were found"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/no/such/file", "cannot be read (FileNotFoundError)"),
        ("AZURE_AUTHORITY_HOST", "http://login.example", "is not an https URL"),
        ("AZURE_TENANT_ID", "../x", "answers 404"),
    ],
)
def test_an_identity_that_is_none(
    of_azure: Cloud, federated: Path, variable: str, value: str | None, says: str, behind_proxy: ForwardProxy
) -> None:
    if value is None:
        of_azure.patch.delenv(variable)
    else:
        of_azure.patch.setenv(variable, value)
    store = by_identity(of_azure)
    error = failure(lambda: read(store, of_azure, federated.parent))
    assert error.reason is DENIED
    assert says in error.cause
    assert "spec.storage.azure.secretRef" in error.hint
    assert "models.blob.core.windows.net:443" not in {host for _, host in behind_proxy.asked}


def test_the_platform_s_other_variables_change_nothing(
    of_azure: Cloud, of_google: Cloud, tmp_path: Path
) -> None:
    """Libraries of the clouds read these; nothing here does."""
    key = tmp_path / "key.json"
    key.write_text(changed(token_uri="https://canary.example/token"))
    for name, value in {
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "GOOGLE_SERVICE_ACCOUNT": str(key),
        "GOOGLE_SKIP_SIGNATURE": "true",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "GCE_METADATA_HOST": "127.0.0.1:1",
        "AZURE_STORAGE_ACCOUNT_NAME": "canary",
        "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
        "AZURE_STORAGE_CONNECTION_STRING": "canary",
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_ENDPOINT": "http://127.0.0.1:1",
    }.items():
        of_google.patch.setenv(name, value)
    for cloud in (of_google, of_azure):
        cloud.server.answers[cloud.path("file")] = sends()
        assert read(cloud.store(), cloud, tmp_path) == DIGEST
        assert cloud.server.requests[-1].headers["Authorization"].split()[0] in ("Bearer", "SharedKey")
    for name in (*OF_GOOGLE, *OF_AZURE):
        of_azure.patch.delenv(name, raising=False)
    store = by_identity(of_azure)
    assert "no credentials" in failure(lambda: read(store, of_azure, tmp_path)).cause
