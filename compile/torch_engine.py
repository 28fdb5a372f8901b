"""Torch engine: the folded graph as a TensorRT engine in a bundle, converted by Torch-TensorRT on the device.

The ONNX graphs are how a bundle is built normally; this is the second way to the same torch-free session, for a device
with a matching torch and torch-tensorrt: a Jetson Thor, for Orin has had no release since 2.8. The module is the fold stage's graph, read by compile/torch_graph (36 MB, so not in the
bundle). It is exported with autocast's casts in the graph (f16) or as it is (f32), and converted strongly typed. It has not run on hardware yet.
"""

if not __package__:
    import _path  # noqa: F401

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.base.errors import ArtifactError, GraphError, TargetUnavailable
from bundle.base.isolated import program
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import say
from bundle.formats.artifacts import Folded, load
from bundle.formats.engines import write_engine_file
from bundle.formats.manifest import Bundle, Manifest, verify_bundle
from compile.stage.command import run_script
from compile.stage.graph_info import GRAPH_FILE
from targets.jetson.builder import BuilderConfig, engine_key
from targets.jetson.device import find_device
from targets.jetson.session import NAMES
from targets.open import as_variant

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

PROBE = "import torch, torch_tensorrt; assert torch.cuda.is_available(), 'torch sees no CUDA device'; print(torch_tensorrt.__version__)"
TIMEOUT_S = 300


def convert_bundle(bundle: Bundle, folded: Folded, variant: str, *, workspace_mib: int) -> Path:
    """Convert the folded graph to the engine of a bundle's float variant; return the engine's path.

    ``python -m targets BUNDLE --builder torch-tensorrt --variant NAME`` times and judges it.

    Raises:
        GraphError: the variant is quantized; only f32 and f16 come from the folded graph.
        ArtifactError: the folded graph is not the one that the bundle was made from.
        TargetUnavailable: TensorRT, torch-tensorrt or a CUDA device is missing.
    """
    manifest = bundle.manifest
    chosen = as_variant(manifest.variant(variant))
    if chosen.recipe.graph not in ("float", "fp16"):
        raise GraphError(
            "torch-tensorrt makes no quantized engine here",
            expected="variant f32 or f16",
            got=variant,
            where="--variant",
            fix="INT8 lives in the ONNX graph's Q/DQ: python -m targets BUNDLE --builder onnx",
        )
    require_parent(manifest, folded)
    require_torch_tensorrt()
    device = find_device()
    program, example = _export_on_device(folded, manifest, fp16=chosen.recipe.graph == "fp16")
    config = BuilderConfig(builder="torch-tensorrt", workspace_mib=workspace_mib)
    serialized = _convert(program, example, config)
    key = engine_key(manifest.files[chosen.files[0]], device, chosen.recipe.name, config)
    names = {f"output{index}": name for index, name in enumerate(manifest.tasks)}
    write_engine_file(bundle.folder, f"{key.stem}{NAMES}", dumps(names).encode())
    write_engine_file(bundle.folder, f"{key.stem}.json", key.model_dump_json(indent=2).encode())
    return write_engine_file(bundle.folder, f"{key.stem}.engine", serialized)


def require_parent(manifest: Manifest, folded: Folded) -> None:
    """Do nothing if the bundle was made from this folded graph.

    Raises:
        ArtifactError: it was not.
    """
    if manifest.parents.get(Folded.kind) != folded.sha256:
        raise ArtifactError(
            "the folded graph is not this bundle's",
            expected=f"folded {manifest.parents.get(Folded.kind)}",
            got=f"folded {folded.sha256}",
            where=str(folded.folder),
            fix="copy build/.store/fold/<key> of the same build",
        )


def require_torch_tensorrt() -> str:
    """Return torch-tensorrt's version, asked in a process of its own: its import ends one that has no CUDA.

    Raises:
        TargetUnavailable: it cannot be imported, or there is no CUDA device.
    """
    done = subprocess.run(program(PROBE), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise TargetUnavailable(
            "torch-tensorrt cannot be used here",
            expected="torch-tensorrt with its torch and a CUDA device",
            got=(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1],
            where=sys.executable,
            fix="--builder onnx needs none of it; on a Jetson Thor install the release for its TensorRT (docs/guides/device.md names it); for Orin "
            "there has been none since 2.8; elsewhere pip install -e .[torch-tensorrt]",
        )
    return done.stdout.strip()


def folded_module(folded: Folded) -> "nn.Module":
    """Return the folded graph as a module that maps its input to a tuple of its outputs, in the graph's order."""
    from compile.graphs.pytorch.read import read_module

    return read_module(folded.file(GRAPH_FILE)).eval()


def typed_program(module: "nn.Module", example: "Tensor", *, fp16: bool) -> "ExportedProgram":
    """Export a module with its precision in the graph: with ``fp16``, the FP16 casts that autocast puts around products.

    On CUDA, LayerNorm and softmax are on autocast's float32 list, as they are in ``convert_to_fp16``; on a CPU they are not.
    """
    import torch

    from compile.graphs.autocast import Autocast

    wrapped = Autocast(module, example.device.type) if fp16 else module
    with torch.no_grad():
        program: ExportedProgram = torch.export.export(wrapped, (example,), strict=False)
        typed: ExportedProgram = program.run_decompositions({})
    return typed


def converter_arguments(convert: Callable[..., bytes], config: BuilderConfig) -> Mapping[str, bool | int]:
    """Return the settings as the installed version of torch-tensorrt calls them; all are strongly typed, without TF32."""
    known = inspect.signature(convert).parameters
    wanted: dict[str, bool | int] = {
        "disable_tf32": True,
        "workspace_size": config.workspace_mib << 20,
        "use_explicit_typing": True,
        "optimization_level": config.optimization_level,
        "require_full_compilation": True,
    }
    return {name: value for name, value in wanted.items() if name in known}


def _export_on_device(folded: Folded, manifest: Manifest, *, fp16: bool) -> "tuple[ExportedProgram, Tensor]":
    import torch

    [spec] = manifest.inputs
    example = torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype), device="cuda")
    return typed_program(folded_module(folded).cuda(), example, fp16=fp16), example


def _convert(program: "ExportedProgram", example: "Tensor", config: BuilderConfig) -> bytes:
    import torch_tensorrt

    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    try:
        return bytes(convert(program, arg_inputs=[example], **converter_arguments(convert, config)))
    except RuntimeError as error:
        raise TargetUnavailable(
            "torch-tensorrt made no engine",
            expected="a serialized engine",
            got=str(error),
            where="its converter",
            fix="python -m targets BUNDLE --builder onnx builds from the ONNX graph; if memory ran out, close other programs",
        ) from error


def main(
    bundle: Annotated[Path, typer.Option(help="A jetson bundle on the device.")],
    folded: Annotated[Path, typer.Option(help="The folder that fold wrote: build/.store/fold/<key>.")],
    variant: Annotated[str, typer.Option(help="f32 or f16.")] = "f16",
    workspace: Annotated[
        int, typer.Option(min=1, max=LIMITS["workspace_mib"].most, help="TensorRT's scratch memory, MiB.")
    ] = 2048,
) -> None:
    """Convert the folded graph to an engine in a bundle, with Torch-TensorRT, on the device.

    Example: python compile/torch_engine.py --bundle jetson --folded fold --variant f16; then python -m targets jetson
    --builder torch-tensorrt --variant f16
    """
    made = convert_bundle(verify_bundle(bundle), load(Folded, folded), variant, workspace_mib=workspace)
    say(f"engine {made}")


if __name__ == "__main__":
    run_script(main)
