"""Build: what the device loads, made from the quantized graphs; or the reason why only the device can make it."""

if not __package__:
    import _path  # noqa: F401

import shutil
from pathlib import Path
from typing import Annotated

import typer

from bundle.formats.artifacts import Engine, Quantized, load
from compile.stage.artifacts import EngineSettings, variants_of
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.graph_info import graph_info
from compile.stage.options import Device, Out, RecordAsJson, TargetName, Threads
from compile.stage.store import seal, stage_tools, writing
from compile.tensorrt_checks.check_build import write_checks
from targets.base import RunConfig, Target
from targets.table import target as find_target


def build(quantized: Quantized, out: Path, target: Target, run: RunConfig) -> Engine:
    """Write an ``Engine`` artifact in ``out``: every variant's graph, what is legal in it, and engines that can be built here.

    Raises:
        GraphError: the device's compiler refuses a graph, or a graph breaks a rule that compiler has.
        TargetUnavailable: the runtime or the device is not here, or does not compute in a variant's precision.
    """
    variants = variants_of(quantized)
    with writing(out, Engine) as folder:
        for name in quantized.record.files:
            shutil.copyfile(quantized.file(name), folder / name)
        write_checks(folder, target, variants)
        status = target.build(folder, variants, run)
        settings = EngineSettings(graph=graph_info(quantized), target=target.name, variants=variants, status=status)
        seal(Engine, folder, parent=quantized.sha256, settings=settings, tools=stage_tools("build"))
    return load(Engine, out)


def main(
    target: TargetName,
    model: Annotated[Path, typer.Option(help="The folder that quantize wrote.")],
    out: Out,
    device: Device = "",
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Build what the device loads from the quantized variants, or defer it to the device.

    Example: python compile/build.py --target intel --model build/int8 --out build/engine
    """
    claim(out, Engine, model)
    run, quantized, chosen = RunConfig(device=device, threads=threads), load(Quantized, model), find_target(target)
    with timed("build"):
        engine = build(quantized, out, chosen, run)
    announce(engine, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
