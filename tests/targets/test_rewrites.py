"""The stored measurement that switches a target's rewrites on."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from targets.base import RunConfig
from targets.rewrites import RewriteRow, Rewrites, Sample, read_rewrites
from targets.table import TARGETS

ROOT = Path(__file__).resolve().parents[2] / "targets"
MEASURED = Sample(model="m", sites=2, ratio=0.9, quartiles=(0.88, 0.93))


def rewrites(*rows: RewriteRow) -> Rewrites:
    """Rows that hold for a CPU."""
    return Rewrites(device="CPU", measured_on="x", runtime="y", clock="wall", command="z", rows=rows)


def test_those_that_are_on_run_in_order_on_the_device_they_were_measured_on() -> None:
    rows = [RewriteRow(name=name, on=name != "b", reason="r", samples=(MEASURED,)) for name in "cba"]
    assert rewrites(*rows).chosen("CPU") == ("c", "a")
    assert rewrites(*rows).chosen("GPU.0") == ()


def test_what_was_never_measured_cannot_be_on() -> None:
    with pytest.raises(ValidationError, match="a: on, but never measured"):
        rewrites(RewriteRow(name="a", on=True, reason="r"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_stored_rows_name_the_command_that_measures_again(name: str) -> None:
    stored = read_rewrites(ROOT / name)
    assert f"studies.rewrites --target {name}" in stored.command
    assert all(row.reason for row in stored.rows)
    assert all(
        sample.quartiles[0] <= sample.ratio <= sample.quartiles[1] for row in stored.rows for sample in row.samples
    )


def test_the_oracle_runs_the_graph_as_it_is() -> None:
    reference = TARGETS["reference"]
    assert reference.rewrites(reference.capabilities(RunConfig())) == ()


def test_an_emulated_jetson_has_nothing_switched_on() -> None:
    jetson = TARGETS["jetson"]
    assert jetson.rewrites(jetson.capabilities(RunConfig(device="emulation"))) == ()
