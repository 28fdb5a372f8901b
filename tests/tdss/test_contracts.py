"""What the contracts promise, shown by a system that uses all of them (tests/tdss/toy.py)."""

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from rich.console import Console
from safetensors.torch import load_file

from tdss import checkpoint
from tdss.adapters.config import TdssConfig
from tdss.backbones.base import Flow
from tdss.card import Card
from tdss.config import ModelConfig
from tdss.decoders.base import AUXILIARY
from tdss.model import MultiTaskModel, plain_backbone
from tdss.part import Moment
from tdss.training import data, state
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tdss.training.start import build_model, count_parameters, stored_part
from tests.compile.folding.models import make_config
from tests.tdss.test_checkpoint import small
from tests.tdss.toy import ToyDecoders, toyed
from tests.tdss.training.tiny import settings, write_folder

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the toy is in no union of configurations


def made(config: ModelConfig) -> MultiTaskModel:
    torch.manual_seed(3)
    return MultiTaskModel(toyed(config)).eval()


def test_state_flows_through_blocks_and_stages() -> None:
    """The tokens of the last stage are those of the first, widened once and moved by each block's mean."""
    model, image = made(small()), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        taps = model.backbone(image)
        backbone = plain_backbone(small())
        backbone.load_state_dict({name: model.backbone.state_dict()[name] for name in backbone.state_dict()})
        outputs = [tap.output for tap in backbone.eval()(image)]
        first = model.get_parameter("backbone.state.tokens") + outputs[0].mean((1, 2))
        tokens = first @ model.get_parameter("backbone.stages.0.downsample.widen.weight").T + outputs[1].mean((1, 2))
    for index, task in enumerate(small().tasks):
        want = outputs[1] + tokens[index]
        assert torch.allclose(taps[-1].blocks[-1].streams[task], want, atol=1e-6)


def test_a_checkpoint_has_what_is_left_after_training(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    run = make_run(tmp_path, "runs")
    model, image = run.averaged_model(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = model(image)
        model.settle()
        after = model(image)
    stored, tensors = stored_part(run.config, model)
    assert run.model.state_dict().keys() - tensors.keys() == {"adapter.scores"}
    assert tensors.keys() == MultiTaskModel(stored).state_dict().keys()
    assert all(torch.equal(before[task], after[task]) for task in before)


@pytest.mark.parametrize("patch", [0, 4], ids=["swin", "vit"])
def test_a_stage_goes_on_from_any_block(patch: int) -> None:
    adapter = TdssConfig(experts=1, rank=1, gates=(("static", "static"), ("static",)))
    backbone = plain_backbone(make_config(adapter, vit_patch=patch)).eval()
    with torch.no_grad():
        flow = Flow(backbone.embed(torch.randn(1, 3, 32, 32)), {})
        stage = backbone.stages[0]
        after, tap = stage(flow)
        for first, block in enumerate([*stage.blocks, None]):  # type: ignore[misc]
            later, end = stage(flow, first)
            assert torch.equal(later.x, after.x) and torch.equal(end.output, tap.output)
            assert len(end.blocks) == 2 - first
            flow = flow if block is None else block(flow)[0]


def test_what_another_tasks_decoder_reads_is_kept() -> None:
    model, image = made(small()), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = model(image)
        model.keep(("depth",))
        after = model(image)
    assert list(after) == ["depth"] and torch.equal(after["depth"], before["depth"])
    assert model.adapter.tasks == ("semseg", "depth") and list(model.decoders.get_submodule("heads")._modules) == [
        "depth"
    ]


def make_run(tmp_path: Path, runs: str, **changes: object) -> Run:
    keys = settings(tmp_path / "set", tmp_path / runs) | {"save_seconds": 0.0} | changes
    config = TrainConfig.model_validate(keys)
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return Run(config.model_copy(update={"model": toyed(config.model)}), fabric, Display("toy", Console(quiet=True)))


def test_a_resumed_run_has_all_that_its_parts_remember(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs have two steps: at step 7 there were samplings, three shrinks, penalties and two changes of the weights."""
    write_folder(tmp_path / "set")
    calm = make_run(tmp_path, "calm")
    calm.train()
    first = make_run(tmp_path, "cut")
    save = Run.save

    def stop(run: Run) -> None:
        save(run)
        if run.counters.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    monkeypatch.setattr(Run, "save", save)
    second = make_run(tmp_path, "cut")
    second.resume()
    assert second.counters.step == 7 and second.factors == first.factors and len(set(second.factors.values())) == 2
    second.train()
    assert torch.equal(second.model.training_state()["decoders.kept"], calm.model.training_state()["decoders.kept"])
    files = [load_file(tmp_path / name / "tiny" / "last" / state.TENSORS) for name in ("calm", "cut")]
    assert files[0].keys() == files[1].keys() and all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    assert second.counters.epochs == calm.counters.epochs and len(calm.counters.epochs) == 6
    decoders = second.averaged_model().decoders
    assert isinstance(decoders, ToyDecoders) and torch.equal(decoders.kept, calm.model.decoders.kept)


def test_the_loss_is_its_parts(tmp_path: Path) -> None:
    """Outputs by their weights and factors, auxiliary ones by theirs too, and the penalties."""
    write_folder(tmp_path / "set")
    weights = {"semseg": {"weight": 2.0, "auxiliary": 0.25}, "normals": {"weight": 3.0}}
    run = make_run(tmp_path, "runs", losses=weights)
    ram = run._decode()
    draw = data.generator(0, 2, 2)
    batch = data.make_batch(ram, [0, 1], run.config.model.image, run.config.augment, draw)
    run.factors = {"normals": 0.5}
    total, values = run.step(batch, Moment(2, 1, data.generator(0, 2, 0)), draw)
    assert set(values) == {"semseg", "normals", f"semseg{AUXILIARY}side", f"normals{AUXILIARY}side", "toy"}
    parts = [2 * values["semseg"], 0.5 * values[f"semseg{AUXILIARY}side"], values["toy"]]
    parts += [1.5 * values["normals"], 1.5 * values[f"normals{AUXILIARY}side"]]
    assert total == pytest.approx(sum(parts), rel=1e-6)


def test_a_frozen_backbone_trains_what_its_adapter_names(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    config = TrainConfig.model_validate(settings(tmp_path / "set", tmp_path))
    card = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})
    checkpoint.save(tmp_path / "c", config.model, MultiTaskModel(config.model), card, storage="float32")
    frozen = config.model_copy(
        update={"model": toyed(config.model), "init_backbone": tmp_path / "c", "freeze_backbone": True}
    )
    model = build_model(frozen)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inside = {name.removeprefix("backbone.") for name in trained if name.startswith("backbone.")}
    norms = {f"stages.{stage}.blocks.0.norm1.{kind}" for stage in (0, 1) for kind in ("weight", "bias")}
    assert inside == norms | {"state.tokens", "stages.0.downsample.widen.weight"}
    assert {name for name, _ in model.named_parameters() if name.startswith("decoders.")} < trained
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert count_parameters(frozen.model) == (sum(sizes.values()), sum(sizes[name] for name in trained))
