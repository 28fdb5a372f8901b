"""Calibrations that are kept: made once, made again where they are damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.formats.artifacts import SIDECAR, Simplified
from calibration.sampling import CalibrationSet, from_folder
from compile.quantization import nncf_calibration as calibrate
from compile.quantization.formats import ONNX
from compile.stage.graph_info import GRAPH_FILE, graph_info
from targets.base import RunConfig
from targets.table import TARGETS
from tests.compile import made

RUN = RunConfig(threads=1)
RAW = pytest.mark.parametrize("io", ["raw"], indirect=True)


@pytest.fixture(scope="module")
def drawn(scenes: Path) -> CalibrationSet:
    """Calibration images that have labels."""
    return from_folder(scenes, "val", 4, seed=0, preprocess=made.INFO["raw"].preprocess)


def _flip(entry: Path) -> None:
    content = bytearray((entry / "calibrated.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (entry / "calibrated.onnx").write_bytes(content)


@RAW
def test_a_damaged_calibration_is_made_again(
    simplified: Simplified,
    drawn: CalibrationSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def written(request: calibrate.CalibrationRequest, path: Path) -> None:
        path.write_bytes(b"a graph with quantizers")

    monkeypatch.setattr(calibrate, "write_calibrated", written)
    target = TARGETS["jetson"]
    scheme = target.scheme(target.capabilities(RUN))
    request = calibrate.CalibrationRequest(simplified.file(GRAPH_FILE), graph_info(simplified), drawn, scheme, ONNX)
    path = calibrate.calibrate(request, tmp_path)
    damages: dict[str, Callable[[Path], object]] = {
        "calibrated.onnx was altered": _flip,
        "calibrated.onnx is missing": lambda entry: path.unlink(),
        "artifact.json cannot be read": lambda entry: (entry / SIDECAR).write_bytes(b"\xff{"),
    }
    for said, damage in damages.items():
        damage(path.parent)
        assert calibrate.calibrate(request, tmp_path) == path and path.read_bytes() == b"a graph with quantizers"
        assert capsys.readouterr().err == f"calibrate: {said} in {path.parent.name}: made again\n"


@pytest.mark.slow
@RAW
def test_a_calibration_is_made_once(
    simplified: Simplified,
    drawn: CalibrationSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = TARGETS["jetson"]
    scheme = target.scheme(target.capabilities(RUN))
    request = calibrate.CalibrationRequest(simplified.file(GRAPH_FILE), graph_info(simplified), drawn, scheme, ONNX)
    first = calibrate.calibrate(request, tmp_path)
    monkeypatch.setattr(calibrate, "run_nncf", None)
    assert calibrate.calibrate(request, tmp_path) == first
    assert not capsys.readouterr().err
    key = calibrate.cache_key(request)
    assert first == (tmp_path / "calibrate" / key.digest / "calibrated.onnx")
    changed = [
        request._replace(scheme=scheme.model_copy(update={"smooth_quant_alpha": 0.5})),
        request._replace(calibration=drawn.model_copy(update={"ids": drawn.ids[::-1]})),
        request._replace(calibration=drawn.model_copy(update={"paths": drawn.paths[::-1]})),
        request._replace(format=TARGETS["intel"].own_format),
        request._replace(threads=1),
    ]
    assert len({calibrate.cache_key(one).digest for one in (request, *changed)}) == 6
    monkeypatch.setattr(calibrate, "ignored_nodes", lambda path, scheme: {"decoder.depth": "a test"})
    assert calibrate.cache_key(request).digest != key.digest
