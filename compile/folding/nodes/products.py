"""Products with constants as nodes: MatMul or 1×1 Conv where the channels lie so, convolutions, scales and sums."""

from collections.abc import Sequence

import numpy as np

from compile.folding.linear.matrices import Array, Matrix
from compile.folding.linear.windows import Family, output_padding, weights_of
from compile.folding.nodes.builder import Attribute, Builder, static_shape
from compile.folding.nodes.layout import Laid, Layout, Layouts, shape_of


class Products:
    """Emits products of tensors that are there."""

    def __init__(self, builder: Builder, layouts: Layouts) -> None:
        self.builder, self.layouts = builder, layouts

    def product(self, source: Laid, matrix: Matrix, bias: Array | None, layout: Layout, name: str) -> Laid:
        """Return a product with a constant, in the layout that leaves the narrower side to be transposed."""
        if source.layout != layout and matrix.columns <= matrix.rows:
            source = self.layouts.turn(source, layout, name)
        if source.layout == "last":
            return self._matmul(source, matrix, bias, name)
        return self._conv(source, matrix, bias, name)

    def _matmul(self, source: Laid, matrix: Matrix, bias: Array | None, name: str) -> Laid:
        shape = (*source.grid, matrix.rows)
        weight = self.builder.constant(np.ascontiguousarray(matrix.array.T), f"{name}/weight")
        tensor = self.builder.node("MatMul", [source.tensor, weight], shape, name)
        if bias is not None:
            tensor = self.builder.node("Add", [tensor, self.builder.constant(bias, f"{name}/bias")], shape, name)
        return Laid(tensor, source.grid, matrix.rows, "last")

    def _conv(self, source: Laid, matrix: Matrix, bias: Array | None, name: str) -> Laid:
        ones = (1,) * (len(source.grid) - 1)
        inputs = [
            source.tensor,
            self.builder.constant(matrix.array.reshape(matrix.rows, matrix.columns, *ones), f"{name}/weight"),
        ]
        if bias is not None:
            inputs.append(self.builder.constant(bias, f"{name}/bias"))
        shape = shape_of(source.grid, matrix.rows, "second")
        return Laid(
            self.builder.node("Conv", inputs, shape, name, kernel_shape=ones), source.grid, matrix.rows, "second"
        )

    def window(self, source: Laid, family: Family[Matrix], bias: Array | None, name: str) -> Laid:
        """Return a convolution."""
        window, weights = family.window, weights_of(family)
        source, rows = self.layouts.turn(source, "second", name), family.reads[0].matrix.rows
        inputs = [source.tensor, self.builder.constant(weights, f"{name}/weight")]
        if bias is not None:
            inputs.append(self.builder.constant(bias, f"{name}/bias"))
        attributes: dict[str, Attribute] = {
            "kernel_shape": window.kernel,
            "strides": window.strides,
            "dilations": window.dilations,
            "pads": window.pads,
            "group": family.blocks,
        }
        if window.operator == "ConvTranspose":
            attributes["output_padding"] = output_padding(window)
        shape = shape_of(window.shape, rows, "second")
        return Laid(self.builder.node(window.operator, inputs, shape, name, **attributes), window.shape, rows, "second")

    def batch_norm(self, source: Laid, gain: Array, shift: Array, name: str) -> Laid:
        """Return a source's channels, scaled and shifted by one operator."""
        source = self.layouts.turn(source, "second", name)
        parts = {"gain": gain, "shift": shift, "mean": np.zeros(gain.size), "variance": np.ones(gain.size)}
        constants = [self.builder.constant(array, f"{name}/{part}") for part, array in parts.items()]
        shape = shape_of(source.grid, gain.size, "second")
        tensor = self.builder.node("BatchNormalization", [source.tensor, *constants], shape, name, epsilon=0.0)
        return source._replace(tensor=tensor)

    def plus(self, parts: Sequence[Laid], layout: Layout, name: str) -> Laid:
        """Return the sum of tensors, one after the other; those that were reshaped alike are added before that."""
        total = self.layouts.turn(parts[0], layout, name)
        for part in parts[1:]:
            other = self.layouts.turn(part, layout, name)
            one, two = (self.builder.unshaped(laid.tensor) for laid in (total, other))
            shape = shape_of(total.grid, total.channels, layout)
            if static_shape(one) == static_shape(two) and static_shape(total.tensor) == static_shape(other.tensor):
                added = self.builder.node("Add", [one, two], static_shape(one), name)
                total = total._replace(tensor=self.builder.reshape(added, shape, name))
            else:
                total = total._replace(tensor=self.builder.node("Add", [total.tensor, other.tensor], shape, name))
        return total

    def times(self, laid: Laid, scale: float) -> Laid:
        """Return a tensor times a number."""
        if scale == 1:
            return laid
        factor = self.builder.constant(np.asarray(scale, np.float64), "scale")
        shape = shape_of(laid.grid, laid.channels, laid.layout)
        return laid._replace(tensor=self.builder.node("Mul", [laid.tensor, factor], shape, str(laid.tensor.name)))
