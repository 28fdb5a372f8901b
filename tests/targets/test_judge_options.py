"""The options of judging are those of one table on each of the command lines."""

import argparse

import pytest

from cli import regress
from compile.stage.command import command_of
from targets.judge_options import JUDGING, add_options


def test_tdss_regress_has_every_option_of_the_table_with_its_default() -> None:
    rows = {name.removeprefix("--"): row.default for row in command_of(regress.main).params for name in row.opts}
    assert {name: rows[name] for name in JUDGING} == {name: row.default for name, row in JUDGING.items()}


def test_pytest_has_every_option_of_the_table_with_its_default(pytestconfig: pytest.Config) -> None:
    given = {name: pytestconfig.getoption(f"--{name}") for name in JUDGING if name != "threads"}
    assert given == {name: JUDGING[name].default for name in given}


@pytest.mark.parametrize(
    "words", [["--execute", "simulate"], ["--threads", "-1"], ["--time-limit", "nan"], ["--time-limit", "1e9"]]
)
def test_a_value_that_is_none_of_the_options_is_refused(words: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser.add_argument, *JUDGING)
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(words)
