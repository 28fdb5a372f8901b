"""The base of every value that crosses a module boundary or is written to disk."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """An immutable value: unknown keys are refused, NaN and infinity are neither read nor written.

    A field that is NaN where a figure is undefined declares it: ``Field(allow_inf_nan=True)``. It is null in JSON.
    """

    # protected_namespaces: pydantic before 2.10 warns about every field whose name starts with "model_".
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null", protected_namespaces=()
    )


def faults(error: Exception) -> str:
    """Return the errors of a validation, in one line: each key and what is wrong with it; the words of any other error."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the value'}: {fault['msg']}" for fault in error.errors())
