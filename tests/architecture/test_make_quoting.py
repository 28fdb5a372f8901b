"""What is typed to make arrives as it was typed, is never run, and comes from make's command line only.

make, its shell and bundle/makefile.py are the real ones; the Python in their hands records the words it would have run.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.makefile import INTERRUPTED, MEANS, words
from targets.target_profile import read_profiles
from tests.architecture.source import ROOT

PYTHON = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
from bundle import makefile
if sys.argv[1:4] != ["-I", "-m", "bundle.makefile"]:
    sys.exit("python was started another way: " + " ".join(sys.argv))
makefile.module = lambda *run: [{python!r}, "-c", {record!r}, {out!r}, {ends!r}, *run]
makefile.main(sys.argv[4:])
"""
RECORD = "import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps(sys.argv[3:])); sys.exit(int(sys.argv[2]))"
PIPELINE = ["cli.main", "pipeline", "--target"]
FOLD = ["studies.folding.run", "--page", "docs/studies/folding-numbers.md"]
# Each would leave the file RUN behind if a shell or make ran it. Blanks before a value are gone before make looks at it.
HOSTILE = [
    "it's",
    'a "b" c',
    "`touch RUN`",
    "$(touch RUN)",
    "$(shell touch RUN)",
    "${shell touch RUN}",
    "$$(touch RUN)",
    "a;touch RUN",
    "a&touch RUN",
    "a|touch RUN",
    "a>RUN",
    "a\ntouch RUN",
    "a\n\ttouch RUN",
    "two  words ",
    "-x",
    "--help",
    "$HOME",
    "~",
    "*",
    "a\\",
    "\\'",
    "#no comment",
    "a)b,c(",
    "%",
    "@data",
    "a=b",
    "'; touch RUN; '",
    '"; touch RUN; "',
    "é\t!",
]


class Stub:
    """An environment of the Makefile whose Python records, and ends with the code ``ends``."""

    def __init__(self, folder: Path, ends: int) -> None:
        self.folder, self.out = folder, folder / "words.json"
        bin_ = folder / "venv" / "bin"
        bin_.mkdir(parents=True)
        python = PYTHON.format(python=sys.executable, root=str(ROOT), record=RECORD, out=str(self.out), ends=str(ends))
        (bin_ / "python").write_text(python)
        (bin_ / "python").chmod(0o755)
        pins = [ROOT / name for name in ("pyproject.toml", "constraints/host.txt", "constraints/device.txt")]
        content = b"".join(path.read_bytes() for path in pins)
        key = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.split()[0].decode()
        (folder / "venv" / ".made").touch()
        profiles = read_profiles().values()
        extras = {extra for profile in profiles for extra in (profile.extra, profile.device_extra)}
        for extra in (*extras, "device", "sign", "proof", "dev"):
            (folder / "venv" / f".ready-{extra}-{key}").touch()

    def make(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "-f", str(ROOT / "Makefile"), "-C", str(ROOT), f"VENV={self.folder / 'venv'}", *arguments]
        done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False, timeout=60)
        assert not (ROOT / "RUN").exists(), "something was run"
        return done

    def ran(self, *arguments: str, **environment: str) -> list[str]:
        """Run make; return the words of what it started."""
        done = self.make(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        answer: list[str] = json.loads(self.out.read_text())
        return answer


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Stub:
    return Stub(tmp_path_factory.mktemp("make"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("typed", HOSTILE)
def test_a_path_arrives_as_it_was_typed_and_is_run_by_nobody(stub: Stub, typed: str) -> None:
    given = [f"model={typed}", f"data={typed}", f"tasks={typed}"]
    passed = [f"--checkpoint={typed}", f"--data={typed}", f"--tasks={typed}"]
    assert stub.ran("target=intel", *given) == [*PIPELINE, "intel", *passed]
    assert stub.ran("prove", *given) == [*PIPELINE, "jetson", *passed]
    assert stub.ran("target=intel", f"bundle={typed}") == ["targets", "--target=intel", "--", typed]
    assert stub.ran("target=jetson", f"bundle={typed}") == ["targets", "--target=jetson", "--", typed]
    assert stub.ran("prove", f"bundle={typed}") == ["cli.main", "prove", "--", typed]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--budgets strict --seed 3", ["--budgets", "strict", "--seed", "3"]),
        ("--out 'a b' --sign \"it's\"", ["--out", "a b", "--sign", "it's"]),
        ("--out a\\ b", ["--out", "a b"]),
        ("--out '$(touch RUN)' `touch RUN`", ["--out", "$(touch RUN)", "`touch", "RUN`"]),
        (
            "$(shell touch RUN); touch RUN & touch RUN | cat",
            ["$(shell", "touch", "RUN);", "touch", "RUN", "&", "touch", "RUN", "|", "cat"],
        ),
        ("--out *\n--seed 1", ["--out", "*", "--seed", "1"]),
        ("--out @data", ["--out", "@data"]),
        ("", []),
    ],
)
def test_options_are_split_as_a_shell_would_and_run_by_nobody(stub: Stub, typed: str, expected: list[str]) -> None:
    assert stub.ran("target=intel", f"options={typed}") == [*PIPELINE, "intel", *expected]
    assert stub.ran("prove", f"options={typed}") == [*PIPELINE, "jetson", *expected]
    assert stub.ran("target=intel", "bundle=b", f"options={typed}") == [
        "targets",
        "--target=intel",
        *expected,
        "--",
        "b",
    ]
    assert stub.ran("bench-fold", f"options={typed}") == [*FOLD, *expected]


@pytest.mark.parametrize("flags", [(), ("-e",)])
def test_the_environment_asks_for_nothing(stub: Stub, flags: tuple[str, ...]) -> None:
    hostile = dict.fromkeys(("model", "data", "tasks", "bundle", "options"), "$(shell touch RUN)`touch RUN`")
    assert stub.ran("target=intel", *flags, **hostile) == [*PIPELINE, "intel"]
    assert stub.ran("target=intel", "bundle=b", *flags, **hostile, target="jetson") == [
        "targets",
        "--target=intel",
        "--",
        "b",
    ]
    assert stub.ran("bench-fold", *flags, **hostile) == FOLD
    listed = stub.make(*flags, target="tpu", bundle="b")
    assert listed.returncode == 0 and "make target=NAME" in listed.stdout, "make alone lists the goals"


@pytest.mark.parametrize(
    "typed", ["%", "intel jetson", "intel ", "$(shell touch RUN)", "`touch RUN`", "'; touch RUN; '"]
)
def test_only_a_target_by_its_name_is_one(stub: Stub, typed: str) -> None:
    done = stub.make(f"target={typed}")
    assert done.returncode == 2 and f"unknown target '{typed}'" in done.stderr


@pytest.mark.parametrize("code", [1, 2, 3, 4, 77, INTERRUPTED])
def test_the_last_line_of_a_recipe_names_the_tools_own_exit_code(tmp_path: Path, code: int) -> None:
    done = Stub(tmp_path, code).make("target=intel")
    *_, last, makes_own = done.stderr.splitlines()
    means = f" ({MEANS[code]})" if code in MEANS else ""
    own = "" if code == INTERRUPTED else "; make itself answers 2"
    assert done.returncode == 2 and last == f"exit code {code}{means}{own}"
    assert makes_own.startswith("make: ***") and makes_own.endswith(f"Error {code}")


def test_a_quotation_that_is_not_closed_is_bad_input(stub: Stub) -> None:
    done = stub.make("target=intel", "options=--out 'a")
    assert done.returncode == 2 and "No closing quotation" in done.stderr
    assert done.stderr.splitlines()[-2] == "exit code 2 (bad input); make itself answers 2"


def test_a_variable_that_is_empty_leaves_its_word_out() -> None:
    given = {"model": "", "bundle": "b@data", "options": ""}
    assert list(words(["x", "--checkpoint=@model", "@options", "@bundle", "a@b"], given)) == ["x", "b@data", "a@b"]
