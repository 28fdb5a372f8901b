"""One page over many results: from files, folders and archives; ordered, honest about emulation, in a real browser."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bundle.base.errors import ArtifactError, InputError
from report import results_page as sweep
from report.results_page import describe_sweep, read_result, render_sweep
from targets.sendback import write_sendback
from tests.bundle.made import write_result
from tests.report import browser, made
from tests.report.bundle_page.test_page import HOSTILE, Reader


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    """A failing emulation, a passing device result as a file, and one in a folder with its bench."""
    device = {"name": "Arc GPU", "isa": []}
    folder = made.make(tmp_path / "bundle", made.regression(precision="int8"))
    return [
        write(tmp_path / "b.json", made.rich(model="zebra", target="jetson")),
        write(tmp_path / "a.json", made.regression(model="adder", device=device)),
        folder,
    ]


def test_results_are_ordered_and_judged_together(results: list[Path]) -> None:
    page = describe_sweep([read_result(path) for path in results])
    assert [row.model for row in page.rows] == ["adder", "made", "zebra"]
    assert (
        page.verdict.headline == "Not every result passes"
        and "2 of 3 results" in page.verdict.sentences[0]
        and "no. 3" in page.verdict.sentences[0]
    )
    assert "Not executed on a device: 1 of them." in page.verdict.sentences[1]
    assert [row.latency for row in page.rows] == ["not timed", "80.0 ms", "80.0 ms"]
    assert page.tasks == tuple(made.CHANNELS) and [len(chart.strips) for chart in page.charts] == [3] * 6
    edge = page.rows[2].tasks[page.tasks.index("edge")]
    assert (edge.text, edge.mark) == ("undefined", "✗") and page.charts[-1].strips[2].svg == ""


def test_a_result_without_a_task_has_a_gap(tmp_path: Path) -> None:
    values = made.regression()
    depth = {"depth": values["tasks"]["depth"]}  # type: ignore[index]
    whole, part = (
        write(tmp_path / "w.json", values),
        write(tmp_path / "p.json", {**values, "model": "z", "tasks": depth}),
    )
    page = describe_sweep([read_result(whole), read_result(part)])
    assert page.verdict.kind == "pass" and [one.text for one in page.rows[1].tasks].count("–") == 5


def test_an_archive_that_a_device_sent_is_read_without_unpacking_anything_else(tmp_path: Path) -> None:
    archive = tmp_path / "sent.zip"
    with zipfile.ZipFile(archive, "w") as sent:
        sent.writestr("regression.json", json.dumps(made.regression()))
        sent.writestr("bench.json", json.dumps(made.BENCH))
        sent.writestr("../../escaped.txt", "no")
    assert read_result(archive).latency_ms == 80.0 and not list(tmp_path.parent.glob("escaped.txt"))
    with zipfile.ZipFile(archive, "w") as empty:
        empty.writestr("other.json", "{}")
    with pytest.raises(ArtifactError, match=r"sent\.zip holds no result"):
        read_result(archive)


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """What a device sends back, from a bundle that was judged there."""
    folder = made.make(tmp_path / "made" / "jetson", made.regression(precision="int8"))
    write_result(folder, "choice.json", "{}")
    return write_sendback(folder, tmp_path / "sent.zip")


HASHES = {"": "", "__sha256": ".sha256"}


def changed(sent: Path, **contents: bytes) -> Path:
    """The archive with other bytes in its members, whose names have a dot for two underscores."""
    with zipfile.ZipFile(sent) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**kept, **{key.replace("__", "."): value for key, value in contents.items()}}.items():
            archive.writestr(name, content)
    return sent


def test_an_archives_result_must_belong_to_its_manifest(sent: Path, tmp_path: Path) -> None:
    assert read_result(sent).latency_ms == 80.0
    other = made.make(tmp_path / "other", made.regression(), settings={"threads": 9})
    with pytest.raises(ArtifactError, match=r"regression\.json belongs to another bundle"):
        kept = {f"regression__json{key}": (other / f"regression.json{end}").read_bytes() for key, end in HASHES.items()}
        read_result(changed(sent, **kept))


def test_an_archives_result_that_is_not_hashed_is_refused(sent: Path) -> None:
    with pytest.raises(ArtifactError, match=r"regression\.json was altered"):
        read_result(changed(sent, regression__json=json.dumps(made.regression()).encode()))


def test_a_members_lie_about_its_size_does_not_fill_the_disk(sent: Path) -> None:
    content = bytearray(changed(sent, regression__json=bytes(30_000_000)).read_bytes())
    size = (30_000_000).to_bytes(4, "little")
    for _ in range(content.count(size)):
        place = content.index(size)
        content[place : place + 4] = (1000).to_bytes(4, "little")
    sent.write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_result(sent)


def test_a_member_too_large_is_said_to_be(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "LARGEST", 100)
    with pytest.raises(ArtifactError, match="holds no result") as caught:
        read_result(sent)
    assert "at most 100 bytes" in caught.value.expected and "1 of" in caught.value.got


@pytest.mark.parametrize(("offset", "value", "text"), [(8, 1, "is encrypted"), (10, 14, "compressed in another way")])
def test_what_a_zip_may_be_and_a_result_is_not_is_refused(sent: Path, offset: int, value: int, text: str) -> None:
    content = bytearray(sent.read_bytes())
    place = content.index(b"PK\x01\x02")
    while content[place + 46 : place + 61] != b"regression.json":
        place = content.index(b"PK\x01\x02", place + 4)
    content[place + offset] = value
    sent.write_bytes(content)
    with pytest.raises(ArtifactError, match=text):
        read_result(sent)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 9}'])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"x\.json is no result"):
        render_sweep([tmp_path / "x.json"], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to report"):
        render_sweep([], tmp_path / "out.html")


def test_hostile_words_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "h.json", made.regression(model=HOSTILE, device={"name": HOSTILE, "isa": []}))
    page = Reader(render_sweep([path], tmp_path / "out.html").read_text(encoding="utf-8"))
    assert HOSTILE in page.text and page.tags["script"] == 0 and page.tags["img"] == 0


@pytest.mark.slow
@pytest.mark.skipif(browser.BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_stands_alone_and_fits(results: list[Path], tmp_path: Path, width: int) -> None:
    shutil.copy(results[0], tmp_path / "c.json")
    page = render_sweep([*results, tmp_path / "c.json"], tmp_path / "out.html").read_bytes()
    seen = browser.look(page, width=width)
    assert seen.title == "Not every result passes: 4 results" and (seen.client, seen.scroll) == (width, width)
    assert (seen.resources, seen.requests, seen.console, seen.scripts, seen.overflowing) == ([], [], [], 0, [])


def test_an_undecided_result_is_no_pass_of_the_page(tmp_path: Path) -> None:
    values = made.regression()
    tasks = {**values["tasks"]}  # type: ignore[dict-item]
    tasks["edge"] = {**tasks["edge"], "verdict": "inconclusive"}
    paths = [write(tmp_path / "a.json", values), write(tmp_path / "b.json", {**values, "model": "z", "tasks": tasks})]
    page = describe_sweep([read_result(path) for path in paths])
    assert (page.verdict.headline, page.verdict.kind, page.verdict.mark) == (
        "Not every result is decided",
        "inconclusive",
        "?",
    )
    assert (
        page.verdict.sentences[0]
        == "1 of 2 results within every budget; undecided on a task, allowed by --allow-inconclusive: no. 2."
    )


def test_an_archive_that_was_cut_is_called_a_damaged_archive(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(ArtifactError) as caught:
        read_result(tmp_path / "cut.zip")
    assert "PK" not in str(caught.value) and "archive" in caught.value.message


def test_a_figure_too_large_to_be_one_is_undefined(tmp_path: Path) -> None:
    """A hundred times 1e308, as a share is shown, is infinite: no page could be drawn."""
    values = made.regression()
    values["tasks"]["depth"].update(drop_relative=1e308, interval=[-1e308, 1e308])
    path = write(tmp_path / "a.json", values)
    assert read_result(path).report.tasks["depth"].drop_relative is None
    assert "1e+308" not in render_sweep([path], tmp_path / "page.html").read_text()


@pytest.mark.parametrize("budget", [-1.0, 1e308])
def test_a_budget_that_is_none_is_refused_by_its_key_in_one_line(tmp_path: Path, budget: float) -> None:
    values = made.regression()
    values["tasks"]["depth"]["budget"] = budget
    with pytest.raises(ArtifactError) as refused:
        read_result(write(tmp_path / "a.json", values))
    assert refused.value.got.startswith("tasks.depth.budget: ") and "\n" not in refused.value.got
