"""What of the judged variants goes into a bundle."""

from pathlib import Path

import pytest

from bundle.formats.artifacts import ArtifactT, Exported, Folded, Quantized, Simplified, load
from bundle.formats.artifacts import Engine as EngineArtifact
from bundle.formats.manifest import BundleVariant, Engine, Manifest
from bundle.formats.outputs import anything, replacing
from bundle.judging.choice import Candidate, Choice
from compile.publish import StageArtifacts, publish_runtime, ship, written
from compile.stage.artifacts import Fp16Note, Range, ReferenceVectors, VariantNote
from compile.stage.store import seal
from device_runtime.write import RUNTIME
from targets.table import TARGETS
from tests.bundle.made import make_bundle

FILES = {"f32": ("float.onnx",), "f16": ("f16.onnx", "shared.bin"), "int8": ("int8.onnx", "shared.bin")}


def draft(folder: Path, target: str) -> Manifest:
    """A manifest with three variants, two of which share a file."""
    made = make_bundle(folder, count=1).manifest
    variants = tuple(BundleVariant(name=n, precision=n, files=files, recipe={"name": n}) for n, files in FILES.items())
    names = {name for files in FILES.values() for name in files} | {"vectors.npz"}
    return made.model_copy(
        update={"target": target, "variants": variants, "files": dict.fromkeys(sorted(names), "0" * 64)}
    )


def test_a_manifest_holds_the_range_of_a_tensor_with_infinite_elements(tmp_path: Path) -> None:
    ranges = (Range(tensor="mask", largest=float("nan")), Range(tensor="scores", largest=3.0))
    note = VariantNote(fp16=Fp16Note(tensors=2, headroom=4.0, kept_by_range={}, float32=1, widest=ranges))
    known = draft(tmp_path / "bundle", "jetson").model_dump()
    manifest = Manifest.model_validate({**known, "settings": {"quantize": written({"f16": note})}})
    again = Manifest.model_validate_json(manifest.model_dump_json())
    assert again.settings["quantize"]["f16"]["fp16"]["widest"][0]["largest"] is None  # type: ignore[index, call-overload]
    with pytest.raises(ValueError, match="finite"):
        Manifest.model_validate({**known, "settings": {"quantize": note.model_dump(mode="json")}})


def test_engines_that_were_built_here_go_along_unlisted(tmp_path: Path) -> None:
    def part(kind: type[ArtifactT], *names: str) -> ArtifactT:
        with replacing(tmp_path / kind.kind, anything) as folder:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(name)
            seal(kind, folder, tools={})
        return load(kind, tmp_path / kind.kind)

    engine = part(EngineArtifact, "f16.onnx", "engines/f16-01.engine", "engines/f16-01.engine.sha256")
    vectors, folded = part(ReferenceVectors, "vectors.npz"), part(Folded, "fold.json")
    parts = StageArtifacts(part(Exported), folded, part(Simplified), part(Quantized), engine, vectors)
    assert list(parts.hashes) == sorted(parts.sources) == ["f16.onnx", "fold.json", "vectors.npz"]
    assert list(parts.engines) == ["engines/f16-01.engine", "engines/f16-01.engine.sha256"]


@pytest.mark.parametrize(
    ("target", "shipped", "names"),
    [
        ("jetson", "int8", ["f16", "int8"]),
        ("jetson", "f16", ["f16", "int8"]),
        ("jetson", "f32", ["f32", "f16", "int8"]),
        ("intel", "int8", ["f32", "f16", "int8"]),
    ],
)
def test_a_jetson_bundle_leaves_the_float_graph_out_unless_it_is_what_ships(
    tmp_path: Path, target: str, shipped: str, names: list[str]
) -> None:
    made = draft(tmp_path / "bundle", target)
    choice = Choice(
        shipped=shipped,
        rule="narrowest",
        eager_ms=None,
        candidates=(Candidate(name=shipped, latency_ms=None, verdicts={}),),
    )
    manifest = ship(made, choice, "a" * 64)
    assert [variant.name for variant in manifest.variants] == names and manifest.shipped == shipped
    assert set(manifest.files) == {"vectors.npz", *(name for n in names for name in FILES[n])}
    assert manifest.settings["choice"] == choice.model_dump(mode="json")
    assert manifest.parents == made.parents | {"judged": "a" * 64}


@pytest.mark.parametrize(
    ("allowed", "status", "names"),
    [(False, "built", ["f32"]), (True, "built", ["f32", "f16"]), (False, "deferred", ["f32", "f16", "int8"])],
)
def test_a_variant_beyond_its_budgets_is_no_weight_to_carry_unless_the_device_decides(
    tmp_path: Path, allowed: bool, status: str, names: list[str]
) -> None:
    verdicts = {"f32": "pass", "f16": "inconclusive", "int8": "regression"}
    candidates = tuple(Candidate(name=n, latency_ms=1.0, verdicts={"depth": v}) for n, v in verdicts.items())
    changes = {
        "settings": {"allow_inconclusive": allowed},
        "engine": Engine.model_validate({"status": status, "reason": "x"}),
    }
    made = draft(tmp_path / "bundle", "intel").model_copy(update=changes)
    manifest = ship(made, Choice(shipped="f32", rule="none_within", eager_ms=None, candidates=candidates), "a" * 64)
    assert [variant.name for variant in manifest.variants] == names
    assert set(manifest.files) == {"vectors.npz", *(name for n in names for name in FILES[n])}


@pytest.mark.parametrize(
    ("verdicts", "names"),
    [
        ({"int8": "pass", "int8_mixed": "pass"}, ["f32", "int8"]),
        ({"int8": "inconclusive", "int8_mixed": "pass"}, ["f32", "int8", "int8_mixed"]),
        ({"int8": "pass", "int8_smooth": "pass"}, ["f32", "int8"]),
        ({"int8": "regression", "int8_smooth": "pass"}, ["f32", "int8", "int8_smooth"]),
        (
            {"int8": "regression", "int8_smooth": "inconclusive", "int8_mixed": "pass"},
            ["f32", "int8", "int8_smooth", "int8_mixed"],
        ),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_what_mends_the_plain_graph_goes_along_only_where_that_breaks_a_budget(
    tmp_path: Path, target: str, verdicts: dict[str, str], names: list[str]
) -> None:
    tried = {"f32": "pass", **verdicts}
    variants = tuple(BundleVariant(name=n, precision=n, files=(f"{n}.onnx",), recipe={"name": n}) for n in tried)
    files = dict.fromkeys(sorted([*(f"{n}.onnx" for n in tried), "vectors.npz"]), "0" * 64)
    deferred = Engine(status="deferred", reason="x")
    made = draft(tmp_path / "bundle", target).model_copy(
        update={"variants": variants, "files": files, "engine": deferred}
    )
    candidates = tuple(Candidate(name=n, latency_ms=1.0, verdicts={"depth": v}) for n, v in tried.items())
    manifest = ship(made, Choice(shipped="f32", rule="none_within", eager_ms=None, candidates=candidates), "a" * 64)
    assert [variant.name for variant in manifest.variants] == names
    assert set(manifest.files) == {"vectors.npz", *(f"{name}.onnx" for name in names)}


def test_a_mixed_graph_that_passes_goes_along_where_the_plain_one_is_only_undecided_and_allowed(tmp_path: Path) -> None:
    tried = {"f32": "pass", "int8": "inconclusive", "int8_mixed": "pass"}
    variants = tuple(BundleVariant(name=n, precision=n, files=(f"{n}.onnx",), recipe={"name": n}) for n in tried)
    files = dict.fromkeys(sorted([*(f"{n}.onnx" for n in tried), "vectors.npz"]), "0" * 64)
    changes = {
        "variants": variants,
        "files": files,
        "engine": Engine(status="deferred", reason="x"),
        "settings": {"allow_inconclusive": True},
    }
    made = draft(tmp_path / "bundle", "intel").model_copy(update=changes)
    candidates = tuple(Candidate(name=n, latency_ms=1.0, verdicts={"depth": v}) for n, v in tried.items())  # type: ignore[dict-item]
    manifest = ship(made, Choice(shipped="f32", rule="none_within", eager_ms=None, candidates=candidates), "a" * 64)
    assert [variant.name for variant in manifest.variants] == list(tried)


@pytest.mark.parametrize("status", ["deferred", "built"])
def test_the_device_runtime_is_beside_a_bundle_whose_engines_the_device_builds(tmp_path: Path, status: str) -> None:
    folder, engine = tmp_path / "default" / "jetson", Engine.model_validate({"status": status, "reason": "no device"})
    lines = publish_runtime(folder, draft(folder, "jetson").model_copy(update={"engine": engine}))
    assert (folder.parent / RUNTIME).is_file() == (status == "deferred") == any(RUNTIME in line for line in lines)


def test_a_build_says_why_it_wrote_no_device_runtime(tmp_path: Path) -> None:
    folder, engine = tmp_path / "default" / "jetson", Engine(status="deferred", reason="no device")
    terms = draft(folder, "jetson").model_copy(update={"engine": engine})
    (folder.parent / RUNTIME).write_text("mine")
    [line] = publish_runtime(folder, terms)
    assert "no device runtime was written" in line and (folder.parent / RUNTIME).read_text() == "mine"
