"""What the Makefile would do, without doing it: ``make -n`` prints the commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from targets.table import TARGETS
from tests.architecture.source import ROOT


def make(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run make in the repository; ``path`` comes first on PATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    if path is not None:
        environment |= {"PATH": f"{path}:{environment['PATH']}"}
    command = ["make", "VENV=.venv-none", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """A folder that makes this machine look like a Jetson: aarch64, with a Python that has the system's tensorrt."""
    site = f"import sys; sys.path.append({str(tmp_path)!r}); "
    python = f'shift 2; exec {sys.executable} -I -c "{site}$1"'
    for name, lines in {"uname": "echo aarch64", "python3": f'[ "$1 $2" = "-I -c" ] || exit 9\n{python}'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tensorrt.py").write_text("")
    return tmp_path


def test_make_alone_lists_the_goals() -> None:
    answer = make()
    assert answer.returncode == 0
    assert all(
        goal in answer.stdout
        for goal in ("|".join(sorted(TARGETS)), "make test", "make check", "make format", "make clean")
    )


def test_an_unknown_target_is_refused() -> None:
    answer = make("target=tpu")
    assert answer.returncode == 2
    assert f"unknown target 'tpu': expected one of: {' '.join(sorted(TARGETS))}" in answer.stderr


@pytest.mark.parametrize("typed", ["modle=x", "targte=intel"])
def test_a_name_with_a_typing_error_is_refused(typed: str) -> None:
    """Ignored, it would compile the shipped model in the place of another, or print the help and succeed."""
    for goal in ("target=intel", "test"):
        answer = make("-n", goal, typed)
        assert answer.returncode == 2 and f"unknown name {typed.partition('=')[0]}: expected one of" in answer.stderr


@pytest.mark.parametrize("name", ["model", "data", "bundle"])
def test_what_is_not_there_is_refused_before_anything_is_installed(name: str, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / ".made").touch()
    wrong = f"{name}={tmp_path}/no'pe $(touch {tmp_path}/ran)"
    answer = make(f"VENV={environment}", "target=intel", wrong)
    assert answer.returncode == 2 and "no such file or folder" in answer.stderr and f"{name}=" in answer.stderr
    assert "installing" not in answer.stdout and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_installs_its_extra_and_runs_the_pipeline(target: str) -> None:
    answer = make("-n", f"target={target}")
    assert answer.returncode == 0
    assert f"--constraint constraints/host.txt --editable '.[{TARGETS[target].profile.extra}]'" in answer.stdout
    assert f"cli.main pipeline --target {target}" in answer.stdout
    assert "--system-site-packages" not in answer.stdout


def test_the_proof_installs_its_extra_and_proves_the_pipelines_graphs_or_a_bundles() -> None:
    answer = make("-n", "prove")
    assert "--constraint constraints/host.txt --editable '.[proof]'" in answer.stdout
    assert "cli.main pipeline --target jetson" in answer.stdout
    assert "cli.main prove @options -- @bundle" in make("-n", "prove", "bundle=b").stdout


def test_the_hard_case_is_made_from_nothing_to_its_table() -> None:
    lines = [line for line in make("-n", "-B", "hard-case").stdout.splitlines() if "build/" in line]
    stages = (
        "studies/dinov2/packages.txt",
        "studies.dinov2.port",
        "compile.export",
        "compile.simplify",
        "compile.fold",
        "studies.quantization.run",
    )
    assert [stage for line in lines for stage in stages if stage in line] == list(stages)


@pytest.mark.parametrize("goal", ["target=intel", "target=jetson", "prove"])
def test_the_model_beside_dinov2_fetches_its_backbone_and_others_do_not(goal: str) -> None:
    stages = ("'.[", 'echo "fetching DINOv2', "--require-hashes", "studies.dinov2.port", "cli.main pipeline")
    for model in ("models/dinov2-s", "models/dinov2-s/"):
        lines = make("-n", "-B", goal, f"model={model}").stdout.splitlines()
        assert [stage for line in lines for stage in stages if stage in line] == list(stages)
    assert "fetching" not in make("-n", "-B", goal, "model=models/default").stdout
    assert "fetching" not in make("-n", "-B", goal, "model=models/dinov2-s", "bundle=b").stdout


def test_what_checks_a_signature_is_installed_where_a_key_is_named(jetson: Path) -> None:
    without = make("-n", "target=jetson", "bundle=b", path=jetson).stdout
    signed = make("-n", "target=jetson", "bundle=b", "options=--key k.pub", path=jetson).stdout
    wanted = "--constraint constraints/device.txt --editable '.[sign]'"
    assert wanted in signed and wanted not in without


def test_a_bundle_is_judged_and_not_built() -> None:
    answer = make("-n", "target=intel", "bundle=build/default/intel")
    assert "bundle.makefile targets --target=intel @options -- @bundle" in answer.stdout
    assert "pipeline" not in answer.stdout
    assert "--constraint constraints/host.txt --editable '.[device-intel]'" in answer.stdout
    emulated = make("-n", "target=jetson", "bundle=build/default/jetson").stdout
    assert f"'.[{TARGETS['jetson'].profile.device_extra}]'" in emulated


def test_a_jetson_sees_the_systems_tensorrt_and_installs_the_device_side(jetson: Path) -> None:
    answer = make("-n", "target=jetson", "bundle=b", "options=--workspace 512", path=jetson)
    assert answer.returncode == 0
    assert "-m venv --system-site-packages" in answer.stdout
    assert "--constraint constraints/device.txt --editable '.[device]'" in answer.stdout
    assert "bundle.makefile targets --target=jetson @options -- @bundle" in answer.stdout


def test_a_jetson_makes_no_bundle(jetson: Path) -> None:
    answer = make("target=jetson", path=jetson)
    assert answer.returncode == 2
    assert "make target=jetson bundle=DIR" in answer.stderr


def test_another_aarch64_machine_is_a_host(jetson: Path) -> None:
    (jetson / "tensorrt.py").unlink()
    assert "'.[jetson]'" in make("-n", "target=jetson", path=jetson).stdout


@pytest.mark.parametrize("goal", ["test", "check", "format", "env"])
def test_the_tools_come_with_the_dev_extra(goal: str) -> None:
    assert "--constraint constraints/host.txt --editable '.[dev]'" in make("-n", goal).stdout


def test_the_hooks_before_a_commit_run_what_make_check_runs_and_fetch_nothing() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = [hook["entry"].replace(".venv/", ".venv-none/") for hook in repository["hooks"]]
    assert repository["repo"] == "local" and {hook["language"] for hook in repository["hooks"]} == {"system"}
    lines = [line for line in make("-n", "check").stdout.splitlines() if re.match(r"\.venv-none/bin/(?!python)", line)]
    assert len(lines) == len(hooks) and all(map(str.startswith, lines, hooks))


def test_python_is_started_isolated_everywhere() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    starts = re.findall(r"\$\((?:BIN\)/python|PYTHON\))(?: +(-\w+))?", text.replace("\\\n\t", " "))
    flags = [flag for flag in starts if flag]
    assert len(flags) > 5 and set(flags) == {"-I", "-V"}
    assert "$(BIN)/tdss " not in re.sub(r"echo .*", "", text)
