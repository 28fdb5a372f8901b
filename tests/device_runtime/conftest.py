"""The runtime file, made once."""

from pathlib import Path

import pytest

from device_runtime.write import RUNTIME, write_runtime


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime file of this checkout."""
    path = tmp_path_factory.mktemp("runtime") / RUNTIME
    write_runtime(path)
    return path
