"""The text of each framework: as the goldens have it, and as a parser that is not ours reads it."""

import ast
import configparser
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from bundle.base.errors import InputError
from bundle.formats.io_forms import Io
from bundle.formats.manifest import load_bundle
from serving.table import FRAMEWORKS, Framework
from serving.write import RECORD, write_serving
from tests.bundle.made import CLASSES, HEIGHT, PALETTES, SPEC, TASKS, WIDTH, write_result
from tests.cli.run import tdss
from tests.report.made import regression
from tests.serving.made import offered

GOLDENS = Path(__file__).parent / "goldens"
TEXTS: dict[Framework, tuple[str, Io, tuple[str, ...]]] = {
    "triton": (".xml", "edge", ("openvino/made/config.pbtxt", "python/made/config.pbtxt", "python/made/1/model.py")),
    "ovms": (".xml", "edge", ("config.json",)),
    "deepstream": (".onnx", "nchw", ("config_infer.txt", "labels_semseg.txt")),
    "isaac-ros": (".onnx", "nhwc", ("made.launch.py", "label_info_semseg.yaml")),
}
"""A framework, the bundle that it takes, and its files of text."""


def served(framework: Framework, folder: Path) -> Path:
    suffix, io, _ = TEXTS[framework]
    write_serving(offered(folder / "bundle", suffix, io), framework, folder / "out", variant="")
    return folder / "out"


@pytest.mark.parametrize("framework", TEXTS)
def test_the_text_is_the_goldens(framework: Framework, tmp_path: Path) -> None:
    out = served(framework, tmp_path)
    for name in TEXTS[framework][2]:
        golden = GOLDENS / framework / f"{name.replace('/', '_')}.golden"
        assert (out / name).read_text(encoding="utf-8") == golden.read_text(encoding="utf-8"), golden


@pytest.mark.parametrize("framework", TEXTS)
def test_each_folder_says_what_runs_and_names_classes_and_palettes(framework: Framework, tmp_path: Path) -> None:
    out = served(framework, tmp_path)
    record = json.loads((out / RECORD).read_text())
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert (
        there == {*record["files"], RECORD}
        and record["runs"]
        and record["bundle"] == load_bundle(tmp_path / "bundle").sha256
    )
    classes = json.loads((out / "classes.json").read_text())
    for name in TASKS:
        assert classes["tasks"][name]["names"] == list(CLASSES.get(name, ()))
        assert classes["tasks"][name]["palette"] == [list(colour) for colour in PALETTES.get(name, ())]
    assert classes["ignore_index"] == 255 and classes["image"]["height"] == HEIGHT


def test_ovms_pins_the_judged_precision(tmp_path: Path) -> None:
    out = served("ovms", tmp_path)
    [row] = json.loads((out / "config.json").read_text())["model_config_list"]
    assert row["config"]["plugin_config"]["INFERENCE_PRECISION_HINT"] == "f32"
    model = out / row["config"]["base_path"] / "1" / "model.xml"
    assert model.read_bytes() == b"int8.xml" and model.with_suffix(".bin").read_bytes() == b"int8.bin"


def _model_config() -> ModuleType:
    """Triton's own schema, from the wheel tritonclient; its package would import gRPC."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("no tritonclient here: pip install --target DIR --no-deps tritonclient, and PYTHONPATH=DIR")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["openvino", "python"])
def test_tritons_own_schema_reads_its_config(backend: str, tmp_path: Path) -> None:
    from google.protobuf import text_format

    text = (served("triton", tmp_path) / backend / "made" / "config.pbtxt").read_text()
    config = text_format.Parse(text, _model_config().ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("made", backend, 0)
    assert [(one.name, list(one.dims)) for one in config.input] == [("image", [1, HEIGHT, WIDTH, 3])]
    assert [one.name for one in config.output] == list(TASKS)


@pytest.mark.parametrize(
    ("hint", "said", "pinned"), [("bf16", "pinned with HINT_BF16", True), ("f32", "cannot pin f32", False)]
)
def test_triton_says_what_its_openvino_backend_computes_in(tmp_path: Path, hint: str, said: str, pinned: bool) -> None:
    answer = write_serving(offered(tmp_path / "b", ".xml", hint=hint), "triton", tmp_path / "out", variant="")
    assert said in str(answer.value["runs"])
    assert ("HINT_BF16" in (tmp_path / "out" / "openvino" / "made" / "config.pbtxt").read_text()) == pinned


def test_tritons_python_repository_holds_a_bundle_that_opens(tmp_path: Path) -> None:
    model = served("triton", tmp_path) / "python" / "made" / "1"
    assert load_bundle(model / "bundle").sha256 == load_bundle(tmp_path / "bundle").sha256
    compile((model / "model.py").read_text(), "model.py", "exec")
    assert (model / "tdss-runtime.pyz").read_bytes().startswith(b"#!")


def test_what_a_result_says_cannot_become_code(tmp_path: Path) -> None:
    device = '"); import os; os.abort() #\n'
    bundle = offered(tmp_path / "b", ".xml")
    write_result(bundle.folder, "regression.json", json.dumps(regression(session={"device": device})))
    write_serving(load_bundle(bundle.folder), "triton", tmp_path / "out", variant="")
    tree = ast.parse((tmp_path / "out" / "python" / "made" / "1" / "model.py").read_text())
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "device"]
    assert [ast.literal_eval(value) for value in values] == [device]


def test_deepstreams_file_is_a_key_file(tmp_path: Path) -> None:
    out = served("deepstream", tmp_path)
    keys = configparser.ConfigParser()
    keys.read_string((out / "config_infer.txt").read_text())
    assert keys["property"]["infer-dims"] == f"3;{HEIGHT};{WIDTH}" and keys["property"]["network-mode"] == "1"
    assert (out / keys["property"]["onnx-file"]).read_bytes() == b"int8.onnx"
    assert (out / "labels_human_parts.txt").read_text().splitlines() == list(CLASSES["human_parts"])


def test_isaac_ros_launches_the_engine_of_the_bundle(tmp_path: Path) -> None:
    out = served("isaac-ros", tmp_path)
    tree = ast.parse((out / "made.launch.py").read_text())
    [outputs] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    ]
    assert outputs == list(TASKS)
    info = yaml.safe_load((out / "label_info_semseg.yaml").read_text())
    assert [row["class_name"] for row in info["class_map"]] == list(CLASSES["semseg"])
    assert info["color_palette"] == [red << 16 | green << 8 | blue for red, green, blue in PALETTES["semseg"]]


@pytest.mark.parametrize(
    ("framework", "suffix", "io", "wanted"),
    [
        ("ovms", ".onnx", "edge", "OpenVINO IR"),
        ("deepstream", ".xml", "nchw", "an ONNX graph"),
        ("deepstream", ".onnx", "raw", "io nchw"),
        ("deepstream", ".onnx", "edge", "io nchw"),
        ("isaac-ros", ".onnx", "edge", "io nhwc"),
    ],
)
def test_what_a_framework_cannot_run_is_refused(
    framework: Framework, suffix: str, io: Io, wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"{framework} cannot serve this bundle") as caught:
        write_serving(offered(tmp_path / "b", suffix, io), framework, tmp_path / "out", variant="")
    assert wanted in caught.value.expected and not (tmp_path / "out").exists()


def test_class_names_cannot_add_lines_and_a_hostile_name_is_refused(tmp_path: Path) -> None:
    classes = {**CLASSES, "semseg": ("wall\n[property]", "a, b: {c}", "#d", '"e"')}
    spec = SPEC.model_copy(update={"classes": classes})
    write_serving(offered(tmp_path / "a", ".onnx", "nchw", dataset=spec), "deepstream", tmp_path / "out", variant="")
    assert (tmp_path / "out" / "labels_semseg.txt").read_text().splitlines() == [
        "wall [property]",
        *classes["semseg"][1:],
    ]
    write_serving(offered(tmp_path / "b", ".onnx", "nhwc", dataset=spec), "isaac-ros", tmp_path / "ros", variant="")
    info = yaml.safe_load((tmp_path / "ros" / "label_info_semseg.yaml").read_text())
    assert [row["class_name"] for row in info["class_map"]] == ["wall [property]", *classes["semseg"][1:]]
    for name in ("../up", 'a" b', "x\ny"):
        with pytest.raises(InputError, match="cannot be that of a served model"):
            write_serving(
                offered(tmp_path / f"n{len(name)}{name[0]}".replace(".", "_"), ".xml", name=name),
                "ovms",
                tmp_path / "no",
                variant="",
            )


def test_only_its_own_folder_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offered(tmp_path / "bundle", ".xml")
    out = tmp_path / "out"
    words = ("serve-files", str(tmp_path / "bundle"), "--for", "ovms", "--out")
    assert tdss(*words, str(out), capsys=capsys)[0] == 0
    code, text, _ = tdss(*words, str(out), capsys=capsys)
    assert code == 0 and "runs: as judged" in text
    (out / "mine.txt").write_text("mine")
    for path in (out, tmp_path / "bundle", tmp_path / "bundle" / "in"):
        assert tdss(*words, str(path), capsys=capsys)[0] == 2
    assert (out / "mine.txt").read_text() == "mine"
    code, answer, _ = tdss(
        "serve-files", str(tmp_path / "bundle"), "--for", "ovms", "--out", str(tmp_path / "n"), "--json", capsys=capsys
    )
    assert code == 0 and json.loads(answer)["variant"] == "int8" and set(FRAMEWORKS) > {"ovms"}
