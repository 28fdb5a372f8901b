import io

import pytest
from rich.console import Console

from bundle.judging.checks import sentence
from bundle.judging.regression_report import RegressionReport
from report.terminal import cells, notes, tasks_table
from tests.report import made


def printed(report: dict[str, object], width: int = 80) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(tasks_table(RegressionReport.model_validate(report)))
    return stream.getvalue().splitlines()


def line(lines: list[str], task: str) -> list[str]:
    [found] = [text.split() for text in lines if text.split()[:1] == [task] and "%" in text]
    return found


def test_a_row_holds_the_six_figures_at_eighty_columns() -> None:
    failing = made.failing()
    failing["tasks"]["depth"]["labelled_images"] = 100  # type: ignore[index]
    lines = printed(failing)
    assert line(lines, "depth") == [
        "depth",
        "0.4000",
        "m",
        "0.4010",
        "m",
        "+0.25%",
        "[−0.40%,",
        "+1.30%]",
        "100",
        "1%",
        "?",
        "inconclusive",
    ]
    assert line(lines, "normals")[-2:] == ["✗", "regression"]
    assert line(lines, "edge") == ["edge", "0.6000", "–", "–", "–", "5", "1%", "✗", "regression"]
    assert not any("…" in text for text in lines) and max(map(len, lines)) <= 80


@pytest.mark.parametrize("made_report", [made.regression(), made.failing()])
def test_a_device_writes_the_numbers_that_the_table_of_a_host_has(made_report: dict[str, object]) -> None:
    report = RegressionReport.model_validate(made_report)
    for name, result in report.tasks.items():
        _, *numbers, images, budget = cells(name, result)
        said = sentence(name, result)
        assert all(number in said for number in numbers) and f"budget {budget}, {images} labelled" in said


def test_every_task_has_a_row_and_the_outcome_is_said() -> None:
    lines = printed(made.regression())
    assert [text.split()[0] for text in lines if text.rstrip().endswith("✓ pass")] == list(made.CHANNELS)
    assert lines[-1].strip() == "Δm −0.20%: every task is within its budget"
    assert printed(made.failing())[-1].strip() == "Δm −0.20%: FAILED: not every task is within its budget"


@pytest.mark.parametrize(("where", "words"), [("device", "on the device"), ("emulation", "not executed on a device")])
def test_the_title_says_what_ran(where: str, words: str) -> None:
    assert words in " ".join(printed(made.regression(executed_on=where), width=200))


def test_markup_in_a_name_stays_text() -> None:
    assert "[red]model[/red]" in " ".join(printed(made.regression(model="[red]model[/red]"), width=200))


def test_the_notes_say_what_the_table_has_no_room_for() -> None:
    lines = notes(RegressionReport.model_validate(made.rich()))
    assert "depth: about 430 images would decide it if the drop stayed as it is" in lines
    assert "normals: share < 11.25° 0.4100 → 0.4000" in lines
    assert "semseg: SQNR 31.5 dB, cosine 1 − 9e−04, 1.23% of pixels changed class; most changed: 00003, 00001" in lines
    assert lines[-1].startswith("against the earlier run (f32, Test CPU): Δm −3.20%; normals regression")
    assert notes(RegressionReport.model_validate(made.regression())) == ()
