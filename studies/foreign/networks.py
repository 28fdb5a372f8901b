"""The seven networks: how each file is made, what its tasks.toml says, and at what size it is built."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bundle.base.errors import InputError
from bundle.tasks.dataset import SPEC_FILE, load_spec

if TYPE_CHECKING:
    from torch import nn

    from studies.foreign.own import Fitted

SIZE = (96, 128)
STEPS = 700
WHEEL = "rapidocr_onnxruntime-1.4.4-py3-none-any.whl"
DETECTOR = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"
IMAGENET = 'range = "0..1"\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]'
CENTRED = 'range = "0..1"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]'
ONNX_OPSET = 18
Out = Mapping[str, tuple[str, str]]


class Sources(NamedTuple):
    """What the networks are made of: the spec of the scenes, a folder of wheels, and a folder of fitted weights.

    Where ``scenes`` is a labelled folder, the weights are fitted on its ``split`` again, and written.
    """

    spec: Path
    wheels: Path
    weights: Path
    scenes: Path | None = None
    split: str = "train"


class Network(NamedTuple):
    """A network: ``make`` writes its file; ``outputs`` holds the output and the form of each task.

    ``size`` is given on the command line where the file leaves it open. ``labelled`` tasks are judged against labels.
    ``text``: its images are painted with words, without which it finds nothing.
    """

    name: str
    origin: str
    file: Literal["net.onnx", "net.pt2"]
    outputs: Out
    make: Callable[[Path, Sources], None]
    normalised: str = IMAGENET
    size: tuple[int, int] | None = None
    labelled: bool = False
    text: bool = False

    @property
    def tasks(self) -> str:
        """What tasks.toml says."""
        parts = [f'name = "{self.name}"\n\n[input]\n{self.normalised}\n']
        parts += [
            f'[tasks.{task}]\noutput = "{output}"\nform = "{form}"\n' for task, (output, form) in self.outputs.items()
        ]
        return "\n".join(parts)


def write_program(module: "nn.Module", size: tuple[int, int], path: Path) -> None:
    """Save a module for images of one size as a ``.pt2``."""
    import torch

    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, *size),)), path)


def write_onnx(
    module: "nn.Module", size: tuple[int, int], path: Path, outputs: list[str], *, any_size: bool = False
) -> None:
    """Export a module as ONNX, for images of one size or of any."""
    import torch

    from compile.graphs.torch_export import quiet_export

    axes = ({0: "batch", 2: "height", 3: "width"},) if any_size else None
    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (torch.zeros(2 if any_size else 1, 3, *size),),
            dynamo=True,
            opset_version=ONNX_OPSET,
            input_names=["pixels"],
            output_names=outputs,
            dynamic_shapes=axes,
            external_data=False,
            verbose=False,
        )
    if program is not None:
        program.save(path)


def _segformer(path: Path, sources: Sources) -> None:
    from studies.foreign.published import segformer

    write_onnx(segformer(), SIZE, path, ["logits"])


def _dpt(path: Path, sources: Sources) -> None:
    from studies.foreign.published import DPT_SIDE, dpt

    write_program(dpt(), (DPT_SIDE, DPT_SIDE), path)


def _upernet(path: Path, sources: Sources) -> None:
    from studies.foreign.published import SWIN_SIDE, upernet

    write_onnx(upernet(), (SWIN_SIDE, SWIN_SIDE), path, ["logits"])


def _mask2former(path: Path, sources: Sources) -> None:
    from studies.foreign.published import SWIN_SIDE, mask2former

    write_program(mask2former(), (SWIN_SIDE, SWIN_SIDE), path)


def _unet(path: Path, sources: Sources) -> None:
    import torch

    from studies.foreign.own import UNet

    torch.manual_seed(0)
    labelled, *others = ("semseg", "depth")
    network = UNet(len(load_spec(sources.spec).classes[labelled]))
    _give_weights(network, "unet", (labelled, *others), sources)
    write_onnx(network, SIZE, path, ["classes", "metres"], any_size=True)


def _two_heads(path: Path, sources: Sources) -> None:
    import torch

    from studies.foreign.own import TwoHeads

    torch.manual_seed(0)
    network = TwoHeads()
    _give_weights(network, "two-heads", ("normals", "saliency"), sources)
    write_program(network, SIZE, path)


def _give_weights(network: "Fitted", name: str, tasks: tuple[str, ...], sources: Sources) -> None:
    from studies.foreign.fit import fit, read_fitted, read_scenes, write_fitted

    path = sources.weights / f"{name}.safetensors"
    if sources.scenes is not None:
        fit(network, read_scenes(sources.scenes, sources.spec, sources.split, tasks, SIZE), STEPS)
        write_fitted(network, path)
    read_fitted(network, path)


def _detector(path: Path, sources: Sources) -> None:
    """Take the text detector out of its wheel, whose code is never run."""
    wheel = sources.wheels / WHEEL
    if not wheel.is_file():
        raise InputError(
            "the wheel of the text detector is not here",
            expected=WHEEL,
            got="no such file",
            where=str(sources.wheels),
            fix="run make foreign, which downloads it, or name another folder: --wheels",
        )
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read(DETECTOR))


LOGITS = {"semseg": ("logits", "logits")}
NETWORKS: tuple[Network, ...] = (
    Network("segformer", "transformers, seeded", "net.onnx", LOGITS, _segformer),
    Network("dpt", "transformers, seeded", "net.pt2", {"depth": ("output", "inverse_distance")}, _dpt),
    Network("upernet-swin", "transformers, seeded", "net.onnx", LOGITS, _upernet),
    Network("mask2former", "transformers, seeded", "net.pt2", {"semseg": ("output", "logits")}, _mask2former),
    Network(
        "unet",
        "PyTorch, fitted",
        "net.onnx",
        {"semseg": ("classes", "logits"), "depth": ("metres", "distance")},
        _unet,
        size=SIZE,
        labelled=True,
    ),
    Network(
        "two-heads",
        "PyTorch, fitted",
        "net.pt2",
        {"normals": ("normals", "vector"), "saliency": ("salient", "probability")},
        _two_heads,
        labelled=True,
    ),
    Network(
        "text-detector",
        "PaddlePaddle, from the wheel of rapidocr-onnxruntime 1.4.4",
        "net.onnx",
        {"saliency-text": ("sigmoid_0.tmp_0", "probability")},
        _detector,
        normalised=CENTRED,
        size=(160, 160),
        text=True,
    ),
)


def write_view(data: Path, network: Network, out: Path) -> None:
    """Write a folder of the data's images, stretched to the network, with the labels of its tasks if it is judged by them."""
    out.mkdir(parents=True, exist_ok=True)
    spec = load_spec(data / SPEC_FILE).model_copy(update={"schema_version": 2, "size_policy": "stretch"})
    (out / SPEC_FILE).write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for split in sorted(data.glob("*.txt")):
        (out / split.name).write_bytes(split.read_bytes())
    if network.text:
        _write_words(data / "image", out / "image")
    for name in (*(() if network.text else ("image",)), *(network.outputs if network.labelled else ())):
        if not (out / name).is_symlink():
            (out / name).symlink_to((data / name).resolve(), target_is_directory=True)


def _write_words(images: Path, out: Path) -> None:
    """Copy images with a line of capitals on each, of a seeded size, place and colour."""
    from PIL import Image, ImageDraw, ImageFont

    out.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for path in sorted(images.iterdir()):
        image = Image.open(path).convert("RGB")
        word = "".join(chr(code) for code in generator.integers(ord("A"), ord("Z") + 1, 6))
        size, left, top = (int(generator.integers(least, most)) for least, most in ((24, 44), (4, 60), (4, 160)))
        ink = (255, 255, 255) if generator.random() < 0.5 else (0, 0, 0)
        ImageDraw.Draw(image).text((left, top), word, fill=ink, font=ImageFont.load_default(size))
        image.save(out / f"{path.stem}.png")
