"""Signatures are those of the OpenSSF's own verifier, and nothing of a key leaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from model_signing import verifying

from modelconversion_api.reasons import FailureReason
from tflite_converter.errors import ConverterError
from tflite_converter.files.signing import sign

REPORT = b'{"version": "v1alpha1"}'
ARTIFACT = b"\x1c\x00\x00\x00TFL3" + bytes(500)


def pem(
    key: PrivateKeyTypes,
    encryption: serialization.KeySerializationEncryption | None = None,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> str:
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def public(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


def signature(private_key: str, tmp_path: Path) -> bytes:
    artifact = tmp_path / "made" / "net_int8.tflite"
    artifact.parent.mkdir()
    artifact.write_bytes(ARTIFACT)
    work = tmp_path / "work" / "net"
    work.mkdir(parents=True)
    return sign({"net_int8.tflite": artifact, "report.json": REPORT}, private_key, work)


@pytest.fixture
def published(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Path:
    """What a user downloads."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "net_int8.tflite").write_bytes(ARTIFACT)
    (folder / "report.json").write_bytes(REPORT)
    (folder / "model.sig").write_bytes(signature(pem(key), tmp_path))
    return folder


def verifies(folder: Path, public: Path, *, ignore_unsigned_files: bool = False) -> bool:
    """Whether the verifier accepts a folder."""
    config = verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.set_ignore_unsigned_files(ignore_unsigned_files)
    try:
        config.verify(folder, folder / "model.sig")
    except ValueError:
        return False
    return True


def test_the_command_of_the_documentation_accepts_what_is_published_and_nothing_else(
    published: Path, public: Path
) -> None:
    program = Path(sys.executable).with_name("model_signing")
    command = [program, "verify", "key", published, "--public_key", public]
    command += ["--signature", published / "model.sig"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (published / "report.json").write_bytes(REPORT + b" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    (published / "report.json").write_bytes(REPORT)
    assert verifies(published, public)


@pytest.mark.parametrize("name", ["net_int8.tflite", "report.json"])
@pytest.mark.parametrize("change", ["other bytes", "missing", "longer"])
def test_what_was_changed_does_not_verify(published: Path, public: Path, name: str, change: str) -> None:
    path = published / name
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(content + b"x" if change == "longer" else b"y" + content[1:])
    assert not verifies(published, public)
    assert not verifies(published, public, ignore_unsigned_files=True)


def test_files_that_were_not_signed_are_noticed_unless_they_are_to_be_ignored(
    published: Path, public: Path
) -> None:
    (published / "net_float32.tflite").write_bytes(ARTIFACT)
    assert not verifies(published, public)
    assert verifies(published, public, ignore_unsigned_files=True)


def test_another_key_does_not_verify(published: Path, public: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(other.public_bytes(serialization.Encoding.PEM, form))
    assert not verifies(published, public)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
def test_keys_as_openssl_writes_them(
    curve: type[ec.EllipticCurve], form: serialization.PrivateFormat, tmp_path: Path
) -> None:
    assert b"dsseEnvelope" in signature(pem(ec.generate_private_key(curve()), form=form), tmp_path)


BAD_KEYS = {
    "nothing": lambda: "",
    "no PEM": lambda: "c2VjcmV0IGNhbmFyeQ==",
    "cut short": lambda: pem(ec.generate_private_key(ec.SECP256R1()))[:100],
    "RSA": lambda: pem(rsa.generate_private_key(65537, 2048)),
    "Ed25519": lambda: pem(ed25519.Ed25519PrivateKey.generate()),
    "another curve": lambda: pem(ec.generate_private_key(ec.SECP256K1())),
    "password": lambda: pem(
        ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"canary")
    ),
}


@pytest.mark.parametrize("make", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_keys_that_cannot_sign_have_a_reason_that_tells_nothing_of_them(make, tmp_path: Path) -> None:
    private_key = make()
    with pytest.raises(ConverterError) as caught:
        signature(private_key, tmp_path)
    error = caught.value
    assert error.reason is FailureReason.SIGNING_FAILED
    assert "without a password" in error.message
    assert error.__cause__ is None
    for line in filter(None, private_key.splitlines()):
        assert line not in error.message


@pytest.mark.parametrize("private_key", ["good", "bad"])
def test_the_key_is_never_a_file(
    key: ec.EllipticCurvePrivateKey, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pem(key) if private_key == "good" else "canary"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(Path("/proc/self/fd").iterdir())
    try:
        signature(text, tmp_path)
    except ConverterError:
        assert private_key == "bad"
    secret = text.splitlines()[-2 if private_key == "good" else 0].encode()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret in p.read_bytes()]
    assert set(Path("/proc/self/fd").iterdir()) == before
