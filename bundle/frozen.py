"""The base of every value that crosses a module boundary or is written to disk."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value: unknown keys are refused, NaN never reaches a JSON file."""

    # protected_namespaces: pydantic before 2.10 warns about every field whose name starts with "model_".
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null", protected_namespaces=())
