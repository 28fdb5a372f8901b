"""The foreign graphs, each made once for all tests that read it."""

import pytest

from tests.compile.folding import foreign as builders
from tests.compile.folding import peft_models
from tests.compile.folding.foreign import Foreign

QUICK = ("batch norm after a convolution", "two matrices, wide between", "LayerScale")


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in builders.MERGED],
)
def merged(request: pytest.FixtureRequest) -> Foreign:
    """A graph with a golden that has fewer nodes, or as many where nothing pays."""
    return builders.MERGED[request.param]()


@pytest.fixture(scope="session", params=builders.BESIDE)
def beside(request: pytest.FixtureRequest) -> Foreign:
    """A graph with an adapter that reads a norm's output beside an MLP."""
    return builders.BESIDE[request.param]()


@pytest.fixture(scope="session", params=peft_models.CASES)
def peft(request: pytest.FixtureRequest) -> Foreign:
    """A model of the peft library, unmerged, beside the merged one."""
    return peft_models.CASES[request.param]()
