"""The base of every value that crosses a module boundary or is written to disk."""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from bundle.base.errors import system_reason

FAULTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"missing": ("is missing", "add"), "extra_forbidden": ("is no key here", "correct or remove")}
)
"""Our words for a kind of fault, and what its fix is; any other has the library's words, and is corrected."""


class Frozen(BaseModel):
    """An immutable value: unknown keys are refused, NaN and infinity are neither read nor written.

    A field that is NaN where a figure is undefined declares it: ``Field(allow_inf_nan=True)``. It is null in JSON.
    """

    # protected_namespaces: pydantic before 2.10 warns about every field whose name starts with "model_".
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null", protected_namespaces=()
    )


def faults(error: BaseException) -> str:
    """Return what is wrong, in one line and without a library's own words: each key of a validation with its fault.

    A ValueError is a sentence of its own. Another error begins with its type.
    """
    if isinstance(error, ValidationError):
        return "; ".join(_fault(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors())
    if isinstance(error, OSError):
        return system_reason(error)
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _fault(keys: tuple[int | str, ...], kind: str, text: str) -> str:
    fault, _ = FAULTS.get(kind, (text.removeprefix("Value error, "), ""))
    return f"{'.'.join(map(str, keys))}: {fault}" if keys else fault


def fix_of(error: ValidationError) -> str:
    """Return what to do about the keys that ``faults`` names: add, correct or remove them."""
    verbs = sorted({FAULTS.get(fault["type"], ("", "correct"))[1] for fault in error.errors()})
    return f"{', '.join(verbs)} what is named above"
