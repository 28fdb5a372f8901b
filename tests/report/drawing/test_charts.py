import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.judging.verdict import Verdict
from report.drawing.charts import BEST, MARKERS, WORST, Drop, bar, budget_scale, drop_row


def row(low: float, value: float, high: float, verdict: Verdict = "pass") -> Drop:
    return Drop(label="t", value=value, low=low, high=high, verdict=verdict)


def parts(drawn: str, kind: str) -> list[Mapping[str, str]]:
    return [part.attrib for part in ElementTree.fromstring(drawn).iter() if part.get("class", "").split()[:1] == [kind]]


def position(value: str) -> float:
    return float(value.removesuffix("%"))


def test_the_scale_always_shows_no_drop_and_the_budget() -> None:
    scale = budget_scale(())
    assert (scale.low, scale.high, scale.ticks) == (-1.0, 2.0, (-1.0, 0.0, 1.0, 2.0))


def test_the_scale_grows_with_the_intervals_up_to_a_limit() -> None:
    assert budget_scale((row(-1.5, 0.0, 2.2),)).ticks == (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    assert (budget_scale((row(-90, 0, 90),)).low, budget_scale((row(-90, 0, 90),)).high) == (BEST, WORST)


ENDS = st.floats(-50, 50)


@settings(deadline=None)
@given(st.lists(st.tuples(ENDS, ENDS, ENDS).map(sorted), min_size=1, max_size=6))
def test_positions_keep_the_order(triples: list[list[float]]) -> None:
    rows = tuple(row(*triple) for triple in triples)
    scale = budget_scale(rows)
    for one in rows:
        assert 0 <= scale.at(one.low) <= scale.at(one.value) <= scale.at(one.high) <= 100
        [span] = parts(drop_row(one, scale, "said"), "span")
        assert (position(span["x1"]), position(span["x2"])) == (scale.at(one.low), scale.at(one.high))


@pytest.mark.parametrize("high", [0.5, 0.999, 1.001, 1.7])
def test_an_interval_ends_beyond_the_line_only_if_it_is_beyond_the_budget(high: float) -> None:
    one = row(0.1, 0.4, high)
    drawn = drop_row(one, budget_scale((one,)), "said")
    [line], [span] = parts(drawn, "budget"), parts(drawn, "span")
    assert (position(span["x2"]) > position(line["x1"])) == (high > 1)


@pytest.mark.parametrize("verdict", list(MARKERS))
def test_each_verdict_has_its_own_shape(verdict: Verdict) -> None:
    one = row(0.1, 0.2, 0.3, verdict)
    [mark] = parts(drop_row(one, budget_scale((one,)), "said"), "mark")
    assert mark["d"] == MARKERS[verdict] and len(set(MARKERS.values())) == len(MARKERS)


def test_a_drop_off_the_chart_becomes_an_arrow() -> None:
    one = row(8.0, 10.0, 12.0, "regression")
    drawn = drop_row(one, budget_scale((one,)), "said")
    assert parts(drawn, "mark") == []
    assert {cap["d"] for cap in parts(drawn, "cap")} == {"M-9,-6L-2,0L-9,6"}


def test_what_is_said_is_escaped() -> None:
    hostile = "\"><script>alert('x')</script>&"
    for drawn in (drop_row(row(0, 0, 0), budget_scale(()), hostile), bar(0.5, "shipped", hostile)):
        assert ElementTree.fromstring(drawn).get("aria-label") == hostile
        assert "<script" not in drawn


def test_a_bar_is_its_share_of_the_width() -> None:
    [drawn] = parts(bar(0.625, "shipped", "said"), "shipped")
    assert drawn["width"] == "62.5%"
    assert parts(bar(7.0, "other", "said"), "other")[0]["width"] == "100.0%"
