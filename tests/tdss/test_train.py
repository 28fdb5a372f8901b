"""The whole loop on a tiny folder: a killed run ends as an undisturbed one, and each phase leaves what it promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli.train import main
from compile.stage.command import run_script
from tdss import checkpoint
from tdss.card import load_card
from tdss.training import state
from tdss.training.data import open_dataset
from tdss.training.evaluate import evaluate
from tests.exits import exit_code
from tests.tdss.training.tiny import ALL_TASKS, settings, write_config, write_folder

ROOT = Path(__file__).parents[2]


def run(*configs: Path) -> int:
    words = [word for path in configs for word in ("--config", str(path))]
    return exit_code(run_script, main, ["--accelerator", "cpu", *words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set")


def steps(log: Path) -> list[dict[str, object]]:
    """The log without what a clock wrote."""
    clocks = ("seconds", "step_seconds", "data_seconds", "sha256")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in clocks} for line in lines]


def kill_after(config: Path, counters: Path, step: int) -> None:
    """Train in a process of its own and SIGKILL it once ``step`` steps are on disk."""
    command = [sys.executable, "-m", "cli.main", "train", "--accelerator", "cpu", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if counters.is_file() and json.loads(counters.read_text())["step"] >= step:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    """Same weights to the bit and the same log: batches, drop-path, moments, average and rate all resume."""
    torch.set_num_threads(1)
    keys = {**settings(folder, tmp_path / "calm"), "steps": 60, "save_seconds": 0.0}
    assert run(write_config(tmp_path / "calm.toml", keys)) == 0
    keys["runs"] = str(tmp_path / "killed")
    config = write_config(tmp_path / "killed.toml", keys)
    run_folder = tmp_path / "killed" / "tiny"
    kill_after(config, run_folder / "last" / state.COUNTERS, 5)
    assert not (run_folder / "checkpoint").exists()
    assert run(config) == 0
    calm, killed = tmp_path / "calm" / "tiny", run_folder
    assert steps(killed / "log.jsonl") == steps(calm / "log.jsonl")
    for name in (f"last/{state.TENSORS}", f"checkpoint/{checkpoint.WEIGHTS}"):
        assert (killed / name).read_bytes() == (calm / name).read_bytes()


@pytest.mark.slow
def test_three_phases_leave_checkpoints_cards_and_a_comparison(folder: Path, tmp_path: Path) -> None:
    """The frozen backbone stays bit-equal, weights are FP16, metrics are those of the stored weights."""
    runs = tmp_path / "runs"
    first = settings(folder, runs, "pre", {"semseg": 3})
    shared = {"init_backbone": str(runs / "pre" / "checkpoint"), "freeze_backbone": True}
    second = {**settings(folder, runs, "six", ALL_TASKS), **shared}
    adapter = {"kind": "tdss", "experts": 2, "rank": 2, "gates": [["static"], ["dynamic"]]}
    second["model"] = {**settings(folder, runs, "six", ALL_TASKS)["model"], "adapter": adapter}  # type: ignore[dict-item]
    third = {**settings(folder, runs, "bare", ALL_TASKS), **shared, "baseline_of": str(runs / "six")}
    configs = [write_config(tmp_path / f"{keys['name']}.toml", keys) for keys in (first, second, third)]
    assert run(*configs) == 0
    stored = {name: load_file(runs / name / "checkpoint" / checkpoint.WEIGHTS) for name in ("pre", "six", "bare")}
    assert {t.dtype for t in stored["six"].values() if t.is_floating_point()} == {torch.float16}
    backbone = {key for key in stored["pre"] if key.startswith("backbone.")}
    assert backbone and all(torch.equal(stored["pre"][key], stored["six"][key]) for key in backbone)
    moved = [key for key in stored["six"] if key.startswith("adapter.") and key.endswith("up.weight")]
    assert moved and all(stored["six"][key].abs().max() > 0 for key in moved)
    card = load_card(runs / "six" / "checkpoint")
    assert card is not None and card.steps == 12
    assert set(card.metrics) == set(ALL_TASKS)
    assert set(card.baselines) == {"trivial", "bare"} and set(card.baselines["trivial"]) == {"normals", "depth"}
    assert card.delta_m_percent["bare"] == pytest.approx(_delta_m(card.metrics, card.baselines["bare"]))
    assert run(*configs) == 0  # all three are done: nothing is trained again
    assert load_card(runs / "six" / "checkpoint") == card


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapter",
    [{"kind": "mtlora", "rank": 2}, {"kind": "tadformer", "rank": 2}, {"kind": "ssf"}, {"kind": "vmt", "rank": 2}],
    ids=lambda keys: keys["kind"],
)
def test_a_checkpoint_of_what_was_trained_is_the_trained_model(
    adapter: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    """Its base is the first run's file; the frozen tensors are in that only, and joined they are one model."""
    runs, start = tmp_path / "runs", tmp_path / "runs" / "pre" / "checkpoint"
    first = settings(folder, runs, "pre", {"semseg": 3})
    second = settings(folder, runs, "own", {"semseg": 3}) | {"init_backbone": str(start), "freeze_backbone": True}
    second["model"] = {**settings(folder, runs, "own", {"semseg": 3})["model"], "adapter": adapter}  # type: ignore[dict-item]
    second["stores"] = "trained"
    configs = [write_config(tmp_path / f"{keys['name']}.toml", keys) for keys in (first, second)]
    assert run(*configs) == 0
    own = runs / "own" / "checkpoint"
    config, model = checkpoint.load(own)
    assert config.base is not None and (own / config.base.path).resolve() == start
    plain, held = load_file(start / checkpoint.WEIGHTS), load_file(own / checkpoint.WEIGHTS)
    assert {tensor.dtype for tensor in held.values() if tensor.is_floating_point()} == {torch.float16}
    trained = {name for name in plain if name in held and name.startswith("backbone.")}
    published = ("patch_embed", "norm", "bias_table")
    inside = {"mtlora": (*published, "reduction"), "tadformer": published}.get(str(adapter["kind"]), ())
    assert trained == {name for name in plain if name.startswith("backbone.") and any(part in name for part in inside)}
    lent = [name for name in plain if name.startswith("backbone.") and name not in held]
    assert lent and all(torch.equal(model.state_dict()[name], plain[name].float()) for name in lent)
    card = load_card(own)
    assert card is not None and card.trained == sum(
        held[name].numel() for name, _ in model.named_parameters() if name in held
    )
    assert card.metrics["semseg"] == pytest.approx(
        evaluate(
            model, config, open_dataset(folder, folder / "dataset.json"), ("004", "005", "006", "007"), ("semseg",)
        )["semseg"]
    )


def _delta_m(own: dict[str, float], baseline: dict[str, float]) -> float:
    """(100/T) Σ ±(M − S)/S, minus where lower is better."""
    lower = ("normals", "depth")
    gains = [(own[t] - baseline[t]) / baseline[t] * (-1 if t in lower else 1) for t in own if baseline[t]]
    return 100 * sum(gains) / len(own)


def test_another_config_does_not_resume_a_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = settings(folder, tmp_path / "runs")
    assert run(write_config(tmp_path / "a.toml", keys)) == 0
    assert run(write_config(tmp_path / "b.toml", {**keys, "seed": 9})) == 2
    assert "was started with another config" in capsys.readouterr().err


def test_minutes_become_steps_with_the_spec_in_another_place(folder: Path, tmp_path: Path) -> None:
    keys = {key: value for key, value in settings(folder, tmp_path / "runs").items() if key != "steps"}
    spec = (folder / "dataset.json").rename(tmp_path / "classes.json")
    keys["data"] = {"root": str(folder), "spec": str(spec)}
    assert run(write_config(tmp_path / "a.toml", {**keys, "minutes": 0.02})) == 0
    counters = state.Counters.model_validate_json((tmp_path / "runs" / "tiny" / "last" / state.COUNTERS).read_bytes())
    assert counters.step >= 12
    assert counters.step >= counters.total > 0


def test_a_missing_dataset_ends_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_config(tmp_path / "a.toml", settings(tmp_path / "none", tmp_path / "runs"))) == 2
    assert "dataset.json" in capsys.readouterr().err
