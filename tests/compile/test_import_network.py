"""A network of another origin as export leaves a checkpoint: the same answers, and what is refused before any stage."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from bundle.base.errors import ConfigError, GraphError, InputError
from bundle.formats.artifacts import Exported
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from calibration.image_files import ImageFiles
from compile.import_network import import_network, main
from compile.networks.description import read_description
from compile.networks.open import open_network
from compile.stage.artifacts import ExportedSettings
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from tests.compile.networks import foreign

SIZE = (foreign.SIDE, foreign.SIDE - 16)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    """Two images that are not square."""
    generator, folder = np.random.default_rng(5), tmp_path / "images"
    folder.mkdir()
    for index in range(2):
        few = Image.fromarray(generator.integers(0, 255, (8, 6, 3), dtype=np.uint8))
        few.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return ImageFiles(paths=tuple(sorted(folder.glob("*.png"))))


def imported(network: Path, tasks: Path, images: ImageFiles, io: str = "raw") -> Exported:
    """Import as the stage does."""
    opened = open_network(network, read_description(tasks), SIZE)
    return import_network(network, opened, network.parent / io, io, images, threads=1)


def answers(exported: Exported, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the imported graph says of an image, as predictions."""
    info = graph_info(exported)
    [outputs] = run_graph(exported.file(GRAPH_FILE), info, [info.feed(image)], exact=False, threads=1)
    if info.io == "edge":
        return {name: output[0] for name, output in outputs.items()}
    return {name: predict(task(name), output[0]) for name, output in outputs.items()}


def as_given(network: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the file itself says, in a session that this project does not open."""
    session = onnxruntime.InferenceSession(network)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw", "edge"])
def test_a_unet_of_any_size_answers_as_its_file_does(tmp_path: Path, images: ImageFiles, io: str) -> None:
    network, tasks = foreign.unet(tmp_path)
    exported = imported(network, tasks, images, io)
    image = next(images.read())[1]
    given = as_given(network, {"pixels": ((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
    ours = answers(exported, image)
    assert (ours["semseg"] == given["logits"][0].argmax(0)).mean() > 0.999
    np.testing.assert_allclose(ours["depth"], given["metres"][0, 0], rtol=1e-4)
    assert graph_info(exported).tasks == {"semseg": 4, "depth": 1}


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw", "edge"])
def test_frames_in_bytes_and_finished_answers_are_adapted(tmp_path: Path, images: ImageFiles, io: str) -> None:
    network, tasks = foreign.of_bytes(tmp_path)
    exported = imported(network, tasks, images, io)
    image = next(images.read())[1]
    given, ours = as_given(network, {"frame": image[None]}), answers(exported, image)
    assert (ours["semseg"] == given["classes"][0]).mean() > 0.999
    np.testing.assert_allclose(
        ours["depth"], np.minimum(2 / np.maximum(given["nearness"][0, ..., 0], 1e-9), 5), rtol=1e-4
    )
    inner = given["salient"][0, 0]
    between = (inner[:-1, :-1] * 9 + inner[1:, :-1] * 3 + inner[:-1, 1:] * 3 + inner[1:, 1:]) / 16
    np.testing.assert_allclose(ours["saliency"][1:-1:2, 1:-1:2], between, atol=1e-5)  # half-pixel centres
    changes = read_settings(ExportedSettings, exported).changes
    assert "semseg: taken before the ArgMax" in changes[0] and "opset 11 as 20" in changes


def test_classes_without_scores_become_one_hot_maps(tmp_path: Path, images: ImageFiles) -> None:
    halved = foreign.BYTES.replace("l = Conv (r", "l = Conv <strides=[2,2]> (r")
    names = 'form = "labels"\nclasses = ["a", "b", "c", "d", "e"]'
    network, tasks = foreign.of_bytes(tmp_path, halved, foreign.BYTES_TASKS.replace('form = "labels"', names))
    image = next(images.read())[1]
    ours, given = answers(imported(network, tasks, images), image), as_given(network, {"frame": image[None]})
    assert (ours["semseg"] == given["classes"][0].repeat(2, 0).repeat(2, 1)).all()


def test_colours_in_the_other_order(tmp_path: Path, images: ImageFiles) -> None:
    tasks = foreign.UNET_TASKS.replace('"0..1"', '"0..255"\ncolours = "bgr"')
    tasks = tasks.replace("[0.485, 0.456, 0.406]", "[104.0, 117.0, 123.0]").replace(
        "[0.229, 0.224, 0.225]", "[60, 61, 62]"
    )
    network, described = foreign.unet(tmp_path, tasks=tasks)
    image = next(images.read())[1]
    fed = ((image[..., ::-1] - np.array([104.0, 117.0, 123.0])) / [60, 61, 62]).transpose(2, 0, 1)[None]
    ours = answers(imported(network, described, images), image)
    given = as_given(network, {"pixels": fed.astype(np.float32)})
    np.testing.assert_allclose(ours["depth"], given["metres"][0, 0], rtol=1e-4)


IN, CONTROL = "float[N,3,H,W] pixels", "metres = Softplus (m)"
BRANCH = """yes = ReduceMax <keepdims=0> (m)
    big = Cast <to=9> (yes)
    metres = If (big) <then_branch = t () => (float[N,1,H3,W3] x) { x = Softplus (m) },
                       else_branch = e () => (float[N,1,H3,W3] y) { y = Relu (m) }>"""
FAULTS = {
    "an output that no task names": (foreign.UNET, foreign.UNET_TASKS.partition("[tasks.depth]")[0], "'metres'"),
    "a task that no output names": (foreign.UNET, foreign.UNET_TASKS.replace('"metres"', '"meters"'), "depth"),
    "two image inputs": (
        foreign.UNET.replace(IN, f"{IN}, float[N,3,H,W] other"),
        foreign.UNET_TASKS,
        "more than one input",
    ),
    "an input that is not there": (
        foreign.UNET,
        foreign.UNET_TASKS.replace("[input]", '[input]\nname = "rgb"'),
        "'rgb'",
    ),
    "four colours": (foreign.UNET.replace("[N,3,H,W]", "[N,4,H,W]"), foreign.UNET_TASKS, "three colours"),
    "another layout": (
        foreign.UNET,
        foreign.UNET_TASKS.replace("[input]", '[input]\nlayout = "nhwc"'),
        "three colours",
    ),
    "a wrong channel count": (
        foreign.UNET,
        foreign.UNET_TASKS.replace("tasks.depth", "tasks.normals").replace('"distance"', '"vector"'),
        "wrong channel count",
    ),
    "a form of another kind": (foreign.UNET, foreign.UNET_TASKS.replace('"distance"', '"vector"'), "description"),
    "no such task": (foreign.UNET, foreign.UNET_TASKS.replace("tasks.depth", "tasks.height"), "unknown task"),
    "a domain of its own": (
        foreign.UNET.replace('"": 17', '"": 17, "mine": 1').replace("b = Relu (a)", "b = mine.Relu (a)"),
        foreign.UNET_TASKS,
        "ONNX has no such operator",
    ),
    "control flow": (foreign.UNET.replace(CONTROL, BRANCH), foreign.UNET_TASKS, "control flow"),
    "classes that are not the network's": (
        foreign.UNET,
        foreign.UNET_TASKS.replace('form = "logits"', 'form = "logits"\nclasses = ["a", "b"]'),
        "2 in tasks.semseg.classes",
    ),
    "an input of double precision": (
        foreign.UNET.replace("float[N,3,H,W]", "double[N,3,H,W]")
        .replace("a = Conv", "x = Cast <to=1> (pixels)\n    a = Conv")
        .replace("(pixels, w1)", "(x, w1)"),
        foreign.UNET_TASKS,
        "neither float32 nor uint8",
    ),
    "a task of no row": (foreign.UNET, foreign.UNET_TASKS.replace("tasks.depth", "tasks.depth-"), "unknown task"),
    "a sequence": (
        foreign.UNET.replace(CONTROL, "metres = SequenceConstruct (m)").replace(
            "float[N,1,H3,W3] metres", "seq(float[N,1,H3,W3]) metres"
        ),
        foreign.UNET_TASKS,
        "no map",
    ),
    "another size": (foreign.UNET.replace("[N,3,H,W]", "[1,3,32,32]"), foreign.UNET_TASKS, "another size"),
    "no map": (
        foreign.UNET.replace(CONTROL, "metres = ReduceMax <keepdims=0> (m)").replace("float[N,1,H3,W3]", "float"),
        foreign.UNET_TASKS,
        "no map",
    ),
}


@pytest.mark.parametrize(("text", "tasks", "says"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_imported_is_refused_by_name(tmp_path: Path, text: str, tasks: str, says: str) -> None:
    network, described = foreign.unet(tmp_path, text, tasks)
    with pytest.raises(InputError) as refused:
        open_network(network, read_description(described), SIZE)
    assert says in f"{refused.value.message} {refused.value.got}"
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "tasks.toml"}


def in_a_constant(model: onnx.ModelProto, index: int) -> None:
    """Let a node give a weight, as some exporters write it, at the end of the file."""
    weight = model.graph.initializer.pop(index)
    model.graph.node.append(onnx.helper.make_node("Constant", [], [weight.name], value=weight))


@pytest.mark.parametrize("node", [False, True])
def test_a_weight_that_is_no_number(tmp_path: Path, node: bool) -> None:
    network, tasks = foreign.unet(tmp_path)
    model = onnx.load(network)
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0, 0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, model.graph.initializer[0].name))
    if node:
        in_a_constant(model, 0)
    onnx.save(model, network)
    with pytest.raises(GraphError, match="not finite"):
        open_network(network, read_description(tasks), SIZE)


INFINITE = {
    "a fill": np.array(-np.inf),
    "a mask": np.tile([0, -np.inf], (1, SIZE[1] // 2)),
    "a weight": np.tile([1, -np.inf], (1, SIZE[1] // 2)),
}


@pytest.mark.parametrize("name", INFINITE)
def test_infinity_is_a_fill_or_a_mask_and_no_weight(tmp_path: Path, name: str) -> None:
    text = foreign.UNET.replace("metres = Softplus (m)", "n = Softplus (m)\n    metres = Max (n, least)")
    network, tasks = foreign.unet(tmp_path, text)
    model = onnx.load(network)
    model.graph.initializer.append(onnx.numpy_helper.from_array(INFINITE[name].astype(np.float32), "least"))
    onnx.save(model, network)
    if name == "a weight":
        with pytest.raises(GraphError, match="not finite"):
            open_network(network, read_description(tasks), SIZE)
    else:
        assert open_network(network, read_description(tasks), SIZE).tasks["depth"] == 1


def test_nodes_in_any_order_and_an_infinite_end_of_a_clip(tmp_path: Path, images: ImageFiles) -> None:
    text = foreign.UNET.replace("metres = Softplus (m)", "n = Softplus (m)\n    metres = Clip (n, , most)")
    network, tasks = foreign.unet(tmp_path, text)
    model = onnx.load(network)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(np.inf, np.float32), "most"))
    for _ in range(len(model.graph.initializer)):
        in_a_constant(model, 0)
    onnx.save(model, network)
    image = next(images.read())[1]
    given = as_given(network, {"pixels": ((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
    np.testing.assert_allclose(
        answers(imported(network, tasks, images), image)["depth"], given["metres"][0, 0], rtol=1e-4
    )


def test_half_precision_is_taken_as_float32(tmp_path: Path, images: ImageFiles) -> None:
    network, tasks = foreign.unet(tmp_path)
    model = onnx.load(network)
    for weight in model.graph.initializer:
        half = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(half, weight.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, network)
    image = next(images.read())[1]
    given = as_given(network, {"pixels": ((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float16)})
    exported = imported(network, tasks, images)
    np.testing.assert_allclose(answers(exported, image)["depth"], given["metres"][0, 0], atol=2e-3)
    assert any("half precision taken as float32" in one for one in read_settings(ExportedSettings, exported).changes)


RESHAPED = foreign.UNET.replace("metres = Softplus (m)", "n = Softplus (m)\n    metres = Reshape (n, sides)")


@pytest.mark.parametrize(("text", "size"), [(foreign.UNET, (51, 48)), (RESHAPED, (64, 48))])
def test_a_size_that_the_network_cannot_run_at(tmp_path: Path, text: str, size: tuple[int, int]) -> None:
    network, tasks = foreign.unet(tmp_path, text)
    model = onnx.load(network)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 32, 32]), "sides"))
    onnx.save(model, network)
    with pytest.raises(GraphError) as refused:
        open_network(network, read_description(tasks), size)
    assert "--size" in refused.value.fix and "--shape" not in refused.value.fix


def test_two_label_maps_have_names_of_their_own(tmp_path: Path, images: ImageFiles) -> None:
    text = foreign.UNET_TASKS.replace("tasks.semseg", "tasks.semseg-lanes").replace("tasks.depth", "tasks.semseg")
    tasks = text.replace('"metres"', '"more"').replace('"distance"', '"logits"')
    both = foreign.UNET.replace("float[N,1,H3,W3] metres", "float[N,4,H3,W3] more").replace(
        "m = Conv (h, depth)\n    metres = Softplus (m)", "more = Neg (logits)"
    )
    network, described = foreign.unet(tmp_path, both, tasks)
    exported, image = imported(network, described, images), next(images.read())[1]
    given = as_given(network, {"pixels": ((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
    ours = answers(exported, image)
    assert (ours["semseg-lanes"] == given["logits"][0].argmax(0)).mean() > 0.999
    assert (ours["semseg"] == given["logits"][0].argmin(0)).mean() > 0.999


def test_an_open_size_is_asked_for(tmp_path: Path) -> None:
    network, tasks = foreign.unet(tmp_path)
    with pytest.raises(ConfigError) as refused:
        open_network(network, read_description(tasks), None)
    assert "--size" in refused.value.fix


def test_the_command_names_what_it_did(tmp_path: Path, images: ImageFiles, capsys: pytest.CaptureFixture[str]) -> None:
    network, tasks = foreign.of_bytes(tmp_path)
    main(network, tasks, images.paths[0].parent, tmp_path / "out", size=SIZE, count=1, threads=1)
    said = capsys.readouterr()
    assert "taken before the ArgMax" in said.err and said.out.startswith("exported ")
