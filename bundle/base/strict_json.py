"""JSON as its standard has it: NaN and infinity are no part of it, so what is undefined is written as null."""

import json
import math


def dumps(value: object, *, indent: int | None = None, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    """Return ``value`` as JSON that every parser takes; a float that is not finite becomes null.

    Raises:
        TypeError: there is something in it that JSON does not have.
    """
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
