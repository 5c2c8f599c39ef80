"""A real node, as far as it can be known without one: what is written, found and left."""

from __future__ import annotations

import json
import tarfile
import tomllib
from pathlib import Path

import pytest

from devcluster.errors import HostError, ImageError
from devcluster.host import BUILD_TOOLS, NODE_TOOLS, missing
from devcluster.images import pip_settings
from devcluster.images.build import CONVERTER, OPERATOR, digest_of
from devcluster.images.mounts import mount_points
from devcluster.images.oci_archive import layers, write_program_image
from devcluster.real_node import config as node_config
from devcluster.real_node.layout import NodeLayout

MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
90 22 0:60 / /cache/nodes/a/rootfs rw - overlay overlay rw
91 90 0:61 / /cache/nodes/a/rootfs/dev rw - tmpfs tmpfs rw
92 22 0:62 / /cache/nodes/a/with\040space rw - tmpfs tmpfs rw
93 22 0:63 / /cache/nodes/ab rw - tmpfs tmpfs rw
"""


def layout() -> NodeLayout:
    return NodeLayout("a", Path("/cache/nodes/a"))


def test_mounts_are_found_the_last_first_and_no_other_node_s() -> None:
    assert mount_points(MOUNTINFO, layout().state) == [
        "/cache/nodes/a/with space",
        "/cache/nodes/a/rootfs/dev",
        "/cache/nodes/a/rootfs",
    ]


@pytest.mark.parametrize("name", ["", "A", "a_b", "a.b", "1a", "eleven-long"])
def test_a_name_that_no_device_can_have_is_refused(name: str) -> None:
    with pytest.raises(HostError, match="cannot be a node's name"):
        NodeLayout(name, Path("/s"))


def test_a_path_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(HostError, match="too long"):
        NodeLayout("a", Path("/" + "long" * 25))


def test_containerd_s_configuration_is_toml() -> None:
    config = tomllib.loads(node_config.containerd(layout(), "localhost/pause:1", Path("/usr/lib/cni")))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["version"] == 2
    assert config["grpc"]["address"] == "/cache/nodes/a/containerd.sock"
    assert cri["sandbox_image"] == "localhost/pause:1"
    assert cri["cni"]["bin_dir"] == "/usr/lib/cni"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_all_files_of_a_node_lie_in_its_folder() -> None:
    kubelet = node_config.kubelet(layout(), 1)
    paths = [value for key, value in kubelet.items() if key.endswith(("File", "Dir", "Conf"))]
    assert paths
    assert all(path.startswith("/cache/nodes/a/") for path in paths)


def test_missing_tools_are_those_that_are_not_found() -> None:
    lacking = missing(
        [*NODE_TOOLS, *BUILD_TOOLS], lambda name: None if name in ("nft", "cni/bridge") else "/x"
    )
    assert {tool.package for tool in lacking} == {"nftables", "containernetworking-plugins"}


def test_a_program_s_image_holds_it_and_is_alike_each_time(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"binary")
    for name in ("one.tar", "two.tar"):
        write_program_image(tmp_path / name, "localhost/p:1", {"/program": program}, ["/program"])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    (layer,) = layers(tmp_path / "one.tar")
    assert layer.instruction == "ADD /program"
    with tarfile.open(tmp_path / "one.tar") as archive:
        content = archive.extractfile(f"blobs/{layer.digest.replace(':', '/')}")
        index = archive.extractfile("index.json")
        assert content
        assert index
        with tarfile.open(fileobj=content) as inside:
            (member,) = inside.getmembers()
            assert (member.name, member.mode, member.uid, member.mtime) == ("program", 0o755, 0, 0)
        (entry,) = json.load(index)["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "localhost/p:1"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.tar"
    file.write_bytes(b"nothing")
    with pytest.raises(ImageError, match="no OCI image archive"):
        layers(file)


def test_an_image_s_key_follows_names_and_contents(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    first = digest_of([file], tmp_path)
    file.write_text("y")
    second = digest_of([file], tmp_path)
    renamed = file.rename(tmp_path / "b")
    assert len({first, second, digest_of([renamed], tmp_path)}) == 3


def test_images_are_made_from_their_own_sources() -> None:
    operator, converter = ({f.parent.name for f in recipe.files()} for recipe in (OPERATOR, CONVERTER))
    assert "modelconversion_operator" in operator
    assert "modelconversion_operator" not in converter
    assert "tflite_converter" in converter
    assert "tflite_converter" not in operator
    assert "__pycache__" not in operator | converter


def test_pip_s_settings_come_from_files_and_over_them_from_the_environment() -> None:
    files = ["[global]\nindex-url = https://one\ncert = /a.crt\n", "[install]\nindex-url = https://two\n"]
    found = pip_settings.settings(files, {"PIP_EXTRA_INDEX_URL": "https://three", "HOME": "/root"})
    assert found == {"index-url": "https://two", "cert": "/a.crt", "extra-index-url": "https://three"}


def test_a_build_gets_the_registry_but_no_path_of_this_machine() -> None:
    found = {"index-url": "https://one", "cert": "/a.crt", "find-links": "/wheels"}
    text = pip_settings.for_build(found, certificates=True)
    assert text == f"[global]\ncert = {pip_settings.CERTIFICATES_IN_BUILD}\nindex-url = https://one\n"
    assert "cert" not in pip_settings.for_build(found, certificates=False)
