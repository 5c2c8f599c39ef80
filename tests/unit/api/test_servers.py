"""A server that cannot be one is refused with words, wherever a spec names one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from modelconversion_api.fields.oci import OCIOutput
from modelconversion_api.fields.registration import MLflow
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.uris import DataUri, SourceUri

DIGEST = "0a" * 32

PORTS = {"0": False, "1": True, "443": True, "65535": True, "65536": False, "99999": False, "00443": True}


def named(host: str) -> dict[str, tuple[Any, Any]]:
    """Every place of a spec that names a server, by its field: the type, and a value with this host."""
    url = f"https://{host}"
    return {
        "source.uri": (SourceUri, f"{url}/a.h5#sha256={DIGEST}"),
        "source.uri in a registry": (SourceUri, f"oci://{host}/a@sha256:{DIGEST}"),
        "calibration.uri": (DataUri, f"{url}/a.npy#sha256={DIGEST}"),
        "storage.endpoint": (StorageAccess, {"endpoint": url}),
        "storage.googleCloud.endpoint": (StorageAccess, {"googleCloud": {"endpoint": url}}),
        "storage.azure.endpoint": (StorageAccess, {"azure": {"account": "models", "endpoint": url}}),
        "output.oci.repository": (OCIOutput, {"repository": f"{host}/edge/gesture"}),
        "register.mlflow.uri": (MLflow, {"uri": f"{url}/mlflow", "model": "gesture"}),
    }


FIELDS = list(named(""))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("port", "is_one"), PORTS.items())
def test_ports(field: str, port: str, is_one: bool) -> None:
    kind, value = named(f"h.example:{port}")[field]
    if is_one:
        TypeAdapter(kind).validate_python(value)
    else:
        with pytest.raises(ValidationError, match="a port is a number from 1 to 65535") as caught:
            TypeAdapter(kind).validate_python(value)
        assert port in str(caught.value)


@pytest.mark.parametrize("field", [name for name in FIELDS if "registry" not in name and "oci" not in name])
@pytest.mark.parametrize(
    ("address", "is_one"),
    [("[::1]", True), ("[fd00::2]:9000", True), ("[::1::2]", False), ("[12]", False), ("[::1]:0", False)],
)
def test_addresses(field: str, address: str, is_one: bool) -> None:
    kind, value = named(address)[field]
    if is_one:
        TypeAdapter(kind).validate_python(value)
    else:
        with pytest.raises(ValidationError, match="names no server"):
            TypeAdapter(kind).validate_python(value)
