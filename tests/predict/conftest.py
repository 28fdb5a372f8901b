"""A bundle whose graph runs, made once."""

from pathlib import Path

import pytest

from tests.bundle.made_onnx import make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the made model for the reference target; it takes images of 24 × 32 and has no size policy."""
    return make(tmp_path_factory.mktemp("predict") / "bundle", "reference")
