"""A figure that may be undefined, in files that hold neither NaN nor infinity: null is written for it and read as NaN."""

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field


def _read(value: object) -> object:
    return float("nan") if value is None else value


NullableFloat: TypeAlias = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(_read)]
