"""The manifest: what it refuses, and that no byte of a bundle can change unnoticed."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import TensorSpec
from bundle.formats.contents import ENGINES, MANIFEST, RESULTS
from bundle.formats.engines import write_engine_file
from bundle.formats.io_forms import Io, interface
from bundle.formats.manifest import (
    BundleVariant,
    Engine,
    Manifest,
    default_budgets,
    load_bundle,
    read_manifest,
    verify_bundle,
    write_manifest,
)
from tests.bundle.made import HEIGHT, PREPROCESS, TASKS, WIDTH, hash_bundle, make_bundle, manifest, write_result

FILES = ["f32.onnx", "fold.json", "vectors.npz"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made" / "reference", count=1).folder


def values(folder: Path, **changes: object) -> dict[str, object]:
    return {**manifest(folder).model_dump(), **changes}


def test_what_is_written_is_read(folder: Path) -> None:
    digest = write_manifest(folder, manifest(folder))
    bundle = load_bundle(folder)
    assert (bundle.sha256, bundle.manifest) == (digest, manifest(folder))
    assert bundle.vectors == (folder / "vectors.npz").read_bytes()


def test_the_same_manifest_gives_the_same_bytes(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    write_manifest(folder, read_manifest(folder))
    assert (folder / MANIFEST).read_bytes() == before


def test_every_file_is_listed(folder: Path) -> None:
    assert list(load_bundle(folder).manifest.files) == FILES


def test_what_a_device_writes_is_not_listed(folder: Path) -> None:
    for name in RESULTS:
        write_result(folder, name, "<head>\n" if name.endswith(".html") else "{}")
    write_engine_file(folder, "one.engine", b"built later")
    assert list(hash_bundle(folder)) == FILES
    assert (folder / ENGINES / "one.engine").is_file()
    load_bundle(folder)


def test_a_result_the_bundle_was_shipped_with_must_be_there(folder: Path) -> None:
    write_manifest(folder, manifest(folder).model_copy(update={"results": ("regression.json",)}))
    load_bundle(folder)  # whoever judges it is about to write it
    with pytest.raises(ArtifactError, match=r"^regression\.json is missing") as caught:
        verify_bundle(folder)
    assert "run pytest tests/regression" in caught.value.fix
    write_result(folder, "regression.json", "{}")
    assert verify_bundle(folder).manifest.results == ("regression.json",)


def test_any_flipped_byte_of_the_manifest_is_refused(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    for position in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        (folder / MANIFEST).write_bytes(flipped)
        with pytest.raises(ArtifactError, match=f"^{MANIFEST} was altered"):
            read_manifest(folder)


def test_a_careless_edit_of_the_manifest_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"semseg": 0.01', '"semseg": 0.99'))
    with pytest.raises(ArtifactError, match=f"^{MANIFEST} was altered"):
        load_bundle(folder)


def test_what_is_no_bundle_is_said_and_only_a_file_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"PK")
    for name, got in (("", "a folder without"), ("file.zip", "a file"), ("none.zip", "no such file or folder")):
        with pytest.raises(ArtifactError, match="no bundle here") as caught:
            load_bundle(tmp_path / name)
        assert caught.value.got.startswith(got) and ("unpack" in caught.value.fix) == (got == "a file")


@pytest.mark.parametrize("name", ["vectors.npz", "f32.onnx"])
def test_a_file_the_bundle_needs_must_be_listed(folder: Path, name: str) -> None:
    files = {key: value for key, value in hash_bundle(folder).items() if key != name}
    write_manifest(folder, manifest(folder).model_copy(update={"files": files}))
    with pytest.raises(ArtifactError, match=f"{name} is not listed"):
        load_bundle(folder)


def test_a_manifest_of_another_schema_says_so(folder: Path) -> None:
    write_manifest(folder, manifest(folder).model_copy(update={"schema_version": 5}))
    with pytest.raises(ArtifactError, match="of format 5, which is newer"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"budgets": {"semseg": 0.01}}, "budgets are for"),
        ({"budgets": dict.fromkeys(TASKS, -0.1)}, "greater than or equal to 0"),
        ({"budgets": dict.fromkeys(TASKS, float("nan"))}, "finite"),
        ({"shipped": "int8"}, "the shipped variant 'int8' is none of"),
        ({"io": "edge"}, "a bundle with io 'edge' takes"),
        ({"outputs": ()}, "a bundle with io 'raw' takes"),
        ({"files": {"../vectors.npz": "0" * 64}}, "no file that a bundle lists"),
        ({"files": {"vectors.npz": "short"}}, "pattern"),
        ({"results": ("notes.txt",)}, "results are among"),
        (
            {"variants": (BundleVariant(name="f32", precision="f32", files=("/model",), recipe={}),)},
            "no file that a bundle lists",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(values(folder, **changes))


def test_a_deferred_engine_says_why() -> None:
    with pytest.raises(ValidationError, match="needs a reason"):
        Engine(status="deferred")
    assert Engine(status="deferred", reason="no TensorRT here").reason == "no TensorRT here"


def test_an_unknown_variant_is_named(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no variant 'int4'"):
        load_bundle(folder).manifest.variant("int4")
    assert load_bundle(folder).manifest.variant("f32").files == ("f32.onnx",)


def test_raw_interface() -> None:
    inputs, outputs = interface("raw", PREPROCESS, TASKS)
    assert inputs == (TensorSpec(name="image", dtype="float32", shape=(1, 3, HEIGHT, WIDTH)),)
    assert [(spec.name, spec.dtype, spec.shape) for spec in outputs] == [
        (name, "float32", (1, channels, HEIGHT, WIDTH)) for name, channels in TASKS.items()
    ]


def test_edge_interface() -> None:
    inputs, outputs = interface("edge", PREPROCESS, TASKS)
    assert inputs == (TensorSpec(name="image", dtype="uint8", shape=(1, HEIGHT, WIDTH, 3)),)
    assert {spec.name: (spec.dtype, spec.shape) for spec in outputs} == {
        "semseg": ("uint8", (1, HEIGHT, WIDTH)),
        "human_parts": ("uint8", (1, HEIGHT, WIDTH)),
        "saliency": ("float32", (1, HEIGHT, WIDTH)),
        "normals": ("float32", (1, 3, HEIGHT, WIDTH)),
        "depth": ("float32", (1, HEIGHT, WIDTH)),
        "edge": ("float32", (1, HEIGHT, WIDTH)),
    }


@pytest.mark.parametrize(
    ("io", "image", "label"), [("nchw", (1, 3, HEIGHT, WIDTH), ()), ("nhwc", (1, HEIGHT, WIDTH, 3), (1,))]
)
def test_interfaces_of_float_pixels(io: Io, image: tuple[int, ...], label: tuple[int, ...]) -> None:
    inputs, outputs = interface(io, PREPROCESS, TASKS)
    assert inputs == (TensorSpec(name="image", dtype="float32", shape=image),)
    edge = {spec.name: spec for spec in interface("edge", PREPROCESS, TASKS)[1]}
    for spec in outputs:
        if edge[spec.name].dtype == "uint8":
            assert (spec.dtype, spec.shape) == ("int32", (1, HEIGHT, WIDTH, *label))
        else:
            assert spec == edge[spec.name]


def test_the_interfaces_of_version_4_are_refused_as_version_3(tmp_path: Path) -> None:
    made = manifest(tmp_path, "nhwc").model_dump()
    assert Manifest.model_validate(made).schema_version == 4
    with pytest.raises(ValueError, match="io 'nhwc' is of schema_version 4"):
        Manifest.model_validate({**made, "schema_version": 3})


def test_budgets_are_the_99_and_the_99_9_percent_rules() -> None:
    assert set(default_budgets(TASKS, strict=False).values()) == {0.01}
    assert default_budgets(TASKS, strict=True) == pytest.approx(dict.fromkeys(TASKS, 0.001))


def test_the_manifest_is_plain_json(folder: Path) -> None:
    text = json.loads((folder / MANIFEST).read_text())
    assert text["schema_version"] == 3 and list(text["tasks"]) == list(TASKS)
    assert set(text["files"]) == set(FILES)
