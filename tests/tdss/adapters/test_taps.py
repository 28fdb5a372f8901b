"""TAPS: the gate, the penalty and their gradients against numbers of the released code, and our port to Swin and ViT against plain ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from bundle.base.errors import ConfigError
from compile.folding.engine import fold_graph
from compile.graphs.cost import graph_cost
from tdss.adapters.config import NoAdapterConfig, TdssConfig
from tdss.adapters.taps.config import TapsConfig
from tdss.adapters.taps.modules import RELEASED_DIVISOR, TaskLayers, Unit, sparsity
from tdss.config import ModelConfig
from tdss.config_file import read_config
from tdss.model import MultiTaskModel, shapes
from tdss.part import Moment
from tdss.training.start import count_parameters
from tests.compile.folding.engine_cases import operators, stays_the_same
from tests.compile.folding.models import make_config, make_image, make_model, outputs
from tests.compile.folding.project_models import exported
from tests.compile.folding.proven import CHEAP
from tests.tdss.adapters.test_mtlora import swin_t

ROOT = Path(__file__).parents[3]
ORACLE = ROOT / "tests/tdss/oracles/taps"
TINY = json.loads((ORACLE / "tiny.json").read_text())
FORWARD = {torch.float64: 1e-10, torch.float32: 1e-5}  # tests/tdss/oracles/taps/README.md
GRADIENT = {torch.float64: 1e-10, torch.float32: 1e-3}
BELOW = float(np.nextafter(np.float32(0.1), np.float32(0)))


class Block(nn.Module):
    """A residual block: convolutions and norms by number, and a shortcut."""

    def __init__(self, widths: tuple[int, ...], kernels: tuple[int, ...], stride: int, *, shortcut: bool) -> None:
        super().__init__()
        self.count = len(kernels)
        for index, kernel in enumerate(kernels):
            conv = nn.Conv2d(*widths[index : index + 2], kernel, 1 if index else stride, kernel // 2, bias=False)
            self.add_module(f"conv{index + 1}", conv)
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(widths[index + 1]))
        ends = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False), nn.BatchNorm2d(widths[-1])
        self.downsample = nn.Sequential(*ends if shortcut else ())

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index in range(1, self.count + 1):
            y = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(y))
            y = y.relu() if index < self.count else y
        return (y + self.downsample(x)).relu()


class Net(nn.Module):
    """The oracle's network; ``seen`` has what its layers gave last."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 7, 2, 3, bias=False), nn.BatchNorm2d(6)
        self.layer1 = Block((6, 6, 6), (3, 3), 1, shortcut=False)
        self.layer2 = Block((6, 8, 8), (3, 3), 2, shortcut=True)
        self.layer3 = Block((8, 3, 3, 12), (1, 3, 1), 1, shortcut=True)
        self.fc = nn.Linear(12, classes)
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for name in ("layer1", "layer2", "layer3"):
            self.seen[name] = x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


class Case:
    """One task of the oracle: its network with the frozen weights and the task's norms and head, and the task's layers of ours."""

    def __init__(self, task: str, dtype: torch.dtype) -> None:
        self.meta = TINY["tasks"][task]
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(ORACLE / "tiny.safetensors").items()}
        own = {name.removeprefix(f"{task}/"): tensor for name, tensor in tensors.items() if name.startswith(task)}
        self.net = Net(self.meta["classes"]).to(dtype)
        state = {name.removeprefix("shared/"): tensor for name, tensor in tensors.items()} | own
        self.net.load_state_dict({name: state.get(name, value) for name, value in self.net.state_dict().items()})
        convs = [name.removesuffix(".indicator") for name in self.meta["scores_in_parameter_order"]]
        self.unit = Unit("net", (), tuple(convs), ())
        backbone = nn.ModuleDict({"net": self.net})
        self.layers = TaskLayers(backbone, (self.unit,), {f"net.{conv}" for conv in convs}, scored=True).to(dtype)  # type: ignore[arg-type]
        self.residuals = dict(zip(convs, self.layers.residuals(self.unit).values(), strict=True))
        for conv, residual in self.residuals.items():
            assert residual.score is not None and residual.score.item() == pytest.approx(0.15)
            residual.residual.data = own[f"{conv}.residual"]
            residual.score.data = own[f"{conv}.indicator"][0]
            self.net.get_parameter(f"{conv}.weight").requires_grad_(False)
        arrays = np.load(ORACLE / "tiny.npz", allow_pickle=False)
        self.x = {name: torch.tensor(arrays[name]).to(dtype) for name in arrays.files if name.split("/")[-1][0] == "x"}
        self.want = {name.removeprefix(f"{task}/"): arrays[name] for name in arrays.files if name.startswith(task)}

    def train(self, mode: bool) -> None:
        self.net.train(mode)
        self.layers.train(mode)

    def logits(self, x: Tensor) -> Tensor:
        answer: Tensor = functional_call(self.net, self.layers.weights(self.unit, self.net, own_norms=True), (x,))
        return answer

    def loss(self, logits: Tensor, labels: str) -> tuple[Tensor, Tensor]:
        penalty = sparsity(self.layers.scores(), TINY["config"]["lambda"], RELEASED_DIVISOR)
        return functional.cross_entropy(logits, torch.tensor(self.want[labels])), penalty

    def named(self) -> dict[str, Tensor]:
        """The trained tensors and running statistics under the released names."""
        found: dict[str, Tensor] = dict(self.net.state_dict(keep_vars=True))
        for conv, residual in self.residuals.items():
            assert residual.score is not None
            found |= {f"{conv}.residual": residual.residual, f"{conv}.indicator": residual.score}
        return found

    def far(self, name: str, got: Tensor) -> float:
        want = self.want.pop(name)
        largest = np.abs(want).max()
        return float(np.abs(got.detach().numpy().reshape(want.shape) - want).max() / (largest or 1.0))


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("task", TINY["tasks"])
def test_gates_gradients_and_the_released_loop(task: str, dtype: torch.dtype) -> None:
    case, found = Case(task, dtype), {}
    case.train(False)
    assert sum(residual.open for residual in case.residuals.values()) == case.meta["active_layers"]
    found["eval/logits"] = case.logits(case.x["x"])
    found |= {f"eval/{name}": value for name, value in case.net.seen.items()}
    assert max(case.far(name, got) for name, got in found.items()) <= FORWARD[dtype]

    case.train(True)
    logits = case.logits(case.x["x"])
    entropy, penalty = case.loss(logits, "labels")
    (entropy + penalty).backward()
    found = {"logits": logits, "cross_entropy": entropy, "penalty": penalty, "loss": entropy + penalty}
    assert max(case.far(f"train/{name}", got) for name, got in found.items()) <= FORWARD[dtype]
    gradients = {name: tensor.grad for name, tensor in case.named().items() if tensor.requires_grad}
    assert {name for name in case.want if name.startswith("grad/")} == {f"grad/{name}" for name in gradients}
    for name, gradient in gradients.items():
        assert gradient is not None
        closed = name.endswith("residual") and not case.residuals[name.removesuffix(".residual")].open
        assert gradient.any() != closed
        assert case.far(f"grad/{name}", gradient) <= GRADIENT[dtype], name

    found = run_released_loop(case)
    case.train(False)
    found["final_eval_logits"] = case.logits(case.x["x"])
    found |= {f"final/{name}": case.named()[name] for name in ("conv1.residual", "layer3.conv2.residual")}
    found |= {f"final/{name}": case.named()[name] for name in ("bn1.running_mean", "bn1.running_var")}
    assert max(case.far(f"loop/{name}", got) for name, got in found.items()) <= FORWARD[dtype]
    assert [name for name in case.want if "labels" not in name] == []


def run_released_loop(case: Case) -> dict[str, Tensor]:
    """Train as the release does: a step, and cleared gradients, at iterations 0 and 8 of an epoch."""
    trained = [tensor for tensor in case.named().values() if tensor.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    optimizer.zero_grad()
    found, steps = {}, []
    for epoch in TINY["loop"]["epochs_run"]:
        losses = []
        for index in range(9):
            case.train(True)
            entropy, penalty = case.loss(case.logits(case.x[f"loop/x{index}"]), f"loop/labels{index}")
            loss = entropy + penalty if epoch > TINY["loop"]["warmup_epochs"] else entropy
            loss.backward()
            losses.append(loss.detach())
            if index % 8 == 0:
                optimizer.step()
                optimizer.zero_grad()
                steps.append(torch.stack(case.layers.scores()).detach().clone())
        found[f"epoch{epoch}/mean_loss"] = torch.stack(losses).mean()
    return found | {"scores_after_each_optimizer_step": torch.stack(steps)}


def small(*, vit: bool = False, tasks: tuple[str, ...] = ("semseg", "depth", "edge"), **keys: object) -> ModelConfig:
    """Stages of two blocks and one."""
    shape = TdssConfig(experts=1, rank=1, gates=(("static", "static"), ("static",)))
    plain = make_config(shape, tasks=tasks, vit_patch=4 if vit else 0)
    return plain.model_copy(update={"adapter": TapsConfig.model_validate({"kind": "taps", **keys})})


OPEN = {
    "semseg": ("stages.0.blocks.1.mlp.fc2", "stages.1.blocks.0.attn.qkv"),
    "depth": ("stages.1.blocks.0.attn.proj",),
    "edge": (),
}


def gated(*, vit: bool = False) -> MultiTaskModel:
    """Random weights, and the gates of ``OPEN`` open; one of them by the smallest score."""
    model = make_model(small(vit=vit))
    for task, layers in model.adapter.own.items():
        for key, residual in layers.layers.items():
            opened = key in {path.replace(".", "_") for path in OPEN[task]}
            residual.score.data.fill_((float(np.float32(0.1)) if "fc2" in key else 0.4) if opened else BELOW)
    return model.eval()


def alone(model: MultiTaskModel, task: str) -> MultiTaskModel:
    """The plain model that a task's stream should be, made from the tensors by their names."""
    config = model.config.model_copy(update={"adapter": NoAdapterConfig(), "tasks": {task: model.config.tasks[task]}})
    plain, state, after = MultiTaskModel(config).double().eval(), model.state_dict(), False
    wanted = {}
    for name, value in plain.state_dict().items():
        path, _, part = name.removeprefix("backbone.").rpartition(".")
        unit = ".".join(path.split(".")[:4]) if "blocks" in path else path.rpartition(".")[0]
        after = after or any(layer.startswith(f"{unit}.") for layer in OPEN[task] if unit)
        key, wanted[name] = f"adapter.own.{task}", state[name]
        if after and "norm" in path and name.startswith("backbone."):
            wanted[name] = state[f"{key}.norms.{path.replace('.', '_')}.{part}"]
        if path in OPEN[task] and part == "weight":
            wanted[name] = state[name] + state[f"{key}.layers.{path.replace('.', '_')}.residual"]
        assert wanted[name].shape == value.shape
    plain.load_state_dict(wanted)
    return plain


@pytest.mark.parametrize("vit", [False, True], ids=["swin", "vit"])
def test_each_task_is_a_plain_model_with_other_numbers(vit: bool) -> None:
    model = gated(vit=vit)
    image = make_image(model.config)
    evaluated = outputs(model, image)
    model.adapter.train()
    trained = outputs(model, image)
    model.eval().settle()
    settled = outputs(model, image)
    for task, answer in evaluated.items():
        [want] = outputs(alone(gated(vit=vit), task), image).values()
        assert torch.allclose(answer, want, rtol=0, atol=1e-12)
        assert torch.allclose(trained[task], want, rtol=0, atol=1e-12)
        assert torch.equal(settled[task], answer)
    base = small(vit=vit).model_copy(update={"adapter": NoAdapterConfig()})
    plain = MultiTaskModel(base).double().eval()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    unlike = outputs(plain, image)
    assert [task for task in evaluated if not torch.equal(unlike[task], evaluated[task])] == ["semseg", "depth"]


def test_what_lies_before_the_first_open_gate_is_computed_once() -> None:
    model, calls = gated(), dict[str, int]()
    for name, module in model.backbone.named_modules():
        if name.count(".") in (1, 3) and name.split(".")[-2] in ("stages", "blocks"):
            module.register_forward_hook(lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1}))
    outputs(model, make_image(model.config))
    assert calls == {
        "stages.0.blocks.0": 1,
        "stages.0.blocks.1": 2,
        "stages.0": 2,
        "stages.1.blocks.0": 3,
        "stages.1": 3,
    }
    calls.clear()
    model.keep(("depth",))
    outputs(model, make_image(model.config))
    assert set(calls.values()) == {1}


def test_a_settled_model_has_the_open_layers_only() -> None:
    model = gated()
    model.settle()
    assert model.config.adapter == small(specialised=OPEN).adapter
    names = [name for name in model.state_dict() if name.startswith("adapter.")]
    assert sum(name.endswith(".residual") for name in names) == 3 and not any("score" in name for name in names)
    assert sum(".norms." in name for name in names) == 2 * (
        2 + 1 + 2 + 2
    )  # gains and shifts: fc2's block, merging, block
    assert MultiTaskModel(model.config).state_dict().keys() == model.state_dict().keys()
    model.keep(("depth",))
    again = MultiTaskModel(model.config).eval()
    again.load_state_dict(model.state_dict())
    assert not [name for name in model.state_dict() if "semseg" in name]


def test_a_closed_gate_has_a_gradient_and_its_residual_has_none() -> None:
    model = gated()
    model.adapter.train()
    sum(output.square().sum() for output in model(make_image(model.config)).values()).backward()
    for task, layers in model.adapter.own.items():
        for key, residual in layers.layers.items():
            opened = key in {path.replace(".", "_") for path in OPEN[task]}
            assert residual.score.grad.abs() > 0 and residual.residual.grad.any() == opened
        assert all(parameter.grad is not None for parameter in layers.parameters())


def test_the_penalty_acts_after_the_warm_up() -> None:
    model = make_model(small(sparsity=0.5, warmup=2, tasks=("semseg", "depth")))
    draw, scores = torch.Generator(), [tensor for name, tensor in model.named_parameters() if name.endswith("score")]
    assert len(scores) == 2 * (2 * 4 + 1 + 4)
    assert model.adapter.penalties(Moment(9, 2, draw)) == {}
    [(name, value)] = model.adapter.penalties(Moment(9, 3, draw)).items()
    total = sum(score.abs().item() for score in scores)
    assert name == "sparsity" and value.item() == pytest.approx(0.5 * total / 13)
    released = make_model(small(sparsity=0.5, divisor="released", tasks=("semseg", "depth")))
    assert released.adapter.penalties(Moment(9, 1, draw))["sparsity"].item() == pytest.approx(0.5 * total / 52)


def test_the_size_is_that_of_the_formula() -> None:
    """Per task every matrix of the backbone but the patch embedding, a score for each, and the norms of blocks and mergings."""
    widths, blocks = (96, 192, 384, 768), (2, 2, 6, 2)
    matrices = sum(12 * d * d * n for d, n in zip(widths, blocks, strict=True)) + sum(8 * d * d for d in widths[:3])
    norms = sum(4 * d * n for d, n in zip(widths, blocks, strict=True)) + sum(8 * d for d in widths[:3])
    config = swin_t(4).model_copy(update={"adapter": TapsConfig(kind="taps")})
    without = count_parameters(config, ("decoders.*",)).trained
    assert count_parameters(config).trained == without + 4 * (matrices + norms + 4 * sum(blocks) + 3)


@pytest.mark.slow
def test_the_sizes_of_the_page() -> None:
    """What each task adds to the shipped model's backbone, and the bytes of six tasks with their decoders, buffers too."""
    page = (ROOT / "docs/systems/taps.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([\d,]+) \| ([\d.]+) MB \|$", page, flags=re.MULTILINE)
    shipped = read_config(ROOT / "models/default/config.toml")
    assert len(rows) == 4
    for pattern, per_task, megabytes in rows:
        opened = TapsConfig(kind="taps", specialised=dict.fromkeys(shipped.tasks, (pattern,)))
        scored = TapsConfig(kind="taps", layers=(pattern,))
        decoders, with_scores = (
            count_parameters(shipped.model_copy(update={"adapter": scored}), patterns).trained
            for patterns in (("decoders.*",), None)
        )
        assert with_scores - decoders == 6 * int(per_task.replace(",", ""))
        model = shapes(shipped.model_copy(update={"adapter": opened}))
        stored = [tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.")]
        assert sum(tensor.numel() for tensor in stored) * 2e-6 == pytest.approx(float(megabytes), abs=0.05)


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stages\.9"):
        MultiTaskModel(small(layers=("stages.1.*", "stages.9.*")))
    with pytest.raises(ConfigError, match="kernel"):
        MultiTaskModel(small(specialised={"semseg": ("stages.1.blocks.0.mlp.kernel",)}))


@pytest.mark.slow
def test_it_folds_exactly() -> None:
    network = exported(small(tasks=("semseg", "depth"), layers=("stages.1.*", "*.1.mlp.fc2")))
    stays_the_same(lambda model: fold_graph(model, CHEAP), network.model, network.feeds)


@pytest.mark.slow
@pytest.mark.parametrize("vit", [False, True], ids=["swin", "vit"])
def test_one_task_costs_what_the_plain_backbone_does(vit: bool) -> None:
    folded = []
    for config in (
        small(vit=vit, tasks=("depth",)),
        small(vit=vit, tasks=("depth",)).model_copy(update={"adapter": NoAdapterConfig()}),
    ):
        network = exported(config)
        folded.append(stays_the_same(lambda model: fold_graph(model, CHEAP), network.model, network.feeds))
    own, plain = folded
    assert graph_cost(own) == graph_cost(plain) and operators(own) == operators(plain)
