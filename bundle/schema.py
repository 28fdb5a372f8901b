"""The JSON Schemas of a bundle's JSON files, from the very models that read them; docs/schemas/ holds them as text."""

from pydantic import BaseModel

from bundle.base.strict_json import dumps
from bundle.formats.fold import FoldRecords
from bundle.formats.manifest import Manifest
from bundle.formats.results import SEALED
from bundle.judging.choice import Bench, Choice
from bundle.judging.regression_report import RegressionReport
from bundle.transport.signature import Signature

SCHEMAS: dict[str, type[BaseModel]] = {
    "manifest": Manifest,
    "fold": FoldRecords,
    "regression": RegressionReport,
    "bench": Bench,
    "choice": Choice,
    "signature": Signature,
}
SEAL_KEYS = {
    "bundle": {
        "description": "The seal of the manifest this file belongs to.",
        "pattern": "^[0-9a-f]{64}$",
        "type": "string",
    },
    "seal": {"description": "See bundle/formats/results.py.", "pattern": "^[0-9a-f]{64}$", "type": "string"},
}


def schema_text(name: str) -> str:
    """Return the JSON Schema of ``<name>.json`` as it stands in a bundle; what is sealed later has its two seal keys there."""
    schema = SCHEMAS[name].model_json_schema(by_alias=True, mode="serialization")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"{name}.json"}
    if f"{name}.json" in SEALED:
        schema["properties"] = {**schema["properties"], **SEAL_KEYS}
        schema["required"] = [*schema.get("required", []), *SEAL_KEYS]
    return dumps(schema, indent=2, ensure_ascii=False) + "\n"
