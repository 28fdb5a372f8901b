"""The base of every value that crosses a module boundary or is written to disk."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value: unknown keys are refused, NaN never reaches a JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")
