"""Files of other exporters that quantize once ended badly on: taken and measured, or refused by name with exit code 2."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.run import tdss

CASES = sorted((Path(__file__).parent / "quantize_cases").glob("*.onnx"))
REFUSED = {
    "already_uint8": "it is quantized already",
    "dropout_training": "it is in training mode",
    "duplicate_value": "cannot be read as ONNX",
}


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen smooth images of 64 × 64 pixels."""
    folder, random = tmp_path_factory.mktemp("smooth"), np.random.default_rng(3)
    for index in range(12):
        small = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("target", ["intel", "jetson"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_file_is_taken_or_refused(
    path: Path, target: str, smooth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", str(path), "--images", str(smooth), "--count", "8", "--out", str(tmp_path / "out"))
    code, out, error = tdss("quantize", "--target", target, *words, capsys=capsys)
    if path.stem in REFUSED:
        assert code == 2 and REFUSED[path.stem] in error and "fix:" in error
        assert not (tmp_path / "out").exists()
    else:
        assert code == 0 and "of the MACs in INT8" in out + error
        assert (tmp_path / "out" / "artifact.json").is_file()
