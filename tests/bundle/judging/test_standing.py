"""Where verdicts stand together, in the words that every place uses."""

import pytest

from bundle.judging.standing import against, label, standing, summary, undecided, variant_summary
from bundle.judging.verdict import Verdict

Verdicts = dict[str, Verdict]
FINE: Verdicts = {"depth": "pass", "edge": "pass"}
OPEN: Verdicts = {"depth": "inconclusive", "edge": "inconclusive", "normals": "pass"}
BAD: Verdicts = {"depth": "inconclusive", "edge": "regression"}
BETTER: Verdicts = {"depth": "improvement", "edge": "pass"}


def test_one_verdict_that_is_no_pass_is_enough() -> None:
    assert [standing(one) for one in (FINE, OPEN, BAD, BETTER)] == ["within", "undecided", "beyond", "beyond"]
    assert undecided(OPEN) == ("depth", "edge")


@pytest.mark.parametrize("accepted", [True, False])
def test_only_passes_are_said_to_be_within_a_budget(accepted: bool) -> None:
    for said in (summary, variant_summary, label):
        assert "within its budget" in said(FINE, accepted=accepted)
        for verdicts in (OPEN, BAD, BETTER):
            text = said(verdicts, accepted=accepted)
            assert "within its budget" not in text or text.startswith("not ")
    assert against(FINE, accepted=accepted) == "no task is worse by more than its budget"
    assert "no task is worse" not in against(OPEN, accepted=accepted)


def test_what_is_undecided_and_allowed_is_named() -> None:
    told = "2 tasks undecided, allowed by --allow-inconclusive: depth, edge"
    assert summary(OPEN, accepted=True) == variant_summary(OPEN, accepted=True) == against(OPEN, accepted=True) == told
    assert "allowed" not in summary(OPEN, accepted=False) and "allowed" not in summary(BAD, accepted=True)
    assert (
        variant_summary(BAD, accepted=True) == "not shown to be within its budgets: depth inconclusive, edge regression"
    )
