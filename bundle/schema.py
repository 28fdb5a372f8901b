"""The JSON Schemas of a bundle's JSON files, from the very models that read them; docs/schemas/ holds them as text."""

from pydantic import BaseModel

from bundle.base.strict_json import dumps
from bundle.formats.fold import FoldRecords
from bundle.formats.manifest import Manifest
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


def schema_text(name: str) -> str:
    """Return the JSON Schema of ``<name>.json``."""
    schema = SCHEMAS[name].model_json_schema(by_alias=True, mode="serialization")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"{name}.json"}
    return dumps(schema, indent=2, ensure_ascii=False) + "\n"
