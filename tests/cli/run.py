"""Run the command line in this process."""

import pytest

from cli import main as command_line
from tests.exits import exit_code


def tdss(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, standard output, standard error."""
    return exit_code(command_line.run, list(arguments)), *capsys.readouterr()
