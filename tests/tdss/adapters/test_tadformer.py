"""TADFormer against the released code: what it computes in four variants, and its parameter counts.

tests/tdss/oracles/tadformer holds weights and arrays that the released code made of them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from compile.folding.engine import fold_graph
from compile.graphs.cost import graph_cost
from tdss import checkpoint
from tdss.adapters.lora import LoraLinear
from tdss.adapters.tadformer.config import TadformerConfig
from tdss.adapters.tadformer.modules import PROMPTS, DynamicFilter, TaskAttention
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.backbones.swin import WindowAttention
from tdss.card import Card
from tdss.config import ModelConfig
from tdss.config_file import make_config
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel
from tdss.released.swin_family import translate
from tdss.released.tadformer import OWN, READER
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tdss.training.start import count_parameters
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import adapted
from tests.compile.folding.project_models import exported
from tests.compile.folding.proven import CHEAP
from tests.tdss.oracle import far
from tests.tdss.training.tiny import settings, write_folder

ORACLES = Path(__file__).parents[1] / "oracles" / "tadformer"
VARIANTS = [("dynamic", "straight"), ("dynamic", "scrambled"), ("static", "straight"), ("static", "scrambled")]
RELEASED = {"semseg": "semseg", "normals": "normals", "saliency": "sal"}
CARD = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})
FREE = 1e-10  # float64 against float64
STORED = 5e-7  # against what is stored as float32


def released(kind: str) -> dict[str, Tensor]:
    """The oracle's weights as a file of the released code holds them, with one kind of filter and in its order."""
    weights = load_file(ORACLES / "tiny.safetensors")
    weights = {
        name: x
        for name, x in weights.items()
        if ".lora_filter." not in name or (".conv2d." in name) == (kind == "static")
    }
    counters = {
        f"decoders.decoders.{task}.last_layer.1.num_batches_tracked": torch.tensor(0) for task in RELEASED.values()
    }
    masks = {"backbone.layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}
    every = weights | counters | masks
    ranks = ("backbone.task_prompts", ".semseg.", ".normals.")  # the prompts first, then tasks in their order
    ordered = sorted(every, key=lambda name: ([part not in name for part in ranks], name))
    return {name: every[name] for name in ordered}


def model_of(kind: str, skip: str) -> MultiTaskModel:
    weights = released(kind)
    keys = READER.describe(weights) | {"name": "tiny"}
    adapter = keys["adapter"]
    assert isinstance(adapter, dict)
    adapter["skip"] = skip
    config = make_config(keys, ORACLES)
    model = MultiTaskModel(config)
    model.load_state_dict(READER.translate(weights, config)[0])
    return model.double().eval()


def oracle(name: str) -> dict[str, np.ndarray]:
    with np.load(ORACLES / name) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("kind", "skip"), VARIANTS)
def test_every_array_of_the_released_code(kind: str, skip: str) -> None:
    arrays, model = oracle("tiny.npz"), model_of(kind, skip)
    variant = f"{'dtf' if kind == 'dynamic' else 'static'}_{skip}"
    got = traced(model, torch.tensor(arrays["x"]).double())
    wanted = {name: x for name, x in arrays.items() if name.split("/")[0] in (variant, "shared")}
    for name, want in wanted.items():
        tolerance = FREE if want.dtype == np.float64 else STORED
        assert far(want, got[name.partition("/")[2]]) < tolerance, name
    assert {name.split("/")[1] for name in wanted} >= {"logits", "out", "tap", "probe"}


def traced(model: MultiTaskModel, image: Tensor) -> dict[str, Tensor]:
    """Run the model and name what flows through it as the oracle does."""
    seen: dict[str, Tensor] = {}
    hooks = []

    def watch(module: nn.Module, note: object) -> None:
        hooks.append(module.register_forward_hook(lambda _, __, output: note(output)))  # type: ignore[operator]

    def put(name: str, x: Tensor) -> None:
        seen[name] = x

    watch(model.backbone.patch_embed, lambda x: put("probe/patch_embed", x.flatten()[::97]))  # type: ignore[arg-type]
    for index, stage in enumerate(model.backbone.stages):
        for number, block in enumerate(stage.blocks):
            name = f"probe/stage{index}.block{number}"
            watch(block, lambda out, name=name: put(name, out[0].x.flatten()[::97]))
        watch(stage, lambda out, index=index: put(f"tap/shared/{index}", out[0].x.flatten(1, 2)))
        watch(stage, lambda out, index=index: put(f"prompts_after_stage/{index}", out[0].state[PROMPTS]))
    for task, name in RELEASED.items():
        decoder = model.decoders.get_submodule(task)
        for index, down in enumerate(decoder.downsamplers):
            watch(down, lambda x, index=index, name=name: put(f"down/{name}/{index}", x.permute(0, 3, 1, 2)))
        watch(decoder.head.classify, lambda x, name=name: put(f"logits/{name}", x))
    attention = model.backbone.stages[-1].blocks[-1].attn
    streams = attention.streams

    def last(*arguments: Tensor) -> tuple[Tensor, ...]:
        answer = streams(*arguments)
        put("averaged", answer[1])
        return answer

    attention.streams = last
    with torch.no_grad():
        outputs = model(image)
    for hook in hooks:
        hook.remove()
    del attention.streams
    seen["prompts_after_stage/3"] = seen.pop("averaged")  # the release stops there: nothing reads the prompts any more
    return seen | {f"out/{RELEASED[task]}": x[..., ::7, ::7] for task, x in outputs.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "skip"), [("dynamic", "straight"), ("static", "scrambled")])
def test_every_tensor_moves_the_outputs(kind: str, skip: str) -> None:
    """A parameter by its gradient, a statistic by itself."""
    model, image = model_of(kind, skip), torch.tensor(oracle("tiny.npz")["x"]).double()
    before = model(image)
    torch.manual_seed(0)
    torch.stack([(x * torch.randn_like(x)).sum() for x in before.values()]).sum().backward()
    unseen = [name for name, value in model.named_parameters() if value.grad is None or value.grad.abs().max() < 1e-6]
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.mul_(1.1)
                after = model(image)
                moved = max(far(before[task].detach().numpy(), after[task]) for task in before)
                unseen += [name] if moved < 1e-6 else []
                value.div_(1.1)
    assert unseen == []


def test_the_dynamic_filter() -> None:
    arrays = oracle("modules.npz")
    filters = DynamicFilter(4, ()).double()
    weights = {name.removeprefix("dtf/w/"): torch.tensor(x) for name, x in arrays.items() if name.startswith("dtf/w/")}
    names = {"generate.weight": "conv.weight", "generate.bias": "conv.bias"}
    names |= {"gain": "chan_FilterNorm.std", "shift": "chan_FilterNorm.mean"}
    filters.load_state_dict(
        {
            ours: weights[theirs].flatten(1) if ours == "generate.weight" else weights[theirs]
            for ours, theirs in names.items()
        }
    )
    x = torch.tensor(arrays["dtf/x"]).double().permute(0, 2, 3, 1)
    with torch.no_grad():
        assert far(arrays["dtf/generated"], filters.generate(x.mean((1, 2)))[..., None, None]) < FREE
        assert far(arrays["dtf/filters"], filters.taps(x).unflatten(-1, (3, 3))) < FREE
        assert far(arrays["dtf/y"], filters(x, "").permute(0, 3, 1, 2)) < FREE


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_one_attention_of_a_last_block(kind: str) -> None:
    arrays, tasks = oracle("modules.npz"), ("semseg", "normals", "sal")
    weights = {
        name.removeprefix("tpc/w/"): torch.tensor(x)
        for name, x in arrays.items()
        if name.startswith("tpc/w/") and (".lora_filter." not in name or (".conv2d." in name) == (kind == "static"))
    }
    config = TadformerConfig(kind="tadformer", rank=4, filter=kind, skip="straight")  # type: ignore[arg-type]
    attention = TaskAttention(WindowAttention(12, 3, 7), config, tasks)
    attention.qkv = LoraLinear(attention.qkv, 4, 4.0)
    ours, _ = translate({f"backbone.layers.0.blocks.0.attn.{name}": x for name, x in weights.items()}, OWN)
    prefix = "backbone.stages.0.blocks.0.attn."
    named = {name.removeprefix(prefix).replace("saliency", "sal"): x for name, x in ours.items()}
    attention.load_state_dict(named)
    attention.double()
    x, prompts, mask = (torch.tensor(arrays[f"tpc/{name}"]).double() for name in ("x", "prompts", "mask"))
    with torch.no_grad():
        shared, averaged, own, skips = attention.streams(x, mask, prompts)
        mixed, _, query, key = attention.attend(x, mask, prompts)
        scores = query @ key.transpose(-2, -1)
    assert far(arrays["tpc/shared_out"], shared.flatten(1, 2)) < FREE
    assert far(arrays["tpc/prompts_out"], averaged) < FREE
    assert far(arrays["tpc/qk_unscaled"], scores) < STORED
    assert far(arrays["tpc/gelu_qk"], nn.functional.gelu(scores)) < STORED
    assert far(arrays["tpc/attn_output_with_prompts"][:, 3:], mixed) < STORED
    for task in tasks:
        assert (
            far(arrays[f"tpc/{'dtf' if kind == 'dynamic' else kind}/task_out/{task}"], own[task].flatten(1, 2)) < FREE
        )
        assert far(arrays[f"tpc/skip_straight/{task}"], skips[task]) < STORED
        assert far(arrays[f"tpc/skip_shipped/{task}"], skips[task].transpose(1, 2)) < STORED


PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 1, "normals": 3}
NYUD = {"semseg": 40, "depth": 1, "normals": 3}
UNUSED = 2 * (96 + 192 + 5 * 384 + 768)
"""The release gives each block a norm of prompts, and uses that of last blocks only; there are none here."""


def swin_t(rank: int, kind: str = "dynamic", tasks: dict[str, int] = PASCAL) -> ModelConfig:
    return ModelConfig(
        name="tadformer",
        image=ImageConfig(height=448, width=448),
        backbone=SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
        adapter=TadformerConfig(kind="tadformer", rank=rank, filter=kind),  # type: ignore[arg-type]
        decoder=HrnetConfig(hidden=1080, mix_bias=True),
        tasks=tasks,
    )


@pytest.mark.parametrize(("rank", "trained"), [(16, 3_557_502), (32, 4_776_126), (64, 7_379_262)])
def test_the_published_parameter_counts(rank: int, trained: int) -> None:
    assert count_parameters(swin_t(rank)).trained + UNUSED == trained


@pytest.mark.parametrize(
    ("config", "trained", "total"),
    [
        (swin_t(16, "static"), 3_532_350, 30_998_910),
        (swin_t(32, "static"), 4_670_526, 32_137_086),
        (swin_t(64, "static"), 6_946_878, 34_413_438),
        (swin_t(64, tasks=NYUD), 6_914_130, 34_380_690),
    ],
)
def test_the_parameter_counts_of_the_released_code(config: ModelConfig, trained: int, total: int) -> None:
    counted = count_parameters(config)
    assert (counted.trained + UNUSED, counted.total + UNUSED) == (trained, total)


@pytest.mark.parametrize(("rank", "trained"), [(16, 3_552_798), (32, 4_771_422), (64, 7_374_558)])
def test_the_parameter_counts_with_a_frozen_patch_embedding(rank: int, trained: int) -> None:
    """As in the fork, whose patch embedding trains its norm only; a run gives such patterns as ``trainable``."""
    adapter = swin_t(rank).adapter.trainable()
    patterns = ("adapter.*", "decoders.*", *(pattern for pattern in adapter if "patch_embed" not in pattern))
    assert count_parameters(swin_t(rank), patterns).trained + UNUSED == trained


def test_a_task_alone_answers_as_among_others() -> None:
    """The prompts of the others stay: they are in the softmax of every window."""
    model, image = model_of("static", "scrambled"), torch.tensor(oracle("tiny.npz")["x"]).double()
    with torch.no_grad():
        before = model(image)
        model.keep(("normals",))
        after = model(image)
    assert list(after) == ["normals"] and far(before["normals"].numpy(), after["normals"]) < 1e-14
    assert not [name for name in model.state_dict() if "semseg" in name]
    assert model.get_parameter("backbone.state.tokens").shape == (3, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_published_model_answers_at_448(kind: str) -> None:
    with torch.device("meta"):
        outputs = MultiTaskModel(swin_t(16, kind)).eval()(torch.empty(1, 3, 448, 448))
    assert {task: tuple(x.shape) for task, x in outputs.items()} == {
        task: (1, channels, 448, 448) for task, channels in PASCAL.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_run_that_is_cut_ends_as_an_undisturbed_one(kind: str, tmp_path: Path) -> None:
    """Every tensor that is trained has moved, and the frozen ones have not."""
    keys = settings(write_folder(tmp_path / "set"), tmp_path / "calm")
    backbone = {"embed_dim": 8, "depths": [2, 2], "heads": [1, 2], "window": 4, "drop_path": 0.2}
    adapter = {"kind": "tadformer", "rank": 2, "filter": kind}
    keys["model"] = {**keys["model"], "backbone": backbone, "adapter": adapter}  # type: ignore[dict-item]
    plain = ModelConfig.model_validate({**keys["model"], "adapter": {"kind": "none"}})
    checkpoint.save(tmp_path / "start", plain, MultiTaskModel(plain), CARD, storage="float32")
    keys |= {"init_backbone": str(tmp_path / "start"), "freeze_backbone": True, "steps": 6}
    calm = run_of(keys)
    before = {name: x.detach().clone() for name, x in calm.model.named_parameters()}
    calm.train()
    moved = {name for name, x in calm.model.named_parameters() if not torch.equal(before[name], x)}
    assert moved == {name for name, x in calm.model.named_parameters() if x.requires_grad}
    cut = run_of({**keys, "runs": str(tmp_path / "cut")})
    cut.counters = cut.counters.model_copy(update={"total": 3})
    cut.train()
    cut.counters = cut.counters.model_copy(update={"total": 6})
    cut.save()
    resumed = run_of({**keys, "runs": str(tmp_path / "cut")})
    resumed.resume()
    resumed.train()
    assert resumed.counters.step == 6
    assert all(torch.equal(x, resumed.model.state_dict()[name]) for name, x in calm.model.state_dict().items())


def run_of(keys: dict[str, object]) -> Run:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return Run(TrainConfig.model_validate(keys), fabric, Display("tiny", Console(quiet=True)))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "skip"), VARIANTS)
def test_it_folds_exactly(kind: str, skip: str) -> None:
    adapter = TadformerConfig(kind="tadformer", rank=3, filter=kind, skip=skip)  # type: ignore[arg-type]
    network = exported(adapted(adapter, tasks=("semseg", "depth")))
    folded = stays_the_same(lambda model: fold_graph(model, CHEAP), network.model, network.feeds)
    assert graph_cost(folded).macs < graph_cost(network.model).macs
