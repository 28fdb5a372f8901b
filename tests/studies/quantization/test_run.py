"""The pages a study writes: a section is replaced, never doubled, and the rest of the page stays."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from bundle.formats.artifacts import Simplified
from compile.graphs.end_nodes import HEAD, TAIL
from compile.quantization.ignored_nodes import GATE
from compile.stage.graph_info import GRAPH_FILE
from studies.quantization import run as study
from studies.quantization import tables as study_tables
from studies.quantization.run import main, table
from studies.quantization.tables import ABLATIONS, TABLES, Drops, Study, kept_without, measure
from targets.base import QuantizationScheme

ROW = Drops(
    name="ours", drops={"depth": 0.0012, "edge": -0.01}, upper={"depth": 0.005, "edge": 0.0}, bytes=12_300_000, errors=0
)


def test_rows_are_percent_with_the_upper_end() -> None:
    lines = table([ROW]).splitlines()
    assert lines[0] == "|  | depth | edge | MB | lint errors | note |"
    assert lines[2] == "| ours | 0.12 [0.50] | -1.00 [0.00] | 12.3 | 0 |  |"


def test_a_broken_budget_is_bold_and_an_undecided_one_italic() -> None:
    row = ROW.model_copy(update={"verdicts": {"depth": "regression", "edge": "inconclusive"}})
    assert table([row]).splitlines()[2] == "| ours | **0.12 [0.50]** | *-1.00 [0.00]* | 12.3 | 0 |  |"


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_a_table_is_written_after_each_row_and_keeps_what_is_costly(
    simplified: Simplified, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, seen = tmp_path / "docs" / "page.md", list[str]()

    def made(bench: Study) -> Iterator[Drops]:
        assert bench.cache.parent == tmp_path / "work" and bench.scratch.is_dir()
        yield measure(bench, "float", bench.source)
        seen.append(page.read_text())

    monkeypatch.setattr(study, "TABLES", {"made": made})
    main(simplified.folder, ["made"], scenes, images=2, count=2, page=page, threads=1, work=tmp_path / "work")
    assert "| float | 0.00 [0.00] |" in seen[0] and "2 images of val, 2 calibration images" in page.read_text()
    [row] = json.loads((tmp_path / "docs" / "quantization-made.json").read_text())
    assert set(row["verdicts"].values()) == {"pass"} and row["errors"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_the_hard_case_says_how_good_and_how_massive_the_float_graph_is(
    simplified: Simplified, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(bench: Study, *graph: Simplified) -> Iterator[Drops]:
        yield from ()

    monkeypatch.setattr(study_tables, "_searched", nothing)
    monkeypatch.setattr(study_tables, "_naive", nothing)
    main(simplified.folder, ["vit"], scenes, images=2, count=2, page=tmp_path / "page.md", threads=1)
    [row] = json.loads((tmp_path / "quantization-vit.json").read_text())
    assert row["name"] == "float" and set(row["drops"].values()) == {0.0}
    assert "depth " in row["note"] and "times the median channel's" in row["note"]


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        ("gate path quantized", {GATE}),
        ("thin products quantized", {"thin: K 3"}),
        ("ends quantized", {HEAD, TAIL}),
        ("first convolution quantized", {"few channels: 3"}),
    ],
)
def test_a_row_gives_up_every_node_of_its_reasons_and_no_other(row: str, dropped: set[str]) -> None:
    reasons = {
        "gate": GATE,
        "narrow": "thin: K 3",
        "pixels": "few channels: 3",
        "first": HEAD,
        "last": TAIL,
        "pattern": "the scheme says so",
    }
    kept = kept_without(reasons, ABLATIONS[row])
    assert {reason for name, reason in reasons.items() if name not in kept} == dropped


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
@pytest.mark.parametrize("name", ["schemes", "schemes-outliers"])
def test_a_scheme_row_is_left_out_where_the_graph_has_no_such_node(
    name: str, simplified: Simplified, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()

    def sees(bench: Study, *question: object) -> Path:
        asked.append(bench.source.read_bytes() == simplified.file(GRAPH_FILE).read_bytes())
        return bench.source

    def measured(bench: Study, name: str, graph: Path) -> Drops:
        return ROW.model_copy(update={"name": name})

    def kept(graph: Path, scheme: QuantizationScheme) -> dict[str, str]:
        return {"gate": GATE, "first": HEAD, "last": TAIL}

    for patched, stand_in in (("_ours", sees), ("_keeping", sees), ("measure", measured), ("ignored_nodes", kept)):
        monkeypatch.setattr(study_tables, patched, stand_in)
    main(simplified.folder, [name], scenes, images=2, count=2, page=tmp_path / "page.md", threads=1)
    rows = [one["name"] for one in json.loads((tmp_path / f"quantization-{name}.json").read_text())]
    assert rows[0] == "ours" and rows[5:] == ["gate path quantized", "ends quantized"]
    assert len(asked) == len(rows) and set(asked) == {name == "schemes"}


def test_an_unknown_table_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no table 'none'") as caught:
        main(Path("model"), ["none"])
    assert caught.value.expected == ", ".join(TABLES)
