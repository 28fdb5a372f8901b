"""Stages as commands: from any folder, outside the environment, and their exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from bundle.base.errors import DatasetError, RegressionFailed, TargetUnavailable
from compile.stage import command as script
from compile.stage.command import run_script, timed

ROOT = Path(__file__).resolve().parents[3]
STAGES = sorted(
    path.stem for path in (ROOT / "compile").glob("*.py") if "import _path" in path.read_text(encoding="utf-8")
)


def call(stage: str, *arguments: str, cwd: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run a stage's script as a user would, from another folder and without the project on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "200"}
    command = [python, str(ROOT / "compile" / f"{stage}.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def test_every_stage_is_a_script() -> None:
    assert {"fold", "export", "simplify", "quantize", "build", "pipeline"} <= set(STAGES)


@pytest.mark.parametrize("stage", ["quantize", "pipeline"])
def test_help_works_from_any_folder(stage: str, tmp_path: Path) -> None:
    process = call(stage, "--help", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "--target" in process.stdout


def test_outside_the_environment_it_says_how_to_enter_it(tmp_path: Path) -> None:
    environment = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    process = call("quantize", "--help", cwd=tmp_path, python=str(environment / "bin" / "python"))
    assert process.returncode == 2
    assert "make" in process.stderr and "activate" in process.stderr and "typer" in process.stderr
    assert "Traceback" not in process.stderr


def test_bad_input_ends_with_2_and_one_message(tmp_path: Path) -> None:
    process = call("export", "--model", "nowhere", "--images", ".", "--out", "out", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith("error: ") and "fix:" in process.stderr and "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (RegressionFailed, 1), (DatasetError, 2), (TargetUnavailable, 3), ("option", 2)]
)
def test_exit_codes(error: object, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main(count: int = 0) -> None:
        """Do it."""
        if isinstance(error, type):
            raise error("it is wrong", expected="right", got="wrong", where="here", fix="fix it")

    with pytest.raises(SystemExit) as caught:
        run_script(main, ["--nope"] if error == "option" else [])
    assert (caught.value.code or 0) == code
    if isinstance(error, type):
        assert capsys.readouterr().err.startswith("error: it is wrong\n  expected: right\n")


@pytest.mark.parametrize(
    ("words", "expected", "got"),
    [
        (["--threads", "x"], "How many.", "integer"),
        (["--thread", "1"], "--threads", "No such option"),
        (["--shell", "nosh"], "Which.", "'nosh' is not one of 'bash', 'zsh'"),
        (["--threads"], "a tool [OPTIONS]", "requires an argument"),
        (["a", "b"], "a tool [OPTIONS]", "unexpected extra argument"),
    ],
)
def test_wrong_words_are_refused_with_the_four_facts(
    words: list[str], expected: str, got: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(
        threads: Annotated[int, typer.Option(help="How many.")] = 0,
        shell: Annotated[Literal["bash", "zsh"], typer.Option(help="Which.")] = "bash",
    ) -> None:
        """Do it."""

    with pytest.raises(SystemExit) as caught:
        run_script(main, words, name="a tool")
    said = capsys.readouterr().err
    facts = dict(line.strip().split(":", 1) for line in said.splitlines()[1:])
    assert caught.value.code == 2 and said.startswith("error: ") and "Value error" not in said
    assert list(facts) == ["expected", "got", "where", "fix"]
    assert facts["expected"].strip() == expected and got in facts["got"] and facts["where"].strip() == "a tool"


def test_a_file_that_cannot_be_written_ends_with_2_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        """Do it."""
        (tmp_path / "no" / "such" / "folder").write_text("")

    with pytest.raises(SystemExit) as caught:
        run_script(main, [])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "got:      no such file or folder" in said and str(tmp_path / "no") in said


def test_a_stage_is_named_before_it_runs_and_its_time_comes_last() -> None:
    lines: list[str] = []
    with timed("fold", lines.append):
        lines.append("at work")
    assert lines[:2] == ["fold: started", "at work"] and re.fullmatch(r"fold: done in \d+\.\d s", lines[2])


def test_a_stage_that_fails_or_is_interrupted_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        """Do it."""
        with timed("fold"):
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_script(main, [])
    first, last = capsys.readouterr().err.splitlines()
    assert caught.value.code == 130 and first == "fold: started" and "run the same command again" in last


@pytest.mark.slow
def test_an_artifact_is_announced_as_a_line_or_as_its_record(
    exported: "script.Artifact", capsys: pytest.CaptureFixture[str]
) -> None:
    script.announce(exported, as_json=False)
    assert capsys.readouterr().out == f"exported {exported.sha256[:12]} {exported.folder}\n"
    script.announce(exported, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["sha256"] == exported.sha256 and answer["record"]["files"] == exported.record.files
