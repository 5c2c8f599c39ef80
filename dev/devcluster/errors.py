"""Every error of this package, in one tree.

::

    DevClusterError
    ├── BinariesError        the control plane's programs cannot be had
    │   └── DigestMismatchError   a download is not the file that was published
    ├── UnavailableError     an archive cannot be had from here; the caller has another way
    ├── PackageUnavailableError   a program is neither installed nor to be had as a Debian package
    ├── ProcessError         a child process did not start, or died
    ├── ContainerConfigError     something that a container refers to is missing
    ├── HostError            this machine lacks what a real node needs, or is in use by another one
    ├── ImageError           a container image could not be built, saved or loaded
    ├── ReleaseError         a release cannot be made, or a registry did not take it
    └── ApiError             the Kubernetes API answered with an error
"""

from __future__ import annotations


class DevClusterError(Exception):
    """Something went wrong; the message names the cause and what to do next."""


class BinariesError(DevClusterError):
    """The control plane's programs can neither be downloaded nor built."""


class DigestMismatchError(BinariesError):
    """A download is not the file that was published."""


class UnavailableError(DevClusterError):
    """An archive cannot be had from here; the caller has another way."""


class PackageUnavailableError(DevClusterError):
    """A program is neither installed nor to be had as a Debian package."""


class ContainerConfigError(DevClusterError):
    """Something that a container refers to is missing; the message is the kubelet's."""


class ProcessError(DevClusterError):
    """A child process did not start, did not get ready, or died."""


class HostError(DevClusterError):
    """The machine lacks what a real node needs, or another node is on it."""


class ImageError(DevClusterError):
    """A container image could not be built, saved or loaded."""


class ReleaseError(DevClusterError):
    """A release cannot be made from this tree, or a registry did not take it."""


class ApiError(DevClusterError):
    """The Kubernetes API answered with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"Kubernetes API: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
