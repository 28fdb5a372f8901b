"""A shell that has read the script completes commands and options: bash itself does it here."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import COMMANDS
from targets.table import TARGETS
from tests.architecture.source import ROOT
from tests.cli.run import tdss


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program tdss of this checkout."""
    path = tmp_path / "tdss"
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli.main import run; run()"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -c {shlex.quote(start)} "$@"\n')
    path.chmod(0o755)
    return path


def completed(program: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    ask = f"""
eval "$({program} completion bash)"
COMP_WORDS=(tdss {" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words)}
_tdss_completion {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    home = program.parent / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "--norc", "-c", ask], env={"PATH": "/usr/bin:/bin", "HOME": str(home)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, list(home.iterdir())) == (0, "", [])
    return done.stdout.split()


@pytest.mark.slow
def test_bash_completes_commands_groups_and_options(program: Path) -> None:
    assert set(completed(program, "")) == {command.words[0] for command in COMMANDS}
    assert completed(program, "quan") == ["quantize"]
    assert completed(program, "bundle", "ver") == ["verify"]
    assert completed(program, "bundle", "verify", "--k") == ["--key"]
    assert set(completed(program, "store", "")) == {"list", "prune"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("pipeline", "--target", ""), tuple(TARGETS)),
        (("quantize", "--target", "j"), ("jetson",)),
        (("fold", "--target", ""), tuple(TARGETS)),
        (("fold", "--fold", ""), ("cost", "none")),
        (("pipeline", "--budgets", "s"), ("strict",)),
    ],
    ids=str,
)
def test_bash_completes_the_values_of_an_option(
    program: Path, words: tuple[str, ...], offered: tuple[str, ...]
) -> None:
    assert sorted(completed(program, *words)) == sorted(offered)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_a_script_that_asks_tdss(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss("completion", shell, capsys=capsys)
    assert (code, err) == (0, "") and f"_TDSS_COMPLETE=complete_{shell}" in out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss("completion", "csh", capsys=capsys)
    assert (code, out) == (2, "") and "csh" in err


def test_only_the_module_whose_options_are_asked_for_is_imported(program: Path) -> None:
    ask = ["-X", "importtime", "-m", "cli.main"]
    env = {"COMP_WORDS": "tdss b", "COMP_CWORD": "1", "_TDSS_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, *ask], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["build", "bench", "bundle"]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "compile.stage.command" in imported and not imported & {"targets.base", "cli.bundle_commands"}
