"""Remove skills that add nothing, and banks that are left without any.

    before   Δ_t = α Σ_e g_t,e B_e σ(A_e n)
    after    the same sum over the skills for which neither A_e nor B_e is zero, nor a static g_t,e for every task

σ(0) = 0 for all three activations, so a skill with A_e = 0 has u_e = 0, as long as no norm gave A_e a bias. The softmax of a dynamic gate still runs over all
skills: its other values must not change. Only zeros count; skills of tiny weight are compile/freeze.py's, as an approximation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compile.folds.base import Candidate, Step
from compile.folds.gates import DeadBank, constant_of, is_static, pick, tasks_of
from tdss.adapters.tdss import SkillBank
from tdss.linears import linear_of, set_module
from tdss.model import MultiTaskModel

BIASED = "a projection of its skills has a bias: dead skills leave before norms are folded"


class FoldDeadSkills:
    """Skills with zero weights, or a zero gate in every task, out of their bank."""

    name = "dead_skills"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every bank with a dead skill."""
        for path, bank in model.named_modules():
            if not isinstance(bank, SkillBank):
                continue
            if _biased(bank):
                yield Candidate(path, "kept", BIASED, (path,))
                continue
            keep = tuple(int(skill) for skill in live_skills(bank).nonzero())
            count = bank.up.in_features // bank.rank
            if len(keep) < count:
                reason = f"{count - len(keep)} of {count} skills have zero weights, or a zero gate in every task"
                yield Candidate(path, "folded", reason, (path,), keep)

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Keep the skills in ``step.keep``; a bank that keeps none becomes a ``DeadBank``."""
        bank = model.get_submodule(step.module)
        if not isinstance(bank, SkillBank):
            raise TypeError(f"{step.module} is no SkillBank")
        if not step.keep:
            set_module(model, step.module, DeadBank(tasks_of(bank)))
            return
        if _biased(bank):
            raise TypeError(f"{step.module}: {BIASED}")
        bank.gate = pick(bank.gate, step.keep)  # type: ignore[assignment]
        bank.down = linear_of(_by_skill(bank.down.weight, bank.rank)[list(step.keep)].flatten(0, 1))
        columns = _by_skill(bank.up.weight.T, bank.rank)[list(step.keep)].flatten(0, 1).T
        bank.up = linear_of(columns.contiguous())


def live_skills(bank: SkillBank) -> Tensor:
    """Say which skills can add something: bool ``[experts]``."""
    down, up = (_by_skill(weight, bank.rank) for weight in (bank.down.weight, bank.up.weight.T))
    live = torch.logical_and((down != 0).any(2).any(1), (up != 0).any(2).any(1))
    if is_static(bank.gate):
        live = torch.logical_and(live, (constant_of(bank.gate) != 0).any(0))
    return live


def _biased(bank: SkillBank) -> bool:
    return any("bias" in linear.state_dict() for linear in (bank.down, bank.up))


def _by_skill(rows: Tensor, rank: int) -> Tensor:
    split: Tensor = rows.detach().unflatten(0, (-1, rank))
    return split
