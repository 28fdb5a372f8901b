"""Where matplotlib keeps its list of fonts while it is imported: not in the user's home."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

FOLDER = "MPLCONFIGDIR"


@contextmanager
def font_cache_apart() -> Iterator[None]:
    """Import matplotlib, or what imports it, inside: its list of fonts goes to a temporary folder, or where FOLDER points."""
    if FOLDER in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="matplotlib.") as scratch:
        os.environ[FOLDER] = scratch
        try:
            yield
        finally:
            del os.environ[FOLDER]
