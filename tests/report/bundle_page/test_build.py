import hashlib
import json
from pathlib import Path

from bundle.formats.fold import FoldPart, FoldProof, FoldRecord, FoldSettings
from bundle.formats.manifest import Bundle, load_bundle
from bundle.judging.choice import Bench, Candidate, Choice
from bundle.judging.run import RegressionReport
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.standing import standing
from bundle.judging.verdict import Verdict
from report.bundle_page import build as built
from report.bundle_page.page import render
from tests.bundle.made import write_result
from tests.report import made

LINES = tuple(FoldRecord.model_validate(line) for line in made.FOLD)


def test_bars_are_in_proportion_to_the_slowest() -> None:
    view = built.bench_view(Bench.model_validate(made.BENCH), None)
    assert [bar.text for bar in view.bars] == ["100.0 ms", "80.0 ms"]
    assert [bar.ratio for bar in view.bars] == ["", "1.25×"]
    assert 'width="80.0%"' in view.bars[1].svg and "shipped int8" in view.bars[1].label
    assert "15 runs after 3 to warm up" in view.note


def test_eager_is_a_note_and_no_speed_is_over_it() -> None:
    view = built.bench_view(Bench.model_validate(made.BENCH), None)
    assert view.note.endswith("× is the speed over compiled f32. Eager PyTorch: 128 ms, not a baseline.")
    without = built.bench_view(Bench.model_validate({**made.BENCH, "f32_compiled_ms": None}), None)
    assert [bar.ratio for bar in without.bars] == [""]


def test_a_busy_machine_is_a_warning_on_the_page(tmp_path: Path) -> None:
    load = {"cpus": 2, "before": [4.1, 1, 1], "after": [5.2, 1, 1], "steal": 0.031}
    busy = {**made.BENCH, "load": load}
    view = built.bench_view(Bench.model_validate(busy), None)
    assert (
        view.load
        == "Load average over a minute 4.1 before, 5.2 after, on 2 CPUs; 3.1% of the CPU time went to other guests."
    )
    folder = made.make(tmp_path / "b", made.regression(), bench=False)
    write_result(folder, "bench.json", json.dumps(busy))
    page = render(load_bundle(folder)).read_text(encoding="utf-8")
    assert "Warning: the machine was busy while it timed (load 5.2 on 2 CPUs)" in page and view.load in page
    assert "Warning" not in render(load_bundle(made.make(tmp_path / "quiet", made.regression()))).read_text(
        encoding="utf-8"
    )


def test_what_was_not_measured_has_no_bar() -> None:
    view = built.bench_view(Bench.model_validate({**made.BENCH, "shipped_ms": None}), None)
    assert len(view.bars) == 1 and "Not measured here: shipped int8." in view.note
    emulated = {**made.BENCH, "eager_ms": None, "f32_compiled_ms": None, "shipped_ms": None, "runs": 0, "warmup": 0}
    assert built.bench_view(Bench.model_validate(emulated), None) == built.BenchView(bars=(), note=built.NO_TIMING)
    assert built.bench_view(None, None) == built.BenchView(bars=(), note=built.NO_BENCH)


def test_variants_have_a_size_and_one_is_shipped(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", None)
    [row] = built.variant_rows(made.manifest({}), folder, None)
    assert (row.name, row.shipped, row.recipe) == ("f32", True, (("reason", "the plain one"),))
    assert row.files == (("f32.onnx", "5.0 kB"),)
    assert (row.latency, row.outcome) == ("not timed", "")


def candidate(name: str, latency_ms: float | None, verdict: Verdict) -> Candidate:
    return Candidate(
        name=name, latency_ms=latency_ms, verdicts={"depth": verdict}, standing=standing({"depth": verdict})
    )


CANDIDATES = (
    candidate("f32", 100.0, "pass"),
    candidate("bf16", 90.0, "regression"),
    candidate("int8", 60.0, "regression"),
)
CHOICE = Choice(shipped="f32", rule="fastest", fastest="f32", eager_ms=128.0, candidates=CANDIDATES)


def test_a_variant_that_is_not_shipped_says_why(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", None)
    graph = made.manifest({}).variants[0]
    manifest = made.manifest({}, variants=(graph, graph.model_copy(update={"name": "int8", "precision": "int8"})))
    plain, narrow = built.variant_rows(manifest, folder, CHOICE)
    assert (plain.shipped, plain.latency, plain.outcome) == (True, "100.0 ms", "")
    assert (narrow.shipped, narrow.latency, narrow.outcome) == (False, "60.0 ms", why_candidate(CHOICE, CANDIDATES[2]))


def test_every_timed_variant_has_one_bar() -> None:
    bench = Bench.model_validate({**made.BENCH, "shipped_ms": 100.0, "shipped_precision": "f32"})
    labels = [bar.label for bar in built.bench_view(bench, CHOICE).bars]
    assert labels == ["compiled bf16", "compiled int8", "shipped f32"]
    narrow = [bar.label for bar in built.bench_view(Bench.model_validate(made.BENCH), CHOICE).bars]
    assert narrow == ["compiled f32", "compiled bf16", "shipped int8"]


def test_a_deferred_engine_says_why() -> None:
    deferred = made.manifest({}, engine={"status": "deferred", "reason": "TensorRT is not here"})
    assert built.engine_sentence(deferred, None).endswith("deferred to the device: TensorRT is not here")
    assert "deferred" not in built.engine_sentence(made.manifest({}), None)


def test_the_choice_of_a_variant_has_its_reason() -> None:
    chosen = made.manifest({}, settings={"choice": "the fastest variant within its budgets"})
    assert built.engine_sentence(chosen, CHOICE).startswith("Shipped: f32, the fastest variant within its budgets.")


def test_what_a_device_chose_instead_is_said_and_marked(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", None)
    graph = made.manifest({}).variants[0]
    manifest = made.manifest({}, variants=(graph, graph.model_copy(update={"name": "int8", "precision": "int8"})))
    choice = CHOICE.model_copy(update={"shipped": "int8", "rule": "none_within"})
    assert f"Chosen where it was judged: int8, {why_shipped(choice)}." in built.engine_sentence(manifest, choice)
    rows = built.variant_rows(manifest, folder, choice)
    assert [(row.name, row.shipped) for row in rows] == [("f32", False), ("int8", True)]


def test_the_fold_is_summed_up() -> None:
    view = built.fold_view(LINES, None)
    assert view.summary == (
        "1 of 2 decisions folded, 1 of them exact; 1 module kept as they were. Parameters 2 k fewer, MACs 2 M fewer."
    )
    [rule] = view.rules
    assert (rule.folded, rule.kept, rule.params, rule.macs, rule.error) == (
        "1",
        "1",
        "24 k → 22 k",
        "18 M → 16 M",
        "1.4e−12",
    )
    assert [line.exactness for line in view.lines] == ["exact, error 1.4e−12", ""]
    assert [line.params for line in view.lines] == ["12 k → 10 k", "12 k"]


def test_an_approximate_fold_is_called_so() -> None:
    view = built.fold_view((LINES[0].model_copy(update={"exact": False}),), None)
    assert view.rules[0].folded == "1 (1 approximate)" and view.lines[0].exactness.startswith("approximate")


def test_the_proof_is_the_worst_output() -> None:
    proof = FoldProof(images=2, float64={"depth": 2e-14, "edge": 3e-15}, float32={"depth": 1e-7, "edge": 0.0})
    view = built.fold_view(LINES, FoldSettings(mode="cost", proof=proof))
    assert "2 real images" in view.proof
    assert view.proof.endswith("is 2.0e−14 in float64 and 1.0e−07 in float32.")


def test_no_fold_says_so() -> None:
    assert built.fold_view(None, None).summary == built.NO_FOLD
    assert "nothing to decide" in built.fold_view((), None).summary


def opened(files: dict[str, str]) -> Bundle:
    return Bundle(folder=Path(), manifest=made.manifest(files), content=b"{}")


def test_the_provenance_names_hashes_device_and_tools() -> None:
    report = RegressionReport.model_validate(made.regression())
    groups = {group.title: dict(group.rows) for group in built.provenance(opened({"a.bin": "0" * 64}), report)}
    assert groups["Where it was judged"]["ISA"] == "avx2"
    assert groups["Where it was judged"]["executed on"] == "device"
    assert groups["What it is"]["checkpoint sha256"] == "ab" * 32
    assert groups["What it is"]["manifest sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert groups["What it is"]["inputs"] == "image: float32 [1, 3, 40, 56]"
    assert groups["Files (sha256)"] == {"a.bin": "0" * 64}
    assert groups["Settings"] == {"threads": "2"}
    assert groups["Parent artifacts (sha256)"] == {"quantized": "cd" * 32}
    unjudged = built.provenance(opened({}), None)
    assert "Where it was judged" not in [group.title for group in unjudged]


def test_a_devices_percentiles_are_in_the_page_as_they_were_measured(tmp_path: Path) -> None:
    three = {"p10_ms": 6.5, "p50_ms": 7.0, "p90_ms": 7.5, "p99_ms": 9.25, "runs": 200}
    variants = {
        "f16": {
            "with_copies": three,
            "compute": {**three, "p10_ms": None, "p50_ms": 6.0},
            "tool": "trtexec",
            "tool_median_ms": 7.2,
            "tool_compute_ms": 6.1,
        },
        "f32": {"with_copies": three},
    }
    [half, full] = built.bench_view(Bench.model_validate({**made.BENCH, "variants": variants}), None).percentiles
    assert (half.whole, half.compute, half.tool) == (
        "6.50 / 7.00 / 7.50 / 9.25 ms",
        "– / 6.00 / 7.50 / 9.25 ms",
        "7.20 / 6.10 ms (trtexec)",
    )
    assert (full.compute, full.tool, full.runs) == ("–", "–", "200")
    folder = made.make(tmp_path / "b", made.regression())
    write_result(folder, "bench.json", json.dumps({**made.BENCH, "variants": variants}))
    assert "p10 / p50 / p90 / p99" in render(load_bundle(folder)).read_text(encoding="utf-8")


def test_parts_are_drawn_on_one_scale_and_summed(tmp_path: Path) -> None:
    part = {"bytes_before": 10, "bytes_after": 8, "params_before": 5, "params_after": 4}
    parts = [
        {"part": "backbone", "macs_before": 3_000_000, "macs_after": 3_000_000, **part},
        {"part": "adapters", "macs_before": 1_000_000, "macs_after": 200_000, **part},
    ]
    backbone, adapters, whole = built.part_rows(tuple(FoldPart.model_validate(one) for one in parts))
    assert (backbone.macs, adapters.macs, whole.macs) == ("3 M", "1 M → 200 k", "4 M → 3.2 M")
    assert 'width="25.0%"' in adapters.before and 'width="5.0%"' in adapters.after and 'width="80.0%"' in whole.after
    assert built.part_rows(()) == ()
    settings = {"fold": {"mode": "auto", "proof": {"images": 1, "float64": {}, "float32": {}}, "parts": parts}}
    page = render(load_bundle(made.make(tmp_path / "b", made.regression(), settings=settings))).read_text(
        encoding="utf-8"
    )
    assert "Cost by part" in page and "1 M → 200 k" in page
