"""The decisions of a fold, summed by rule."""

from bundle.base.frozen import Frozen
from bundle.formats.fold import FoldRecord


class FoldRule(Frozen):
    """All decisions of one rule together; ``max_abs_error`` is the largest that was recorded."""

    rule: str
    folded: int
    kept: int
    approximate: int
    max_abs_error: float | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int


def fold_rules(lines: tuple[FoldRecord, ...]) -> tuple[FoldRule, ...]:
    """Sum the decisions by rule, in the order in which the rules first appear."""
    groups: dict[str, list[FoldRecord]] = {}
    for line in lines:
        groups.setdefault(line.rule, []).append(line)
    return tuple(_sum(rule, group) for rule, group in groups.items())


def _sum(rule: str, group: list[FoldRecord]) -> FoldRule:
    folded = [line for line in group if line.decision == "folded"]
    errors = [line.max_abs_error for line in folded if line.max_abs_error is not None]
    return FoldRule(
        rule=rule,
        folded=len(folded),
        kept=len(group) - len(folded),
        approximate=sum(not line.exact for line in folded),
        max_abs_error=max(errors, default=None),
        params_before=sum(line.params_before for line in group),
        params_after=sum(line.params_after for line in group),
        macs_before=sum(line.macs_before for line in group),
        macs_after=sum(line.macs_after for line in group),
    )
