"""Signatures: checked against an independent reading of the key files, and never passed in silence."""

import base64
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bundle.base.errors import ArtifactError, InputError, TargetUnavailable
from bundle.formats.artifacts import hash_file
from bundle.formats.contents import SIGNATURE
from bundle.formats.engines import write_engine_file
from bundle.formats.manifest import load_bundle, write_manifest
from bundle.formats.results import read_result
from bundle.transport import signature
from bundle.transport.archive import pack, unpack
from bundle.transport.signature import (
    BUILT,
    CHANGED,
    LATER,
    PREFIX,
    coverage,
    load_trusted,
    make_keys,
    read_signature,
    require_signature,
    sign,
)
from tests.bundle.made import make_bundle, manifest, write_result


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys") / "release")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    made = make_bundle(tmp_path_factory.mktemp("signed") / "bundle", count=1).folder
    write_result(made, "regression.json", '{"passed": false}')
    sign(made, keys[0])
    return made


@pytest.fixture
def folder(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def test_the_signature_holds_for_the_bytes_of_the_manifest(folder: Path, keys: tuple[Path, Path]) -> None:
    lines = keys[1].read_text().splitlines()
    raw = base64.b64decode("".join(lines[1:-1]))[-32:]  # RFC 8410: the key ends its DER form
    found = read_signature(load_bundle(folder))
    assert found is not None and found.public_key == raw.hex() and list(found.results) == ["regression.json"]
    done = subprocess.run(
        ["sha256sum", "manifest.json", "regression.json"], cwd=folder, capture_output=True, check=True
    )
    message = PREFIX + done.stdout
    ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(bytes.fromhex(found.signature), message)


def test_a_signed_bundle_is_opened(folder: Path, keys: tuple[Path, Path]) -> None:
    assert load_trusted(folder, keys[1]) == load_trusted(folder, None) == load_bundle(folder)


def test_results_may_change_under_a_signature(folder: Path, keys: tuple[Path, Path]) -> None:
    write_result(folder, "regression.json", '{"a": 1}')
    load_trusted(folder, keys[1])


def test_each_result_is_as_it_was_signed_or_named_with_the_reason(folder: Path, keys: tuple[Path, Path]) -> None:
    signed = coverage(load_trusted(folder, keys[1]))
    assert {"manifest.json", "vectors.npz", "regression.json"} <= set(signed.covered) and signed.others == {}
    write_result(folder, "regression.json", '{"passed": true}')
    write_result(folder, "choice.json", '{"shipped": "int8"}')
    write_engine_file(folder, "f16.engine", b"code of somebody")
    found = coverage(load_trusted(folder, keys[1]))
    assert set(signed.covered) - set(found.covered) == {"regression.json"}
    assert found.others == {"regression.json": CHANGED, "choice.json": LATER, "engines/f16.engine": BUILT}


def test_a_digest_that_is_added_to_the_signature_does_not_hold(folder: Path, keys: tuple[Path, Path]) -> None:
    write_result(folder, "regression.json", '{"passed": true}')
    forged = json.loads(read_result(folder, SIGNATURE))
    forged["results"]["regression.json"] = hash_file(folder / "regression.json")
    write_result(folder, SIGNATURE, json.dumps(forged, indent=2))
    with pytest.raises(ArtifactError, match="does not hold"):
        load_trusted(folder, keys[1])


def test_the_private_key_is_its_owners_and_is_never_written_over(keys: tuple[Path, Path], tmp_path: Path) -> None:
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    with pytest.raises(InputError, match="never written over"):
        make_keys(keys[0])
    (tmp_path / "k.pub").write_text("someone's")
    with pytest.raises(InputError, match="never written over"):
        make_keys(tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_an_unsigned_bundle_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / SIGNATURE).unlink()
    with pytest.raises(ArtifactError, match="this bundle is not signed") as caught:
        load_trusted(folder, keys[1])
    assert caught.value.exit_code == 2


def test_another_key_is_refused(folder: Path, tmp_path: Path) -> None:
    other = make_keys(tmp_path / "other")
    with pytest.raises(ArtifactError, match="signed with another key"):
        load_trusted(folder, other[1])
    sign(folder, other[0])
    load_trusted(folder, other[1])


def test_a_manifest_that_was_changed_and_hashed_again_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    old = read_result(folder, SIGNATURE).decode()
    (folder / SIGNATURE).unlink()
    (folder / "regression.json").unlink()
    write_manifest(folder, manifest(folder, budget=0.5))
    write_result(folder, SIGNATURE, old)  # with a tie and a hash that fit: only the arithmetic can tell
    load_bundle(folder)
    with pytest.raises(ArtifactError, match="does not hold"):
        load_trusted(folder, keys[1])


def test_a_signature_of_another_bundle_is_refused_without_any_key(folder: Path) -> None:
    (folder / "regression.json").unlink()
    write_manifest(folder, manifest(folder, budget=0.5))
    with pytest.raises(ArtifactError, match=r"signature\.json belongs to another bundle"):
        load_bundle(folder)


def test_any_flipped_byte_of_the_signature_is_refused_without_any_key(folder: Path) -> None:
    content = (folder / SIGNATURE).read_bytes()
    for place in range(len(content)):
        (folder / SIGNATURE).write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        with pytest.raises(ArtifactError, match=r"^signature\.json was altered"):
            load_bundle(folder)


@pytest.mark.parametrize("text", ['{"algorithm": "none"}', "{}"])
def test_a_signature_of_another_form_is_refused(folder: Path, keys: tuple[Path, Path], text: str) -> None:
    write_result(folder, SIGNATURE, text)
    with pytest.raises(ArtifactError, match=r"signature\.json cannot be read"):
        require_signature(load_bundle(folder), keys[1])


def test_an_altered_bundle_is_not_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "fold.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"fold\.json was altered"):
        sign(folder, keys[0])


@pytest.mark.parametrize("kind", ["missing", "text", "rsa", "the other half"])
def test_what_is_no_key_is_refused(folder: Path, keys: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    if kind == "text":
        path.write_text("a key")
    if kind == "rsa":
        other = rsa.generate_private_key(65537, 2048)
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(other.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    private, public = (keys[1], keys[0]) if kind == "the other half" else (path, path)
    with pytest.raises(InputError, match="no private key"):
        sign(folder, private)
    with pytest.raises(InputError, match="no public key"):
        require_signature(load_bundle(folder), public)


def test_without_the_library_nothing_passes(
    folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: load_trusted(folder, keys[1]), lambda: sign(folder, keys[0])):
        with pytest.raises(TargetUnavailable, match="cryptography") as caught:
            call()
        assert caught.value.exit_code == 3 and "--editable '.[sign]'" in caught.value.fix
    load_trusted(folder, None)


def test_an_archive_keeps_its_signature_and_is_refused_without(
    folder: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    unpack(pack(folder, tmp_path / "signed.zip"), tmp_path / "out", key=keys[1])
    load_trusted(tmp_path / "out", keys[1])
    (folder / SIGNATURE).unlink()
    with pytest.raises(ArtifactError, match="not signed"):
        unpack(pack(folder, tmp_path / "bare.zip"), tmp_path / "other", key=keys[1])
    assert not (tmp_path / "other").exists()


def test_half_a_pair_of_keys_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(signature, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        make_keys(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
