"""``tdss compare``: a table, JSON and a page that stands alone, of files and of bundles."""

import json
from pathlib import Path

import pytest

from bundle.judging.harness import Options, judge_bundle
from bundle.judging.run import run
from report.comparison_page import SHOWN
from tests.bundle.judging.test_comparison import broken, changed, farther
from tests.bundle.made import HERE, TASKS, make_bundle, session
from tests.cli.run import tdss
from tests.report import browser
from tests.report.bundle_page.test_page import HOSTILE, Reader


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A judged bundle, a file with a worse depth and a hostile name, a file with a broken one."""
    folder = tmp_path_factory.mktemp("compare")
    bundle = make_bundle(folder / "bundle", count=12)
    judge_bundle(bundle, session("raw"), HERE, Options(resamples=100))
    bad = run(bundle, session("raw", farther), HERE, resamples=100)
    (folder / "bad.json").write_text(changed(bad, "edge", budget=0.5).model_copy(update={"model": HOSTILE}).text())
    (folder / "broken.json").write_text(run(bundle, session("raw", broken), HERE, resamples=100).text())
    return bundle.folder, folder / "bad.json", folder / "broken.json"


@pytest.mark.slow
def test_the_table_and_the_json_say_the_same(
    results: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, _ = map(str, results)
    code, text, _ = tdss("compare", good, bad, capsys=capsys)
    assert code == 0 and "✗ worse" in text and text.count("✓ alike") == len(TASKS) - 1
    assert "depth: worse on 12, better on 0, equal on 0; worst: image-" in text
    assert "edge has a budget of 1% in A and 50% in B: the smaller one counts" in text
    code, answer, _ = tdss("compare", good, bad, "--json", capsys=capsys)
    read = json.loads(answer)
    assert (
        code == 0 and read["tasks"]["depth"]["verdict"] == "regression" and len(read["tasks"]["depth"]["images"]) == 12
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.skipif(browser.BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_stands_alone_and_fits(
    results: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    assert tdss("compare", *map(str, results[:2]), "--out", str(tmp_path / "c.html"), capsys=capsys)[0] == 0
    seen = browser.look((tmp_path / "c.html").read_bytes(), width=width)
    assert seen.title == "B is worse on 1 of 6 tasks" and (seen.client, seen.scroll) == (width, width)
    assert (seen.resources, seen.requests, seen.console, seen.scripts) == ([], [], [], 0)


def test_the_page_has_each_image_and_hostile_words_stay_text(
    results: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.html"
    assert tdss("compare", *map(str, results[:2]), "--out", str(out), capsys=capsys)[0] == 0
    page = Reader(out.read_text(encoding="utf-8"))
    assert HOSTILE in page.text and page.tags["script"] == 0 and page.tags["details"] == len(TASKS)
    assert "edge has a budget of" in page.text, "a task keeps its name where it begins a sentence"
    assert page.text.count("image-11") >= len(TASKS) - 1 and SHOWN >= 12
    assert tdss("compare", str(results[0]), str(results[2]), "--out", str(out), capsys=capsys)[0] == 0
    assert "undefined" in Reader(out.read_text(encoding="utf-8")).text


def test_nothing_else_is_written_over(
    results: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.html").write_text("mine")
    for out in (tmp_path / "mine.html", results[1], results[0] / "c.html"):
        code, _, err = tdss("compare", *map(str, results[:2]), "--out", str(out), capsys=capsys)
        assert code == 2 and "error" in err
    assert (tmp_path / "mine.html").read_text() == "mine"
