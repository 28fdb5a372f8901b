"""Every command line ends with the exit code of what went wrong, and prints nothing that steers the terminal."""

import subprocess
import sys
from importlib import import_module

import pytest

from bundle.base.errors import DatasetError, RegressionFailed, TargetUnavailable
from bundle.base.terminal import exit_status, print_answer, refused_by_system, say
from tests.architecture.source import ROOT
from tests.exits import exit_code

FACTS = {"expected": "right", "got": "wrong\x1b[8m", "where": "here", "fix": "repair it"}


def ends(error: BaseException) -> int:
    @exit_status()
    def main() -> None:
        raise error

    return exit_code(main)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RegressionFailed("no", **FACTS), 1),
        (DatasetError("no", **FACTS), 2),
        (TargetUnavailable("no", **FACTS), 3),
        (PermissionError(13, "Permission denied", "/a/b"), 2),
        (MemoryError("Unable to allocate 50 GiB"), 2),
        (ZeroDivisionError("division by zero"), 4),
        (RecursionError("too deep"), 4),
        (AssertionError(), 4),
        (KeyboardInterrupt(), 130),
        (SystemExit(1), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert ends(error) == code


def test_a_fault_of_ours_is_shown_whole_and_says_how_to_report_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(ZeroDivisionError("division\x1b[2J by zero")) == 4
    said = capsys.readouterr().err
    assert "Traceback" in said and "division\\u001b[2J by zero" in said and "\x1b" not in said
    assert "a fault of this program" in said.splitlines()[-1] and "report it" in said.splitlines()[-1]


def test_a_refusal_of_the_system_names_the_file() -> None:
    error = refused_by_system(PermissionError(13, "Permission denied", "/a/b"))
    assert error.exit_code == 2 and (error.got, error.where) == ("Permission denied", "/a/b")


def test_a_missing_package_names_its_extra_and_a_missing_module_of_ours_is_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(exit_status()(import_module), "tensorrt_rtx.of_which_there_is_none") == 3
    said = capsys.readouterr().err
    assert "needs tensorrt_rtx" in said and "'.[proof]'" in said
    assert exit_code(exit_status()(import_module), "bundle.of_which_there_is_none") == 4


def test_a_command_of_a_host_says_what_a_device_has_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(ModuleNotFoundError("No module named 'typer'", name="typer")) == 3
    assert "python -m targets and python -m bundle" in capsys.readouterr().err


def test_what_is_printed_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b]0;title\x07")
    print_answer("b\u202e")
    print_answer("c\n")
    assert ends(DatasetError("no", **FACTS)) == 2
    out, err = capsys.readouterr()
    assert out == "b\\u202e\nc\n"
    assert err.startswith("a\\u001b]0;title\\u0007\n") and "wrong\\u001b[8m" in err


def test_a_closed_pipe_is_no_regression_and_no_fault() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom cli.main import run\nrun(['--help'])"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), said) == (141, "")
