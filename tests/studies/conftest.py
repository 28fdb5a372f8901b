"""The studies are tested on the tiny model of tests/compile."""

from tests.compile.conftest import (
    calibration,
    checkpoint,
    dataset,
    evaluator,
    exported,
    first_stages,
    images,
    io,
    scenes,
    simplified,
)

__all__ = [
    "calibration",
    "checkpoint",
    "dataset",
    "evaluator",
    "exported",
    "first_stages",
    "images",
    "io",
    "scenes",
    "simplified",
]
