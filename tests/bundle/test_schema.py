"""The committed JSON Schemas are those of the models, and a bundle's files obey them."""

import json
from pathlib import Path

import pytest

from bundle.judging.choice import Bench, Candidate, Choice
from bundle.schema import SCHEMAS, schema_text
from tests.bundle.made import make_bundle

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_current(name: str) -> None:
    committed = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    fix = f"python -m bundle schema {name} > docs/schemas/{name}.schema.json, and a line in CHANGELOG.md"
    assert json.loads(committed) == json.loads(schema_text(name)), fix


def test_every_committed_schema_is_of_a_format() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}


def test_a_manifest_has_the_keys_of_its_schema_and_no_other(tmp_path: Path) -> None:
    written = json.loads((make_bundle(tmp_path / "bundle", count=1).folder / "manifest.json").read_text())
    schema = json.loads(schema_text("manifest"))
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(written) <= set(schema["properties"])


def test_a_result_has_the_keys_of_its_schema_and_a_version(tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "bundle", count=1)
    bench = Bench(eager_ms=None, f32_compiled_ms=2.0, shipped_ms=1.0, shipped_precision="f16", runs=1, warmup=0)
    candidate = Candidate(name="f16", latency_ms=None, verdicts={})
    choice = Choice(shipped="f16", rule="narrowest", eager_ms=None, candidates=(candidate,))
    for name, value in (("bench", bench), ("choice", choice)):
        written = json.loads(made.write(f"{name}.json", value).read_text())
        schema = json.loads(schema_text(name))
        assert set(schema["required"]) <= set(written) <= set(schema["properties"]) and (
            written["schema_version"],
            written["bundle"],
        ) == (2, made.sha256)


def test_fold_json_is_a_list_of_decisions() -> None:
    schema = json.loads(schema_text("fold"))
    line = schema["$defs"][schema["items"]["$ref"].rsplit("/", 1)[1]]
    assert schema["type"] == "array" and {"module", "rule", "decision", "reason"} <= set(line["required"])
