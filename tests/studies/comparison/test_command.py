"""``tdss bench --draw``: table, picture and page come from the JSON, and the page's own text stays."""

import json
from pathlib import Path

import pytest

from studies.comparison.command import JSON, MARK, PLOT, SECTION, TABLE
from studies.comparison.tables import markdown
from tests.cli.run import tdss
from tests.studies.comparison.test_tables import FOUND


def test_everything_is_drawn_from_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / JSON).write_text(FOUND.model_dump_json())
    page = tmp_path / "bench.page.md"
    page.write_text(f"# Mine\n\nMy words.\n\n{MARK}\n\nold figures\n\n<!-- /{SECTION} -->\n\nMore words.\n")
    code, out, _ = tdss("bench", "--draw", "--out", str(tmp_path), "--page", str(page), capsys=capsys)
    assert code == 0 and out == markdown(FOUND)
    assert (
        page.read_text() == f"# Mine\n\nMy words.\n\n{MARK}\n\n{markdown(FOUND)}\n<!-- /{SECTION} -->\n\nMore words.\n"
    )
    assert (tmp_path / TABLE).read_text().endswith(markdown(FOUND)) and (tmp_path / PLOT).stat().st_size > 1000
    code, out, _ = tdss("bench", "--draw", "--out", str(tmp_path), "--json", capsys=capsys)
    assert code == 0 and json.loads(out)["machine"] == FOUND.machine


def test_a_damaged_result_and_another_s_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = tdss("bench", "--draw", "--out", str(tmp_path), capsys=capsys)
    assert code == 2 and "no result of the benchmark" in said
    (tmp_path / JSON).write_text(FOUND.model_dump_json())
    (tmp_path / TABLE).write_text("my notes")
    code, _, said = tdss("bench", "--draw", "--out", str(tmp_path), capsys=capsys)
    assert code == 2 and "there is something here already" in said and (tmp_path / TABLE).read_text() == "my notes"


def test_a_name_that_is_none_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = tdss("bench", "--only", "ncnf", "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and "there is no such group or row" in said and not (tmp_path / "out").exists()
