"""MT-CP against numbers of its released code: every module, both models, the balancing weights, and the published sizes."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from pydantic import ValidationError
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from compile.folding.engine import fold_graph
from tdss.backbones.config import StageShape
from tdss.config import ModelConfig
from tdss.decoders.base import AUXILIARY, Sizes
from tdss.decoders.mtcp import balance
from tdss.decoders.mtcp.config import MtcpConfig
from tdss.decoders.mtcp.modules import MtcpDecoders
from tdss.training import state
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import make_image, make_model, outputs
from tests.compile.folding.project_models import exported
from tests.compile.folding.proven import CHEAP
from tests.tdss.training.tiny import settings, write_folder

ORACLE = Path(__file__).parents[1] / "oracles/mtcp"
EXACT, STORED, SINGLE = 1e-10, 5e-7, 1e-5  # tests/tdss/oracles/mtcp/README.md
SPEC = json.loads((ORACLE / "tiny.json").read_text())
TASKS = {"pascal": {"semseg": 4, "human_parts": 3, "saliency": 1}, "nyud": {"semseg": 4, "depth": 1, "normals": 3}}
UPSAMPLE = {"pascal": 4, "nyud": 2}
FPNS = {"pascal": ("fpn_semseg", "fpn_human", "fpn_normal"), "nyud": ("fpn_semseg", "fpn_depth", "fpn_normal")}
HEADS = {
    "pascal": ("project_semseg", "project_human", "project_sal"),
    "nyud": ("project_semseg", "project_depth", "project_normals"),
}
SIDES = ("sem_pred_layers", "depth_pred_layers", "normals_pred_layers")
FINAL = {
    "pascal": (
        ("alpha_semseg_4", "alpha_semseg_2"),
        ("beta_human_8", "beta_human_4"),
        ("charlie_sal_8", "charlie_sal_4"),
    ),
    "nyud": (
        ("alpha_semseg_4", "alpha_semseg_2"),
        ("beta_depth_8", "beta_depth_4"),
        ("charlie_depth_8", "charlie_depth_4"),
    ),
}
RENAMED = (
    (r"relative_position_bias_table", "bias_table"),
    (r"^(\w+)\.layers\.", r"\1.stages."),
    (r"^(\w+)\.norm(\d)\.", r"\1.norms.\2."),
    (r"lateral_convs", "laterals"),
    (r"fpn_convs\.0", "smooth"),
    (r"ChannelGate\.mlp\.1", "squeeze"),
    (r"ChannelGate\.mlp\.3", "excite"),
    (r"SpatialGate\.spatial\.conv", "spatial"),
    (r"SpatialGate\.spatial\.bn", "norm"),
    (r"cbam_dep_norm", "query.1"),
    (r"cbam_dep2_norm", "key.1"),
    (r"cbam_sem_norm", "value.1"),
    (r"shared_dep2_norm", "fused.1"),
    (r"gate1", "gates.0"),
    (r"gate2", "gates.1"),
    (r"^(gaaf\d?)\.conv1", r"\1.mix"),
    (r"^(gaaf\d?)\.cbam_dep\.", r"\1.query.0."),
    (r"^(gaaf\d?)\.cbam_dep2\.", r"\1.key.0."),
    (r"^(gaaf\d?)\.cbam_sem\.", r"\1.value.0."),
    (r"^(gaaf\d?)\.shared_dep2\.", r"\1.fused.0."),
    (r"spf_modules", "refinements"),
    (r"sem_cbam", "coming"),
    (r"dep_cbam", "stage"),
    (r"sem_conv", "predict.0"),
    (r"\.b1\.", ".predict.1."),
    (r"dep_conv", "carry.0"),
    (r"\.b2\.", ".carry.1."),
    (r"\.module\.", "."),
)


def ours(name: str, model: str) -> str:
    """Our name of a released tensor."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    for index, task in enumerate(TASKS[model]):
        number = "" if index == 0 else str(index + 1)
        for old, new in (
            (f"transformer{index + 1}.", f"stages.{task}."),
            (f"{FPNS[model][index]}.", f"fpns.{task}."),
            (f"gaaf{number}.", f"tasks.{task}.fusion."),
            (f"trace_back{number}.", f"tasks.{task}."),
            (f"{SIDES[index]}.", f"tasks.{task}.sides."),
            (f"{HEADS[model][index]}.", f"tasks.{task}.head."),
        ):
            if name.startswith(old):
                return new + name.removeprefix(old)
    return name


def weights_of(model: str) -> dict[str, Tensor]:
    stored = load_file(ORACLE / "tiny.safetensors")
    own = {name.partition("/")[2]: x for name, x in stored.items() if name.startswith(("both/", f"{model}/"))}
    left = set(SPEC[model]["parameters_without_effect"])
    return {ours(name, model): x for name, x in own.items() if name not in left}


def made(model: str, dtype: torch.dtype = torch.float64) -> MtcpDecoders:
    height, width = SPEC[model]["config"]["grid"]
    config = MtcpConfig(kind="mtcp", width=16, upsample=UPSAMPLE[model])
    sizes = Sizes((StageShape(8, height, width),), TASKS[model], tuple(SPEC[model]["config"]["image"]))
    torch.manual_seed(0)
    decoders = MtcpDecoders(config, sizes).to(dtype).eval()
    tensors = weights_of(model)
    own = {name for name in decoders.state_dict() if not name.startswith("neck.") and "num_batches" not in name}
    assert own == tensors.keys()
    decoders.load_state_dict(tensors, strict=False)
    return decoders


@pytest.fixture(scope="module")
def arrays() -> Mapping[str, np.ndarray]:
    with np.load(ORACLE / "tiny.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def wanted(arrays: Mapping[str, np.ndarray], model: str) -> dict[str, np.ndarray]:
    """A model's arrays: those that it shares with PASCAL's are stored there."""
    both = {name.removeprefix("pascal/f64/"): x for name, x in arrays.items() if name.startswith("pascal/f64/")}
    own = {name.removeprefix("nyud/f64/"): x for name, x in arrays.items() if name.startswith("nyud/f64/")}
    return both if model == "pascal" else both | own


def shared_of(arrays: Mapping[str, np.ndarray]) -> Tensor:
    return torch.tensor(
        arrays["pascal/pixel_decoder_feature"] * arrays["pascal/mask_logits"].astype(np.float64).sum(1, keepdims=True)
    )


INSIDE = {
    "gaaf_inside/cbam_sem": "tasks.semseg.fusion.value.0",
    "gaaf_inside/gate1": "tasks.semseg.fusion.gates.0",
    "gaaf_inside/gate2": "tasks.semseg.fusion.gates.1",
    "gaaf_inside/conv1": "tasks.semseg.fusion.mix",
    "gaaf_inside/cbam_dep": "tasks.semseg.fusion.query.0",
    "gaaf_inside/cbam_dep2": "tasks.semseg.fusion.key.0",
    "gaaf_inside/shared_dep2": "tasks.semseg.fusion.fused.0",
    "spf0_inside/sem_cbam": "tasks.semseg.refinements.0.coming",
    "spf0_inside/dep_cbam": "tasks.semseg.refinements.0.stage",
    "spf0_inside/out/0": "tasks.semseg.refinements.0.predict",
    "spf0_inside/out/1": "tasks.semseg.refinements.0.carry",
}


def modules_of(model: str) -> dict[str, str]:
    """The module that gives each array of the oracle."""
    paths = dict(INSIDE)
    for index, task in enumerate(TASKS[model]):
        number = "" if index == 0 else str(index + 1)
        paths |= {f"transformer{index + 1}/{stage}": f"stages.{task}.norms.{stage}" for stage in range(3)}
        paths |= {f"trace_back{number}/{step}": f"tasks.{task}.refinements.{step}.predict" for step in range(3)}
        paths |= {f"{SIDES[index]}/{step}": f"tasks.{task}.sides.{step}" for step in range(2)}
        paths |= {FPNS[model][index]: f"fpns.{task}", f"gaaf{number}": f"tasks.{task}.fusion"}
        paths[HEADS[model][index]] = f"tasks.{task}.head"
    return paths


def with_sides(decoders: MtcpDecoders) -> MtcpDecoders:
    """Decoders that give their side heads too, though every norm is in evaluation mode."""
    for decoder in decoders.tasks.children():
        decoder.training = True
    return decoders


def seen(model: str, shared: Tensor) -> dict[str, Tensor]:
    """Every array of the oracle by its name, as our modules compute it."""
    decoders, got = with_sides(made(model, shared.dtype)), {"shared_representation": shared}

    def keep(name: str, x: Tensor) -> None:
        got[name] = x.permute(0, 3, 1, 2) if name.startswith("transformer") else x

    for name, path in modules_of(model).items():
        decoders.get_submodule(path).register_forward_hook(lambda _module, _x, out, name=name: keep(name, out))
    with torch.no_grad():
        outputs = decoders.decode(dict.fromkeys(TASKS[model], shared))
    for index, task in enumerate(TASKS[model]):
        got[f"final/{'sal' if task == 'saliency' else task}"] = outputs[task][..., ::4, ::4]
        for step, name in enumerate(FINAL[model][index]):
            got[f"final/{name}"] = outputs[f"{task}{AUXILIARY}{step}"][..., ::4, ::4]
    return got


def far(got: Tensor, want: np.ndarray) -> float:
    assert tuple(got.shape) == want.shape
    return float(np.abs(got.double().numpy() - want).max() / np.abs(want).max())


@pytest.mark.parametrize("model", TASKS)
def test_every_array_is_the_released_one(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    want, got = wanted(arrays, model), seen(model, shared_of(arrays))
    assert {name.removeprefix(f"{model}/f64/") for name in arrays if name.startswith(f"{model}/f64/")} <= got.keys()
    bounds = {name: STORED if want[name].dtype == np.float32 else EXACT for name in got}
    assert not {name: far(x, want[name]) for name, x in got.items() if far(x, want[name]) > bounds[name]}


@pytest.mark.parametrize("model", TASKS)
def test_float32_is_close(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    want = wanted(arrays, model)
    assert max(far(x, want[name]) for name, x in seen(model, shared_of(arrays).float()).items()) < SINGLE


@pytest.mark.slow
@pytest.mark.parametrize("model", TASKS)
def test_every_tensor_is_seen(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    """A parameter by its gradient, a running statistic by its effect; the neck is not in the oracle."""
    decoders, shared = with_sides(made(model)), dict.fromkeys(TASKS[model], shared_of(arrays))

    def total() -> Tensor:
        draw = torch.Generator().manual_seed(0)
        outputs = decoders.decode(shared).values()
        return torch.stack([(x * torch.randn(x.shape, generator=draw, dtype=x.dtype)).sum() for x in outputs]).sum()

    before = total()
    before.backward()
    parameters = {name: x for name, x in decoders.named_parameters() if not name.startswith("neck.")}
    unseen = [name for name, x in parameters.items() if x.grad is None or not x.grad.any()]
    with torch.no_grad():
        for name, x in decoders.named_buffers():
            if "running" in name:
                x.mul_(1.5)
                unseen += [] if abs(float(total() - before)) > 1e-9 * abs(float(before)) else [name]
                x.div_(1.5)
    assert not unseen


def test_sizes_are_the_published_ones() -> None:
    """The release's, less what has no effect in it: per task a patch embedding, four convolutions and a feature branch."""
    w = 256
    dead = (16 * w * w + 3 * w) + 2 * (4 * w * w + 2 * w) + 2 * (9 * w * w + w) + (3 * w * w + 3 * w)
    for tasks, published, loose in (
        ({"semseg": 21, "human_parts": 7, "saliency": 1}, 91_276_967, 0),
        ({"semseg": 40, "depth": 1, "normals": 3}, 91_521_434, 6),
    ):
        with torch.device("meta"):
            sizes = Sizes((StageShape(96, 112, 112),), tasks, (448, 448))
            decoders = MtcpDecoders(MtcpConfig(kind="mtcp", width=w), sizes)
        count = sum(x.numel() for name, x in decoders.named_parameters() if not name.startswith("neck."))
        assert count + 3 * dead + loose == published


@pytest.mark.parametrize("model", TASKS)
def test_the_weights_follow_the_losses_as_released(model: str) -> None:
    table = SPEC["balancing"][model]
    config = MtcpConfig(kind="mtcp", width=4, balance="released", spread=table["spread"])
    sizes = Sizes((StageShape(4, 4, 4),), TASKS[model], (8, 8))
    named = [{name.replace("sal", "saliency"): loss for name, loss in row["losses"].items()} for row in table["rows"]]
    epochs = [losses | {f"semseg{AUXILIARY}0": 9.0, "a penalty": 9.0} for losses in named]
    released, clamped, off = (
        MtcpDecoders(config.model_copy(update={"balance": kind}), sizes) for kind in ("released", "clamped", "off")
    )
    assert released.loss_factors([]) == {} and off.loss_factors(epochs) == {}
    for count, row in enumerate(table["rows"], 1):
        weights = {name.replace("sal", "saliency"): weight for name, weight in row["weights"].items()}
        assert released.loss_factors(epochs[:count]) == pytest.approx(weights, rel=1e-10)
    spread = table["spread_only"]
    assert balance.spread_out(spread["in"], spread["factor"]) == pytest.approx(spread["out"], rel=1e-10)
    steep = [epochs[0], {task: loss * (0.5 if task == "semseg" else 1) for task, loss in epochs[0].items()}]
    assert min(released.loss_factors(steep).values()) < 0 or model == "pascal"
    assert clamped.loss_factors(steep) == {task: max(x, 0) for task, x in released.loss_factors(steep).items()}


def test_losses_are_projected_as_released() -> None:
    for row in SPEC["balancing"]["MultiTaskLoss2"]:
        assert balance.project(row["raw_losses"]) == pytest.approx(row["log_losses"], rel=1e-6)
    assert balance.weights([{"semseg": 1.0, "edge": 0.0}, {"semseg": 2.0, "edge": 1.0}], 7.5) == {"semseg": 1.0}


def small(adapter: str = "none", **tasks: int) -> ModelConfig:
    keys = settings(Path(), Path(), tasks=tasks or {"semseg": 3, "normals": 3, "depth": 1})["model"]
    assert isinstance(keys, dict)
    decoder = {"kind": "mtcp", "width": 4, "window": 4, "balance": "clamped"}
    return ModelConfig.model_validate(keys | {"adapter": {"kind": adapter}, "decoder": decoder})


def test_a_subset_reads_every_task_and_answers_its_own() -> None:
    config = small()
    model = make_model(config)
    before = outputs(model, make_image(config))
    model.keep(("normals",))
    assert torch.equal(outputs(model, make_image(config))["normals"], before["normals"])
    assert set(model.decoders.get_submodule("stages")._modules) == set(config.tasks)


def test_a_single_task_has_no_fusion() -> None:
    config = small(semseg=3)
    assert outputs(make_model(config), make_image(config))["semseg"].shape == (2, 3, 32, 32)


def test_the_side_heads_are_trained_and_never_answered() -> None:
    model = make_model(small())
    image = make_image(small())
    assert list(outputs(model, image)) == ["semseg", "normals", "depth"]
    sides = [f"{task}{AUXILIARY}{step}" for task in small().tasks for step in (0, 1)]
    assert list(outputs(model.train(), image)) == [*small().tasks, *sides]


def test_a_stage_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"decoder\.finest is 2, backbone and adapter give 2 maps"):
        ModelConfig.model_validate(small().model_dump() | {"decoder": {"kind": "mtcp", "width": 4, "finest": 2}})
    with pytest.raises(ValidationError, match="width 6 is not a multiple of 4 heads"):
        MtcpConfig(kind="mtcp", width=6, heads=(4, 4, 4))


def make_run(tmp_path: Path, runs: str) -> Run:
    keys = settings(tmp_path / "set", tmp_path / runs) | {"save_seconds": 0.0, "steps": 6}
    config = TrainConfig.model_validate(keys | {"model": small(semseg=3, normals=3).model_dump()})
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return Run(config, fabric, Display("mtcp", Console(quiet=True)))


@pytest.mark.slow
def test_a_resumed_run_has_the_weights_and_the_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs have two steps: at step 5 the weights have changed twice."""
    write_folder(tmp_path / "set")
    calm, first, save = make_run(tmp_path, "calm"), make_run(tmp_path, "cut"), Run.save
    calm.train()

    def stop(run: Run) -> None:
        save(run)
        if run.counters.step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    monkeypatch.setattr(Run, "save", save)
    second = make_run(tmp_path, "cut")
    second.resume()
    assert second.factors == first.factors and len(set(second.factors.values())) == 2
    second.train()
    files = [load_file(tmp_path / name / "tiny" / "last" / state.TENSORS) for name in ("calm", "cut")]
    assert files[0].keys() == files[1].keys() and all(torch.equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.slow
def test_it_folds_exactly() -> None:
    """The neck is there once for all tasks. Only the norms behind a gate stay: four in each fusion."""
    network = exported(small(semseg=3, depth=1))
    convolutions = [node.inputs[1] for node in network.model.graph if node.op_type == "Conv"]
    assert sum(value is not None and ".neck." in str(value.name) for value in convolutions) == 4
    folded = stays_the_same(lambda model: fold_graph(model, CHEAP), network.model, network.feeds)
    norms = [node for node in folded.graph if node.op_type == "BatchNormalization"]
    assert len(norms) == 2 * 4
    assert all(str(value.name).endswith("Mul_1") for node in norms for value in node.inputs[:1] if value)
