"""What work costs a target when a graph is folded: the stored measurements, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bundle.base.errors import ConfigError
from targets.folding import FILE, FoldingCost, Rates, RatesRow, Sample, rates_of, read_folding
from targets.table import TARGETS

ROOT = Path(__file__).resolve().parents[2] / "targets"
SAMPLE = Sample(model="m", variant="f32", graph="ab", macs=5, ratio=1.0)


def row(element: float, *, on: bool, graph: str = "ab") -> RatesRow:
    """A candidate."""
    return RatesRow(rates=Rates(element=element, operator=1.0, thin=2), on=on, mean=1.0, graphs={"m": graph})


def cost(*rows: RatesRow) -> FoldingCost:
    """A measurement of one graph."""
    return FoldingCost(
        measure="latency",
        measured_on="x",
        runtime="y",
        date="2026-01-01",
        command="z",
        reason="r",
        rows=rows,
        samples=(SAMPLE,),
    )


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_target_has_a_measurement_that_says_how_to_repeat_it(name: str) -> None:
    stored = read_folding(name)
    assert f"studies.rates --target {name} " in stored.command
    assert stored.measured_on and stored.runtime and stored.date
    measured = {(one.model, one.graph) for one in stored.samples}
    assert all(row.graphs.items() <= measured for row in stored.rows)
    assert all(one.quartiles is None or one.quartiles[0] <= one.ratio <= one.quartiles[1] for one in stored.samples)


def test_the_rates_are_those_of_the_row_that_is_on(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / FILE).write_text(cost(row(3.0, on=False), row(7.0, on=True)).model_dump_json())
    assert rates_of("mine", tmp_path) == Rates(element=7.0, operator=1.0, thin=2)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((row(3.0, on=False),), "one row is on, got 0"),
        ((row(3.0, on=True), row(7.0, on=True)), "one row is on, got 2"),
        ((row(3.0, on=True, graph="cd"),), "never measured"),
    ],
)
def test_exactly_one_row_is_on_and_was_measured(rows: tuple[RatesRow, ...], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        cost(*rows)


@pytest.mark.parametrize("text", ["", "{}", cost(row(3.0, on=True)).model_dump_json().replace("3.0", "-3.0")])
def test_a_file_of_another_form_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / FILE).write_text(text)
    with pytest.raises(ConfigError, match="the costs of mine cannot be read") as caught:
        rates_of("mine", tmp_path)
    assert caught.value.exit_code == 2 and FILE in caught.value.where


def test_an_unknown_target_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="there is no target 'tpu'"):
        rates_of("tpu")
