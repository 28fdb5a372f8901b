"""New nodes in a graph: made with a name, a type and a shape, put before an old node, and read in its place."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import add_constant, free_name

MADE_BY = "pkg.onnxscript.rewriter.rule_name"  # the key of a node's metadata that names the pass, as onnxscript has it


class Inserter:
    """Puts nodes before ``before`` for a pass. Their metadata names the pass, and their names begin with ``origin`` and the pass."""

    def __init__(
        self, model: ir.Model, before: ir.Node, origin: str, made_by: str, taken: set[str | None] | None = None
    ) -> None:
        """``taken``: see ``free_name``."""
        self.model, self.before, self.prefix, self.made_by = model, before, f"{origin}/{made_by}", made_by
        self._taken = taken

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[int],
        name: str,
        **attributes: int | str | Sequence[int],
    ) -> ir.Value:
        """Insert a node of one output, typed like its first input and of a static ``shape``; return the output."""
        full = free_name(self.model.graph, f"{self.prefix}/{name}", self._taken)
        first = inputs[0]
        output = ir.Value(name=full, type=None if first is None else first.type, shape=ir.Shape(shape))
        made = ir.node(
            operator, inputs, attributes, outputs=[output], name=full, metadata_props={MADE_BY: self.made_by}
        )
        self.model.graph.insert_before(self.before, made)
        return output

    def constant(self, array: np.ndarray, name: str) -> ir.Value:
        """Add an initializer."""
        return add_constant(self.model, f"{self.prefix}/{name}", array, self._taken)

    def reshape(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        """Insert a Reshape to a static shape."""
        target = self.constant(np.array(shape, np.int64), f"{name}.shape")
        return self.node("Reshape", [value, target], shape, name)


def supersede(model: ir.Model, old: ir.Value, new: ir.Value) -> None:
    """Let everything read ``new`` instead of ``old``; an output of the graph keeps its name and place."""
    final = old.is_graph_output()
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if final:
        old.name, new.name = free_name(model.graph, f"{old.name}/superseded"), old.name
