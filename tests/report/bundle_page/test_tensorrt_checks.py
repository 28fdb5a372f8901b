"""What the page says about the rules and NVIDIA's parser."""

from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import Bundle, load_bundle, read_manifest, write_manifest
from bundle.formats.results import open_result
from bundle.formats.tensorrt_checks import Finding, Gate, GraphProof, LintReport, LintReports, Proof
from report.bundle_page.page import render
from report.bundle_page.tensorrt_checks import legal_view
from tests.bundle.made import hash_bundle, write_result
from tests.report import made
from tests.report.bundle_page.test_page import Reader

WARNING = Finding(
    rule="residual-input", severity="warning", node="a/Add", tensor="x", effect="two kernels", fix="quantize x"
)
FINDINGS = (
    WARNING.model_copy(update={"accepted": "it stays exact"}),
    WARNING.model_copy(update={"node": "b/Add", "accepted": "it stays exact"}),
    WARNING.model_copy(update={"rule": "float-operator", "node": "<b>c</b>"}),
)
LINT = LintReports(
    graphs=(LintReport(graph="int8.onnx", tensorrt="10.3", opset=20, nodes=9, quantizers=2, findings=FINDINGS),)
)
GRAPH = GraphProof(
    graph="int8.onnx",
    parsed=True,
    built=True,
    complaints=(),
    kernels=302,
    moves=50,
    casts=16,
    attentions=12,
    not_fused=("a/MatMul",),
    read_bytes=48_300_000,
    written_bytes=53_700_000,
    weight_bytes=10_300_000,
    macs=10**9,
    int8_share=0.979,
    fp16_share=0.021,
    not_int8=(),
    engine_bytes=1,
)
GATE = Gate(graph="int8.onnx", says="as many", status="failed", got="11 of 12", nodes=("<b>a</b>/MatMul",))
PROOF = Proof(status="accepted", builder="TensorRT-RTX 1", graphs=(GRAPH,), gates=(GATE,))


def folder_with(folder: Path, proof: Proof | None) -> Path:
    """A folder with both files, or one."""
    folder.mkdir(exist_ok=True)
    (folder / "lint.json").write_text(LINT.model_dump_json())
    if proof is not None:
        (folder / "proof.json").write_text(proof.model_dump_json())
    return folder


def listed(folder: Path) -> Bundle:
    """The bundle in a folder, its manifest made to list every file."""
    write_manifest(folder, read_manifest(folder).model_copy(update={"files": hash_bundle(folder)}))
    for name in with_hashes("report.html"):
        (folder / name).unlink()
    for name in ("regression.json", "bench.json"):
        write_result(folder, name, open_result(folder / name).decode())
    return load_bundle(folder)


def test_a_row_holds_the_findings_and_the_shares(tmp_path: Path) -> None:
    view = legal_view(folder_with(tmp_path, PROOF))
    [row] = view.graphs
    assert (row.errors, row.warnings, row.accepted, row.built) == ("0", "1", "2", "yes")
    [plan] = view.plans
    assert (plan.int8, plan.fp16, plan.moves, plan.casts) == ("97.9%", "2.1%", "50", "16")
    assert (plan.fused, plan.read, plan.written, plan.weights) == ("11 of 12", "48.3", "53.7", "10.3")
    assert "Necessary, not sufficient" in view.caveat


def test_the_warnings_rows_say_how_many_and_what_became_of_them(tmp_path: Path) -> None:
    view = legal_view(folder_with(tmp_path, None))
    assert [(row.where, row.outcome) for row in view.warnings] == [
        ("<b>c</b>", "fix: quantize x"),
        ("a/Add and 1 more", "accepted: it stays exact"),
    ]


def test_a_proof_that_was_not_run_says_why(tmp_path: Path) -> None:
    view = legal_view(folder_with(tmp_path, Proof(status="not run", reason="this is an aarch64")))
    assert "not run: this is an aarch64." in view.summary
    assert view.graphs[0].built == "not run" and view.caveat == "" and view.plans == ()


def test_the_page_shows_it_and_escapes_it(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.regression())
    assert "What TensorRT takes" not in Reader(render(load_bundle(folder)).read_text(encoding="utf-8")).text
    page = Reader(render(listed(folder_with(folder, PROOF))).read_text(encoding="utf-8"))
    for words in (
        "What TensorRT takes",
        "97.9%",
        "accepted: it stays exact",
        "<b>c</b>",
        "Necessary, not sufficient",
        "11 of 12",
        "53.7",
        "<b>a</b>/MatMul",
    ):
        assert words in page.text
    assert page.tags["b"] == 0


@pytest.mark.parametrize("name", ["lint.json", "proof.json"])
def test_another_content_is_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, PROOF)
    (folder / name).write_text('{"schema_version": 9}')
    with pytest.raises(ArtifactError, match=name):
        legal_view(folder)
