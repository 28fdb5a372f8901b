"""OpenVINO IR as a graph format: it is quantized as IR, and returned to float there."""

from collections.abc import Mapping
from pathlib import Path

from targets.graph_format import Quantizer
from targets.intel.dequantize import dequantize_layers, operations_named
from targets.intel.graph import convert, read, save
from targets.intel.products import int8_share


class IrFormat:
    """IR, ``.xml`` and ``.bin``. An operation has the name of the ONNX value it computes, or with a suffix."""

    name = "openvino"
    suffix = ".xml"

    def insert_quantizers(
        self, source: Path, kept: Mapping[str, str], quantizer: Quantizer, out: Path
    ) -> tuple[str, ...]:
        """Quantize an IR, or an ONNX graph once it is one.

        Raises:
            GraphError: OpenVINO refuses the graph.
        """
        model = read(source) if source.suffix == self.suffix else convert(source)
        return save(quantizer(model, operations_named(model, set(kept.values()))), out)

    def return_to_float(self, quantized: Path, original: Path, layers: Mapping[str, str], out: Path) -> tuple[str, ...]:
        """Take the FakeQuantize nodes and INT8 weights of the named layers out.

        Raises:
            GraphError: the float graph has no such operator.
        """
        model = read(quantized)
        if layers:
            dequantize_layers(model, convert(original), {*layers, *layers.values()})
        return save(model, out)

    def int8_share(self, path: Path) -> float:
        """Return the share of the multiply-accumulates whose operands that are not constant a FakeQuantize gives."""
        return int8_share(path)
