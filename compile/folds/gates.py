"""Gates that a rewrite leaves behind, and a bank that is left without any skill.

ConstantGate    g_t = ĉ_t for every image
PickedGate      g_t = (softmax(ℓ_t)_e, e in kept)    ℓ the logits of all skills: what is kept is not normalised again
DeadBank        Δ_t = 0
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdss.adapters.tdss import DynamicGate, SkillBank, StaticGate


class ConstantGate(nn.Module):
    """A gate that is the same for every image: ``values`` is ``[tasks, experts]``."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach())

    def keep(self, places: Sequence[int]) -> None:
        """Keep the rows of these tasks."""
        self.values = nn.Parameter(self.values.detach()[list(places)])

    def forward(self, n: Tensor) -> Tensor:
        """Return the gate ``[1, tasks, experts]``; the block's input is not read."""
        return self.values[None]


class PickedGate(nn.Module):
    """A dynamic gate whose softmax runs over all skills and of whose values only those in ``kept`` are used."""

    def __init__(self, gate: DynamicGate, kept: Sequence[int]) -> None:
        super().__init__()
        self.gate = gate
        self.kept = tuple(kept)

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to the gate ``[batch, tasks, kept]``."""
        values = self.gate(n)
        return torch.stack([values[..., skill] for skill in self.kept], -1)


class DeadBank(nn.Module):
    """A skill bank that adds nothing for any of its ``tasks``."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, n: Tensor) -> list[Tensor]:
        """Return Δ = 0 for each task, of the shape of the block's input."""
        return [torch.zeros_like(n)] * self.tasks


def is_static(gate: nn.Module) -> bool:
    """Say whether a gate's value is the same for every image, by construction."""
    inner = gate.gate if isinstance(gate, PickedGate) else gate
    return isinstance(inner, StaticGate | ConstantGate)


def constant_of(gate: nn.Module) -> Tensor:
    """Return the value of a static gate, ``[tasks, experts]``."""
    if not is_static(gate):
        raise TypeError("the gate depends on the image")
    value: Tensor = gate(torch.empty(0))[0]
    return value.detach()


def pick(gate: nn.Module, kept: Sequence[int]) -> nn.Module:
    """Return a gate with the values of the skills in ``kept`` only; they are not normalised again.

    ``kept`` counts the values that ``gate`` answers, also where it was picked from before.
    """
    if is_static(gate):
        return ConstantGate(constant_of(gate)[:, list(kept)])
    if isinstance(gate, PickedGate):
        return PickedGate(gate.gate, [gate.kept[place] for place in kept])
    if not isinstance(gate, DynamicGate):
        raise TypeError(f"{type(gate).__name__} is no gate of skills")
    return PickedGate(gate, kept)


def tasks_of(bank: SkillBank) -> int:
    """Return how many tasks a bank's gate mixes for."""
    gate = bank.gate.gate if isinstance(bank.gate, PickedGate) else bank.gate
    if isinstance(gate, DynamicGate):
        return gate.tasks
    return len(constant_of(gate))
