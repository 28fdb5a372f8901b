"""The fold stage as a whole, on a tiny checkpoint: what it writes computes the same, is restricted, frozen and explained."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from bundle.base.errors import CheckpointError, ConfigError, InputError
from bundle.formats.artifacts import Exported, Folded, Simplified, hash_file, load
from bundle.formats.fold import FoldRecord
from calibration.image_files import ImageFiles, folder_images
from compile.export import export
from compile.fold import fold, main
from compile.folding.explain import draw, explain_rows
from compile.folding.graph_file import read_graph
from compile.folding.tables import ELIMINATION, costs_by_scope
from compile.folding.task_subset import TASK_SUBSET
from compile.graphs.cost import graph_cost
from compile.simplify import simplify
from compile.stage.artifacts import folding_of, savings, total
from compile.stage.compare import run_graph
from compile.stage.config import FreezeOptions
from compile.stage.graph_info import GRAPH_FILE, graph_info
from tdss.checkpoint import load as load_checkpoint
from tests.compile import made
from tests.compile.folding.engine_cases import RATES
from tests.compile.made import quiet

HEX = "0123456789abcdef" * 2
SHAPE = (1, 3, made.SIDE, made.SIDE)
BUDGETS = dict.fromkeys(made.TASKS, 0.5)
ONE = made.image(77)


def through(checkpoint: Path, images: ImageFiles, out: Path) -> Folded:
    """Export, simplify and fold the checkpoint in ``out``."""
    exported = export(checkpoint, out / "e", "raw", images, quiet, threads=1)
    return fold(simplify(exported, out / "s", images, threads=1), out / "f", images, "cost", RATES, quiet, threads=1)


def lines_of(folded: Folded) -> tuple[FoldRecord, ...]:
    """What fold.json holds."""
    return TypeAdapter(tuple[FoldRecord, ...]).validate_json(folded.file("fold.json").read_bytes())


def answers(folded: Folded) -> dict[str, np.ndarray]:
    """What the folded graph answers for an image that no stage saw."""
    info = graph_info(folded)
    [answer] = run_graph(folded.file(GRAPH_FILE), info, [info.feed(ONE)], exact=False, threads=1)
    return dict(answer)


def eager(checkpoint: Path) -> dict[str, np.ndarray]:
    """What the checkpoint answers for the same image in PyTorch."""
    with torch.no_grad():
        outputs = load_checkpoint(checkpoint)[1](torch.from_numpy(made.INFO["raw"].preprocess.apply(ONE)))
    return {task: output.numpy() for task, output in outputs.items()}


def largest_relative(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> float:
    """The largest difference of any output that ``got`` has, over the largest number of it."""
    return max(float(np.abs(got[task] - want[task]).max() / np.abs(want[task]).max()) for task in got)


@pytest.fixture(scope="module")
def images(scenes: Path) -> ImageFiles:
    """The calibration images."""
    return folder_images(scenes, "calibration")


@pytest.fixture(scope="module")
def work(checkpoint: Path, images: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stages of the whole model lie."""
    out = tmp_path_factory.mktemp("fold")
    through(checkpoint, images.first(2), out)
    return out


@pytest.fixture(scope="module")
def folded(work: Path) -> Folded:
    """The whole model, folded."""
    return load(Folded, work / "f")


@pytest.mark.slow
def test_what_was_written_answers_as_the_checkpoint_for_less(folded: Folded, checkpoint: Path) -> None:
    assert largest_relative(answers(folded), eager(checkpoint)) < 1e-5
    own = folding_of(folded)
    assert max(own.proof.float64.values()) < 1e-11 and max(own.proof.float32.values()) < 1e-5
    assert own.proof.images == 2 and set(own.proof.float64) == set(made.TASKS)
    whole = total(own.parts)
    assert whole.macs_after < whole.macs_before


def test_each_stage_names_the_one_before_it(work: Path, folded: Folded, checkpoint: Path) -> None:
    simplified, exported = load(Simplified, work / "s"), load(Exported, work / "e")
    assert folded.record.parent == simplified.sha256 and simplified.record.parent == exported.sha256
    assert exported.record.parent == hash_file(checkpoint / "model.safetensors")


def test_the_unfolded_side_counts_what_torch_counts(folded: Folded, checkpoint: Path) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        load_checkpoint(checkpoint)[1](torch.zeros(SHAPE))
    macs = total(folding_of(folded).parts).macs_before
    assert macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


def test_parts_and_rows_add_up_to_the_graphs(work: Path, folded: Folded) -> None:
    graphs = [read_graph(path / GRAPH_FILE) for path in (work / "s", work / "f")]
    whole, rows = total(folding_of(folded).parts), explain_rows(*map(costs_by_scope, graphs), (), lines_of(folded))
    for graph, side in zip(graphs, ("before", "after"), strict=True):
        cost = graph_cost(graph)
        for name, want in (("macs", cost.macs), ("bytes", cost.moved), ("params", cost.params)):
            assert getattr(whole, f"{name}_{side}") == want == sum(getattr(row, f"{name}_{side}") for row in rows)
    assert {part.part for part in folding_of(folded).parts} >= {"backbone", "adapter.stages.1", "decoders.depth"}
    assert draw(rows, folding_of(folded).parts).renderables


def test_fold_json_names_every_value_with_a_choice(work: Path, folded: Folded) -> None:
    lines = lines_of(folded)
    tensors = {value.name for node in ir.load(work / "s" / GRAPH_FILE).graph for value in node.outputs}
    assert {line.rule for line in lines} == {ELIMINATION} and {line.decision for line in lines} == {"folded", "kept"}
    assert all(line.reason.partition(",")[0] in tensors for line in lines)
    assert all(line.macs_after == line.params_after == 0 for line in lines if line.decision == "folded")


@pytest.mark.slow
def test_a_subset_is_the_same_function_with_less(
    work: Path, folded: Folded, checkpoint: Path, images: ImageFiles, tmp_path: Path
) -> None:
    simplified = load(Simplified, work / "s")
    tasks = ("depth", "semseg")
    small = fold(simplified, tmp_path / "f", images.first(1), "cost", RATES, quiet, threads=1, tasks=tasks)
    assert folding_of(small).tasks == ("semseg", "depth") == tuple(graph_info(small).tasks)
    assert [spec.name for spec in small.record.outputs] == ["semseg", "depth"]
    assert set(answers(small)) == {"semseg", "depth"} and largest_relative(answers(small), eager(checkpoint)) < 1e-5
    assert max(folding_of(small).proof.float64.values()) < 1e-11
    [subset] = [line for line in lines_of(small) if line.rule == TASK_SUBSET]
    assert subset.form == "semseg,depth" and subset.macs_after < subset.macs_before
    assert subset.reason == "what only human_parts, saliency, normals, edge needs is gone"
    whole = total(folding_of(small).parts)
    assert (
        whole.macs_before == total(folding_of(folded).parts).macs_before
        and whole.macs_after < total(folding_of(folded).parts).macs_after
    )
    assert "GMAC" in savings(small)


def test_all_tasks_are_no_subset(work: Path, images: ImageFiles, tmp_path: Path) -> None:
    simplified = load(Simplified, work / "s")
    same = fold(simplified, tmp_path / "f", images.first(1), "none", RATES, quiet, threads=1, tasks=tuple(made.TASKS))
    assert lines_of(same) == () and same.file(GRAPH_FILE).read_bytes() == simplified.file(GRAPH_FILE).read_bytes()


@pytest.mark.parametrize(
    ("tasks", "got"), [(("depth", "sky"), "depth, sky"), (("depth", "depth"), "depth, depth")], ids=["unknown", "twice"]
)
def test_tasks_that_cannot_be_kept_are_refused_by_name(
    work: Path, images: ImageFiles, tmp_path: Path, tasks: tuple[str, ...], got: str
) -> None:
    with pytest.raises(ConfigError, match="cannot be kept") as refused:
        fold(
            load(Simplified, work / "s"), tmp_path / "f", images.first(1), "none", RATES, quiet, threads=1, tasks=tasks
        )
    assert refused.value.got == got and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_frozen_gates_are_recorded_with_what_they_cost(
    work: Path, images: ImageFiles, scenes: Path, folded: Folded, tmp_path: Path
) -> None:
    options = FreezeOptions(images=folder_images(scenes, "val"), budgets=BUDGETS)
    simplified = load(Simplified, work / "s")
    frozen = fold(simplified, tmp_path / "f", images.first(1), "cost", RATES, quiet, threads=1, freezing=options)
    [gate] = [line for line in lines_of(frozen) if line.rule == "freeze_gate"]
    assert gate.module == "adapter.stages.1.blocks.0.banks.mlp.gate" and not gate.exact
    assert gate.form == f"{gate.module}/Softmax" and gate.macs_before > 0 == gate.macs_after
    assert gate.decision == "folded" and set(gate.drops) == set(made.TASKS)
    assert folding_of(frozen).freeze_gates and not folding_of(folded).freeze_gates
    names = [str(node.name) for node in ir.load(frozen.file(GRAPH_FILE)).graph]
    assert not [name for name in names if ".gate" in name]  # composed into constants
    assert total(folding_of(frozen).parts).macs_after < total(folding_of(folded).parts).macs_after


def test_nothing_is_folded_where_that_is_asked_for(work: Path, images: ImageFiles, tmp_path: Path) -> None:
    same = fold(load(Simplified, work / "s"), tmp_path / "f", images.first(1), "none", RATES, quiet, threads=1)
    assert same.file(GRAPH_FILE).read_bytes() == (work / "s" / GRAPH_FILE).read_bytes()
    whole = total(folding_of(same).parts)
    assert lines_of(same) == () and whole.macs_after == whole.macs_before


def test_the_mode_that_is_gone_is_refused_with_the_one_to_use(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="no fold mode 'all'") as caught:
        main(checkpoint, explain=True, mode="all")
    assert caught.value.fix.startswith("use cost")


def test_freezing_without_an_image_is_refused(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--freeze-gates"):
        main(checkpoint, images=scenes, out=tmp_path / "f", freeze_gates=True, calibration=0)
    assert list(tmp_path.iterdir()) == []


def test_the_command_restricts_a_simplified_graph(work: Path, scenes: Path, tmp_path: Path) -> None:
    main(work / "s", images=scenes, out=tmp_path / "f", tasks="depth", mode="none", count=1)
    assert [spec.name for spec in load(Folded, tmp_path / "f").record.outputs] == ["depth"]


def test_the_command_restricts_a_file_to_outputs_by_name(work: Path, tmp_path: Path) -> None:
    main(work / "s" / GRAPH_FILE, out=tmp_path / "small.onnx", tasks="edge,depth", count=1)
    small, whole = ir.load(tmp_path / "small.onnx"), ir.load(work / "s" / GRAPH_FILE)
    assert [output.name for output in small.graph.outputs] == ["depth", "edge"]
    assert len(small.graph) < len(whole.graph)


def test_gates_of_a_file_without_tasks_cannot_be_frozen(work: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--freeze-gates needs tasks"):
        main(work / "s" / GRAPH_FILE, out=tmp_path / "f.onnx", freeze_gates=True)


def test_what_a_killed_run_left_is_swept_away(work: Path, images: ImageFiles, tmp_path: Path) -> None:
    left = tmp_path / f".f.{HEX}.tmp"
    left.mkdir()
    fold(load(Simplified, work / "s"), tmp_path / "f", images.first(1), "none", RATES, quiet, threads=1)
    assert not left.exists() and [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.slow
def test_the_command_explains_a_checkpoint_as_json(
    checkpoint: Path, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(checkpoint, images=scenes, explain=True, as_json=True, count=1, calibration=4)
    answer = json.loads(capsys.readouterr().out)
    assert answer["settings"]["mode"] == "cost"
    rows = {row["module"]: row for row in answer["modules"]}
    assert rows["backbone.stages.0.blocks.0.attn.qkv"]["macs_before"] > 0
    gates = {path: row["gates"] for path, row in rows.items() if row["gates"]}
    assert list(gates) == ["adapter.stages.1.blocks.0.banks.mlp.gate"]  # the others are constants
    [[gate]] = gates.values()
    assert gate["gate"].endswith("/Softmax") and gate["spread"] > 0 and gate["output"] in made.TASKS


def test_a_checkpoint_that_overflows_by_itself_is_blamed_and_not_a_stage(
    checkpoint: Path, images: ImageFiles, tmp_path: Path
) -> None:
    sick = Path(shutil.copytree(checkpoint, tmp_path / "sick"))
    weights = load_file(sick / "model.safetensors")
    save_file({key: -x if "running_var" in key else x for key, x in weights.items()}, sick / "model.safetensors")
    with pytest.raises(CheckpointError, match="own output is not finite"):
        through(sick, images.first(1), tmp_path)
    assert not (tmp_path / "e").exists()
