"""What the gates of a graph are over the calibration images: how much these move them, and what a constant in their place changes.

    nearly static    putting its mean in its place changes no output by more than ``NEARLY``
    dynamic          anything else

effect    the largest relative change of an output, ‖z' − z‖ / ‖z‖ over the images, with the mean in the gate's place
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir

from bundle.base.frozen import Frozen
from compile.folding.static_gates import find_gates, freeze, measure_gates
from compile.stage.compare import Outputs, compare, run_model

Verdict: TypeAlias = Literal["nearly static", "dynamic"]
NEARLY = 0.01
EFFECT_IMAGES = 4


class Finding(Frozen):
    """What one gate is, by its tensor's name, and the numbers for it; ``output`` is the one that its mean changes most."""

    module: str
    gate: str
    verdict: Verdict
    reason: str
    mean: float
    spread: float
    effect: float
    output: str


def analyse(
    model: ir.Model, feeds: Sequence[Outputs], progress: Callable[[str], None], *, threads: int
) -> tuple[Finding, ...]:
    """Judge every gate of a float32 graph; nothing on fewer than two images: a single one's answer is its own mean."""
    gates = find_gates(model) if len(feeds) > 1 else []
    measured = measure_gates(model, gates, feeds, threads=threads) if gates else {}
    few = feeds[:EFFECT_IMAGES]
    reference = run_model(model, few, threads=threads) if gates else []
    found = []
    for gate in gates:
        progress(f"analysis: what {gate.tensor} changes")
        one = measured[gate.tensor]
        errors = compare(run_model(freeze(model, {gate.tensor: one.mean}), few, threads=threads), reference)
        worst = max(errors, key=lambda error: error.relative or 0.0)
        effect = float(worst.relative or 0.0)
        found.append(
            Finding(
                module=gate.module,
                gate=gate.tensor,
                verdict="nearly static" if effect <= NEARLY else "dynamic",
                reason=f"its mean changes {worst.output} most",
                mean=float(np.mean(one.mean)),
                spread=one.spread,
                effect=effect,
                output=worst.output,
            )
        )
    return tuple(found)
