"""The contract of a graph format other than ONNX: how NNCF's quantizers get into such a graph, and out of it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

Graph = TypeVar("Graph")


class Quantizer(Protocol):
    """What NNCF does to a graph in memory."""

    def __call__(self, model: Graph, kept: list[str]) -> Graph:
        """Return the graph with quantizers, but for the operations called ``kept``."""
        ...


class GraphFormat(Protocol):
    """Names are those of ONNX nodes, each with the name of the first value that the node computes."""

    @property
    def name(self) -> str:
        """What a calibration's key calls it."""
        ...

    @property
    def suffix(self) -> str:
        """How the name of a graph ends."""
        ...

    def insert_quantizers(
        self, source: Path, kept: Mapping[str, str], quantizer: Quantizer, out: Path
    ) -> tuple[str, ...]:
        """Write ``source``, ONNX or of this format, as ``quantizer`` returns it; return the files' names, the graph's first."""
        ...

    def return_to_float(self, quantized: Path, original: Path, layers: Mapping[str, str], out: Path) -> tuple[str, ...]:
        """Write ``quantized``, made from the ONNX graph ``original``, with the named layers in float; return the files' names."""
        ...

    def int8_share(self, path: Path) -> float:
        """Return the share of the multiply-accumulates of a quantized graph whose operands are all in INT8."""
        ...
