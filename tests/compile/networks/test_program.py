"""A .pt2 program as a network: the same answers as its module, and nothing in a hostile file is ever executed."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bundle.base.errors import GraphError
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from calibration.image_files import ImageFiles
from compile.import_network import import_network
from compile.networks.description import read_description
from compile.networks.open import open_network
from compile.networks.program import load_program, output_names
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info

SIZE = (64, 48)
TASKS = """name = "heads"
unused = ["rest.1"]
[input]
range = "0..1"
[tasks.normals]
output = "normals"
form = "vector"
[tasks.saliency]
output = "rest.0"
form = "probability"
"""


class TwoHeads(nn.Module):
    """A CNN with two heads at a quarter of the image's size, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.normals, self.salient = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> dict[str, object]:
        """Map an image to normals, and to a probability beside a number."""
        body = self.body(image)
        return {"normals": self.normals(body), "rest": [self.salient(body).sigmoid(), body.mean()]}


@pytest.fixture(scope="module")
def module() -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads().eval()


@pytest.fixture(scope="module")
def saved(module: TwoHeads, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, for images of any size, and its tasks.toml."""
    folder, auto = tmp_path_factory.mktemp("program"), torch.export.Dim.AUTO
    program = torch.export.export(module, (torch.zeros(1, 3, 96, 96),), dynamic_shapes=({2: auto, 3: auto},))
    torch.export.save(program, folder / "net.pt2")
    (folder / "tasks.toml").write_text(TASKS)
    return folder / "net.pt2"


def test_a_program_answers_as_its_module_does(module: TwoHeads, saved: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    images = ImageFiles(paths=(tmp_path / "one.png",))
    described = read_description(saved.with_name("tasks.toml"))
    eager = open_network(saved, described, SIZE)
    exported = import_network(saved, eager, tmp_path / "out", "raw", images, threads=1)
    info = graph_info(exported)
    [outputs] = run_graph(exported.file(GRAPH_FILE), info, [info.feed(pixels)], exact=False, threads=1)
    with torch.no_grad():
        given = module(torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255)))
    normals = nn.functional.interpolate(given["normals"], SIZE, mode="bilinear")[0].numpy()
    salient = nn.functional.interpolate(given["rest"][0], SIZE, mode="bilinear")[0, 0].numpy()
    unit = normals / np.linalg.norm(normals, axis=0)
    np.testing.assert_allclose(predict(task("normals"), outputs["normals"][0]), unit, atol=1e-4)
    np.testing.assert_allclose(predict(task("saliency"), outputs["saliency"][0]), salient, atol=1e-5)
    assert eager.eager and eager.framework.startswith("torch ") and "as given" in eager.framework
    np.testing.assert_allclose(eager.reference(1).run(pixels, name="one")["normals"], normals, atol=1e-5)


def test_a_weight_of_a_program_that_is_no_number(tmp_path: Path) -> None:
    module = WithoutSome(None).eval()
    with torch.no_grad():
        module.layer.weight[0, 0] = torch.nan
    path = written(module, tmp_path, 16)
    with pytest.raises(GraphError, match="not finite"):
        open_network(path, read_description(tmp_path / "tasks.toml"), SIZE)


class Finished(nn.Module):
    """Scores as an einsum, and finished answers at the image's size: classes, and a probability."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3, padding=1)
        self.heads = nn.Parameter(torch.randn(5, 8))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map an image to classes and probabilities."""
        scores = torch.einsum("kc,bchw->bkhw", self.heads, self.layer(image).relu())
        return {"salient": scores[:, 4:].sigmoid(), "classes": scores[:, :4].argmax(1)}


@pytest.mark.slow
def test_the_ends_of_a_program_are_taken_off_in_the_graph_and_in_eager(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Finished().eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, *SIZE),)), tmp_path / "net.pt2")
    (tmp_path / "tasks.toml").write_text(
        'name = "ends"\n[input]\nrange = "0..1"\n[tasks.semseg]\noutput = "classes"\nform = "labels"\n'
        '[tasks.saliency]\noutput = "salient"\nform = "probability"\n'
    )
    pixels = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    opened = open_network(tmp_path / "net.pt2", read_description(tmp_path / "tasks.toml"), None)
    assert [word.partition(" /")[0].split(" ")[3:5] for word in opened.changes[:2]] == [
        ["the", "ArgMax"],
        ["the", "Sigmoid"],
    ]
    with torch.no_grad():
        given = module(torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255)))
    raw = opened.reference(1).run(pixels, name="one")
    assert opened.tasks == {"semseg": 4, "saliency": 1}
    assert (predict(task("semseg"), raw["semseg"]) == given["classes"][0].numpy()).all()
    np.testing.assert_allclose(predict(task("saliency"), raw["saliency"]), given["salient"][0, 0].numpy(), atol=1e-6)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    import_network(
        tmp_path / "net.pt2", opened, tmp_path / "out", "raw", ImageFiles(paths=(tmp_path / "one.png",)), threads=1
    )


def test_outputs_are_named_by_their_keys_and_positions(saved: Path) -> None:
    assert output_names(load_program(saved)) == ["normals", "rest.0", "rest.1"]


class WithoutSome(nn.Module):
    """One convolution; its answer is beside what ``other`` is."""

    def __init__(self, other: object) -> None:
        super().__init__()
        self.layer, self.other = nn.Conv2d(3, 1, 1), other

    def forward(self, image: Tensor) -> dict[str, object]:
        """Map an image to a probability's logit."""
        return {"loss": self.other, "logits": self.layer(image)}


def written(module: nn.Module, folder: Path, least: int) -> Path:
    """A program for images of at least ``least`` rows."""
    rows = torch.export.Dim("rows", min=least, max=512)
    example = (torch.zeros(1, 3, 128, SIZE[1]),)
    torch.export.save(torch.export.export(module, example, dynamic_shapes=({2: rows},)), folder / "net.pt2")
    text = 'name = "some"\n[input]\nrange = "0..1"\n[tasks.saliency]\noutput = "logits"\nform = "logits"\n'
    (folder / "tasks.toml").write_text(text)
    return folder / "net.pt2"


def test_none_is_no_output(tmp_path: Path) -> None:
    module = WithoutSome(None).eval()
    path = written(module, tmp_path, 16)
    opened = open_network(path, read_description(tmp_path / "tasks.toml"), SIZE)
    pixels = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        given = module(torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255)))["logits"]
    np.testing.assert_allclose(opened.reference(1).run(pixels, name="one")["saliency"], given[0].numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("other", "least", "says"), [(3, 16, "cannot export"), (None, 96, "does not run")])
def test_a_number_or_another_size_is_refused(tmp_path: Path, other: object, least: int, says: str) -> None:
    path = written(WithoutSome(other).eval(), tmp_path, least)
    with pytest.raises(GraphError, match=says):
        open_network(path, read_description(tmp_path / "tasks.toml"), SIZE)


class Touch:
    """A pickle that writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


Entries = dict[str, bytes]
MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def changed(saved: Path, folder: Path, change: Callable[[Entries], None]) -> Path:
    """The archive with other entries."""
    with zipfile.ZipFile(saved) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(folder / "hostile.pt2", "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"net/{name}", content)
    return folder / "hostile.pt2"


def program(change: Callable[[dict[str, Any]], None]) -> Callable[[Entries, Path], None]:
    """A change of the program's description."""

    def apply(entries: Entries, mark: Path) -> None:
        described = json.loads(entries[MODEL])
        change(described)
        entries[MODEL] = json.dumps(described).replace("MARK", str(mark)).encode()

    return apply


def pickled_weight(entries: Entries, mark: Path) -> None:
    config = json.loads(entries[WEIGHTS])
    payload = next(iter(config["config"].values()))
    payload["use_pickle"] = True
    entries[WEIGHTS] = json.dumps(config).encode()
    entries[f"data/weights/{payload['path_name']}"] = pickle.dumps(Touch(mark))


def constant(path_name: str, *, pickled: bool) -> Callable[[Entries, Path], None]:
    def apply(entries: Entries, mark: Path) -> None:
        payload = {"path_name": path_name, "is_param": False, "use_pickle": pickled, "tensor_meta": None}
        entries[CONSTANTS] = json.dumps({"config": {"thing": payload}}).encode()
        entries[f"data/constants/{path_name}"] = pickle.dumps(Touch(mark))

    return apply


def pickled_samples(entries: Entries, mark: Path) -> None:
    stream = io.BytesIO()
    torch.save(Touch(mark), stream)
    entries["data/sample_inputs/model.pt"] = stream.getvalue()


def legacy_weights(entries: Entries, mark: Path) -> None:
    entries["data/weights/model.pt"] = pickle.dumps(Touch(mark))


def node(described: dict[str, Any]) -> dict[str, Any]:
    return described["graph_module"]["graph"]["nodes"][-1]


def symbol(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    at = text.index('"expr_str": "')
    end = text.index('"', at + 13)
    described |= json.loads(text[: at + 13] + "__import__('os').system('touch MARK')" + text[end:])


def container(described: dict[str, Any]) -> None:
    signature = described["graph_module"]["module_call_graph"][0]["signature"]
    signature["out_spec"] = signature["out_spec"].replace("builtins.dict", "collections.defaultdict")


HOSTILE: dict[str, tuple[Callable[[Entries, Path], None], str]] = {
    "a pickled weight": (pickled_weight, "a pickle or a custom object"),
    "a pickled constant": (constant("tensor_0", pickled=True), "a pickle or a custom object"),
    "a custom object": (constant("custom_obj_0", pickled=True), "what a program does not need"),
    "an opaque object": (constant("opaque_obj_0", pickled=True), "what a program does not need"),
    "pickled sample inputs": (pickled_samples, "sample inputs"),
    "weights of an older format": (legacy_weights, "what a program does not need"),
    "a compiled library": (
        lambda e, mark: e.update({"data/aotinductor/model/x.so": b""}),
        "what a program does not need",
    ),
    "an entry twice": (lambda e, mark: e.update({"Models/model.json": b"{}"}), "what a program does not need"),
    "a function of torch": (program(lambda d: node(d).update(target="torch.load")), "operator of its own"),
    "a library's operator": (
        program(lambda d: node(d).update(target="torch.ops.mine.do.default")),
        "operator of its own",
    ),
    "an operator that writes": (
        program(lambda d: node(d).update(target="torch.ops.aten.from_file.default")),
        "operator of its own",
    ),
    "control flow": (program(lambda d: node(d).update(target="torch.ops.higher_order.cond")), "control flow"),
    "a path for an operator": (program(lambda d: node(d)["inputs"].append({"arg": {"as_string": "MARK"}})), "no mode"),
    "a size that is a program": (program(symbol), "no arithmetic"),
    "a class as container": (program(container), "of a class"),
    "another PyTorch": (program(lambda d: d.update(torch_version="2.6.0")), "another PyTorch"),
    "no program": (program(lambda d: d.update(graph_module={})), "refuses this program"),
}


@pytest.mark.parametrize(("change", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_program_is_refused_and_does_nothing(
    saved: Path, tmp_path: Path, change: Callable[[Entries, Path], None], says: str
) -> None:
    mark = tmp_path / "executed"
    path = changed(saved, tmp_path, lambda entries: change(entries, mark))
    with pytest.raises(GraphError) as refused:
        load_program(path)
    assert says in refused.value.message and not mark.exists()


@pytest.mark.filterwarnings("ignore")
def test_pytorch_alone_executes_such_a_file(saved: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = changed(saved, tmp_path, lambda entries: pickled_weight(entries, mark))
    with pytest.raises((RuntimeError, TypeError, AttributeError, pickle.UnpicklingError)):
        torch.export.load(path)
    assert mark.exists()


@pytest.mark.slow
def test_guards_are_never_executed(saved: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    guard = program(lambda d: d.update(guards_code=["__import__('os').system('touch MARK') == 0"]))
    path = changed(saved, tmp_path, lambda entries: guard(entries, mark))
    network = open_network(path, read_description(saved.with_name("tasks.toml")), SIZE)
    network.reference(1).run(np.zeros((*SIZE, 3), np.uint8), name="black")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", pickle.dumps({"a": 1})])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(GraphError, match="no program"):
        load_program(tmp_path / "net.pt2")


def test_an_error_of_the_reader_without_words_is_named_by_its_type(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(content: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch.export, "load", fail)
    with pytest.raises(GraphError, match="PyTorch refuses this program") as caught:
        load_program(saved)
    assert caught.value.got.startswith("AssertionError")
