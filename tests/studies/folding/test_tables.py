"""The page keeps what a person wrote above the mark, and its tables follow the figures."""

from pathlib import Path

from studies.folding.figures import Latency, Number
from studies.folding.tables import SECTION, markdown, write_page
from tests.studies.folding.test_run import figures

ROWS = (
    Number(
        runtime="openvino", name="adapter overhead, folded, static gates", value=0.0912, limit=0.08, spread=(0.05, 0.1)
    ),
    Number(runtime="torch", name="seconds to fold, static gates", value=12.0, limit=20.0),
    Number(runtime="openvino", name="information", value=1.25, limit=None),
)
LATENCY = Latency(runtime="openvino", graph="baseline", median_ms=600.0, low_ms=590.0, high_ms=620.0)


def test_numbers_have_their_limit_and_whether_it_is_met() -> None:
    text = markdown(figures(*ROWS).model_copy(update={"latencies": (LATENCY,)}))
    assert "| 9.1 % | 5.0 % … 10.0 % | ≤ 8.0 % | **no** |" in text
    assert "| 12 |  | ≤ 20 | yes |" in text
    assert "| 1.25 |  |  |  |" in text
    assert "| openvino | baseline | 600.0 | 590.0 … 620.0 |" in text


def test_the_text_above_the_section_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nwords\n")
    for _ in range(2):
        write_page(figures(ROWS[1]), page)
    text = page.read_text()
    assert text.startswith(f"# Title\n\nwords\n\n<!-- {SECTION} -->") and text.count(SECTION) == 2
