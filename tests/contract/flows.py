"""The ways to run a graph that this machine has; one that cannot load fails its tests, it is never left out."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from targets.base import ExecutedOn, RunConfig, Session, Variant, VariantRecipe
from targets.table import target
from tests.contract.graphs import Case


@dataclass(frozen=True)
class Flow:
    """A target, how it is asked to run, and what it must say it ran on."""

    target: str
    executed_on: ExecutedOn
    device: str = ""


FLOWS = {
    "reference": Flow("reference", "device"),
    "intel": Flow("intel", "device"),
    "intel-auto": Flow("intel", "device", "AUTO"),
    "jetson": Flow("jetson", "emulation"),
}


def open_case(flow: Flow, case: Case, folder: Path) -> Session:
    """Convert the case's graph for the flow's target in ``folder`` and open it, in float32 but for its Q/DQ."""
    chosen = target(flow.target)
    source = folder / "source.onnx"
    onnx.save(case.model, source)
    files = chosen.convert(source, folder / ("graph.xml" if chosen.graph_format == "openvino" else "graph.onnx"))
    recipe = VariantRecipe(
        name="int8" if case.quantized else "f32",
        graph="quantized" if case.quantized else "float",
        hint="f32",
        reason="a test",
    )
    return chosen.open(
        folder, Variant(recipe=recipe, files=files), RunConfig(device=flow.device, threads=1), "auto", keep=folder
    )
