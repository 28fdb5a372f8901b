import math
from pathlib import Path

import pytest

from bundle.judging import wording
from bundle.tasks.table import TASKS
from studies.gate_power.coverage_page import Coverage


def test_every_metric_of_the_task_table_has_a_name_without_underscores() -> None:
    names = {row.metric: wording.metric_name(row.metric) + row.judge(2).unit for row in TASKS}
    assert names == {
        "miou": "mIoU",
        "max_f": "max F",
        "mean_angular_error_deg": "mean angular error°",
        "rmse_m": "RMSE m",
        "ods_f": "ODS F",
    }


def test_values_carry_their_unit() -> None:
    assert wording.metric_value("miou", 0.41236) == "0.4124"
    assert wording.metric_value("mean_angular_error_deg", 18.20049) == "18.200°"
    assert wording.metric_value("rmse_m", 0.4) == "0.4000 m"
    assert wording.metric_value("rmse_m", None) == wording.metric_value("rmse_m", math.nan) == "undefined"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0123, "+1.23%"),
        (-0.0123, "−1.23%"),
        (-0.00001, "0.00%"),
        (0.0, "0.00%"),
        (0.09999, "+10.0%"),
        (0.12, "+12.0%"),
        (1.5, "+150%"),
        (math.inf, "+∞%"),
        (None, "undefined"),
        (math.nan, "undefined"),
    ],
)
def test_percentages_have_a_sign_unless_they_are_zero(fraction: float | None, text: str) -> None:
    assert wording.percent(fraction) == text


def test_budgets_show_what_they_are() -> None:
    assert (wording.budget(0.01), wording.budget(0.001), wording.budget(0.0025)) == ("1%", "0.1%", "0.25%")


def test_intervals_need_both_ends() -> None:
    assert wording.interval((-0.001, 0.004)) == "[−0.10%, +0.40%]"
    assert wording.interval((None, 0.004)) == "undefined"


def test_points_are_in_percent_already() -> None:
    assert wording.points(-0.2) == "−0.20%" and wording.points(None) == "undefined"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (12_345, "12.3 k"),
        (8_100_000, "8.1 M"),
        (999_999, "1 M"),
        (999.7, "1 k"),
        (1.796e10, "18 G"),
    ],
)
def test_counts_have_three_digits(number: float, text: str) -> None:
    assert wording.count(number) == text


def test_sizes_and_plurals() -> None:
    assert (wording.file_size(5_000), wording.file_size(17_040_000)) == ("5.0 kB", "17.0 MB")
    assert (wording.plural(1, "image"), wording.plural(1024, "image")) == ("1 image", "1,024 images")


def test_the_figures_of_several_verdicts_are_those_that_were_measured() -> None:
    """On the page and in docs/reference/regression.md: each number is docs/studies/interval-coverage.json's."""
    root = Path(__file__).resolve().parents[3]
    found = Coverage.model_validate_json((root / "docs" / "studies" / "interval-coverage.json").read_bytes()).together
    passes = sum(found.any_pass.values()) / len(found.any_pass)
    builds, draws = f"{100 * found.any_regression:.1f}", f"{100 * passes:.1f}"
    assert f"{builds}% of builds" in wording.SEVERAL and f"in {draws}%" in wording.SEVERAL
    text = " ".join((root / "docs" / "reference" / "regression.md").read_text(encoding="utf-8").split())
    assert f"{builds} % of the builds show" in text and f"in {draws} %" in text
    assert f"{100 * found.regression:.1f} % of single verdicts are `regression`" in text
    assert f"{100 * found.passed:.1f} % of single verdicts are a false `pass`" in text
