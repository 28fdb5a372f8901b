"""Run the command line in this process."""

import pytest

from cli import main as command_line


def tdss(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, standard output, standard error."""
    try:
        command_line.run(list(arguments))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()
