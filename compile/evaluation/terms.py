"""Which tasks are judged by agreement, and each task's budget: what is known once the reference was measured."""

from typing import NamedTuple

from bundle.formats.contents import VECTORS
from bundle.formats.manifest import default_budgets
from bundle.formats.vectors import Vectors
from bundle.tasks.table import task
from compile.evaluation.build_context import BuildContext
from compile.stage.artifacts import ReferenceVectors

NEAR_ZERO = 0.05
"""A metric of which more is better, and of which the reference has less than this, is of a network that was made for other data."""


class Terms(NamedTuple):
    """The tasks that are judged by agreement with the reference, and the largest tolerated drop of each task."""

    agreement: tuple[str, ...]
    budgets: dict[str, float]


def terms_of(context: BuildContext, vectors: ReferenceVectors) -> Terms:
    """Judge a network's task by agreement where it has no labels, or where the reference itself is near 0 against them."""
    subject, config = context.subject, context.config
    if subject.network is None:
        return Terms((), context.budgets)
    with Vectors(vectors.file(VECTORS)) as opened:
        poor = tuple(name for name in subject.labelled if _near_zero(opened, name, subject.tasks[name]))
    for name in poor:
        context.say(f"  {name}: the network's own metric is near 0 on these labels; it is judged by agreement")
    given = config.budgets if isinstance(config.budgets, dict) else {}
    own = default_budgets(poor, strict=config.budgets == "strict", agreement=poor)
    agreement = tuple(name for name in subject.tasks if name in (*subject.unlabelled, *poor))
    return Terms(agreement, context.budgets | {name: given.get(name, budget) for name, budget in own.items()})


def _near_zero(vectors: Vectors, name: str, channels: int) -> bool:
    row = task(name)
    value = row.judge(channels).reduce(vectors.metric(name)[vectors.counted].sum(axis=0))
    return value <= NEAR_ZERO if row.direction == "higher" else value == 0
