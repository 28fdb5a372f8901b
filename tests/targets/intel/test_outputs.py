"""What a caller holds is never written again, and what no caller holds is not made again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from targets.base import RunConfig, Session, Variant, VariantRecipe
from targets.intel.target import INTEL
from tests.contract.graphs import CASES

CASE = CASES["attention"]
RECIPE = VariantRecipe(name="f32", graph="float", hint="f32", reason="a test")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    onnx.save(CASE.model, tmp_path / "model.onnx")
    files = INTEL.convert(tmp_path / "model.onnx", tmp_path / "model.xml")
    with INTEL.open(tmp_path, Variant(recipe=RECIPE, files=files), RunConfig(threads=1), "device", keep=tmp_path) as it:
        yield it


def scaled(factor: float) -> dict[str, np.ndarray]:
    return {name: (array * factor).astype(array.dtype) for name, array in CASE.feed.items()}


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_an_array_that_nobody_holds_is_written_again(session: Session) -> None:
    first = address(session.infer(CASE.feed)["y"])
    assert {address(session.infer(scaled(factor))["y"]) for factor in (2, 3, 4)} == {first}


@pytest.mark.parametrize("hold", [lambda array: array, lambda array: array[..., 1:], memoryview])
def test_an_array_that_is_held_keeps_its_numbers(session: Session, hold) -> None:
    held = hold(session.infer(CASE.feed)["y"])
    numbers = np.array(held)
    other = session.infer(scaled(3))["y"]
    assert np.array_equal(np.array(held), numbers) and not np.shares_memory(np.asarray(held), other)
    assert np.allclose(session.infer(CASE.feed)["y"], CASE.expected["y"], atol=1e-5)


def test_a_held_array_outlives_its_session(session: Session) -> None:
    held = session.infer(CASE.feed)["y"]
    numbers = held.copy()
    session.close()
    assert np.array_equal(held, numbers)
