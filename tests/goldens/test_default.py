"""The shipped model is still the model it was: an unexplained improvement fails too."""

import pytest

from tests.goldens.measure import FILE, RELATIVE, Golden, measure

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured() -> Golden:
    return measure()


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.model_validate_json(FILE.read_bytes())


@pytest.mark.parametrize(
    "field", ["parameters", "macs_unfolded", "macs_folded", "decisions", "scaled_scores", "images"]
)
def test_counts_are_exact(measured: Golden, golden: Golden, field: str) -> None:
    assert getattr(measured, field) == getattr(golden, field), "explain the change, then: make goldens"


def test_metrics_are_neither_worse_nor_better(measured: Golden, golden: Golden) -> None:
    assert measured.metrics == pytest.approx(golden.metrics, rel=RELATIVE), "explain the change, then: make goldens"
