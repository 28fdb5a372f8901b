"""How much a module's answer changes over the calibration images, and what replacing it by its mean does to the outputs.

mean     y̅, elementwise over images; the number told is the mean of all its elements
spread   √(Σ_i ‖y_i − y̅‖² / Σ_i ‖y_i‖²): 0 where every image gives the same, near 1 where none resembles another
effect   the largest relative change of an output, ‖z' − z‖ / ‖z‖ over the images and tasks, with y̅ in the place of y
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Outputs = list[dict[str, Tensor]]


def run(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Return the raw outputs by task, ``[batch, channels, H, W]``."""
    with torch.no_grad():
        outputs: dict[str, Tensor] = model(batch)
    return outputs


class Spread(NamedTuple):
    """What was measured of one module; ``average`` is y̅ in the shape of its answer for one image."""

    mean: float
    spread: float
    average: Tensor


class _Sums:
    """Running sums of one module's answers, one answer per image."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.squares = 0.0
        self.calls = 0

    def add(self, answer: Tensor) -> None:
        self.calls += 1
        self.squares += float(answer.double().square().sum())
        self.total = answer.clone() if self.total is None else self.total + answer


def measure_spread(model: nn.Module, images: Sequence[Tensor], modules: Sequence[str]) -> dict[str, Spread]:
    """Measure ``modules`` of a float32 model on images ``[1, 3, H, W]``; one that runs several times is left out."""
    sums = {path: _Sums() for path in modules}
    handles = [model.get_submodule(path).register_forward_hook(_adding(sums[path])) for path in modules]
    try:
        for image in images:
            run(model, image)
    finally:
        for handle in handles:
            handle.remove()
    return {path: _spread(part) for path, part in sums.items() if part.calls == len(images)}


def measure_effect(
    model: nn.Module, images: Sequence[Tensor], reference: Outputs, path: str, average: Tensor
) -> tuple[float, str]:
    """Return the effect of putting ``average`` in the place of what ``path`` answers, and the task it is largest on."""
    with replaced(model, path, average):
        changed = [run(model, image) for image in images]
    effects = {
        task: _relative([one[task] for one in changed], [one[task] for one in reference]) for task in reference[0]
    }
    worst = max(effects, key=lambda task: effects[task])
    return effects[worst], worst


@contextmanager
def replaced(model: nn.Module, path: str, average: Tensor) -> Iterator[None]:
    """Let a module answer ``average`` within the block."""

    def answer(module: nn.Module, inputs: Any, output: Any) -> Any:
        return list(average) if isinstance(output, list) else average

    handle = model.get_submodule(path).register_forward_hook(answer)
    try:
        yield
    finally:
        handle.remove()


def _adding(sums: _Sums) -> Any:
    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        sums.add(torch.stack(output) if isinstance(output, list) else output)

    return add


def _spread(sums: _Sums) -> Spread:
    assert sums.total is not None
    average = sums.total / sums.calls
    common = sums.calls * float(average.double().square().sum())
    spread = max(sums.squares - common, 0.0) / sums.squares if sums.squares else 0.0
    return Spread(mean=float(average.mean()), spread=spread**0.5, average=average)


def _relative(changed: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    difference = sum(float((a - b).double().square().sum()) for a, b in zip(changed, reference, strict=True))
    return float((difference / max(sum(float(b.double().square().sum()) for b in reference), 1e-30)) ** 0.5)


def run_all(model: nn.Module, images: Sequence[Tensor]) -> Outputs:
    """Return the outputs for each image."""
    return [run(model, image) for image in images]
