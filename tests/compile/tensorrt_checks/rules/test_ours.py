"""Our own graphs keep the rules, with either interface and in each precision."""

from pathlib import Path

import pytest

from bundle.formats.artifacts import Simplified
from calibration.sampling import CalibrationSet
from compile.quantize import quantize
from compile.stage.artifacts import variants_of
from compile.stage.graph_info import GRAPH_FILE
from compile.tensorrt_checks.check_build import ACCEPTED
from compile.tensorrt_checks.rules.accepted import read_accepted
from compile.tensorrt_checks.run import lint_file
from targets.base import RunConfig
from targets.table import TARGETS

pytestmark = pytest.mark.slow


def test_the_float_graph_breaks_no_rule(simplified: Simplified) -> None:
    assert lint_file(simplified.file(GRAPH_FILE)).findings == ()


@pytest.mark.parametrize("io", ["edge"], indirect=True)  # tests/compile/test_pipeline.py looks at the raw one
def test_every_graph_for_a_jetson_breaks_none_that_is_not_accepted(
    simplified: Simplified, calibration: CalibrationSet, tmp_path: Path
) -> None:
    target, run = TARGETS["jetson"], RunConfig(device="emulation", threads=1)
    quantized = quantize(simplified, calibration, tmp_path / "out", target, run, cache=tmp_path / "cache")
    for variant in variants_of(quantized):
        report = lint_file(quantized.file(variant.files[0]), read_accepted(target.folder / ACCEPTED))
        assert (report.errors, report.warnings) == ((), ())
