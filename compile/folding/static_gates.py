"""The gates of a graph: vectors that the image decides and that multiply maps. How much the image moves them, and constants instead.

mean     g̅, elementwise over images
spread   √(Σ_i ‖g_i − g̅‖² / Σ_i ‖g_i‖²): 0 where every image gives the same, near 1 where none resembles another

Which gates there are is read from the graph, so any file's are found: a softmax over skills, squeeze-and-excite, FiLM.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from compile.folding.linear.matrices import Array, Index
from compile.folding.reading.settle import replace, settle
from compile.folding.record import scope_of
from compile.graphs.nodes import add_constant, shape_of
from compile.graphs.pytorch.convert import values_of
from compile.stage.compare import Outputs, run_model


class Gate(NamedTuple):
    """A gate's tensor, and for every map that it multiplies which of its elements each channel is multiplied by, use by use.

    ``uses`` are ``[uses, channels of the map]``; −1 is zero.
    """

    tensor: str
    uses: tuple[Index, ...]

    @property
    def module(self) -> str:
        """The module scope that it comes from."""
        return scope_of(self.tensor)

    def heavy(self, mean: Array, bound: float) -> Index:
        """Return the elements that multiply a channel of which some element is ``bound`` or above."""
        weights, heavy = np.abs(mean.reshape(-1)), np.zeros(mean.size, bool)
        for uses in self.uses:
            weighs = (np.where(uses < 0, 0.0, weights[np.maximum(uses, 0)]) >= bound).any(axis=0)
            heavy[uses[:, weighs][uses[:, weighs] >= 0]] = True
        return np.flatnonzero(heavy)


class Measured(NamedTuple):
    """What a gate is on average over images, and how much they move it."""

    mean: Array
    spread: float


def find_gates(model: ir.Model) -> list[Gate]:
    """Return the gates of a graph, in its order."""
    settled = settle(model)
    network, values = settled.network, values_of(settled.model.graph)
    uses: dict[int, dict[int, list[Index]]] = {}
    for value in network.values:
        for term in value.terms:
            if term.factor is not None:
                uses.setdefault(term.factor.value, {}).setdefault(term.source, []).append(term.factor.channels)
    found = []
    for uid in sorted(uses):
        gate = network.values[uid]
        tensor = values.get(gate.name)
        if tensor is not None and tensor.producer() is not None and np.prod(shape_of(tensor) or (0,)) == gate.channels:
            found.append(Gate(gate.name, tuple(np.stack(maps) for maps in uses[uid].values())))
    return found


def measure_gates(
    model: ir.Model, gates: Sequence[Gate], feeds: Sequence[Outputs], *, threads: int
) -> dict[str, Measured]:
    """Measure every gate over images, in the shape of its tensor."""
    names = [gate.tensor for gate in gates]
    open_model, present = model.clone(), {output.name for output in model.graph.outputs}
    values = values_of(open_model.graph)
    open_model.graph.outputs.extend([values[name] for name in names if name not in present])
    runs = run_model(open_model, feeds, threads=threads)
    return {name: _measured([run[name].astype(np.float64) for run in runs]) for name in names}


def _measured(answers: Sequence[Array]) -> Measured:
    values = np.stack(answers)
    mean, whole = values.mean(0), float(np.square(values).sum())
    return Measured(mean, float(np.square(values - mean).sum() / whole) ** 0.5 if whole else 0.0)


def freeze(model: ir.Model, means: Mapping[str, Array]) -> ir.Model:
    """Return a copy in which gates are constants, in their tensors' type."""
    values = values_of(model.graph)
    kinds = {name: values[name].dtype or ir.DataType.FLOAT for name in means}
    return replace(model, {name: mean.astype(kinds[name].numpy()) for name, mean in means.items()})


def mask(model: ir.Model, tensor: str, kept: Index) -> ir.Model:
    """Return a copy in which all but some elements of a gate are zero."""
    model = model.clone()
    gate = values_of(model.graph)[tensor]
    node, kind = gate.producer(), gate.dtype or ir.DataType.FLOAT
    if node is None:
        raise AssertionError(f"{tensor} is not computed")
    ones = np.zeros(shape_of(gate) or (), kind.numpy())
    ones.reshape(-1)[kept] = 1
    uses = tuple(gate.uses())
    masked = ir.Node("", "Mul", [gate, add_constant(model, f"{tensor}/kept", ones)], name=f"{tensor}/masked")
    masked.outputs[0].name, masked.outputs[0].type, masked.outputs[0].shape = f"{tensor}/masked", gate.type, gate.shape
    for user, index in uses:
        user.replace_input_with(index, masked.outputs[0])
    model.graph.insert_after(node, masked)
    return model
