"""What a judgement says besides its verdicts: figures, agreement, variants, the earlier run."""

import json
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.manifest import load_bundle
from bundle.judging.regression_report import RegressionReport, TaskCheck
from report.bundle_page.measurements import change, cosine, measured_view
from report.bundle_page.page import render
from report.bundle_page.sensitivity import NOTHING, SMOOTHED, read_sensitivity, sensitivity_view
from tests.report import made
from tests.report.bundle_page.test_page import Reader


@pytest.fixture(scope="module")
def report() -> RegressionReport:
    return RegressionReport.model_validate(made.rich())


def test_every_optional_part_is_in_the_page(tmp_path: Path) -> None:
    page = Reader(
        render(load_bundle(made.make(tmp_path / "b", made.rich(), sensitivity=True))).read_text(encoding="utf-8")
    )
    for words in (
        "depth: about 430 images would decide it if the drop stayed as it is.",
        "share < 11.25°",
        "not judged",
        "no FP16 here",
        "37.0 MB",
        "Against the earlier run of older",
        "[−0.40%, +0.10%]",
        "rooms/val",
        "What each layer costs in INT8",
        "stem/conv",
        "Worst images",
        f"{made.CHANGED_MOST}, 00001",
        "test 1.0",
    ):
        assert words in page.text


def test_a_page_without_them_still_says_what_is_missing(tmp_path: Path) -> None:
    page = Reader(render(load_bundle(made.make(tmp_path / "b", made.regression()))).read_text(encoding="utf-8"))
    assert NOTHING in page.text
    for words in ("IoU of each class", "Other figures of the field", "Against the earlier run"):
        assert words not in page.text


def test_the_baseline_names_only_the_tasks_that_are_not_within_budget(report: RegressionReport) -> None:
    said = measured_view(report).baseline
    assert "normals regression (+9.89%" in said and "depth inconclusive" in said and "semseg" not in said
    assert "Δm −3.20%" in said


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("semseg", 0.0123, "1.23% of pixels changed class"),
        ("normals", 0.5, "0.5° mean angle"),
        ("depth", 0.0123, "0.0123 m mean change"),
        ("edge", 0.001, "0.001 mean change of p"),
    ],
)
def test_a_change_is_written_as_the_kind_does(name: str, value: float, text: str) -> None:
    assert change(name, TaskCheck(nonfinite_images=0, agreement=1.0, change=value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.95, "0.9500"), (0.99995, "1 − 5e−05"), (1.0, "1"), (1.0 + 1e-12, "1")]
)
def test_a_cosine_close_to_1_says_what_is_missing(value: float | None, text: str) -> None:
    assert cosine(value) == text


def test_layers_are_ordered_by_their_largest_share_of_a_tasks_noise(tmp_path: Path) -> None:
    view = sensitivity_view(made.make(tmp_path / "b", None, sensitivity=True))
    assert [(row.name, row.task, row.kept) for row in view.rows] == [
        ("stem/conv", "edge", "float"),
        ("head/fc", "depth", "INT8"),
    ]
    noise = {"edge": (10**-3.0, 10**-6.0), "depth": (10**-3.2, 10**-1.2)}
    assert [row.share for row in view.rows] == [f"{100 * one[0] / sum(one):.1f}%" for one in noise.values()]
    assert "2 layers was quantized alone on 24 images" in view.summary


BROKEN: dict[str, object] = {"broken": ["depth"]}
HOLDS: dict[str, object] = {}
ENDED = "0 layers with 3.1% of the MACs in float; every task holds"


@pytest.mark.parametrize(
    ("layers", "steps", "said"),
    [
        (False, [BROKEN, HOLDS | {"smooth": True}], "The search on the calibration images: 0 layers with 3.1%"),
        (True, [BROKEN, BROKEN | {"smooth": True}, HOLDS], f"{ENDED}. {SMOOTHED}Each of 2 layers"),
        (True, [BROKEN, HOLDS], f"{ENDED}. Each of 2 layers"),
    ],
)
def test_the_search_says_what_became_of_smoothquant(
    tmp_path: Path, layers: bool, steps: list[dict[str, object]], said: str
) -> None:
    rows = made.SENSITIVITY["layers"] if layers else []
    found = made.SENSITIVITY | {"steps": [made.search_step(**step) for step in steps], "layers": rows}
    (tmp_path / "sensitivity.json").write_text(json.dumps(found))
    assert sensitivity_view(tmp_path).summary.startswith(said)


def test_a_sensitivity_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sensitivity.json").write_text('{"layers": 3}')
    with pytest.raises(ArtifactError, match=r"sensitivity\.json cannot be read"):
        read_sensitivity(tmp_path)
    assert read_sensitivity(tmp_path / "elsewhere") is None
