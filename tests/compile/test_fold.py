"""The fold stage as a whole, on a tiny checkpoint: what it writes is read back, restricted, frozen and explained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from bundle.artifacts import Folded
from bundle.errors import CheckpointError, ConfigError, InputError
from bundle.fold import FoldPart, FoldRecord
from compile.config import FoldMode, FoldOptions
from compile.explain import draw, own_costs, read_rows
from compile.fold import fold, folded_config, load_folded, main
from compile.folds.cost import trace_cost
from compile.images import ImageFiles, folder_images
from compile.stored import savings
from tdss.checkpoint import load as load_checkpoint
from tests.compile import made
from tests.compile.folds.models import outputs, relative
from tests.compile.made import quiet

HEX = "0123456789abcdef" * 2
SHAPE = (1, 3, made.SIDE, made.SIDE)
BUDGETS = dict.fromkeys(made.TASKS, 0.5)


@pytest.fixture(scope="module")
def images(scenes: Path) -> ImageFiles:
    """The calibration images."""
    return folder_images(scenes, "calibration")


@pytest.fixture(scope="module")
def folded(checkpoint: Path, images: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> Folded:
    """Everything folded that may be."""
    out = tmp_path_factory.mktemp("fold") / "folded"
    return fold(checkpoint, out, images.first(2), FoldOptions(), images.first(4), quiet)


def test_what_was_written_answers_as_the_checkpoint(folded: Folded, checkpoint: Path) -> None:
    image = torch.randn(SHAPE)
    reference = outputs(load_checkpoint(checkpoint)[1], image)
    assert relative(reference, outputs(load_folded(folded), image)) < 1e-4


def test_the_explanation_adds_up_to_the_whole_model(folded: Folded, checkpoint: Path) -> None:
    rows = read_rows(folded)
    before, after = load_checkpoint(checkpoint)[1], load_folded(folded)
    for model, side in ((before, "before"), (after, "after")):
        trace = trace_cost(model, SHAPE)
        assert sum(getattr(row, f"macs_{side}") for row in rows) == trace.total.macs
        assert sum(getattr(row, f"bytes_{side}") for row in rows) == trace.total.moved
        assert sum(getattr(row, f"params_{side}") for row in rows) == trace.total.params
        assert sum(cost.macs for cost in own_costs(model, trace).values()) == trace.total.macs
    parts = TypeAdapter(tuple[FoldPart, ...]).validate_python(folded.record.settings["parts"])
    assert sum(part.macs_after for part in parts) == trace_cost(after, SHAPE).total.macs
    assert draw(rows, parts).renderables


def test_every_gate_norm_adapter_and_projection_is_judged(folded: Folded) -> None:
    found = {row.module: row.finding for row in read_rows(folded) if row.finding}
    gates = {path: finding.verdict for path, finding in found.items() if finding.kind == "gate"}
    assert gates.pop("adapter.stages.0.blocks.0.banks.mlp.gate") == "static by construction"
    assert gates.pop("adapter.stages.1.blocks.1.banks.mlp.gate") == "static by construction"
    dynamic = found["adapter.stages.1.blocks.0.banks.mlp.gate"]
    assert dynamic.verdict in ("nearly static", "dynamic") and dynamic.effect is not None and dynamic.spread is not None
    assert {finding.kind for finding in found.values()} == {"gate", "norm", "adapter", "projection"}
    assert found["decoders.depth.head.norm"].verdict == "static by construction"


def test_a_subset_is_the_same_function_with_less(checkpoint: Path, images: ImageFiles, tmp_path: Path) -> None:
    options = FoldOptions(tasks=("depth", "semseg"))
    small = fold(checkpoint, tmp_path / "f", images.first(1), options, ImageFiles(paths=()), quiet)
    assert list(folded_config(small).tasks) == ["semseg", "depth"]
    assert folded_config(small).name == "tiny-semseg-depth"
    image = torch.randn(SHAPE)
    reference = outputs(load_checkpoint(checkpoint)[1], image)
    answers = outputs(load_folded(small), image)
    assert list(answers) == ["semseg", "depth"] and relative(reference, answers) < 1e-4
    proof = small.record.settings["proof"]
    assert isinstance(proof, dict) and isinstance(proof["float64"], dict)
    assert max(float(str(error)) for error in proof["float64"].values()) < 1e-11
    assert "GMAC" in savings(small)


def test_an_unknown_task_is_refused_by_name(checkpoint: Path, images: ImageFiles, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be kept"):
        fold(checkpoint, tmp_path / "f", images.first(1), FoldOptions(tasks=("sky",)), ImageFiles(paths=()), quiet)


def test_frozen_gates_are_in_the_plan_with_what_they_cost(
    checkpoint: Path, images: ImageFiles, scenes: Path, tmp_path: Path
) -> None:
    options = FoldOptions(freeze_gates=True, budgets=BUDGETS)
    frozen = fold(checkpoint, tmp_path / "f", images.first(1), options, folder_images(scenes, "val"), quiet)
    lines = TypeAdapter(list[FoldRecord]).validate_json(frozen.file("fold.json").read_bytes())
    [gate] = [line for line in lines if line.rule == "freeze_gate"]
    assert gate.module == "adapter.stages.1.blocks.0.banks.mlp.gate" and not gate.exact
    assert gate.decision == "folded" and set(gate.drops) == set(made.TASKS)
    assert not [name for name in load_folded(frozen).state_dict() if "gate" in name]  # composed into constants
    assert load_folded(frozen)(torch.randn(SHAPE)).keys() == made.TASKS.keys()


def test_freezing_without_an_image_is_refused(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--freeze-gates"):
        main(checkpoint, images=scenes, out=tmp_path / "f", freeze_gates=True, calibration=0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_away(checkpoint: Path, images: ImageFiles, tmp_path: Path) -> None:
    left = tmp_path / f".f.{HEX}.tmp"
    left.mkdir()
    fold(checkpoint, tmp_path / "f", images.first(1), FoldOptions(mode="none"), ImageFiles(paths=()), quiet)
    assert not left.exists() and [path.name for path in tmp_path.iterdir()] == ["f"]


def test_the_command_prints_the_table_as_json(
    checkpoint: Path, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(checkpoint, images=scenes, explain=True, as_json=True, count=1, calibration=0, mode="cost")
    answer = json.loads(capsys.readouterr().out)
    assert answer["settings"]["mode"] == "cost"
    assert {row["module"] for row in answer["modules"]} >= {"backbone.stages.0.blocks.0.attn", "adapter.stages.1"}


@pytest.mark.parametrize("mode", ["all", "none"])
def test_a_checkpoint_that_overflows_by_itself_is_blamed_and_not_a_fold(
    checkpoint: Path, images: ImageFiles, tmp_path: Path, mode: FoldMode
) -> None:
    sick = Path(shutil.copytree(checkpoint, tmp_path / "sick"))
    weights = load_file(sick / "model.safetensors")
    save_file({key: -x if "running_var" in key else x for key, x in weights.items()}, sick / "model.safetensors")
    with pytest.raises(CheckpointError, match="not finite, before any folding"):
        fold(sick, tmp_path / "folded", images.first(1), FoldOptions(mode=mode), images.first(1), quiet)
    assert not (tmp_path / "folded").exists()
