"""tdss finds its subcommands, says what is wrong, and ends with the promised exit codes."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle.base.errors import ArtifactError, ConfigError, ProjectError, RegressionFailed, TargetUnavailable
from cli import main as command_line
from cli.commands import COMMANDS, Command
from tests.architecture.source import ROOT
from tests.cli.run import tdss
from tests.exits import exit_code

NAMES = [command.name for command in COMMANDS]


def test_names_are_unique_and_none_hides_another() -> None:
    words = [command.words for command in COMMANDS]
    assert len(set(words)) == len(words)
    assert not [(a, b) for a in words for b in words if a != b and b[: len(a)] == a]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("--help", capsys=capsys)
    assert code == 0
    assert all(f"  {name} " in out for name in NAMES)


def test_without_a_command_the_help_comes_with_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss(capsys=capsys)
    assert code == 2
    assert "usage: tdss COMMAND" in out


def test_a_group_lists_its_own_commands_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("bundle", "--help", capsys=capsys)
    assert code == 0
    assert "bundle verify" in out and "quantize" not in out


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_has_help_with_an_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss(*command.words, "--help", capsys=capsys)
    assert (code, err) == (0, "")
    assert f"Usage: tdss {command.name} " in out
    assert "Example:" in out
    assert "--json" in out or command.name == "completion", "a shell reads what it prints"
    assert tdss(*command.words, "-h", capsys=capsys) == (0, out, "")


@pytest.mark.parametrize("option", ["-V", "--version"])
@pytest.mark.parametrize("words", [(), *(command.words for command in COMMANDS)], ids=" ".join)
def test_every_command_has_the_version(words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tdss(*words, option, capsys=capsys) == (0, f"tdss {version('tdss-compiler')}\n", "")


@pytest.mark.parametrize("package", ["targets", "bundle"])
def test_the_devices_commands_have_it_too(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = import_module(f"{package}.__main__").main
    assert exit_code(main, ["-V"]) == 0 and capsys.readouterr().out == f"tdss {version('tdss-compiler')}\n"
    assert exit_code(main, ["-h"]) == 0 and "usage: python -m" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_the_summary_is_how_the_command_describes_itself(command: Command) -> None:
    text = " ".join((getattr(import_module(command.module), command.function).__doc__ or "").split())
    assert text.startswith(command.summary.rstrip("."))


def test_an_unknown_command_is_exit_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("quantise", capsys=capsys)
    assert code == 2
    assert "there is no command 'quantise'" in err and "did you mean 'tdss quantize'?" in err


@pytest.mark.parametrize(
    ("words", "name", "fix"),
    [
        (["pipelin", "--target", "intel"], "pipelin", "did you mean 'tdss pipeline'?"),
        (["bundle", "blah"], "bundle blah", "tdss bundle --help says what each does"),
        (["bundle", "verfy", "x"], "bundle verfy", "did you mean 'tdss bundle verify'?"),
        (["frobnicate"], "frobnicate", "tdss --help says what each does"),
    ],
)
def test_only_the_unknown_word_is_named_and_its_own_group_searched(
    words: list[str], name: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = tdss(*words, capsys=capsys)
    assert code == 2 and f"there is no command '{name}'" in err and fix in err
    assert ("quantize" in err) == (" " not in name), "a group names its own commands only"


@pytest.mark.parametrize(
    "words",
    [
        ["lint", "{}/no.onnx"],
        ["fold", "{}/no.onnx", "--explain"],
        ["report", "{}/no"],
        ["bundle", "info", "{}/no"],
        ["bundle", "unpack", "{}/no.zip", "--out", "{}/x"],
        ["bundle", "verify", "{}", "--key", "{}/no.pub"],
        ["regress", "{}/no"],
        ["ranges", "{}/no"],
        ["evaluate", "{}/no"],
        ["train", "--config", "{}/no.toml"],
    ],
    ids=" ".join,
)
def test_a_missing_file_is_called_missing_without_the_systems_number(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = tdss(*(word.format(tmp_path) for word in words), capsys=capsys)
    assert code == 2 and "Errno" not in err and "Error:" not in err
    assert "no such file or folder" in err or "without manifest.json" in err


def test_a_pipeline_without_a_target_says_which_option_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("pipeline", capsys=capsys)
    assert code == 2 and "target: is missing" in err and "fix:      give --target, one of " in err and "jetson" in err


def test_an_unknown_option_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("bundle", "verify", "--colour", capsys=capsys)
    assert code == 2
    assert "--colour" in err


def test_an_error_says_expected_got_where_and_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss("bundle", "verify", str(tmp_path), capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: no bundle here")
    assert [line.split(":")[0].strip() for line in err.splitlines()[1:]] == ["expected", "got", "where", "fix"]


@pytest.mark.parametrize(
    ("kind", "code"), [(RegressionFailed, 1), (ConfigError, 2), (ArtifactError, 2), (TargetUnavailable, 3)]
)
def test_each_kind_of_error_has_its_exit_code(
    kind: type[ProjectError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> None:
        raise kind("no", expected="a", got="b", where="c", fix="d")

    monkeypatch.setattr(command_line, "_dispatch", fail)
    assert tdss("fold", capsys=capsys)[0] == code


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command_line, "COMMANDS", (Command("none", "tensorrt_rtx.of_which_there_is_none", "."),))
    code, _, err = tdss("none", capsys=capsys)
    assert code == 3
    assert "needs tensorrt_rtx" in err and "'.[proof]'" in err


def test_a_package_that_is_missing_only_when_the_command_runs_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        """Do it."""
        import_module("tensorrt_rtx.of_which_there_is_none")

    monkeypatch.setattr(command_line, "COMMANDS", (Command("none", "a.module", "."),))
    monkeypatch.setattr(command_line, "import_module", lambda name: SimpleNamespace(main=main))
    code, _, err = tdss("none", capsys=capsys)
    assert code == 3
    assert "needs tensorrt_rtx" in err and "'.[proof]'" in err


@pytest.mark.parametrize(
    ("command", "words"),
    [("lint", "a TOML file ([[accept]] rule"), ("import", "its [backbone] is the published one's")],
)
def test_brackets_of_a_help_text_are_not_taken_for_markup(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = tdss(command, "--help", capsys=capsys)
    assert code == 0 and words.replace(" ", "") in "".join(out.replace("│", "").split())


def test_a_bug_of_ours_is_no_missing_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "COMMANDS", (Command("none", "bundle.of_which_there_is_none", "."),))
    code, _, err = tdss("none", capsys=capsys)
    assert code == 4 and "No module named 'bundle.of_which_there_is_none'" in err


def test_help_needs_no_package_at_all() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); from cli.main import run; run(['--help'])"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "bundle verify" in answer.stdout
