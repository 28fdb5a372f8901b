"""The committed JSON Schemas are those of the models, and a bundle's files obey them."""

import json
from pathlib import Path

import pytest

from bundle.schema import SCHEMAS, schema_text
from tests.bundle.made import make_bundle

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_current(name: str) -> None:
    committed = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    mend = f"python -m bundle schema {name} > docs/schemas/{name}.schema.json, and a line in CHANGELOG.md"
    assert json.loads(committed) == json.loads(schema_text(name)), mend


def test_every_committed_schema_is_of_a_format() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}


def test_a_manifest_has_the_keys_of_its_schema_and_no_other(tmp_path: Path) -> None:
    written = json.loads((make_bundle(tmp_path / "bundle", count=1).folder / "manifest.json").read_text())
    schema = json.loads(schema_text("manifest"))
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(written) <= set(schema["properties"])


def test_a_signature_ends_in_the_keys_of_its_seal() -> None:
    schema = json.loads(schema_text("signature"))
    assert list(schema["properties"])[-2:] == ["bundle", "seal"] and {"bundle", "seal"} <= set(schema["required"])
