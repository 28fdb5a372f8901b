"""Seals: the digest is of the bytes with the digits zeroed, whatever the digits say."""

import hashlib
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.seals import MANIFEST, UNSEALED, digest, manifest_digest, read_sealed_manifest


def test_a_digest_does_not_depend_on_the_digits_it_will_stand_in() -> None:
    one, other = (f'{{"seal": "{digits * 64}"}}'.encode() for digits in "a7")
    blank = f'{{"seal": "{UNSEALED}"}}'.encode()
    assert manifest_digest(one) == manifest_digest(other) == hashlib.sha256(blank).hexdigest()
    assert digest(b"abcd", (1, 3)) == hashlib.sha256(b"a00d").hexdigest()


def test_a_manifest_is_read_with_its_seal(tmp_path: Path) -> None:
    content = f'{{"seal": "{UNSEALED}", "x": 1}}'.encode()
    sealed = content.replace(UNSEALED.encode(), manifest_digest(content).encode())
    (tmp_path / MANIFEST).write_bytes(sealed)
    assert read_sealed_manifest(tmp_path) == (sealed, manifest_digest(content))


@pytest.mark.parametrize("content", [b"", b"{}", b'{"seal": "' + b"0" * 64 + b'"}', b'{"seal": "00"}'])
def test_a_manifest_without_its_seal_was_altered(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json was altered"):
        read_sealed_manifest(tmp_path)
