"""Random networks of linear maps with every operator kind, for property tests: any fan-out, any order, several grids and outputs.

A network of n steps is the start of the one of n + 1 steps with the same seed, but for its outputs: a test that fails shrinks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from hypothesis import strategies
from numpy.typing import NDArray

from tests.compile.folding import maps, moves
from tests.compile.folding.graphs import Builder, Item

MOST_STEPS = 24
UNREAD = 0.8  # how often a step reads a value that nothing reads yet
RESIZES = 2  # ONNX's reference interpolates in Python
Step = Callable[[Builder, Item], list[Item]]
STEPS: tuple[tuple[Step, int], ...] = (
    (maps.product, 6),
    (maps.gemm, 3),
    (maps.pointwise, 4),
    (maps.grouped, 2),
    (maps.wide, 1),
    (maps.einsum, 2),
    (maps.stacked_einsum, 1),
    (maps.stacked, 3),
    (maps.heads, 1),
    (maps.windows, 2),
    (maps.add, 6),
    (maps.multiply, 1),
    (maps.centre, 1),
    (maps.shift, 3),
    (maps.scale, 4),
    (maps.mask, 1),
    (maps.bend, 3),
    (maps.gate, 3),
    (maps.gates_in_a_row, 3),
    (maps.task_gates, 2),
    (maps.attention, 1),
    (moves.permute, 1),
    (moves.channels_last, 1),
    (moves.channels_first, 3),
    (moves.merge_places, 2),
    (moves.split_places, 2),
    (moves.squeeze, 1),
    (moves.unsqueeze, 1),
    (moves.expand, 1),
    (moves.cut, 2),
    (moves.split, 2),
    (moves.gather, 2),
    (moves.roll, 1),
    (moves.concat, 3),
    (moves.shuffle, 1),
    (moves.scramble, 1),
    (moves.pad, 1),
    (moves.pool, 2),
    (moves.pool_by_mean, 2),
    (moves.resize, 9),
    (moves.mean, 2),
    (moves.stack, 3),
    (moves.same, 1),
)
INPUTS: tuple[tuple[str, Sequence[int]], ...] = (
    ("nchw", (1, 3, 4, 4)),
    ("nchw", (1, 6, 2, 4)),
    ("nhwc", (1, 4, 4, 8)),
    ("hwc", (4, 2, 5)),
    ("lc", (16, 6)),
    ("nlc", (1, 8, 12)),
    ("nchw", (1, 4, 8, 8)),
)


class Network(NamedTuple):
    """A graph and what to feed it."""

    model: ir.Model
    feeds: dict[str, NDArray[np.float32]]


def random_network(seed: int, steps: int | None = None) -> Network:
    """Make a network of so many steps, or of a number that the seed decides."""
    count = int(np.random.default_rng([seed, 1]).integers(2, MOST_STEPS)) if steps is None else steps
    b = Builder(seed)
    for _ in range(b.pick(1, 2)):
        b.items.append(b.add_input(*INPUTS[b.pick(0, len(INPUTS) - 1)]))
    for _ in range(count):
        b.items += _step(b)
    for item in _outputs(b, np.random.default_rng([seed, 2])):
        b.graph.outputs.append(item.value)
    rng = np.random.default_rng([seed, 3])
    feeds = {str(value.name): rng.normal(size=value.shape.numpy()).astype(np.float32) for value in b.graph.inputs}  # type: ignore[union-attr]
    return Network(b.model(), feeds)


def _step(b: Builder) -> list[Item]:
    """One step that fits a value, of the kinds as often as the table says."""
    unread = [item for item in b.items if not item.value.uses()]
    pool = unread if unread and b.chance(UNREAD) else b.items
    item = pool[b.pick(0, len(pool) - 1)]
    weights = np.array([weight for _, weight in STEPS], float)
    for place in b.rng.choice(len(STEPS), len(STEPS), replace=False, p=weights / weights.sum()):
        step = STEPS[place][0]
        if step is moves.resize and sum(node.op_type == "Resize" for node in b.graph) >= RESIZES:
            continue
        if made := step(b, item):
            return made
    raise AssertionError("Identity fits every value")


def _outputs(b: Builder, rng: np.random.Generator) -> list[Item]:
    """What nothing reads, and some of what is read."""
    made = [item for item in b.items if item.value.producer() is not None]
    found = [item for item in made if not item.value.uses() or rng.random() < 0.1]
    return found or made[-1:]


networks = strategies.builds(random_network, strategies.integers(0, 2**32 - 1), strategies.integers(1, MOST_STEPS))
