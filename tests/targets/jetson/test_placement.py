"""The stored measurement that decides where the quantizers stand."""

import pytest
from pydantic import ValidationError

from compile.graphs.passes.table import PASSES
from studies.placement import CANDIDATES, CLOSE, COMMAND, PLAN_ONLY, decide
from targets.base import RunConfig
from targets.jetson.placement import Candidate, Placement, Plan, read_placement
from targets.jetson.target import JETSON

STORED = read_placement()


def plan(fused: int, moved_mb: float) -> tuple[Plan, ...]:
    return (
        Plan(
            model="m",
            kernels=9,
            attentions=12,
            fused=fused,
            moved_mb=moved_mb,
            weight_mb=1.0,
            int8_share=0.5,
            sqnr_db=30.0,
        ),
    )


def test_the_row_that_is_on_is_what_a_build_runs_and_has_the_best_plan() -> None:
    assert set(STORED.chosen.passes) <= set(JETSON.passes) <= set(PASSES)
    assert JETSON.scheme(JETSON.capabilities(RunConfig(device="emulation"))).heads == STORED.chosen.heads
    assert STORED.command == COMMAND and "8.7" in STORED.caveat
    assert decide({row.name: row.plans for row in STORED.rows}) == STORED.rows
    for index, mine in enumerate(STORED.chosen.plans):
        assert mine.fused == STORED.f16[index].fused
        assert mine.kernels < STORED.f16[index].kernels and mine.moved_mb < STORED.f16[index].moved_mb


@pytest.mark.parametrize(
    ("plans", "on"),
    [
        ([(0, 90.0), (12, 108.0), (12, 101.0), (12, 108.0), (12, 100.0)], "float_query"),
        ([(0, 90.0), (12, 108.0), (12, 101.0), (12, 108.0), (12, 96.0)], "float_query_and_heads"),
        ([(0, 90.0), (12, 101.0 * CLOSE - 0.1), (12, 101.0), (12, 103.0), (12, 101.0)], "float_attention"),
        ([(12, 102.0), (12, 101.0), (12, 101.0), (12, 101.0), (12, 101.0)], "as_calibrated"),
        ([(11, 50.0), (12, 101.0), (12, 101.0), (12, 101.0), (12, 101.0)], "float_attention"),
    ],
)
def test_the_simplest_with_as_many_fused_and_bytes_close_to_the_best_is_on(
    plans: list[tuple[int, float]], on: str
) -> None:
    rows = decide({name: plan(*one) for name, one in zip((*CANDIDATES, PLAN_ONLY), [*plans, (12, 1.0)], strict=True)})
    assert [row.name for row in rows if row.on] == [on]


def test_exactly_one_row_is_on_and_was_measured() -> None:
    row = Candidate(name="a", passes=(), heads="int8", on=True, reason="r", plans=())
    for rows in ((), (row,), (row.model_copy(update={"plans": plan(1, 1.0)}),) * 2):
        with pytest.raises(ValidationError, match="one measured row is on"):
            Placement(builder="b", caveat="c", command="d", f16=(), rows=rows)
