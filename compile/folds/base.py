"""The contract of a fold, the step that a plan keeps of it, and the line that each of its decisions leaves in fold.json."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from pydantic import Field
from torch import nn

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


class FoldRecord(Frozen):
    """One line of fold.json.

    ``max_abs_error`` is the largest absolute change of any output, in float64 on real images, that all exact rewrites
    of the plan caused together (0 where nothing was rewritten). ``params``, ``macs`` and ``bytes`` (moved for one image,
    see compile/folds/cost.py) are those of the modules touched. ``drops`` of an approximate rewrite are the relative drops
    of each task that it caused on the search images, alone.
    """

    module: str
    rule: str
    decision: Literal["folded", "kept"]
    reason: str
    exact: bool
    max_abs_error: float
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    keep: tuple[int, ...] = ()
    form: str = ""
    drops: dict[str, float] = Field(default_factory=dict)

    @property
    def step(self) -> Step:
        """The step that repeats this decision."""
        return Step(rule=self.rule, module=self.module, keep=self.keep, form=self.form)


def set_module(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put ``new`` in the place of the submodule at the dotted ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)
