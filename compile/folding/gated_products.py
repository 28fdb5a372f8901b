"""Products whose columns the image scales: a matrix made at run time, or scaled channels, whichever is less work."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from compile.folding.choice.cost import scales_first
from compile.folding.choice.plan import Product, Scaled
from compile.folding.linear.moves import Shape
from compile.folding.linear.network import Network
from compile.folding.nodes.builder import static_shape
from compile.folding.nodes.layout import Laid, shape_of
from compile.folding.nodes.products import Products
from targets.folding import Rates


class Gates:
    """Emits gated products; ``vector`` gives a value of one position as a vector."""

    def __init__(self, products: Products, network: Network, rates: Rates, vector: Callable[[int], ir.Value]) -> None:
        self.builder, self.products, self.network, self.rates = products.builder, products, network, rates
        self.vector = vector

    def scaled_pick(self, source: Laid, product: Product, name: str) -> Laid:
        """Return selected channels, each times its gate."""
        selection = product.matrix.selection
        if selection is None:
            raise AssertionError(f"{name} does not select")
        live = selection.index >= 0
        index = np.where(live, selection.index, 0)
        shape = (*source.grid, index.size)
        tensor = source.tensor
        if not np.array_equal(index, np.arange(source.channels)):
            tensor = self.builder.node(
                "Gather", [tensor, self.builder.constant(index, f"{name}/channels")], shape, name, axis=len(source.grid)
            )
        gate = self._rows([product.gates], name)
        picked = self.builder.node(
            "Gather", [gate, self.builder.constant(index, f"{name}/channels")], (1, index.size), name, axis=1
        )
        scale = np.where(live, selection.scale, 0.0)
        if not (scale == 1).all():
            picked = self.builder.node(
                "Mul", [picked, self.builder.constant(scale, f"{name}/scale")], (1, index.size), name
            )
        flat = self.builder.node(
            "Reshape", [picked, self.builder.integers((index.size,), "shape")], (index.size,), name, allowzero=1
        )
        return Laid(self.builder.node("Mul", [tensor, flat], shape, name), source.grid, index.size, "last")

    def product(self, source: Laid, family: Sequence[Sequence[Product]], name: str) -> Laid:
        """Return the sum over a family of each member's rows of ``Σ W_m diag(g_m) u``, one member after the other."""
        chained = any(column[0].outer is not None for column in family)
        picks = [column[0] for column in family if len(column) == 1 and column[0].matrix.selection is not None]
        if not chained and len(picks) == len(family):
            return self.products.plus([self.scaled_pick(source, pick, name) for pick in picks], "last", name)
        if not chained and self._scales(source, family):
            return self.products.plus([self._scaled(source, column[0], name) for column in family], "last", name)
        if not chained and prod(source.grid) == 1 and len({member.matrix.rows for member in family[0]}) == 1:
            return self.products.plus([self._batched(source, column, name) for column in family], "last", name)
        rows, depth = sum(member.last.rows for member in family[0]), source.channels
        made = [
            self._chain(column, name) if column[0].outer is not None else self.matrix(column, name) for column in family
        ]
        total = made[0]
        for part in made[1:]:
            total = self.builder.node("Add", [total, part], _wider(total, part), name)
        return self._multiply(source, self.builder.reshape(total, (1, rows, depth), name), rows, depth, name)

    def scaled(self, source: Laid, gates: Sequence[Scaled], name: str) -> Laid:
        """Return all channels, each times its gate, as they lie."""
        shape = (1, source.channels, *(1 for _ in source.grid[1:])) if source.layout == "second" else (source.channels,)
        gate = self.builder.reshape(self._rows([gates], name), shape, name)
        whole = shape_of(source.grid, source.channels, source.layout)
        return source._replace(tensor=self.builder.node("Mul", [source.tensor, gate], whole, name))

    def _scales(self, source: Laid, family: Sequence[Sequence[Product]]) -> bool:
        """Say whether it is less to scale the channels than to make the matrix."""
        rows = family[0][0].matrix.rows
        return len(family[0]) == 1 and scales_first(self.rates, prod(source.grid), rows, len(family))

    def _scaled(self, source: Laid, member: Product, name: str) -> Laid:
        return self.products.product(self.scaled(source, member.gates, name), member.matrix, None, "last", name)

    def _batched(self, source: Laid, column: Sequence[Product], name: str) -> Laid:
        """Return the rows of members over one position: scaled for each, it is a row of one product, or each has its own."""
        count, rows, depth = len(column), column[0].matrix.rows, source.channels
        gates = self._rows([member.gates for member in column], name)
        flat = self.builder.reshape(source.tensor, (1, depth), name)
        scaled = self.builder.node("Mul", [flat, gates], (count, depth), name)
        weight = column[0].matrix.array.T
        shape: Shape = (count, rows)
        if not _have_one_matrix(column):
            weight, shape = np.stack([member.matrix.array.T for member in column]), (count, 1, rows)
            scaled = self.builder.reshape(scaled, (count, 1, depth), name)
        constant = self.builder.constant(np.ascontiguousarray(weight), f"{name}/weight")
        found = self.builder.node("MatMul", [scaled, constant], shape, name)
        return Laid(self.builder.reshape(found, (*source.grid, count * rows), name), source.grid, count * rows, "last")

    def matrix(self, members: Sequence[Product], name: str) -> ir.Value:
        """Return the matrix of all members, its columns times their gates: ``[members, rows, columns]`` where that fits."""
        depth, rows = members[0].matrix.columns, [member.matrix.rows for member in members]
        if not members[0].gates:
            weight = np.concatenate([member.matrix.array for member in members])
            shape = (len(rows), rows[0], depth) if len(set(rows)) == 1 else (1, sum(rows), depth)
            return self.builder.constant(weight.reshape(shape), f"{name}/weight")
        gate_lists = [member.gates for member in members]
        same = all(_key(gates) == _key(gate_lists[0]) for gates in gate_lists)
        gates = self._rows(gate_lists[:1] if same else gate_lists, name)
        if len(set(rows)) == 1:
            weight = np.stack([member.matrix.array for member in members])
            wide = self.builder.reshape(gates, (1 if same else len(members), 1, depth), name)
            return self.builder.node("Mul", [self.builder.constant(weight, f"{name}/weight"), wide], weight.shape, name)
        parts = [
            self.builder.reshape(self.matrix([member], name), (1, member.matrix.rows, depth), name)
            for member in members
        ]
        return self.builder.node("Concat", parts, (1, sum(rows), depth), name, axis=1)

    def _chain(self, members: Sequence[Product], name: str) -> ir.Value:
        """Return the matrices ``outer · diag(factor) · matrix`` of all members, one product of two matrices."""
        outer = [(member, member.outer) for member in members if member.outer is not None]
        left = [member._replace(matrix=one.matrix, gates=(Scaled(one.factor, 1.0),)) for member, one in outer]
        depth, columns = left[0].matrix.columns, members[0].matrix.columns
        same = all(_same(one, members[0]) for one in members)
        if not same and len({one.matrix.rows for one in left}) > 1:
            parts = [
                self.builder.reshape(self._chain([one], name), (1, one.last.rows, columns), name) for one in members
            ]
            return self.builder.node("Concat", parts, (1, sum(one.last.rows for one in members), columns), name, axis=1)
        first = self.matrix(left, name)
        second = self.matrix(members[:1] if same else members, name)
        count, rows, _ = static_shape(first)
        if same:
            first = self.builder.reshape(first, (count * rows, depth), name)
            second = self.builder.reshape(second, (depth, columns), name)
            found = self.builder.node("MatMul", [first, second], (count * rows, columns), name)
            return self.builder.reshape(found, (count, rows, columns), name)
        return self.builder.node("MatMul", [first, second], (count, rows, columns), name)

    def _multiply(self, source: Laid, made: ir.Value, rows: int, depth: int, name: str) -> Laid:
        positions = prod(source.grid)
        flat = self.builder.reshape(source.tensor, (1, positions, depth), name)
        turned = self.builder.node("Transpose", [made], (1, depth, rows), name, perm=(0, 2, 1))
        found = self.builder.node("MatMul", [flat, turned], (1, positions, rows), name)
        return Laid(self.builder.reshape(found, (*source.grid, rows), name), source.grid, rows, "last")

    def _rows(self, lists: Sequence[Sequence[Scaled]], name: str) -> ir.Value:
        """Return the sum of each list of gates as a row: ``[lists, columns]``."""
        counts = {len(one) for one in lists}
        values = {gate.factor.value for one in lists for gate in one}
        if len(counts) == 1 and len(values) == 1:
            return self._gathered(lists, values.pop(), name)
        width = lists[0][0].factor.channels.size
        sums = []
        for one in lists:
            parts = [self._gathered([[gate]], gate.factor.value, name) for gate in one]
            total = parts[0]
            for part in parts[1:]:
                total = self.builder.node("Add", [total, part], (1, width), name)
            sums.append(total)
        return sums[0] if len(sums) == 1 else self.builder.node("Concat", sums, (len(sums), width), name, axis=0)

    def _gathered(self, lists: Sequence[Sequence[Scaled]], value: int, name: str) -> ir.Value:
        index = np.stack([np.stack([np.maximum(gate.factor.channels, 0) for gate in one]) for one in lists])
        count, each, width = index.shape
        vector = self.vector(value)
        scales = np.asarray([[gate.scale for gate in one] for one in lists])
        if each == 1:
            index = index[:, 0]
        else:
            scales = scales[:, :, None]
        if count == each == 1 and np.array_equal(index[0], np.arange(self.network.values[value].channels)):
            found = self.builder.reshape(vector, (1, width), name)
        else:
            places = self.builder.constant(index, f"{name}/gates")
            found = self.builder.node("Gather", [vector, places], index.shape, name, axis=0)
        if not (scales == 1).all():
            found = self.builder.node(
                "Mul", [found, self.builder.constant(scales, f"{name}/scales")], index.shape, name
            )
        if each == 1:
            return found
        axes = self.builder.integers((1,), "axes")
        return self.builder.node("ReduceSum", [found, axes], (count, width), name, keepdims=0)


def _wider(one: ir.Value, other: ir.Value) -> tuple[int, ...]:
    shapes = [tuple(int(str(size)) for size in value.shape or ()) for value in (one, other)]
    return shapes[0] if prod(shapes[0]) >= prod(shapes[1]) else shapes[1]


def _have_one_matrix(column: Sequence[Product]) -> bool:
    """Say whether all members have the same matrix."""
    first = column[0].matrix
    return all(one.matrix is first or np.array_equal(one.matrix.array, first.array) for one in column)


def _same(one: Product, other: Product) -> bool:
    """Say whether two products have the same matrix and the same gates."""
    return _have_one_matrix([one, other]) and _key(one.gates) == _key(other.gates)


def _key(gates: Sequence[Scaled]) -> tuple[tuple[int, float], ...]:
    return tuple((gate.factor.uid, gate.scale) for gate in gates)
