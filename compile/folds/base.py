"""The contract of a fold, and the step that a plan keeps of it."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from bundle.fold import FoldRecord
from bundle.frozen import Frozen
from tdss.model import MultiTaskModel


class Step(Frozen):
    """One rewrite of a plan: which rule, on which module, and what the rule chose there.

    ``keep`` are the indices of what stays (skills of a bank), ``form`` is the way of computing that was chosen. A plan is
    repeated on a model whose weights are not loaded yet, so a step says all that decides the shapes.
    """

    rule: str
    module: str
    keep: tuple[int, ...] = ()
    form: str = ""


class Candidate(NamedTuple):
    """A module that a fold looked at: folded or kept, and why. ``touches`` names every module it rewrites."""

    module: str
    decision: Literal["folded", "kept"]
    reason: str
    touches: tuple[str, ...]
    keep: tuple[int, ...] = ()
    form: str = ""


class Rewrite(Protocol):
    """What a plan's step names. ``apply`` changes the model it is given; the fold stage hands it a copy."""

    name: str

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Rewrite one module in place, in the model's own dtype; works on the meta device too."""


class Fold(Rewrite, Protocol):
    """One exact rewrite, which finds the modules it applies to."""

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every module this fold could rewrite, with the decision and its reason."""


def step_of(record: FoldRecord) -> Step:
    """Return the step that repeats a decision."""
    return Step(rule=record.rule, module=record.module, keep=record.keep, form=record.form)


def downsamplers_of(model: MultiTaskModel, stage: str) -> tuple[str, ...]:
    """Return the paths of the tasks' downsamplers that read the stage at a path that ends in its number."""
    index = stage.rpartition(".")[2]
    return tuple(f"decoders.{task}.downsamplers.{index}" for task in model.decoders)
