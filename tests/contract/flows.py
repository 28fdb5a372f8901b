"""The ways to run a graph that this machine has; one that cannot load fails its tests, it is never left out."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from bundle.formats.io_forms import Io
from targets.base import ExecutedOn, RunConfig, Session, Variant, VariantRecipe
from targets.table import TARGETS, target
from tests.contract.graphs import Case


@dataclass(frozen=True)
class Flow:
    """A target, how it is asked to run, and what it must say it ran on."""

    target: str
    executed_on: ExecutedOn
    device: str = ""


EXECUTED_ON: dict[str, ExecutedOn] = {
    name: "emulation" if one.profile.system_package else "device" for name, one in TARGETS.items()
}
"""What each target runs on here: no device's own system is."""
FLOWS = {name: Flow(name, ran_on) for name, ran_on in EXECUTED_ON.items()} | {
    "intel-auto": Flow("intel", "device", "AUTO")
}
QUANTIZING = [
    name
    for name, one in TARGETS.items()
    if any(v.graph == "quantized" for v in one.variants(one.capabilities(RunConfig())))
]
IO: dict[str, Io] = {name: ("raw", "edge")[index % 2] for index, name in enumerate(QUANTIZING)}
"""The interface that each of them is tested with: both occur."""


def open_case(flow: Flow, case: Case, folder: Path) -> Session:
    """Convert the case's graph for the flow's target in ``folder`` and open it, in float32 but for its Q/DQ."""
    chosen = target(flow.target)
    source = folder / "source.onnx"
    onnx.save(case.model, source)
    files = chosen.convert(source, folder / f"graph{chosen.graph_suffix}")
    recipe = VariantRecipe(
        name="int8" if case.quantized else "f32",
        graph="quantized" if case.quantized else "float",
        hint="f32",
        reason="a test",
    )
    return chosen.open(
        folder, Variant(recipe=recipe, files=files), RunConfig(device=flow.device, threads=1), "auto", keep=folder
    )
