"""The formats that graphs are quantized in: ONNX here, any other in the folder of the target that has it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from compile.graphs.cost import macs_by_node, read_inferred
from compile.graphs.quantizers import dequantizers_behind
from compile.quantization.computed_weights import hide, show
from compile.quantization.dequantize import dequantize_layers
from targets.base import Target
from targets.graph_format import GraphFormat, Quantizer


class OnnxFormat:
    """ONNX with QuantizeLinear and DequantizeLinear nodes; operations have the nodes' names."""

    name = "onnx"
    suffix = ".onnx"

    def insert_quantizers(
        self, source: Path, kept: Mapping[str, str], quantizer: Quantizer, out: Path
    ) -> tuple[str, ...]:
        """Write the graph as ``quantizer`` returns it."""
        import onnx

        quantized = quantizer(hide(onnx.load(source)), list(kept))
        show(quantized)
        onnx.save(quantized, out)
        return (out.name,)

    def return_to_float(self, quantized: Path, original: Path, layers: Mapping[str, str], out: Path) -> tuple[str, ...]:
        """Take the quantizers of the named layers out.

        Raises:
            GraphError: a name is in neither graph, or the float graph has no such weight.
        """
        if layers:
            model = ir.load(quantized)
            dequantize_layers(model, ir.load(original), layers)
            ir.save(model, out)
        else:
            shutil.copyfile(quantized, out)
        return (out.name,)

    def int8_share(self, path: Path) -> float:
        """Return the share of the multiply-accumulates whose two operands a DequantizeLinear gives.

        Raises:
            GraphError: a shape is unknown.
        """
        macs = macs_by_node(read_inferred(path))
        int8 = sum(count for node, count in macs.items() if all(map(dequantizers_behind, node.inputs[:2])))
        return int8 / max(sum(macs.values()), 1)


ONNX = OnnxFormat()


def format_of(target: Target) -> GraphFormat:
    """Return the format of a target's graphs."""
    return ONNX if target.own_format is None else target.own_format
