"""A build's configuration from a file and from options."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from compile.stage.config import load_config


def test_options_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "build.toml"
    path.write_text(
        'target = "intel"\nio = "edge"\nbudgets = {depth = 0.02}\n[calibration]\nsplit = "train"\ncount = 8\n'
    )
    config = load_config(path, {"target": "jetson", "calibration.count": 9, "seed": 4})
    assert (config.target, config.io, config.seed) == ("jetson", "edge", 4)
    assert (config.calibration.split, config.calibration.count) == ("train", 9)
    assert config.budgets == {"depth": 0.02}


def test_a_dotted_option_alone_keeps_the_other_defaults() -> None:
    config = load_config(None, {"target": "intel", "evaluation.split": "test"})
    assert (config.evaluation.split, config.evaluation.count) == ("test", 100)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('target = "intel"\nprecision = "int8"\n', "precision"),
        ('target = "intel"\n[calibration]\nimages = 3\n', "calibration.images"),
        ('target = "intel"\n[calibration]\ncount = 0\n', "calibration.count"),
        ('target = "intel"\nio = "tensor"\n', "io"),
        ('target = "intel"\nbudgets = {depth = -1.0}\n', "budgets"),
        ('target = "intel"\nbudgets = {depth = inf}\n', "budgets"),
        ('target = "intel"\nbudgets = {depth = nan}\n', "budgets"),
        ('target = "intel"\nbudgets = {depth = 0.0}\n', "budgets"),
        ('target = "intel"\nseed = -1\n', "seed"),
        ('target = "intel"\nseed = 4294967296\n', "seed"),
        ('target = "intel"\nseed = true\n', "seed"),
        ('target = "intel"\nthreads = 1000000000\n', "threads"),
        ('target = "intel"\n[calibration]\ncount = 10000000000\n', "calibration.count"),
        ('target = "intel"\n[timing]\nruns = 0\n', "timing.runs"),
        ('target = "intel"\n[timing]\ngain = nan\n', "timing.gain"),
        ('target = "intel"\n[search]\nmargin = inf\n', "search.margin"),
        ('io = "raw"\n', "target"),
        ("target = \n", "TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_key(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "build.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert named in f"{caught.value.got} {caught.value.expected}" and str(path) in caught.value.where
    assert caught.value.exit_code == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        load_config(tmp_path / "none.toml", {})
