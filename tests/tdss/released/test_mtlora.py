"""Files of MTLoRA's released code become checkpoints with its numbers: MTLoRA, and MTLoRA+ with adapted reductions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bundle.base.errors import CheckpointError
from tdss import checkpoint
from tdss.adapters.config import MtloraConfig
from tdss.config import ModelConfig
from tdss.config_file import make_config
from tdss.model import MultiTaskModel, shapes
from tdss.released.import_model import import_model
from tdss.released.mtlora import READER
from tdss.training.start import count_parameters
from tests.cli.run import tdss
from tests.tdss.oracle import far
from tests.tdss.released.release import saved

ORACLES = Path(__file__).parents[1] / "oracles" / "mtlora"
FREE = 1e-10  # float64 against float64
STORED = 5e-7  # against what is stored as float32
TASKS = {"mtlora": ("semseg", "normals", "sal"), "plus": ("human_parts", "semseg")}
MASKS = {"mtlora": ("0", 64, 49), "plus": ("1", 16, 16)}  # the first stage with one, its windows, their positions
STRIDES = {"mtlora": 7, "plus": 4}  # of the rows and columns of the outputs that are stored
OURS = {"sal": "saliency"}


def folder(variant: str) -> Path:
    return ORACLES / "plus" if variant == "plus" else ORACLES


def released(variant: str) -> dict[str, Tensor]:
    """The oracle's weights with the counters and masks that a file has, in the order of its tasks."""
    weights = load_file(folder(variant) / "tiny.safetensors")
    stage, windows, positions = MASKS[variant]
    weights |= {f"backbone.layers.{stage}.blocks.1.attn_mask": torch.zeros(windows, positions, positions)}
    weights |= {
        f"decoders.decoders.{task}.last_layer.1.num_batches_tracked": torch.tensor(9) for task in TASKS[variant]
    }
    ordered = sorted(weights, key=lambda name: [f".{task}." in name for task in TASKS[variant]], reverse=True)
    return {name: weights[name] for name in ordered}


def arrays(variant: str) -> dict[str, np.ndarray]:
    with np.load(folder(variant) / "tiny.npz", allow_pickle=False) as stored:
        return dict(stored)


def imported(tmp_path: Path, file: Path, given: str = "") -> tuple[ModelConfig, MultiTaskModel, tuple[str, ...]]:
    keys = tmp_path / "given.toml"
    keys.write_text(given)
    left = import_model("mtlora", file, keys, tmp_path / "out").left
    return (*checkpoint.load(tmp_path / "out"), left)


def traced(model: MultiTaskModel, variant: str) -> dict[str, Tensor]:
    """Run the model in float64 and name what flows through it as the oracle does."""
    seen: dict[str, Tensor] = {}

    def watch(module: nn.Module, name: str, part: object) -> None:
        module.register_forward_hook(lambda _, __, output: seen.update({name: part(output)}))  # type: ignore[operator]

    watch(model.backbone.patch_embed, "probe/patch_embed", lambda x: x.flatten()[::97])  # type: ignore[arg-type]
    for index, stage in enumerate(model.backbone.stages):
        for number, block in enumerate(stage.blocks):
            watch(block, f"probe/stage{index}.block{number}", lambda output: output[0].x.flatten()[::97])
    for task in TASKS[variant]:
        decoder = model.decoders.get_submodule(OURS.get(task, task))
        for index, down in enumerate(decoder.downsamplers):
            watch(down, f"down/{task}/{index}", lambda x: x.permute(0, 3, 1, 2))
        watch(decoder.head.classify, f"logits/{task}", lambda x: x)
    stride = STRIDES[variant]
    outputs = model.double()(torch.tensor(arrays(variant)["x"]).double())
    return seen | {f"out/{task}": outputs[OURS.get(task, task)][..., ::stride, ::stride] for task in TASKS[variant]}


@pytest.mark.parametrize("variant", TASKS)
def test_every_array_of_the_released_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    config, model, left = imported(tmp_path, saved(tmp_path / "ckpt.pth", released(variant), monkeypatch))
    ranks = {"mtlora": (6, 3), "plus": (5, 2)}[variant]
    assert config.adapter == MtloraConfig(kind="mtlora", rank=ranks[0], task_rank=ranks[1], reduction=variant == "plus")
    assert list(config.tasks) == [OURS.get(task, task) for task in TASKS[variant]]
    assert config.image.height == {"mtlora": 224, "plus": 128}[variant]
    assert left == (f"backbone.layers.{MASKS[variant][0]}.blocks.1.attn_mask",)
    got = traced(model, variant)
    wanted = {name.removeprefix("f64/"): x for name, x in arrays(variant).items() if name != "x"}
    for name, want in wanted.items():
        assert far(want, got[name]) < (FREE if want.dtype == np.float64 else STORED), name
    assert {name.split("/")[0] for name in wanted} >= {"down", "logits", "out"}


@pytest.mark.parametrize("variant", TASKS)
def test_every_tensor_moves_the_outputs(tmp_path: Path, variant: str) -> None:
    """A parameter by its gradient, a statistic by itself; nothing reads the shared update of the very last linear."""
    save_file(released(variant), tmp_path / "x.safetensors")
    _, model, _ = imported(tmp_path, tmp_path / "x.safetensors")
    with torch.no_grad():
        before = traced(model, variant)
    torch.manual_seed(0)
    moved = traced(model, variant)
    torch.stack(
        [(x * torch.randn_like(x)).sum() for name, x in moved.items() if name.startswith("out")]
    ).sum().backward()
    unseen = [name for name, x in model.named_parameters() if x.grad is None or x.grad.abs().max() < 1e-6]
    last = f"backbone.stages.3.blocks.{ {'mtlora': 0, 'plus': 1}[variant] }.mlp.fc2.shared"
    assert unseen == [f"{last}.down", f"{last}.up"]
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.mul_(1.1)
                after = traced(model, variant)
                assert any(far(before[out].numpy(), after[out]) > 1e-4 for out in before if out.startswith("out")), name
                value.div_(1.1)


def test_the_scale_is_given_for_no_tensor_has_it(tmp_path: Path) -> None:
    """Half the scale is half of every up-projection, by the equations: the release's own file with both is the same model."""
    weights = released("plus")
    doubled = {name: 2 * x if ".lora_shared_B" in name or ".lora_tasks_B" in name else x for name, x in weights.items()}
    save_file(doubled, tmp_path / "x.safetensors")
    config, model, _ = imported(tmp_path, tmp_path / "x.safetensors", "[adapter]\nscale = 2.0\n")
    assert isinstance(config.adapter, MtloraConfig) and config.adapter.scale == 2.0
    with torch.no_grad():
        got = traced(model, "plus")
    assert all(far(arrays("plus")[f"f64/out/{task}"], got[f"out/{task}"]) < FREE for task in TASKS["plus"])


def test_ranks_that_differ_become_the_largest(tmp_path: Path) -> None:
    """A slot that is zero in the oracle's model may as well be absent."""
    weights = released("mtlora")
    smaller = [name for name in weights if is_cut(name)]
    for name in smaller:
        kept = {"A": (slice(2),), "B": (slice(None), slice(2))}["A" if "_A" in name else "B"]
        zeroed = torch.zeros_like(weights[name])
        zeroed[kept] = weights[name][kept]
        weights[name] = zeroed
    save_file(weights, tmp_path / "x.safetensors")
    _, model, _ = imported(tmp_path, tmp_path / "x.safetensors")
    with torch.no_grad():
        want = traced(model, "mtlora")
    cut = {name: (x[:2] if "_A" in name else x[:, :2]).contiguous() for name, x in weights.items() if name in smaller}
    save_file(weights | cut, tmp_path / "x.safetensors")
    config, model, _ = imported(tmp_path, tmp_path / "x.safetensors")
    assert len(smaller) == 2 + 2 and config.adapter.rank == 6  # type: ignore[attr-defined]
    with torch.no_grad():
        got = traced(model, "mtlora")
    assert all(torch.equal(got[name], x) for name, x in want.items())


def is_cut(name: str) -> bool:
    return name.startswith(
        ("backbone.layers.1.blocks.0.mlp.fc2.lora_s", "backbone.layers.0.blocks.1.attn.proj.lora_tasks")
    ) and ("tasks" not in name or name.endswith(".normals"))


@pytest.mark.parametrize("variant", TASKS)
def test_the_released_layout_is_that_of_our_model(variant: str) -> None:
    """The layouts are those of published configurations at 448; names, shapes and counts are compared."""
    layout = json.loads((ORACLES / "layout.json").read_text())[variant]
    types = {"f32": torch.float32, "i64": torch.int64}
    weights = {
        name: torch.empty(shape, dtype=types[dtype], device="meta")
        for name, (shape, dtype) in layout["tensors"].items()
    }
    config = make_config(READER.describe(weights) | {"name": "published"}, ORACLES)
    adapter = config.adapter
    assert isinstance(adapter, MtloraConfig) and adapter.reduction == (variant == "plus")
    assert (adapter.rank, adapter.task_rank, config.image.height) == ({"mtlora": 16, "plus": 64}[variant], 4, 448)
    assert config.tasks == {"semseg": 21, "normals": 3, "saliency": 1, "human_parts": 7}
    tensors, left, _ = READER.translate(weights, config)
    assert {name: x.shape for name, x in tensors.items()} == {
        name: x.shape for name, x in shapes(config).state_dict().items()
    }
    assert len(tensors) + len(left) == len(weights)
    assert all(name.endswith(("attn_mask", "relative_position_index")) for name in left)
    assert count_parameters(config).trained == layout["trainable"]


def test_a_file_of_another_variant_of_the_release_is_refused_by_name(tmp_path: Path) -> None:
    """Updates apart for query, key and value, and a trained scale, are options of the release that no published model has."""
    for name in ("attn.qkv.q.lora_shared_A", "mlp.fc1.lora_shared_scale"):
        save_file(released("plus") | {f"backbone.layers.0.blocks.0.{name}": torch.ones(1)}, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match="unexpected") as caught:
            imported(tmp_path, tmp_path / "x.safetensors")
        assert name.rpartition(".lora_shared_")[0] in caught.value.got


def test_the_command_names_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(released("plus"), tmp_path / "x.safetensors")
    words = ("import", "--from", "mtlora", "--weights", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "out"))
    code, out, _ = tdss(*words, "--json", capsys=capsys)
    assert code == 0 and json.loads(out)["left_out"] == ["backbone.layers.1.blocks.1.attn_mask"]
