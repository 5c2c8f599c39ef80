"""Where the API server is, who asks, and in which namespace: as kubectl finds it out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio import client, config

from modelconversion_client.errors import AccessError

_IN_CLUSTER_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class Access:
    """A way to an API server."""

    configuration: Any
    """The Kubernetes library's own."""
    namespace: str
    """The one of the context, or ``default``."""


async def find_access(kubeconfig: str | None, context: str | None) -> Access:
    """Return the way to the API server.

    As kubectl does: a kubeconfig that is given, those that ``KUBECONFIG`` names, ``~/.kube/config``, or else
    the service account of the pod that this runs in.

    Raises:
        AccessError: None of them can be used.

    """
    files, are_there = _kubeconfig(kubeconfig)
    if are_there:
        return await _from_files(files, context)
    configuration = client.Configuration()
    if kubeconfig is None and context is None:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            pass
        else:
            return Access(configuration, _namespace_of_pod())
    raise AccessError(f"there is no kubeconfig at {files}", "give --kubeconfig, or set KUBECONFIG")


async def _from_files(files: str, context: str | None) -> Access:
    configuration = client.Configuration()
    try:
        loader = await config.load_kube_config(
            files, context=context, client_configuration=configuration, persist_config=False
        )
        found = loader.current_context["context"].get("namespace")
    # The library reads the file as if it had the form of one: what has not ends in any of these.
    except (AttributeError, KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        step = "repair it: `kubectl config view` shows what is in it"
        raise AccessError(
            f"kubeconfig {files} cannot be used: {type(error).__name__}: {error}", step
        ) from error
    except config.ConfigException as error:
        step = "name another --context: `kubectl config get-contexts` lists them"
        raise AccessError(f"kubeconfig {files} cannot be used: {error}", step) from error
    return Access(configuration, found or _DEFAULT_NAMESPACE)


def _kubeconfig(given: str | None) -> tuple[str, bool]:
    """Return the paths of the kubeconfig, and whether one of them is there."""
    files = given or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return files, any(Path(file).expanduser().is_file() for file in files.split(os.pathsep) if file)


def _namespace_of_pod() -> str:
    try:
        return _IN_CLUSTER_NAMESPACE.read_text().strip() or _DEFAULT_NAMESPACE
    except OSError:
        return _DEFAULT_NAMESPACE
