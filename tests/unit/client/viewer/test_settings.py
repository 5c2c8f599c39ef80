"""The settings of the page in a cluster, and the token of a request."""

from __future__ import annotations

import pytest

from modelconversion_client.errors import AccessError, UnauthorizedError
from modelconversion_client.viewer.asking import token_of
from modelconversion_client.viewer.settings import PREFIX, load

CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.mark.parametrize(
    ("environment", "server"),
    [
        (CLUSTER, "https://10.0.0.1:443"),
        (CLUSTER | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, "https://[fd00::1]:443"),
        (CLUSTER | {f"{PREFIX}API_SERVER": "https://login.example/k8s"}, "https://login.example/k8s"),
        (CLUSTER | {f"{PREFIX}LOG_LEVEL": ""}, "https://10.0.0.1:443"),
    ],
)
def test_the_api_server_is_found_as_pods_find_it(environment: dict[str, str], server: str) -> None:
    assert load(environment).api_server == server


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({f"{PREFIX}HTTP_PORT": "no"}, "HTTP_PORT"),
        ({f"{PREFIX}LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({f"{PREFIX}API_SERVER": "http://plain.example"}, "API_SERVER"),
        ({f"{PREFIX}API_SERVER": "https://user@host"}, "API_SERVER"),
        ({f"{PREFIX}TPYO": "x"}, "TPYO"),
    ],
)
def test_a_wrong_one_is_named(more: dict[str, str], words: str) -> None:
    with pytest.raises(AccessError, match=f"{PREFIX}{words}"):
        load(CLUSTER | more)


def test_outside_a_cluster_it_has_to_be_given() -> None:
    with pytest.raises(AccessError, match="API_SERVER"):
        load({})


@pytest.mark.parametrize("header", ["Bearer abc.DEF-123_~+/==", "bearer abc", "BEARER   abc"])
def test_a_token_is_found(header: str) -> None:
    assert token_of(header) == header.split()[1]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer a b", "Bearer a\r\nX: y", "Basic abc", "Bearer é", "Bearer " + "a" * 16385],
)
def test_what_is_no_token_is_not_passed_on(header: str | None) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        token_of(header)
    assert "aaaa" not in str(caught.value)
