"""Releases this tree: images, what is said of them, and the chart, into a container registry.

Images that the cache folder has are not built again. The chart is pushed last: its default images are those
just pushed, by digest. `make release` passes its variables on; their names are in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from devcluster import host
from devcluster.cache import REPOSITORY
from devcluster.generated.version import version
from devcluster.images.emulation import NATIVE
from devcluster.programs import tells_errors
from devcluster.release import artifact_hub, bundle, chart
from devcluster.release.credentials import Credentials, find_credentials
from devcluster.release.plan import UNITS, Plan, architectures, plan
from devcluster.release.publishing import Publisher, Released
from devcluster.release.registry import Registry, is_loopback, parsed
from devcluster.release.signing import Signer
from devcluster.release.source import Source, check_source, home, source
from devcluster.release.statements import Origin
from devcluster.tools.helm import ensure_helm

Json = dict[str, Any]

PUBLIC_KEY: Final = "cosign.pub"
SUMMARY: Final = "release.json"
_CHANGELOG: Final = REPOSITORY / "CHANGELOG.md"


@dataclass(frozen=True)
class Asked:
    """What a release is to be."""

    registry: str
    into: Path
    platforms: str = ""
    """With commas between; empty for this machine's."""
    images: tuple[str, ...] = ()
    sign_key: Path | None = None
    plain_http: bool | None = None
    """None for HTTP without TLS on this machine's own addresses only."""
    untagged: bool = False
    overwrite: bool = False

    @property
    def speaks_plain_http(self) -> bool:
        """Whether the registry is spoken with without TLS."""
        return is_loopback(parsed(self.registry)[0]) if self.plain_http is None else self.plain_http

    def plan(self) -> Plan:
        """Decide what is built."""
        wanted = architectures(self.platforms or f"linux/{NATIVE[os.uname().machine]}")
        return plan(self.images, wanted)


def release(asked: Asked, console: Console, environment: Mapping[str, str] = os.environ) -> Json:
    """Make a release, and return what is in it: ``release.json`` of its folder.

    Raises:
        DevClusterError: It cannot be made; no chart was pushed.

    """
    number, found = version(), source()
    amiss = check_source(found, number, _CHANGELOG.read_text(), untagged=asked.untagged)
    registry_host, prefix = parsed(asked.registry)
    planned = asked.plan()
    signer = Signer(asked.sign_key, environment.get("SIGN_PASSWORD")) if asked.sign_key else None
    credentials = find_credentials(registry_host, prefix, environment)
    _tell_plan(asked, number, found, planned, amiss, signed=signer is not None, console=console)
    helm = ensure_helm(console)
    host.ensure_host_tools(host.BUILD_TOOLS, console)
    asked.into.mkdir(parents=True, exist_ok=True)
    origin = Origin(home(), found, number, {"buildah": _buildah_version()})
    with Registry(registry_host, plain_http=asked.speaks_plain_http, credentials=credentials) as registry:
        publisher = Publisher(
            registry,
            prefix,
            number,
            found,
            origin,
            signer,
            asked.into,
            overwrite=asked.overwrite,
            home=home(),
            console=console,
        )
        # Before the builds, which are long.
        registry.check_push(publisher.path(planned.builds[0]))
        publisher.check_revision(planned.builds)
        made = [publisher.make(build) for build in planned.builds]
        released = [
            publisher.push(list(group)) for _, group in groupby(made, key=lambda each: each.build.unit.name)
        ]
        pushed = _push_chart(asked, helm, publisher, released, number, credentials)
    if signer is not None:
        (asked.into / PUBLIC_KEY).write_text(signer.public_key)
    summary = {
        "version": number,
        "revision": found.revision,
        "dirty": found.dirty,
        "images": [asdict(each) | {"reference": each.reference} for each in released],
        "leftOut": [asdict(each) for each in planned.left_out],
        "chart": pushed,
        "signed": signer is not None,
        "plainHttp": asked.speaks_plain_http,
    }
    (asked.into / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _push_chart(
    asked: Asked,
    helm: Path,
    publisher: Publisher,
    released: list[Released],
    number: str,
    credentials: Credentials | None,
) -> Json:
    images: dict[str, str] = {}
    platforms: dict[str, list[str]] = {}
    for each in released:
        if each.value is not None:
            images.setdefault(each.value, each.reference)
            platforms.setdefault(each.value, list(each.platforms))
    listed = {each.name: each.reference for each in released}
    annotations = artifact_hub.shown(number, _CHANGELOG.read_text(), listed, home())
    values = chart.image_values(images) | chart.node_values(platforms)
    packed = chart.package(helm, values, annotations, asked.into)
    bundle.write(bundle.bundle(helm, packed), asked.into / "bundle")
    digest = chart.push(
        helm,
        packed,
        asked.registry.rstrip("/"),
        plain_http=asked.speaks_plain_http,
        credentials=credentials,
    )
    parts = {each.reference: each.digest for each in released}
    told = publisher.say_of_chart(f"{chart.FOLDER}/{chart.NAME}", digest, parts)
    (asked.into / f"{chart.NAME}-chart.provenance.json").write_text(json.dumps(told, indent=2) + "\n")
    repository = f"{asked.registry.rstrip('/')}/{chart.FOLDER}/{chart.NAME}"
    return {"repository": repository, "version": number, "digest": digest, "values": values}


def install_command(summary: Json) -> str:
    """Return the one line that installs a release."""
    options = " --plain-http" if summary["plainHttp"] else ""
    pushed = summary["chart"]
    return (
        f"helm install {chart.NAME} oci://{pushed['repository']} --version {pushed['version']}{options}"
        " --namespace model-conversion --create-namespace"
    )


def _tell_plan(
    asked: Asked,
    number: str,
    found: Source,
    planned: Plan,
    amiss: str | None,
    *,
    signed: bool,
    console: Console,
) -> None:
    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    state = ", with changes" if found.dirty else ""
    tell(f"Release {number} of {found.revision[:12] or 'no commit'}{state} into {asked.registry}")
    if amiss:
        tell(f"  although {amiss}")
    for name, builds in groupby(planned.builds, key=lambda build: build.unit.name):
        tell(f"  {name}: {', '.join(f'linux/{build.architecture}' for build in builds)}")
    for out in planned.left_out:
        tell(f"  left out: {out.name} for {out.platform}: {out.reason}")
    if asked.speaks_plain_http:
        tell("  over HTTP without TLS")
    if not signed:
        tell("  unsigned, and so without attached bills of materials and provenance: set SIGN_KEY for these")


def _tell_end(asked: Asked, summary: Json, console: Console) -> None:
    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    pushed = summary["chart"]
    tell(
        f"\nReleased; what is said of it is in {asked.into}. Install it by\n\n  {install_command(summary)}\n"
    )
    if summary["signed"]:
        key, options = asked.into / PUBLIC_KEY, "--insecure-ignore-tlog=true"
        options += " --allow-http-registry" if summary["plainHttp"] else ""
        operator = next(each for each in summary["images"] if each["value"] == "image")
        for verb, reference in (
            ("verify", f"{pushed['repository']}@{pushed['digest']}"),
            ("verify", operator["reference"]),
            ("verify-attestation --type slsaprovenance1", operator["reference"]),
        ):
            tell(f"  cosign {verb} --key {shlex.quote(str(key))} {options} {reference}")
    else:
        tell("Nothing is signed.")


def _buildah_version() -> str:
    return host.run("buildah", "--version").split()[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcluster.release", description=__doc__)
    names = ", ".join(unit.name for unit in UNITS)
    parser.add_argument(
        "registry", help="[REGISTRY] HOST[:PORT]/PREFIX; credentials are those of `buildah login`"
    )
    parser.add_argument(
        "--platforms",
        default="",
        help="[PLATFORMS] as in linux/amd64,linux/arm64; else this machine's",
    )
    parser.add_argument("--images", default="", help=f"[IMAGES] of {names}, with commas between")
    parser.add_argument(
        "--sign-key",
        type=Path,
        help="[SIGN_KEY] private key in PEM, ECDSA on P-256, that signs all as cosign does; SIGN_PASSWORD"
        " is the password of an encrypted one",
    )
    parser.add_argument(
        "--plain-http",
        action=argparse.BooleanOptionalAction,
        help="[PLAIN_HTTP=1 or 0] speak HTTP without TLS; only with this machine itself if left out",
    )
    parser.add_argument(
        "--untagged",
        action="store_true",
        help="[UNTAGGED=1] release a tree that is not the tag of its version, or has changes",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="[OVERWRITE=1] let the version's tags become other images"
    )
    parser.add_argument("--dry-run", action="store_true", help="[DRY_RUN=1] say what would be released")
    parser.add_argument(
        "--into",
        type=Path,
        help="[INTO] folder for bills of materials, provenance, the chart's package, the public key and"
        f" {SUMMARY}; release-VERSION in the work tree if left out",
    )
    return parser


@tells_errors
def main() -> int:
    """Release what the command line says."""
    options = _parser().parse_args()
    console = Console(highlight=False)
    asked = Asked(
        registry=options.registry,
        into=options.into or REPOSITORY / f"release-{version()}",
        platforms=options.platforms,
        images=tuple(name.strip() for name in options.images.split(",") if name.strip()),
        sign_key=options.sign_key,
        plain_http=options.plain_http,
        untagged=options.untagged,
        overwrite=options.overwrite,
    )
    if options.dry_run:
        number, found = version(), source()
        amiss = check_source(found, number, _CHANGELOG.read_text(), untagged=asked.untagged)
        signed = asked.sign_key is not None and bool(Signer(asked.sign_key, os.environ.get("SIGN_PASSWORD")))
        _tell_plan(asked, number, found, asked.plan(), amiss, signed=signed, console=console)
        return 0
    _tell_end(asked, release(asked, console), console)
    return 0
