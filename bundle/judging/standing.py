"""A set of verdicts against the budgets, and the words for it: the terminal, the page and choice.json say the same.

``within``: every verdict is a pass. ``undecided``: none is beyond its budget, but the images cannot settle one or
more. Whoever judges may accept that (``--allow-inconclusive``); it never makes it ``within``. ``beyond``: the rest.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from bundle.judging.verdict import Verdict

Standing: TypeAlias = Literal["within", "undecided", "beyond"]
WITHIN = "every task is within its budget"
ALLOWED = "allowed by --allow-inconclusive"


def standing(verdicts: Mapping[str, Verdict]) -> Standing:
    """Sum up the verdicts of all tasks."""
    seen = set(verdicts.values())
    return "within" if seen <= {"pass"} else "undecided" if seen <= {"pass", "inconclusive"} else "beyond"


def undecided(verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """Return the tasks that the images cannot settle."""
    return tuple(name for name, verdict in verdicts.items() if verdict == "inconclusive")


def allowed(verdicts: Mapping[str, Verdict]) -> str:
    """Say which tasks are undecided and allowed: ``2 tasks undecided, allowed by --allow-inconclusive: saliency, edge``."""
    names = undecided(verdicts)
    return f"{len(names)} task{'s' * (len(names) != 1)} undecided, {ALLOWED}: {', '.join(names)}"


def summary(verdicts: Mapping[str, Verdict], *, accepted: bool) -> str:
    """Sum up all tasks in a few words; ``accepted`` is whether whoever judged lets these verdicts pass."""
    where = standing(verdicts)
    if where == "within":
        return WITHIN
    return allowed(verdicts) if accepted and where == "undecided" else "not every task is within its budget"


def variant_summary(verdicts: Mapping[str, Verdict], *, accepted: bool) -> str:
    """Say the same of a variant among others."""
    where = standing(verdicts)
    if where == "within":
        return "within its budgets"
    return (
        allowed(verdicts)
        if accepted and where == "undecided"
        else f"not shown to be within its budgets: {_beyond(verdicts)}"
    )


def label(verdicts: Mapping[str, Verdict], *, accepted: bool) -> str:
    """Say it in a table's cell, beside the cells of the tasks."""
    where = standing(verdicts)
    if where == "undecided":
        return "undecided, allowed" if accepted else "undecided"
    return "within its budgets" if where == "within" else "not within its budgets"


def against(verdicts: Mapping[str, Verdict], *, accepted: bool) -> str:
    """Say the same of a comparison with an earlier run."""
    where = standing(verdicts)
    if where == "within":
        return "no task is worse by more than its budget"
    return allowed(verdicts) if accepted and where == "undecided" else _beyond(verdicts)


def _beyond(verdicts: Mapping[str, Verdict]) -> str:
    return ", ".join(f"{name} {verdict}" for name, verdict in verdicts.items() if verdict != "pass")
