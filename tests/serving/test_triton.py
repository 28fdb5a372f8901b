"""A real Triton server answers bit for bit as the session that judges: in an environment of its own, named by TDSS_TRITON.

python -m venv DIR && DIR/bin/pip install -e '.[triton]'
TDSS_TRITON=DIR pytest -m slow tests/serving/test_triton.py
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bundle.formats.manifest import Bundle
from bundle.judging.frames import feed
from serving.write import write_serving
from targets.base import RunConfig
from targets.open import open_session

ENVIRONMENT = os.environ.get("TDSS_TRITON", "")
CLIENT = Path(__file__).parent / "triton_client.py"


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENT, reason="TDSS_TRITON names no environment with nvidia-pytriton and NumPy below 2")
@pytest.mark.parametrize("fixture", ["edge_bundle", "raw_bundle"])
def test_triton_answers_bit_for_bit_as_the_session(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Bundle = request.getfixturevalue(fixture)
    write_serving(bundle, "triton", tmp_path / "out", variant="")
    size = bundle.manifest.preprocess
    frame = np.random.default_rng(7).integers(0, 256, (size.height, size.width, 3)).astype(np.uint8)
    fed = feed(bundle.manifest, frame)
    session, _ = open_session(bundle, execute="device", variant="", run=RunConfig())
    with session:
        expected = session.infer(fed)
    np.save(tmp_path / "image.npy", fed["image"])
    python = Path(ENVIRONMENT) / "bin" / "python"
    words = [
        str(python),
        str(CLIENT),
        str(tmp_path / "out" / "python"),
        bundle.manifest.name,
        str(tmp_path / "image.npy"),
        str(tmp_path / "answers.npz"),
    ]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*words, *expected], capture_output=True, text=True, env=quiet, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1])["numpy"].startswith("1.")
    with np.load(tmp_path / "answers.npz") as answers:
        for name, wanted in expected.items():
            np.testing.assert_array_equal(answers[name], wanted, strict=True)
