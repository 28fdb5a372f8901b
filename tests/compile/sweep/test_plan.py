"""What a sweep builds, and what its file may say."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from compile.stage.config import EvaluationConfig
from compile.sweep.plan import read_sweep, units_of

WHOLE = """
targets = ["jetson", "intel"]
seeds = [0, 7]
out = "there"
[build]
data = "scenes"
threads = 1
evaluation.count = 9
[models.small]
checkpoint = "a"
[models.foreign]
network = "b.onnx"
tasks = "tasks.toml"
[variants.plain]
[variants.strict]
budgets = "strict"
evaluation.hard = 2
"""


def written(folder: Path, text: str) -> Path:
    """Write a sweep's file."""
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_every_model_meets_every_target_variant_and_seed(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    units = {unit.name: unit.config for unit in units_of(read_sweep(path), path)}
    assert len(units) == 2 * 2 * 2 * 2 and list(units)[:3] == [
        "small/jetson/plain/0",
        "small/jetson/plain/7",
        "small/jetson/strict/0",
    ]
    one = units["foreign/intel/strict/7"]
    assert (one.target, one.seed, one.budgets, one.threads) == ("intel", 7, "strict", 1)
    assert one.evaluation == EvaluationConfig(count=9, hard=2) and one.network == Path("b.onnx").resolve()
    assert units["small/jetson/plain/0"].checkpoint == Path("a").resolve()
    assert len({config.out for config in units.values()}) == 16
    assert {config.store for config in units.values()} == {str(Path("there/.store").resolve())}


def test_a_url_is_taken_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, 'store = "s3://stages/sweep"\n' + WHOLE)
    assert {unit.config.store for unit in units_of(read_sweep(path), path)} == {"s3://stages/sweep"}


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("seeds", "seed", "seed: is no key here"),
        ('targets = ["jetson", "intel"]', "targets = []", "targets"),
        ("[models.small]", "[models.'a/b']", "models"),
        ("threads = 1", "thread = 1", "thread: is no key here"),
        ("threads = 1", "seed = 1", "seed"),
        ("threads = 1", 'out = "x"', "out"),
        ("threads = 1", "threads = -1", "threads"),
        ("[0, 7]", "[-1]", "seeds"),
    ],
)
def test_what_is_no_sweep_is_refused_by_name(tmp_path: Path, before: str, after: str, text: str) -> None:
    path = written(tmp_path, WHOLE.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        units_of(read_sweep(path), path)
    assert text in f"{caught.value.message} {caught.value.got}" and str(path) in caught.value.where
