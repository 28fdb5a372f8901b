"""The tables hold what the files of the bundles hold; a cell without a value says why."""

from pathlib import Path

import pytest

from bundle.base.append_log import AppendLog
from bundle.base.errors import RegressionFailed
from bundle.formats.tensorrt_checks import Finding, Gate, GraphProof, LintReport, LintReports, Proof
from studies.bundle_files import Made
from studies.zoo.jobs import Terms, bundle_job
from studies.zoo.results import Result, read_row
from studies.zoo.rows import Row, read_rows
from studies.zoo.run import require_green
from studies.zoo.tables import markdown
from tests.report import made

PLAN: dict[str, object] = {
    "parsed": True,
    "built": True,
    "complaints": (),
    "kernels": 217,
    "moves": 12,
    "casts": 4,
    "attentions": 12,
    "not_fused": ("a",),
    "read_bytes": 40_000_000,
    "written_bytes": 50_000_000,
    "weight_bytes": 11_000_000,
    "macs": 1,
    "int8_share": 0.7,
    "fp16_share": 0.3,
    "not_int8": (),
    "engine_bytes": 1,
}
PART = {"part": "all", "macs_before": 3_000_000_000, "macs_after": 2_100_000_000}
COSTS = {f"{what}_{when}": 1 for what in ("bytes", "params") for when in ("before", "after")}
PROVEN = {"images": 2, "float64": {}, "float32": {}}
FOLD = {"mode": "cost", "proof": PROVEN, "parts": [{**PART, **COSTS}]}


def build(row: Row, target: str, terms: Terms, **changes: object) -> Path:
    """Write the bundle of a row and its journal, as its command would."""
    job = bundle_job(row, target, terms)
    AppendLog(job.journal).add('{"key": "k", "seconds": 30.0}')
    AppendLog(job.journal).add('{"key": "k", "seconds": 12.0, "code": 0}')
    report = made.regression(**{"precision": "f32", "target": target, "model": row.name, **changes})
    settings = {"fold": FOLD, "threads": 2}
    return made.make(job.folder, report, images=2, name=row.name, target=target, settings=settings)


def cells(text: str, table: str, row: str) -> dict[str, str]:
    """Return the cells of a row by the heads of a table."""
    [part] = [part for part in text.split("\n\n") if part.startswith(f"| {table} |")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
    return dict(zip(lines[0], next(line for line in lines if line[0] == row), strict=True))


@pytest.fixture
def results(zoo: Path, terms: Terms) -> list[Result]:
    """The baseline, and a row that is better at one task; both with all their bundles."""
    found = []
    for row in read_rows(zoo):
        tasks = dict(made.regression()["tasks"])  # type: ignore[call-overload]
        if row.name == "added":
            tasks["normals"] = made.task("mean_angular_error_deg", "lower", 0.44, 0.44, (0.0, 0.0), "pass", 30.0)
        for target in ("intel", "jetson"):
            build(row, target, terms, tasks=tasks)
        found.append(read_row(row, terms)._replace(fewer_macs=2_000_000_000))
    return found


def with_plan(result: Result, *gates: Gate) -> Result:
    """Return a result whose jetson bundle was linted and taken by the builder."""
    bundle = result.bundles["jetson"]
    assert isinstance(bundle, Made)
    finding = Finding(rule="r", severity="warning", node="n", tensor="", effect="slow", fix="none")
    lint = LintReport(graph="f32.onnx", tensorrt="10.3", opset=18, nodes=1, quantizers=0, findings=(finding, finding))
    plans = [GraphProof.model_validate({**PLAN, "graph": name}) for name in ("f32.onnx", "f16.onnx")]
    proof = Proof(status="accepted", graphs=(plans[0], plans[1].model_copy(update={"not_fused": ()})), gates=gates)
    checked = bundle._replace(lint=LintReports(graphs=(lint,)), proof=proof)
    return result._replace(bundles={**result.bundles, "jetson": checked})


def test_metrics_are_the_references_and_compared_with_the_baselines(results: list[Result], terms: Terms) -> None:
    text = markdown(results, terms)
    heads, added = cells(text, "metrics", "heads"), cells(text, "metrics", "added")
    assert heads["Δm"] == "0.00%" and heads["semseg"] == added["semseg"] == "0.5000"
    assert added["Δm"] == "+2.00%"  # 12 % better at one of six tasks
    assert added["trained M"] == "no card" and added["checkpoint MB"] == "no checkpoint"
    assert "Test CPU (avx2)" in text and "load not known" in text and "5 validation images" in text


def test_costs_are_those_of_the_intel_bundle(results: list[Result], terms: Terms) -> None:
    row = cells(markdown(results, terms), "intel", "added")
    assert (row["GMAC exported"], row["GMAC folded"], row["MMAC per added task"]) == ("3.000", "2.100", "100 (+5.00%)")
    assert (row["ms"], row["ships"], row["s"]) == ("80.00", "f32", "42")
    assert row["INT8, worst task"] == "no INT8 graph" and row["verdict"] == "within every budget"


def test_plans_are_those_of_the_graph_that_ships(results: list[Result], terms: Terms) -> None:
    assert cells(markdown(results, terms), "jetson", "added")["kernels"] == "no proof"
    row = cells(markdown([with_plan(result) for result in results], terms), "jetson", "added")
    assert (row["kernels"], row["MB moved"], row["attentions fused"]) == ("217", "101.0", "11 of 12 (12 in FP16)")
    assert row["lint errors/warnings"] == "0/2"


def test_the_worst_task_of_each_int8_graph_is_named(zoo: Path, terms: Terms) -> None:
    row = read_rows(zoo)[0]
    rich = made.rich()
    mixed = {"name": "int8_mixed", "precision": "int8", "passed": False, "bytes": 1, "reason": "not judged: a reason"}
    variants = [*rich["variants"], mixed]  # type: ignore[misc]
    build(row, "intel", terms, tasks=rich["tasks"], variants=variants, checks=rich["checks"])
    found = cells(markdown([read_row(row, terms)], terms), "intel", "heads")
    assert found["INT8, worst task"] == "undefined edge; int8_mixed: not judged: a reason"
    assert "normals regression" in found["verdict"] and "depth inconclusive" in found["verdict"]


def test_what_was_not_built_says_why(zoo: Path, terms: Terms) -> None:
    row = read_rows(zoo)[0]
    AppendLog(bundle_job(row, "intel", terms).journal).add('{"key":"k","seconds":1.0,"code":2,"reason":"no data"}')
    text = markdown([read_row(row, terms)], terms)
    assert cells(text, "intel", "heads")["GMAC exported"] == "not run: no data"
    assert cells(text, "jetson", "heads")["ships"] == "not run"
    assert cells(text, "metrics", "heads")["semseg"] == "not run: no data"


def test_an_altered_result_is_named(results: list[Result], terms: Terms) -> None:
    path = terms.out / "heads" / "intel" / "regression.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))
    text = markdown([read_row(results[0].row, terms), results[1]], terms)
    assert "not read: regression.json" in cells(text, "intel", "heads")["GMAC exported"]
    assert cells(text, "metrics", "added")["Δm"] == "not run: heads"


def test_a_row_is_green_if_all_of_it_was_built_and_passes(results: list[Result]) -> None:
    require_green(results)
    gate = Gate(graph="f32.onnx", says="fewer bytes", status="failed", got="2 MB")
    for wrong in (
        with_plan(results[1], gate),
        results[1]._replace(fewer_macs="not run"),
        results[1]._replace(bundles={**results[1].bundles, "intel": "not run"}),
    ):
        with pytest.raises(RegressionFailed, match="added"):
            require_green([results[0], wrong])


def test_a_failed_plan_check_is_named(results: list[Result], terms: Terms) -> None:
    gate = Gate(graph="f32.onnx", says="fewer bytes", status="failed", got="2 MB")
    row = cells(markdown([with_plan(results[0], gate)], terms), "jetson", "heads")
    assert row["verdict"] == "within its budgets; plan check failed: 2 MB"


def test_a_plan_check_of_a_graph_that_is_not_shipped_is_named_and_fails_nothing(
    results: list[Result], terms: Terms
) -> None:
    result = with_plan(results[0], Gate(graph="int8.onnx", says="fewer bytes", status="failed", got="2 MB"))
    require_green([result])
    row = cells(markdown([result], terms), "jetson", "heads")
    assert row["verdict"] == "within every budget; plan check failed, and not shipped: 2 MB"
