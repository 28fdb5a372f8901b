"""The line that says how far a run is."""

from io import StringIO

from rich.console import Console

from tdss.training.progress import Display


def shown(step: int, total: int, seconds: float) -> str:
    console = Console(file=StringIO(), width=200)
    Display("run", console, every=0.0).step(step, total, 0.5, seconds)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_no_time_is_left_to_say_while_the_length_is_unknown() -> None:
    line = shown(1, 0, 0.2)
    assert "step 1  loss 0.500  0.200 s/step" in line and "left" not in line and "/0" not in line


def test_more_than_a_day_is_hours() -> None:
    assert "step 1/100001  loss 0.500  1.000 s/step  27:46:40 left" in shown(1, 100001, 1.0)
    assert "left" in shown(5, 4, 1.0)  # a step beyond the estimate
