"""MT-CP against numbers of its released code: every module, both models, the balancing weights, and the published sizes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tdss.backbones.config import StageShape
from tdss.decoders.base import AUXILIARY, Sizes
from tdss.decoders.hrnet import resize
from tdss.decoders.mtcp import balance
from tdss.decoders.mtcp.config import MtcpConfig
from tdss.decoders.mtcp.modules import MtcpDecoders

ORACLE = Path(__file__).parents[1] / "oracles/mtcp"
EXACT, STORED, SINGLE = 1e-10, 5e-7, 1e-5  # tests/tdss/oracles/mtcp/README.md
SPEC = json.loads((ORACLE / "tiny.json").read_text())
TASKS = {
    "pascal": {"semseg": 4, "human_parts": 3, "saliency": 1},
    "nyud": {"semseg": 4, "depth": 1, "normals": 3},
}
UPSAMPLE = {"pascal": 4, "nyud": 2}
FPNS = {"pascal": ("fpn_semseg", "fpn_human", "fpn_normal"), "nyud": ("fpn_semseg", "fpn_depth", "fpn_normal")}
HEADS = {
    "pascal": ("project_semseg", "project_human", "project_sal"),
    "nyud": ("project_semseg", "project_depth", "project_normals"),
}
SIDES = ("sem_pred_layers", "depth_pred_layers", "normals_pred_layers")
FINAL = {
    "pascal": (("alpha_semseg_4", "alpha_semseg_2"), ("beta_human_8", "beta_human_4"), ("charlie_sal_8", "charlie_sal_4")),
    "nyud": (("alpha_semseg_4", "alpha_semseg_2"), ("beta_depth_8", "beta_depth_4"), ("charlie_depth_8", "charlie_depth_4")),
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
    return torch.tensor(arrays["pascal/pixel_decoder_feature"] * arrays["pascal/mask_logits"].astype(np.float64).sum(1, keepdims=True))


def seen(decoders: MtcpDecoders, model: str, shared: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every array of the oracle by its name, as our modules compute it."""
    yield "shared_representation", shared
    inside: dict[str, Tensor] = {}
    hooks = []
    first = decoders.tasks["semseg"]
    for name, module in {
        "gaaf_inside/cbam_sem": first.fusion.value[0],
        "gaaf_inside/gate1": first.fusion.gates[0],
        "gaaf_inside/gate2": first.fusion.gates[1],
        "gaaf_inside/conv1": first.fusion.mix,
        "gaaf_inside/cbam_dep": first.fusion.query[0],
        "gaaf_inside/cbam_dep2": first.fusion.key[0],
        "gaaf_inside/shared_dep2": first.fusion.fused[0],
        "spf0_inside/sem_cbam": first.refinements[0].coming,
        "spf0_inside/dep_cbam": first.refinements[0].stage,
        "spf0_inside/out/0": first.refinements[0].predict,
        "spf0_inside/out/1": first.refinements[0].carry,
    }.items():
        hooks.append(module.register_forward_hook(lambda _m, _i, out, name=name: inside.__setitem__(name, out)))
    stages = {task: decoders.stages[task](shared) for task in TASKS[model]}
    joined = {task: decoders.fpns[task](stages[task]) for task in TASKS[model]}
    outputs = decoders.decode(dict.fromkeys(TASKS[model], shared))
    yield from inside.items()
    for index, task in enumerate(TASKS[model]):
        number = "" if index == 0 else str(index + 1)
        yield from ((f"transformer{index + 1}/{stage}", x) for stage, x in enumerate(stages[task]))
        yield FPNS[model][index], joined[task]
        decoder, others = decoders.tasks[task], [x for name, x in joined.items() if name != task]
        yield f"gaaf{number}", decoder.fusion(joined[task], others)
        steps = decoder.predictions(joined[task], others, stages[task])
        yield from ((f"trace_back{number}/{step}", x) for step, x in enumerate(steps))
        yield HEADS[model][index], decoder.head(steps[-1])
        for step, (side, x) in enumerate(zip(decoder.sides, steps[:-1], strict=True)):
            yield f"{SIDES[index]}/{step}", side(x)
            yield f"final/{FINAL[model][index][step]}", resize(side(x), decoders.image)[..., ::4, ::4]
        yield f"final/{'sal' if task == 'saliency' else task}", outputs[task][..., ::4, ::4]
    for hook in hooks:
        hook.remove()


def far(got: Tensor, want: np.ndarray) -> float:
    assert tuple(got.shape) == want.shape
    return float(np.abs(got.double().numpy() - want).max() / np.abs(want).max())


@pytest.mark.parametrize("model", TASKS)
def test_every_array_is_the_released_one(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    want = wanted(arrays, model)
    with torch.no_grad():
        got = dict(seen(made(model), model, shared_of(arrays)))
    missing = {name for name in want if name not in got}
    other = {*FPNS["pascal"], *HEADS["pascal"], *(f"final/{name}" for names in FINAL["pascal"] for name in names)}
    assert missing <= (other | {"final/human_parts", "final/sal"} if model == "nyud" else set())
    wrong = {
        name: far(x, want[name])
        for name, x in got.items()
        if far(x, want[name]) > (STORED if want[name].dtype == np.float32 else EXACT)
    }
    assert not wrong


@pytest.mark.parametrize("model", TASKS)
def test_float32_is_close(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    want = wanted(arrays, model)
    with torch.no_grad():
        got = dict(seen(made(model, torch.float32), model, shared_of(arrays).float()))
    assert max(far(x, want[name]) for name, x in got.items()) < SINGLE


@pytest.mark.parametrize("model", TASKS)
def test_every_tensor_is_seen(model: str, arrays: Mapping[str, np.ndarray]) -> None:
    """By a gradient where it is a parameter; the effect of a running statistic is compared with the outputs as they were."""
    decoders, shared = made(model), shared_of(arrays)

    def outputs() -> list[Tensor]:
        got = decoders.train()(dict.fromkeys(TASKS[model], shared)) if False else dict(seen(decoders, model, shared))
        return [x for name, x in got.items() if name.startswith("final/")]

    torch.stack([(x * torch.randn(x.shape, dtype=x.dtype)).sum() for x in outputs()]).sum().backward()
    dark = [name for name, x in decoders.named_parameters() if not name.startswith("neck.") and not (x.grad is not None and x.grad.any())]
    assert not dark
