"""FAAR against numbers of its released code (tests/tdss/oracles/faar/README.md): the model, its tensors, and its ranks over shrinks."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tdss.adapters.config import NoAdapterConfig
from tdss.adapters.faar.config import FaarConfig
from tdss.adapters.faar.modules import DoraLinear, DoraTaskLinear
from tdss.adapters.faar.ranks import Dora
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.config import ModelConfig
from tdss.config_file import make_config
from tdss.decoders.config import HrnetConfig
from tdss.decoders.tspd.config import TspdConfig
from tdss.decoders.tspd.modules import TspdHead
from tdss.model import MultiTaskModel
from tdss.part import Moment
from tdss.released import faar as released
from tdss.training.start import count_parameters

ORACLE = Path(__file__).parents[1] / "oracles/faar"
DOUBLE, STORED_AS_FLOAT, FLOAT = 1e-10, 5e-7, 1e-5  # tests/tdss/oracles/faar/README.md
TINY = json.loads((ORACLE / "tiny.json").read_text())
OURS = {"sal": "saliency"}
MOMENT = Moment(0, 0, torch.Generator())


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def far(got: Tensor, want: np.ndarray) -> float:
    assert tuple(got.shape) == want.shape
    return float(np.abs(got.detach().numpy() - want).max() / np.abs(want).max())


def tiny_model(dtype: torch.dtype) -> tuple[ModelConfig, MultiTaskModel, dict[str, Tensor]]:
    """The oracle's model with the ranks in force, and its tensors under our names."""
    weights = load_file(ORACLE / "tiny.safetensors")
    config = make_config(
        {"name": "faar", "image": {"height": 224, "width": 224}, **released.READER.describe(weights)}, ORACLE
    )
    tensors, left, _ = released.READER.translate(weights, config)
    assert left == ()
    model = MultiTaskModel(config).eval()
    missing = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert model.state_dict().keys() - tensors.keys() == missing
    model.load_state_dict(model.state_dict() | tensors)
    for path, ranks in TINY["active_ranks"].items():
        linear = model.get_submodule(path.replace("layers", "stages"))
        for stream, rank in ranks.items():
            cut(update_of(linear, stream), rank)
    assert next(model.parameters()).dtype == dtype
    return config, model, tensors


def test_what_depends_on_weights_alone_is_computed_once() -> None:
    _, model, _ = tiny_model(torch.float32)
    image, names = torch.randn(1, 3, 224, 224), model.state_dict().keys()
    with torch.no_grad():
        before = model(image)
        model.precompute()
        updates = [module for module in model.modules() if isinstance(module, Dora)]
        for update in updates:
            update.theta.fill_(float("nan"))  # it is not read again
        after = model(image)
    assert updates and all(torch.equal(before[task], after[task]) for task in before)
    assert model.state_dict().keys() == names


def update_of(linear: nn.Module, stream: str) -> Dora:
    if stream != "shared":
        assert isinstance(linear, DoraTaskLinear)
        found: nn.Module = linear.tasks[OURS.get(stream, stream)]
    else:
        found = linear.shared if isinstance(linear, DoraTaskLinear) else linear.update  # type: ignore[assignment]
    assert isinstance(found, Dora)
    return found


def cut(update: Dora, rank: int) -> None:
    update.order[rank:] = len(update.order)


def differences(model: MultiTaskModel, image: Tensor, arrays: dict[str, np.ndarray], kind: str) -> dict[str, float]:
    """Run the model and compare each array of the oracle that it has."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, first: int = 0) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = output[0].x if isinstance(output, tuple) else output
            seen[name] = x

        return hook

    model.backbone.patch_embed.register_forward_hook(keep("probe/patch_embed"))
    for stage, module in enumerate(model.backbone.stages):
        for block, child in enumerate(module.blocks):  # type: ignore[arg-type]
            child.register_forward_hook(keep(f"probe/stage{stage}.block{block}"))
    for task in TINY["config"]["tasks_in_order"]:
        head = model.decoders.heads[OURS.get(task, task)]
        head.inverse.register_forward_hook(keep(f"joined/{task}"))
        head.classify.register_forward_hook(keep(f"logits/{task}"))
        for scale, down in enumerate(model.decoders.downsamplers[OURS.get(task, task)]):
            down.register_forward_hook(keep(f"down/{task}/{scale}"))
    with torch.no_grad():
        outputs = model(image)
    stride = TINY["out_subsample_stride"]
    seen |= {
        f"out/{task}": outputs[OURS.get(task, task)][..., ::stride, ::stride] for task in ("semseg", "normals", "sal")
    }
    penalties = [value for _, part in model.parts() for value in part.penalties(MOMENT).values()]
    seen["reg_loss"] = torch.stack(penalties).sum()[None]
    found = {}
    for name, want in arrays.items():
        if name.startswith(kind):
            got = seen[name.removeprefix(kind)]
            if "/probe/" in name:
                got = got.flatten()[::97]
            if "/down/" in name:
                got = got.permute(0, 3, 1, 2)
            found[name] = far(got, want)
    return found


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(ORACLE / name, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


@pytest.mark.usefixtures("double")
def test_the_model_is_the_released_one() -> None:
    _, model, _ = tiny_model(torch.float64)
    stored = arrays("tiny.npz")
    found = differences(model, torch.tensor(stored["x"]).double(), stored, "f64/")
    assert len(found) == 7 + 12 + 3 + 3 + 3 + 1
    bounds = {name: DOUBLE if stored[name].dtype == np.float64 else STORED_AS_FLOAT for name in found}
    assert {name: value for name, value in found.items() if value > bounds[name]} == {}
    for task in ("semseg", "normals", "sal"):
        head = model.decoders.heads[OURS.get(task, task)]
        assert np.array_equal(head.bins.numpy(), stored["grid/bin_idx"])
        assert np.array_equal(head.consensus.low.numpy(), stored["grid/mask_low"])
        assert np.array_equal(head.consensus.edge.numpy(), stored["grid/mask_edge"])


def test_the_model_is_the_released_one_in_float32() -> None:
    _, model, _ = tiny_model(torch.float32)
    stored = arrays("tiny.npz")
    for kind in ("f64/", "f32/"):
        found = differences(model, torch.tensor(stored["x"]), stored, kind)
        assert {name: value for name, value in found.items() if value > FLOAT} == {} and found


@pytest.mark.usefixtures("double")
def test_every_tensor_moves_an_output() -> None:
    """The gradient of a random sum of the outputs is what a change of a tensor does to them."""
    _, model, tensors = tiny_model(torch.float64)
    draw = torch.Generator().manual_seed(0)
    watched = dict(model.named_parameters())
    joined: dict[str, Tensor] = {}
    for task, head in model.decoders.heads.items():
        head.inverse.register_forward_hook(lambda _, __, x, task=task: joined.update({task: x.detach()}))
    outputs = model(torch.tensor(arrays("tiny.npz")["x"]).double())
    torch.stack([(x * torch.randn(x.shape, generator=draw)).sum() for x in outputs.values()]).sum().backward()
    dead = {name for name, tensor in watched.items() if tensor.grad is None or not tensor.grad.any()}
    assert dead == {f"backbone.stages.3.blocks.0.mlp.fc2.shared.{name}" for name in ("down", "up", "theta")}
    assert len(TINY["sensitivity"]["without_effect"]) == len(dead)
    with torch.no_grad():
        for task, head in model.decoders.heads.items():
            for name in ("running_mean", "running_var"):
                watched[f"decoders.heads.{task}.norm.{name}"] = head.norm.get_buffer(name)
                head.norm.get_buffer(name).add_(0.5)
                assert not torch.allclose(head.mixed(joined[task]), outputs[task], rtol=0, atol=1e-3)
                head.norm.get_buffer(name).sub_(0.5)
    orders = {name for name in tensors if name.endswith(".order")}
    assert tensors.keys() == watched.keys() | orders


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("blocks.0.mlp.fc2", "shared"),
        ("blocks.0.attn.qkv", "shared"),
        ("downsample.reduction", "shared"),
        ("blocks.1.attn.proj", "sal"),
    ],
)
def test_the_order_of_the_slots_moves_the_outputs(path: str, stream: str) -> None:
    """A slot beyond the rank in force is stored non-zero, and acts only where the order lets it."""
    _, model, _ = tiny_model(torch.float64)
    image = torch.tensor(arrays("tiny.npz")["x"]).double()
    update = update_of(model.backbone.stages[0].get_submodule(path), stream)
    cut_off = TINY["active_ranks"][f"backbone.layers.0.{path}"][stream] < len(update.order)
    assert cut_off != (update.kept() == len(update.order))
    with torch.no_grad():
        before = model(image)["saliency"]
        update.order.copy_(torch.arange(len(update.order)))
        assert bool((model(image)["saliency"] - before).abs().max() > 1e-4) == cut_off


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "task_rank"), [(32, 32), (64, 64), (5, 5), (7, 3)])
def test_the_parameter_counts_of_the_release(rank: int, task_rank: int) -> None:
    config = ModelConfig(
        name="faar",
        image=ImageConfig(height=448, width=448),
        backbone=SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
        adapter=FaarConfig(kind="faar", rank=rank, task_rank=task_rank),
        decoder=TspdConfig(kind="tspd", hidden=1080),
        tasks={"semseg": 21, "normals": 3, "saliency": 1, "human_parts": 7},
    )
    counted = count_parameters(config)
    assert counted.trained == 2_093_050 + 74_688 * rank + 69_120 * task_rank
    if rank == 32:
        assert counted == (34_161_466, 6_694_906)


def small(**changes: object) -> FaarConfig:
    return FaarConfig.model_validate({"kind": "faar", "rank": 16, "task_rank": 12, "median": "released", **changes})


def pdrs_layer(stored: dict[str, np.ndarray], coverage: float, median: str) -> DoraTaskLinear:
    """The oracle's layer; task b has a smaller rank than task a."""
    linear = nn.Linear(10, 8)
    linear.weight = nn.Parameter(torch.tensor(stored["pdrs/init/linear.weight"]))
    linear.bias = nn.Parameter(torch.tensor(stored["pdrs/init/linear.bias"]))
    config = small(coverage=coverage, median=median)
    layer = DoraTaskLinear(linear, config, ("a", "b"))
    layer.tasks["b"] = Dora(layer.weight, 8, config)
    with torch.no_grad():
        for update, names in streams(layer).values():
            for name, tensor in zip(names, (update.down, update.up, update.theta), strict=True):
                tensor.copy_(torch.tensor(stored[f"pdrs/init/{name}"]))
    return layer.train()


def streams(layer: DoraTaskLinear) -> dict[str, tuple[Dora, tuple[str, str, str]]]:
    """Each stream's update, and the released names of its tensors."""
    found = {"shared": (layer.shared, ("lora_shared_A", "lora_shared_B", "shared_log_m"))}
    for task, update in layer.tasks.items():
        assert isinstance(update, Dora)
        found[task] = (update, (f"lora_tasks_A.{task}", f"lora_tasks_B.{task}", f"task_log_m.{task}"))
    return found


def step_pdrs(
    layer: DoraTaskLinear, stored: dict[str, np.ndarray], step: int, prefixes: dict[str, int]
) -> list[Tensor]:
    """Run forward, backward and the scores of one step of the oracle; return the outputs and the penalty."""
    for stream, (update, _) in streams(layer).items():
        update.prefix = prefixes[stream]
    inputs = {
        name: torch.tensor(stored[f"pdrs/inputs/step{step}/{name}"]) for name in ("x", "x.a", "x.b", "g", "g.a", "g.b")
    }
    layer.zero_grad()
    out, own = layer(inputs["x"], [inputs["x.a"], inputs["x.b"]])
    reg = layer.penalties(MOMENT)["magnitudes"]
    loss = (out * inputs["g"]).sum() + (own[0] * inputs["g.a"]).sum() + (own[1] * inputs["g.b"]).sum() + reg
    loss.backward()
    for update, _ in streams(layer).values():
        update.after_backward(MOMENT)
    return [out, *own, reg[None]]


def compare_slots(layer: DoraTaskLinear, stored: dict[str, np.ndarray], prefix: str, *, gradients: bool) -> None:
    """Compare each slot with the released one at its index: the release moves slots, ours have an order."""
    kind = f"{prefix}/grad" if gradients else prefix
    for stream, (update, names) in streams(layer).items():
        order, kept = update.order.argsort(), update.kept()
        down, up, theta = (
            tensor.grad if gradients and tensor.grad is not None else tensor.detach()
            for tensor in (update.down, update.up, update.theta)
        )
        scores = f"{prefix}/ema_score_{'shared' if stream == 'shared' else f'task__{stream}'}"
        for got, want in (
            (down, stored[f"{kind}/{names[0]}"]),
            (up.T, stored[f"{kind}/{names[1]}"].T),
            (update.scores, stored[scores]),
        ):
            assert far(got[order][:kept], want[:kept]) < DOUBLE
            assert want.ndim == 1 or not want[kept:].any()
        assert far(theta, stored[f"{kind}/{names[2]}"]) < DOUBLE


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("coverage", [0.6, 0.95, 0.2])
def test_scores_and_ranks_over_three_shrinks(coverage: float) -> None:
    stored = arrays("modules.npz")
    meta = json.loads((ORACLE / "modules.json").read_text())["meta"]
    layer = pdrs_layer(stored, coverage, "released")
    prefix, shrinks = f"pdrs/rho{coverage}", 0
    for entry in meta[f"pdrs_rho{coverage}"]:
        if "shrink_after_epoch" in entry:
            for update, _ in streams(layer).values():
                update.after_epoch(MOMENT)
            assert {stream: update.kept() for stream, (update, _) in streams(layer).items()} == entry["caps"]
            shrinks += 1
            if coverage != 0.2:
                compare_slots(layer, stored, f"{prefix}/after_epoch{entry['shrink_after_epoch']}", gradients=False)
            continue
        outputs = step_pdrs(layer, stored, entry["step"], {"shared": entry["b_shared"], **entry["b_task"]})
        if coverage != 0.2:
            for got, name in zip(outputs, ("out", "out.a", "out.b", "reg_loss"), strict=True):
                assert far(got, stored[f"{prefix}/step{entry['step']}/{name}"]) < DOUBLE
            compare_slots(layer, stored, f"{prefix}/step{entry['step']}", gradients=True)
        with torch.no_grad():
            for update, _ in streams(layer).values():
                for tensor in (update.down, update.up, update.theta):
                    tensor -= meta["pdrs"]["lr_plain_sgd_on_all_but_W0_and_bias"] * tensor.grad  # type: ignore[operator]
    assert shrinks == 3
    if coverage != 0.2:
        last = {name: torch.tensor(stored[f"pdrs/inputs/step6/{name}"]) for name in ("x", "x.a", "x.b")}
        out, own = layer.eval()(last["x"], [last["x.a"], last["x.b"]])
        for got, name in zip((out, *own), ("out", "out.a", "out.b"), strict=True):
            assert far(got, stored[f"{prefix}/eval/{name}"]) < DOUBLE


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("median", "falls"), [("released", False), ("sampled", True)])
def test_a_rank_below_half_falls_further_by_the_sampled_median_only(median: str, falls: bool) -> None:
    stored = arrays("modules.npz")
    layer = pdrs_layer(stored, 0.6, median)
    cut(layer.shared, 7)
    layer.shared.scores.copy_(torch.arange(16.0, 0, -1))
    before = layer.shared.scores.clone()
    step_pdrs(layer, stored, 0, {"shared": 7, "a": 12, "b": 8})
    assert torch.allclose(layer.shared.scores[7:], 0.98 * before[7:], rtol=0, atol=1e-15)
    assert bool((layer.shared.scores[:7] > 0.98 * before[:7] + 1e-6).any()) == falls


@pytest.mark.usefixtures("double")
def test_the_gates_of_a_draw_are_the_ranks_that_are_kept() -> None:
    update = Dora(torch.randn(8, 10), 6, small())
    cut(update, 3)
    draw = torch.Generator().manual_seed(1)
    drawn = set()
    for _ in range(50):
        update.before_step(Moment(0, 0, draw))
        drawn.add(update.prefix)
    assert drawn == {1, 2, 3}


def test_a_new_model_is_the_backbone_that_it_is_built_on() -> None:
    """θ starts at the row norms of the weights that are loaded, and B at 0."""
    torch.manual_seed(0)
    keys = {
        "name": "faar",
        "image": ImageConfig(height=64, width=64),
        "backbone": SwinConfig(embed_dim=8, depths=(1, 2), heads=(1, 2), window=4),
        "decoder": HrnetConfig(widths=(3, 5), hidden=7),
        "tasks": {"semseg": 4, "normals": 3},
    }
    plain = MultiTaskModel(ModelConfig(**keys, adapter=NoAdapterConfig())).eval()  # type: ignore[arg-type]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        want = plain.backbone(image)[-1].output
        config = ModelConfig(**keys, adapter=FaarConfig(kind="faar", rank=3, task_rank=2))  # type: ignore[arg-type]
        model = MultiTaskModel(config, plain.backbone).eval()
        got = model.backbone(image)[-1]
    assert torch.allclose(got.output, want, rtol=0, atol=1e-5)
    assert got.blocks[-1].streams is not None
    assert all(torch.allclose(x, want, rtol=0, atol=1e-5) for x in got.blocks[-1].streams.values())
    reduction = model.backbone.stages[0].downsample.reduction
    assert isinstance(reduction, DoraLinear)
    with torch.no_grad():
        reduction.update.theta += 1
        counted = reduction.penalties(MOMENT)["magnitudes"]  # of both tasks' streams
    assert float(counted) == pytest.approx(2 * 1e-4 * (np.exp(0.1) - 1) ** 2, rel=1e-4)


def test_tasks_that_are_not_kept_leave_what_the_others_read() -> None:
    config, model, _ = tiny_model(torch.float32)
    image = torch.tensor(arrays("tiny.npz")["x"])
    with torch.no_grad():
        before = model(image)
        model.keep(("normals",))
        after = model(image)
    assert list(after) == ["normals"] and torch.equal(after["normals"], before["normals"])
    assert set(config.tasks) == {"semseg", "normals", "saliency"}
    left = [name for name in model.state_dict() if "semseg" in name]
    assert left and not [name for name in left if name.startswith("decoders.heads.")]
    assert isinstance(model.decoders.heads["normals"], TspdHead)
