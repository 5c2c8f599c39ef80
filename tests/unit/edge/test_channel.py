"""A device that follows a channel: what it runs, and what it does not believe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_inference import ChannelError, ChannelUnavailableError, ChannelUntrustedError, TFLiteInference
from edge_inference.channel import DriftLimits, ModelChannel, Outcome
from edge_inference.channel.__main__ import main
from edge_inference.confidence import EDGES
from support.converter.tiny_tflite import write_tiny_tflite
from support.edge.channels import CHANNEL, ChannelServer, public_pem


@pytest.fixture
def server() -> Iterator[ChannelServer]:
    with ChannelServer() as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Models that differ in the size of their input."""
    return [write_tiny_tflite(tmp_path / f"{size}.tflite", (1, size)) for size in (2, 3, 4)]


def follow(server: ChannelServer, tmp_path: Path, **more: Any) -> ModelChannel:
    return ModelChannel(
        server.url, name=CHANNEL, public_key=public_pem(server.key), folder=tmp_path / "device", **more
    )


def baseline(digest: str, name: str = "y") -> dict[str, Any]:
    """What a report says of a model whose output lay around 5."""
    level = {"output": name, "mean": 5.0, "std": 0.5}
    artifact = {"sha256": digest, "method": "Float32", "fileName": "m.tflite"}
    artifact |= {"baseline": {"samples": 100, "level": level}}
    return {"artifacts": [artifact], "evaluation": {"data": {"role": "Validation"}}}


def test_the_device_runs_what_the_pointer_names(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    device = follow(server, tmp_path)
    assert not device.has_model
    with pytest.raises(ChannelError, match="poll"):
        device.model  # noqa: B018 - it is asked for
    first = server.point(1, models[0])
    update = device.poll()
    assert (update.outcome, update.sha256, device.model.sha256) == (Outcome.UPDATED, first, first)
    assert device.model.predict([1.0, 1.0])["y"].shape == (2,)
    assert device.poll().outcome is Outcome.UNCHANGED
    second = server.point(2, models[1])
    assert device.poll().outcome is Outcome.UPDATED
    assert device.model.sha256 == second
    # A rollback is another move, to a file that is still there: nothing is downloaded again.
    server.point(3, models[0])
    server.asked.clear()
    assert device.poll().outcome is Outcome.UPDATED
    assert (device.model.sha256, server.asked) == (first, ["/channel.json"])
    third = server.point(4, models[2])
    device.poll()
    kept = {path.name for path in (tmp_path / "device").glob("*.tflite")}
    assert kept == {f"{first}.tflite", f"{third}.tflite"}, "this one and the one before"


def test_it_runs_on_after_a_restart_without_the_network(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    digest = server.point(7, models[0])
    follow(server, tmp_path).poll()
    server.status = 503
    device = follow(server, tmp_path)
    assert device.model.sha256 == digest
    with pytest.raises(ChannelUnavailableError, match="503"):
        device.poll()
    assert device.model.sha256 == digest
    server.status = 200
    server.point(6, models[1])
    with pytest.raises(ChannelUntrustedError, match="7 was followed already"):
        device.poll()
    # Its file was lost: the next poll brings it again.
    server.point(7, models[0])
    (tmp_path / "device" / f"{digest}.tflite").write_bytes(b"damaged")
    device = follow(server, tmp_path)
    assert not device.has_model
    assert device.poll().outcome is Outcome.UPDATED
    # Another channel's state does not count.
    other = ModelChannel(
        server.url, name="ml/other", public_key=public_pem(server.key), folder=tmp_path / "device"
    )
    assert not other.has_model


def forge(server: ChannelServer, model: Path, case: str) -> str:
    """Put something there that is not to be believed; gives a word of what is said of it."""
    content, stranger = model.read_bytes(), ec.generate_private_key(ec.SECP256R1())
    document = server.files["channel.json"]
    match case:
        case "another key":
            server.point(9, model, key=stranger)
            return "not signed with the channel's key"
        case "another kind":
            server.point(9, model, kind="application/vnd.in-toto+json")
            return "is no pointer"
        case "another channel":
            server.point(9, model, channel="ml/other")
            return "of channel 'ml/other'"
        case "an earlier number":
            server.point(4, model)
            return "somebody shows an old one"
        case "the same number":
            server.point(5, model)
            return "name two files"
        case "no envelope":
            server.files["channel.json"] = b"[]"
            return "no signed pointer"
        case "deep nesting":
            server.files["channel.json"] = b"[" * 60_000
            return "no signed pointer"
        case "a large pointer":
            server.files["channel.json"] = document + b" " * (64 << 10)
            return "larger than a pointer"
        case "no signature":
            server.files["channel.json"] = json.dumps(json.loads(document) | {"signatures": []}).encode()
            return "not signed"
        case "another model":
            digest = server.point(9, model)
            server.files[f"files/{digest}/m.tflite"] = content[:-1] + b"x"
            return "not the file that the pointer names"
        case "a longer model":
            digest = server.point(9, model)
            server.files[f"files/{digest}/m.tflite"] = content + b"x" * 10_000
            return "not the file that the pointer names"
        case "a path that climbs":
            named = server.put(content, "m.tflite") | {"path": "files/../../etc/passwd", "name": "x"}
            server.point(9, model, model=named)
            return "cannot be read"
        case "another server's path":
            named = server.put(content, "m.tflite") | {"path": "//evil.example/m.tflite", "name": "x"}
            server.point(9, model, model=named)
            return "cannot be read"
        case "a number without end":
            server.point(9, model, sequence=float("inf"))
            return "cannot be read"
    raise AssertionError(case)


@pytest.mark.parametrize(
    "case",
    [
        "another key",
        "another kind",
        "another channel",
        "an earlier number",
        "the same number",
        "no envelope",
        "deep nesting",
        "a large pointer",
        "no signature",
        "another model",
        "a longer model",
        "a path that climbs",
        "another server's path",
        "a number without end",
    ],
)
def test_what_is_not_the_channels_own_is_not_followed(
    case: str, server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    digest = server.point(5, models[0])
    device = follow(server, tmp_path)
    device.poll()
    words = forge(server, models[1], case)
    with pytest.raises(ChannelUntrustedError, match=words):
        device.poll()
    assert device.model.sha256 == digest
    assert follow(server, tmp_path).model.sha256 == digest, "also after a restart"
    assert not list((tmp_path / "device").glob(".*.part"))
    latest = server.point(10, models[2])
    assert device.poll().sha256 == latest, "and the next true one is"


@pytest.mark.parametrize("status", [302, 403, 404, 500])
def test_a_server_that_does_not_answer_is_told(
    status: int, server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    server.point(1, models[0])
    server.status = status
    with pytest.raises(ChannelUnavailableError, match=str(status)):
        follow(server, tmp_path).poll()


def test_a_transfer_that_breaks_off_leaves_nothing(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    digest = server.point(1, models[0])
    server.cut = True
    device = follow(server, tmp_path)
    with pytest.raises(ChannelUnavailableError, match="broke off"):
        device.poll()
    assert [p.name for p in (tmp_path / "device").iterdir()] == []
    server.cut = False
    assert device.poll().sha256 == digest


def test_a_credential_in_the_query_goes_with_each_request_and_into_no_message(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    server.point(1, models[0])
    device = ModelChannel(
        f"{server.url}?sig=secret", name=CHANNEL, public_key=public_pem(server.key), folder=tmp_path
    )
    device.poll()
    assert all(path.endswith("?sig=secret") for path in server.asked)
    server.status = 403
    with pytest.raises(ChannelUnavailableError) as error:
        device.poll()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_each_curve(curve: ec.EllipticCurve, models: list[Path], tmp_path: Path) -> None:
    with ChannelServer(ec.generate_private_key(curve)) as server:
        server.point(1, models[0])
        assert follow(server, tmp_path).poll().outcome is Outcome.UPDATED


@pytest.mark.parametrize(
    "pem",
    [
        b"no key",
        rsa.generate_private_key(65537, 2048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public_pem(ec.generate_private_key(ec.SECP256K1())),
    ],
    ids=["no key", "RSA", "another curve"],
)
def test_a_key_of_another_kind_is_refused(pem: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="P-256, P-384 or P-521"):
        ModelChannel("https://models.example/c.json", name=CHANNEL, public_key=pem, folder=tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "channel.json", "ftp://models.example/c.json"])
def test_only_a_web_server_is_asked(url: str, tmp_path: Path) -> None:
    pem = public_pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ValueError, match="https://"):
        ModelChannel(url, name=CHANNEL, public_key=pem, folder=tmp_path)


def test_a_file_that_does_not_run_is_refused_until_the_channel_moves(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    good = server.point(1, models[0])

    def accept(model: TFLiteInference) -> None:
        if model.input_shape == (4,):
            raise ValueError("the camera gives three numbers")

    device = follow(server, tmp_path, accept=accept)
    device.poll()
    bad = server.point(2, b"no model at all")
    update = device.poll()
    assert (update.outcome, update.sha256) == (Outcome.REFUSED, bad)
    assert "does not run here" in update.message
    server.asked.clear()
    assert device.poll().outcome is Outcome.REFUSED
    assert server.asked == ["/channel.json"], "it is not downloaded again and again"
    assert follow(server, tmp_path, accept=accept).poll().outcome is Outcome.REFUSED
    server.point(3, models[2])
    assert "three numbers" in device.poll().message
    assert device.model.sha256 == good
    server.point(4, models[1])
    assert device.poll().outcome is Outcome.UPDATED


def test_a_file_that_drifts_is_left_for_the_one_before(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    first = server.point(1, models[0])
    device = follow(server, tmp_path, drift=DriftLimits(window=40, least=20))
    device.poll()
    content = models[1].read_bytes()
    second = server.point(2, content, baseline=baseline(server.point(2, content)))
    device.poll()
    assert device.model.sha256 == second
    # The output is relu(-x), relu(x): its level is about 0.5, and 5 was usual.
    for _ in range(19):
        device.model.predict(np.ones(3))
    assert device.model.sha256 == second, "a few samples say nothing"
    device.model.predict(np.ones(3))
    assert device.model.sha256 == first
    update = device.poll()
    assert (update.outcome, update.sha256) == (Outcome.REFUSED, second)
    assert "standard deviations" in update.message
    assert follow(server, tmp_path).model.sha256 == first
    server.point(3, content)
    assert device.poll().outcome is Outcome.UPDATED, "the channel has moved: somebody has decided"


def test_a_classifier_drifts_by_its_confidences_and_each_observer_is_told(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    told: list[int] = []

    class Counts:
        def observed(self, observation: Any) -> None:
            told.append(observation.samples)

        def failed(self) -> None:
            raise AssertionError("no call fails here")

    sure = {"edges": list(EDGES), "counts": [0] * (len(EDGES) - 2) + [500], "mean": 0.99, "logits": True}
    limits = DriftLimits(window=40, least=20)
    device = follow(server, tmp_path, drift=limits, observer=lambda *_: Counts())
    first = server.point(1, models[0])
    device.poll()
    content = models[1].read_bytes()
    record = baseline(server.point(2, content))
    record["artifacts"][0]["baseline"] = {"samples": 500, "confidence": sure}
    server.point(2, content, baseline=record)
    device.poll()
    device.model.predict_batch(np.zeros((20, 3)))  # both classes alike: a confidence of a half
    assert device.model.sha256 == first
    assert "PSI" in device.poll().message
    assert told == [20], "the sample of zeros that tries a file is none of the device's"


def test_without_an_earlier_file_there_is_nothing_to_fall_back_to(
    server: ChannelServer, models: list[Path], tmp_path: Path
) -> None:
    device = follow(server, tmp_path)
    server.point(1, models[0])
    device.poll()
    with pytest.raises(ChannelError, match="no earlier file"):
        device.fall_back("it looks odd")
    server.point(2, models[1])
    device.poll()
    assert device.fall_back("it looks odd").outcome is Outcome.REFUSED
    assert device.poll().message == "it looks odd"


def test_the_command_says_what_becomes_of_it(
    server: ChannelServer, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(public_pem(server.key))
    arguments = [server.url, "--name", CHANNEL, "--public-key", str(key), "--folder", str(tmp_path / "d")]
    assert main([*arguments, "--once"]) == 1
    line = json.loads(capsys.readouterr().out)
    assert (line["outcome"], line["runs"]) == ("ChannelUnavailableError", None)
    digest = server.point(1, models[0])
    assert main([*arguments, "--once"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "outcome": "Updated", "sequence": 1, "sha256": digest, "runs": digest,
    }  # fmt: skip
    key.write_text("no key")
    assert main([*arguments, "--once"]) == 2
    assert "error: the public key" in capsys.readouterr().err
