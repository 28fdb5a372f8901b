"""Sums that a build or a device writes down are the same with any number of threads."""

import os
import subprocess

from bundle.base.isolated import program

SUMS = """
import numpy as np
from bundle.tasks.agreement import energy
from bundle.tasks.metrics import RmseM
from compile.stage.compare import compare
drawn = np.random.default_rng(0).random((2, 1, 1500, 1000), dtype=np.float32)
print(energy(*drawn).tobytes().hex(), RmseM().per_image(*drawn).tobytes().hex())
print(compare([{"depth": drawn[0]}], [{"depth": drawn[1]}])[0].relative.hex())
"""


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    """NumPy's ``@`` of two vectors depends on it, where there is more than one processor."""
    seen = {
        subprocess.run(
            program(SUMS),
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(seen) == 1
