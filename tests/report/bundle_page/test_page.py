import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.manifest import load_bundle
from bundle.formats.results import read_result
from report.bundle_page.page import render
from tests.bundle.made import write_result
from tests.report import made

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}&amp;"


class Reader(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, tag: str, name: str) -> list[str]:
        return [value for found, key, value in self.attributes if (found, key) == (tag, name)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = made.make(tmp_path_factory.mktemp("page") / "made", made.failing())
    return Reader(render(load_bundle(folder), made.Compiled(0.6)).read_text(encoding="utf-8"))


def test_the_verdict_comes_first(full: Reader) -> None:
    assert full.text.index("✗ Regression") < full.text.index("Per task")
    assert full.text.strip().startswith("Regression: made on intel")


def test_nothing_is_asked_of_a_network(full: Reader) -> None:
    addresses = [value for _, name, value in full.attributes if name in {"src", "href", "data", "action", "poster"}]
    assert addresses and all(value.startswith(("data:", "#")) for value in addresses)
    [policy] = [value for value in full.values("meta", "content") if "default-src" in value]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert full.tags["script"] == full.tags["iframe"] == full.tags["object"] == 0


def test_it_is_made_for_phones_and_for_readers_of_every_kind(full: Reader) -> None:
    assert "width=device-width, initial-scale=1" in full.values("meta", "content")
    assert full.values("html", "lang") == ["en"]
    assert len(full.values("img", "alt")) == full.tags["img"] and all(full.values("img", "alt"))
    assert len(set(full.values("img", "alt"))) == full.tags["img"]
    assert len(full.values("th", "scope")) == full.tags["th"] > 20


def test_every_task_is_there_with_its_words(full: Reader) -> None:
    for words in ("human_parts", "18.200°", "[+8.00%, +12.0%]", "✗ regression", "? inconclusive", "✓ pass", "12.0 dB"):
        assert words in full.text


def test_an_emulation_wears_a_banner(full: Reader, tmp_path: Path) -> None:
    assert "Not executed on a device." in full.text
    on_device = Reader(render(load_bundle(made.make(tmp_path / "b", made.regression()))).read_text())
    assert "Not executed on a device." not in on_device.text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    page = Reader(
        render(load_bundle(made.make(tmp_path / "b", None, bench=False, fold=False))).read_text(encoding="utf-8")
    )
    for words in ("Not judged", "no regression.json", "no bench.json", "no fold.json", "was not run for this page"):
        assert words in page.text
    assert "compiled" not in " ".join(page.values("img", "alt"))


def test_a_cell_without_a_verdict_is_marked_so_that_a_phone_leaves_it_out(tmp_path: Path) -> None:
    page = Reader(render(load_bundle(made.make(tmp_path / "b", None))).read_text(encoding="utf-8"))
    assert page.values("td", "class").count("number absent") == len(made.CHANNELS) and "– " in page.text


def test_the_contents_lead_to_sections_that_hold_something(tmp_path: Path) -> None:
    bare = Reader(render(load_bundle(made.make(tmp_path / "b", made.regression()))).read_text(encoding="utf-8"))
    links = {link.removeprefix("#") for link in bare.values("a", "href")}
    assert links <= set(bare.values("h2", "id")) and "sensitivity" not in links and {"tasks", "fold"} <= links
    measured = made.make(tmp_path / "c", made.regression(), sensitivity=True)
    assert "#sensitivity" in Reader(render(load_bundle(measured)).read_text(encoding="utf-8")).values("a", "href")


@pytest.mark.parametrize("field", ["name", "target"])
def test_a_hostile_name_stays_text(tmp_path: Path, field: str) -> None:
    folder = made.make(tmp_path / "b", made.regression(), **{field: HOSTILE})
    page = Reader(render(load_bundle(folder)).read_text(encoding="utf-8"))
    assert HOSTILE in page.text
    assert page.tags["script"] == 0 and "onerror" not in {name for _, name, _ in page.attributes}


def test_hostile_words_elsewhere_stay_text(tmp_path: Path) -> None:
    spec = made.SPEC.model_copy(
        update={"classes": {"semseg": (HOSTILE, "a", "b"), "human_parts": made.PARTS}, "attribution": HOSTILE}
    )
    report = made.regression(device={"name": HOSTILE, "isa": [HOSTILE]}, precision=HOSTILE)
    changes: dict[str, object] = {"dataset": spec, "tools": {HOSTILE: HOSTILE}, "settings": {HOSTILE: [HOSTILE]}}
    folder = made.make(tmp_path / "b", report, engine={"status": "deferred", "reason": HOSTILE}, **changes)
    write_result(folder, "bench.json", read_result(folder, "bench.json").decode().replace('"int8"', '"<script>"'))
    page = Reader(render(load_bundle(folder)).read_text(encoding="utf-8"))
    assert page.tags["script"] == 0 and page.text.count("<script>alert(1)</script>") >= 6


def test_the_page_is_no_part_of_the_bundle_and_is_drawn_again_alike(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.regression())
    first = render(load_bundle(folder)).read_bytes()
    assert render(load_bundle(folder)).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_an_altered_bundle_gets_no_page(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.regression())
    (folder / "f32.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"f32\.onnx was altered"):
        render(load_bundle(folder))
    assert not (folder / "report.html").exists()


def test_the_drawing_of_drops_is_in_the_page_once_per_task(full: Reader) -> None:
    drops = [value for value in full.values("svg", "class") if value == "drop"]
    assert len(drops) == len(made.CHANNELS) - 1  # the drop of edge is undefined


def test_a_bidi_mark_is_shown_and_does_not_reverse_the_page(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.regression(), name="safe\u202etxt.exe")
    text = render(load_bundle(folder)).read_text(encoding="utf-8")
    assert "safe\\u202etxt.exe" in text and "\u202e" not in text
