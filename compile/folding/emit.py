"""A graph from a plan: the nodes that are not linear as they were, and between them the products that were composed."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compile.folding.choice.cost import takes_columns
from compile.folding.choice.plan import Made, Plan, Product
from compile.folding.gated_products import Gates
from compile.folding.linear.expand import Reads
from compile.folding.linear.matrices import Array, Matrix
from compile.folding.linear.moves import Move
from compile.folding.linear.network import CHANNEL, POSITION, Network, Value
from compile.folding.linear.windows import Family
from compile.folding.nodes.builder import Builder
from compile.folding.nodes.layout import Laid, Layout, Layouts, per_channel, preferred, shape_of
from compile.folding.nodes.products import Products
from compile.folding.nodes.splits import merge_slices
from compile.graphs.nodes import constant
from compile.graphs.nodes import shape_of as static_shape
from targets.folding import Rates


def emit(model: ir.Model, network: Network, plan: Plan, rates: Rates) -> ir.Model:
    """Return the model of a plan; composed constants are float64, everything else is as it was."""
    return _Emitter(model, network, plan, rates).run()


def float_type(graph: ir.Graph) -> ir.DataType:
    """Return the float type of a graph's first input or node that has one; float32 where none has."""
    values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    return next(
        (value.dtype for value in values if value.dtype is not None and value.dtype.is_floating_point()),
        ir.DataType.FLOAT,
    )


class _Emitter:
    def __init__(self, model: ir.Model, network: Network, plan: Plan, rates: Rates) -> None:
        self.model, self.network, self.plan, self.rates = model, network, plan, rates
        graph = model.graph
        self.builder = Builder(float_type(graph))
        self.layouts = Layouts(self.builder)
        self.products = Products(self.builder, self.layouts)
        self.gates = Gates(self.products, network, rates, self.vector)
        self.tensors: dict[ir.Value, ir.Value] = {}
        self.laid: dict[int, Laid] = {}
        self.moved: dict[tuple[int, int], Laid] = {}
        self._roots: dict[ir.Value, ir.Value] = {}

    def run(self) -> ir.Model:
        """Emit the nodes in order."""
        graph = self.model.graph
        inputs = [
            ir.Value(name=one.name, type=one.type, shape=one.shape) for one in graph.inputs if one.const_value is None
        ]
        for old, new in zip([one for one in graph.inputs if one.const_value is None], inputs, strict=True):
            self.tensors[old] = new
            self.builder.unused(str(old.name))
        for output in graph.outputs:
            self.builder.unused(str(output.name))
        for node in self.network.opaque:
            self._opaque(node)
        outputs = [self._output(output) for output in graph.outputs]
        merge_slices(self.builder, {*outputs})
        made = ir.Graph(
            inputs,
            outputs,
            nodes=self.builder.nodes,
            initializers=self.builder.initializers,
            opset_imports=dict(graph.opset_imports),
            name=graph.name,
        )
        model = ir.Model(made, ir_version=self.model.ir_version, functions=list(self.model.functions.values()))
        return RemoveUnusedNodesPass()(model).model

    def _output(self, old: ir.Value) -> ir.Value:
        value = self.tensor(old)
        if value.producer() is None or value in self._roots.values():
            value = self.builder.node("Identity", [value], static_shape(old) or (), f"{old.name}/output")
        value.name, value.type, value.shape = old.name, old.type, old.shape
        self._roots[old] = value
        return value

    def _opaque(self, node: ir.Node) -> None:
        inputs = [None if one is None else self.tensor(one) for one in node.inputs]
        core = self.network.cores.get(node)
        if core is not None:
            inputs = self._norm_inputs(node, core, inputs)
        outputs = self.builder.copy(node, inputs)
        if core is not None:
            self.tensors[self.network.values[core].tensor] = outputs[0]
            if core in self.plan.norms:
                value = self.network.values[self.plan.norms[core]]
                self.laid[value.uid] = self._lay(value, outputs[0])
            return
        self.tensors.update(zip(node.outputs, outputs, strict=True))

    def _norm_inputs(self, node: ir.Node, core: int, inputs: Sequence[ir.Value | None]) -> list[ir.Value | None]:
        size = self.network.values[core].channels
        gain, shift = np.ones(size), np.zeros(size)
        if core in self.plan.norms:
            gain, shift = self.network.affine[self.plan.norms[core]]
        name = str(node.name or node.outputs[0].name)
        return [inputs[0], self.builder.constant(gain, f"{name}/gain"), self.builder.constant(shift, f"{name}/shift")]

    def tensor(self, old: ir.Value) -> ir.Value:
        """Return the new tensor for one of the old graph, in the same layout."""
        if old in self.tensors:
            return self.tensors[old]
        array = constant(old)
        if array is not None:
            return self.builder.constant(array, str(old.name))
        view = self.network.views.get(old)
        if view is None:
            self.tensors[old] = self._constant_node(old)
            return self.tensors[old]
        value = self.network.values[view.value]
        node = old.producer()
        alias = self._alias(value) if old is value.tensor else None
        if alias is not None:
            made = self.tensor(alias)
        elif old is value.tensor:
            made = self.layouts.to_axes(
                self.value(value.uid), value.axes, value.grid, value.channel_shape, str(old.name)
            )
        elif node is not None and self._only_moves(node, view.value):
            inputs = [None if one is None else self.tensor(one) for one in node.inputs]
            made = self._copied(node, inputs, old)
        else:
            laid = self._moved(value.uid, view.move, str(old.name))
            laid = self.layouts.select(laid, view.channels.reshape(-1), str(old.name))
            laid = laid._replace(grid=view.move.shape)
            made = self.layouts.to_axes(laid, view.axes, view.move.shape, view.channels.shape, str(old.name))
        self.tensors[old] = made
        whole = np.array_equal(view.channels, np.arange(value.channels))
        if whole and view.axes == POSITION * len(view.move.shape) + CHANNEL:
            self.moved.setdefault((value.uid, view.move.uid), Laid(made, view.move.shape, value.channels, "last"))
        return made

    def _moved(self, uid: int, move: Move, name: str) -> Laid:
        """Return a value with its positions moved, by the nodes that did it where some are there."""
        if not move.steps or (uid, move.uid) not in self.moved:
            return self.layouts.move(self.value(uid), move.steps, name)
        return self.moved[uid, move.uid]

    def _alias(self, value: Value) -> ir.Value | None:
        """Return the tensor of the old graph that a value is equal to, where all that made it another is applied elsewhere."""
        segments, node = self.plan.made.get(value.uid, []), value.tensor.producer()
        if (
            node is None
            or len(segments) != 1
            or segments[0].products
            or segments[0].windows
            or segments[0].bias.any()
            or len(segments[0].picks) != 1
        ):
            return None
        [pick] = segments[0].picks
        selection = pick.matrix.selection
        for tensor in node.inputs:
            view = None if tensor is None else self.network.views.get(tensor)
            if view is None or selection is None or view.value != pick.source or view.move is not pick.move:
                continue
            if (
                view.axes == value.axes
                and selection.is_unscaled
                and np.array_equal(selection.index, view.channels.reshape(-1))
            ):
                return tensor
        return None

    def _constant_node(self, old: ir.Value) -> ir.Value:
        """Copy a node that computes a constant in a way that is not evaluated here."""
        node = old.producer()
        if node is None:
            raise AssertionError(f"{old.name} is neither computed nor constant")
        outputs = self.builder.copy(node, [None if one is None else self.tensor(one) for one in node.inputs])
        self.tensors.update(zip(node.outputs, outputs, strict=True))
        return self.tensors[old]

    def _copied(self, node: ir.Node, inputs: Sequence[ir.Value | None], old: ir.Value) -> ir.Value:
        if len(node.outputs) > 1:
            self.tensors.update(zip(node.outputs, self.builder.copy(node, inputs), strict=True))
            return self.tensors[old]
        [output] = self.builder.copy(node, inputs)
        return output

    def _only_moves(self, node: ir.Node, value: int) -> bool:
        """Say whether a node only moves elements of one value."""
        tensors = [one for one in node.inputs if one is not None and one in self.network.views]
        return bool(tensors) and all(self.network.views[one].value == value for one in tensors)

    def vector(self, uid: int) -> ir.Value:
        """Return a value that has one position as a vector."""
        value = self.network.values[uid]
        return self.builder.reshape(self.value(uid).tensor, (value.channels,), value.name)

    def value(self, uid: int) -> Laid:
        """Return the tensor of a kept value."""
        if uid in self.laid:
            return self.laid[uid]
        value = self.network.values[uid]
        if value.is_source:
            self.laid[uid] = self._lay(value, self.tensors[value.tensor])
        elif uid in self.plan.stacks:
            self._stack(self.plan.stacks[uid])
        else:
            layout = self._layout(value, self.plan.made[uid])
            parts = [self._made(value, made, layout) for made in self.plan.made[uid]]
            self.laid[uid] = self._concat(value, parts, layout)
        return self.laid[uid]

    def _layout(self, value: Value, made: Sequence[Made]) -> Layout:
        """Return where a value's channels lie: last where all that its products read is so, unless it is resized after them."""
        if any(one.windows for one in made):
            return preferred(value.axes)
        products = [product for one in made for product in one.products]
        resized = any(step.name == "resize" for product in products for step in product.move.steps)
        sources = {uid for product in products for uid, _ in product.sources}
        if products and not resized and all(self.value(uid).layout == "last" for uid in sources):
            return "last"
        return preferred(value.axes)

    def _lay(self, value: Value, tensor: ir.Value) -> Laid:
        return self.layouts.from_axes(tensor, value.axes, value.grid, value.channel_shape, value.name)

    def _concat(self, value: Value, parts: Sequence[Laid], layout: Layout) -> Laid:
        if len(parts) == 1:
            return parts[0]
        shape = shape_of(value.grid, value.channels, layout)
        tensors = [part.tensor for part in parts]
        origin = tensors[0].producer()
        if origin is not None and origin.op_type == "Split" and tensors == list(origin.outputs) and origin.inputs[0]:
            return Laid(origin.inputs[0], value.grid, value.channels, layout)
        return Laid(
            self.builder.node("Concat", tensors, shape, value.name, axis=parts[0].axis),
            value.grid,
            value.channels,
            layout,
        )

    def _stack(self, group: Sequence[int]) -> None:
        """Make thin values as rows of one product for each source, and split it."""
        values = [self.network.values[uid] for uid in group]
        every = [self.plan.made[uid][0] for uid in group]
        layout = self._layout(values[0], every)
        order = [sorted(made.products, key=lambda one: one.key) for made in every]
        rows = [made.rows for made in every]
        whole = Made(sum(rows), bias=np.concatenate([made.bias for made in every]))
        gated = []
        for column in zip(*order, strict=True):
            if column[0].made:
                gated.append(column)
            else:
                matrix = Matrix(np.concatenate([product.matrix.array for product in column]))
                whole.products.append(column[0]._replace(matrix=matrix))
        laid = self._sum(values[0], whole, layout, gated)
        shapes = [shape_of(values[0].grid, count, layout) for count in rows]
        sizes = self.builder.integers(rows, "sizes")
        name = self.builder.unused(f"{values[0].name}/Split")
        outputs = self.builder.nodes_of("Split", [laid.tensor, sizes], shapes, name, {"axis": laid.axis})
        for value, output, count in zip(values, outputs, rows, strict=True):
            self.laid[value.uid] = Laid(output, value.grid, count, layout)

    def _made(self, value: Value, made: Made, layout: Layout) -> Laid:
        affine = made.affine if layout == "second" else None
        if affine is not None:
            gain = np.ones(made.rows) if affine.matrix.selection is None else affine.matrix.selection.scale
            return self.products.batch_norm(self.value(affine.source), gain, made.bias, value.name)
        return self._sum(value, made, layout, [(product,) for product in made.products if product.made])

    def _sum(self, value: Value, made: Made, layout: Layout, gated: Sequence[Sequence[Product]]) -> Laid:
        """Add what a run of rows is made of; terms that are moved alike after their product are added before the move."""
        name = value.name
        shape = shape_of(value.grid, made.rows, layout)
        later: dict[int, tuple[Move, list[Laid]]] = {}
        plain = [product for product in made.products if not product.made]
        early = [product for product in plain if self._moves_first(product, value)]
        bias = made.bias if made.bias.any() else None
        late = [one for one in plain if one not in early]
        bearer = next(iter([*made.windows, *early, *(one for one in late if one.move.keeps_constants)]), None)
        summands = [self._picked(value, pick, layout) for pick in made.picks]
        summands += [self._window(value, family, bias if family is bearer else None) for family in made.windows]
        families: dict[tuple[int, int], list[Sequence[Product]]] = {}
        for column in gated:
            families.setdefault((column[0].sources[0][0], column[0].move.uid), []).append(column)
        for family in families.values():
            moved, laid = self._gated(value, family)
            later.setdefault(moved.uid, (moved, []))[1].append(laid)
        for product in late:
            own = bias if product is bearer else None
            source, matrix = self._narrowed(self._added(product), product.matrix, value)
            laid = self.products.product(source, matrix, own, self._target(product.move, layout), name)
            later.setdefault(product.move.uid, (product.move, []))[1].append(laid)
        whole: list[Laid] = []
        for product in early:
            source, matrix = self._narrowed(self._added(product), product.matrix, value)
            source = self.layouts.move(source, product.move.steps, name)._replace(grid=value.grid)
            whole.append(self.products.product(source, matrix, bias if product is bearer else None, layout, name))
        for move, group in sorted(later.values(), key=lambda one: one[0].broadcasts):
            if move.broadcasts:  # what is added to all places comes last
                summands, whole = [*summands, *whole], []
            total = self.products.plus(group, group[0].layout, name)
            steps = move.steps[:-1] if (summands or whole) and move.repeats else move.steps
            total = self.layouts.move(total, steps, name)
            summands.append(total if steps is not move.steps else total._replace(grid=value.grid))
        summands += whole  # last, so that a runtime does the sum, and what follows, in the product's kernel
        if not summands:
            return self._nothing(value, made, layout)
        total = self.products.plus([self.layouts.turn(one, layout, name) for one in summands], layout, name)
        if bias is None or bearer is not None:
            return total
        wide = self.builder.constant(per_channel(bias, total.grid, total.layout), f"{name}/bias")
        return total._replace(tensor=self.builder.node("Add", [total.tensor, wide], shape, name))

    def _narrowed(self, source: Laid, matrix: Matrix, value: Value) -> tuple[Laid, Matrix]:
        """Return a source and a matrix over it with only the channels that are read, where that is less work."""
        used = matrix.used
        if takes_columns(self.rates, min(prod(source.grid), value.positions), matrix.rows, used.size, matrix.columns):
            return self.layouts.select(source, used, value.name), matrix.taken(used)
        return source, matrix

    def _nothing(self, value: Value, made: Made, layout: Layout) -> Laid:
        """Return a constant value."""
        shape = shape_of(value.grid, made.rows, layout)
        full = np.broadcast_to(per_channel(made.bias, value.grid, layout), shape)
        return Laid(self.builder.constant(full, f"{value.name}/constant"), value.grid, made.rows, layout)

    def _target(self, move: Move, layout: Layout) -> Layout:
        return "second" if any(step.name == "resize" for step in move.steps) else layout

    def _moves_first(self, product: Product, value: Value) -> bool:
        """Say whether positions are moved before the product: where that leaves no more of them."""
        return self.network.values[product.sources[0][0]].positions >= value.positions

    def _added(self, product: Product) -> Laid:
        """Return the sum of a product's sources."""
        (first, scale), *others = product.sources
        total = self.products.times(self.value(first), scale)
        for uid, factor in others:
            total = self.products.plus(
                [total, self.products.times(self.value(uid), factor)], total.layout, self.network.values[uid].name
            )
        return total

    def _picked(self, value: Value, pick: Reads[Matrix], layout: Layout) -> Laid:
        selection = pick.matrix.selection
        if selection is None:
            raise AssertionError(f"{value.name} does not select")
        laid = self._moved(pick.source, pick.move, value.name)._replace(grid=value.grid)
        laid = self.layouts.select(laid, selection.index, value.name)
        if (selection.scale == 1).all():
            return laid
        if (selection.scale == selection.scale[0]).all():
            return self.products.times(laid, float(selection.scale[0]))
        factor = self.builder.constant(per_channel(selection.scale, laid.grid, laid.layout), f"{value.name}/scale")
        shape = shape_of(laid.grid, laid.channels, laid.layout)
        return laid._replace(tensor=self.builder.node("Mul", [laid.tensor, factor], shape, value.name))

    def _window(self, value: Value, family: Family[Matrix], bias: Array | None) -> Laid:
        return self.products.window(self.value(family.reads[0].source), family, bias, value.name)

    def _gated(self, value: Value, family: Sequence[Sequence[Product]]) -> tuple[Move, Laid]:
        """Return the products of one source with gates, each member's rows after the other's, and the move that is left."""
        first = family[0][0]
        source, move = self.value(first.sources[0][0]), first.move
        if self._moves_first(first, value):
            source = self.layouts.move(source, move.steps, value.name)._replace(grid=value.grid)
            move = self.network.moves.identity(value.grid)
        selection = first.matrix.selection
        alone = (
            len(family) == len(family[0]) == 1 and first.outer is None and (selection is None or selection.is_identity)
        )
        if source.layout == "second" and alone:
            scaled = self.gates.scaled(source, first.gates, value.name)
            if selection is not None:
                return move, scaled
            return move, self.products.product(scaled, first.matrix, None, "second", value.name)
        source = self.layouts.turn(source, "last", value.name)
        return move, self.gates.product(source, family, value.name)
