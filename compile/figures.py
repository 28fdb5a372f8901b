"""A figure that may be undefined, in files that hold neither NaN nor infinity: null is written for it and read as NaN."""

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator


def _read(value: object) -> object:
    return float("nan") if value is None else value


Figure: TypeAlias = Annotated[float, BeforeValidator(_read)]
