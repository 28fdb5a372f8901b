"""Sentences come from fields: every rule, cause and reason has one, and an estimate shows two digits."""

from typing import get_args

import pytest

from bundle.judging.choice import Candidate, Choice, Rule, Skip
from bundle.judging.sentences import CAUSES, rounded, why_candidate, why_shipped
from bundle.judging.timing import Ratio
from bundle.judging.verdict import Cause


def candidate(name: str, latency_ms: float | None = 10.0, **more: object) -> Candidate:
    fields = {"verdicts": {"depth": "pass"}, "accepted": True, "standing": "within", **more}
    return Candidate.model_validate({"name": name, "latency_ms": latency_ms, **fields})


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_has_a_sentence(rule: Rule) -> None:
    candidates = (candidate("bf16"), candidate("int8", 9.5, over_shipped=Ratio(median=0.95, low=0.9, high=1.1)))
    choice = Choice(shipped="bf16", rule=rule, fastest="int8", eager_ms=None, candidates=candidates, only=("bf16",))
    others = {why_shipped(choice.model_copy(update={"rule": other})) for other in get_args(Rule) if other != rule}
    assert why_shipped(choice).startswith("of bf16, the others not tried: ") and why_shipped(choice) not in others


@pytest.mark.parametrize("skip", get_args(Skip))
def test_a_variant_that_was_not_judged_says_why(skip: Skip) -> None:
    one = Candidate(name="int8", latency_ms=None, verdicts={}, skipped=skip, error="no driver")
    choice = Choice(shipped="f32", rule="narrowest", eager_ms=None, candidates=(candidate("f32", None), one))
    expected = "not opened: no driver" if skip == "not_opened" else "not judged: "
    assert why_candidate(choice, one).startswith(expected)


def test_every_cause_has_a_sentence() -> None:
    assert set(CAUSES) == set(get_args(Cause))


@pytest.mark.parametrize(
    "changes", [{"shipped": "f16"}, {"fastest": "f16"}, {"candidates": (candidate("f32", None),)}, {"rule": "luck"}]
)
def test_a_choice_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    fields = {
        "shipped": "f32",
        "rule": "fastest",
        "fastest": "f32",
        "eager_ms": None,
        "candidates": (candidate("f32"),),
    }
    Choice.model_validate(fields)
    with pytest.raises(ValueError, match="Choice"):
        Choice.model_validate({**fields, **changes})


def test_an_estimate_is_written_with_two_digits() -> None:
    assert [rounded(number) for number in (7, 99, 123, 1_234, 98_765)] == ["7", "99", "120", "1,200", "99,000"]
