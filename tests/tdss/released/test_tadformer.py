"""Files of TADFormer's released code become checkpoints, each variant with its own numbers; the oracle has both."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bundle.base.errors import CheckpointError, ConfigError
from tdss import checkpoint
from tdss.config_file import make_config
from tdss.model import shapes
from tdss.released.import_model import import_model
from tdss.released.tadformer import READER
from tests.cli.run import tdss
from tests.tdss.adapters.test_tadformer import FREE, ORACLES, RELEASED, oracle, released
from tests.tdss.oracle import far
from tests.tdss.released.release import saved


@pytest.mark.parametrize(
    ("kind", "given", "variant"),
    [
        ("dynamic", "", "dtf_straight"),
        ("static", "", "static_scrambled"),
        ("dynamic", '[adapter]\nskip = "scrambled"', "dtf_scrambled"),
        ("static", '[adapter]\nskip = "straight"', "static_straight"),
    ],
)
def test_each_variant_gives_its_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, given: str, variant: str
) -> None:
    weights = saved(tmp_path / "ckpt.pth", released(kind), monkeypatch)
    (tmp_path / "given.toml").write_text(given)
    left = import_model("tadformer", weights, tmp_path / "given.toml", tmp_path / "out").left
    config, model = checkpoint.load(tmp_path / "out")
    assert (config.image.height, list(config.tasks)) == (224, list(RELEASED))
    assert len(left) == 7 and "backbone.layers.0.blocks.1.attn_mask" in left  # and the norms of prompts without effect
    arrays = oracle("tiny.npz")
    with torch.no_grad():
        outputs = model.double()(torch.tensor(arrays["x"]).double())
    for task, name in RELEASED.items():
        assert far(arrays[f"{variant}/out/{name}"], outputs[task][..., ::7, ::7]) < FREE


def test_the_order_of_the_prompts_is_given_where_the_file_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(released("dynamic"), tmp_path / "model.safetensors")
    command = ("import", "--from", "tadformer", "--weights", str(tmp_path / "model.safetensors"))
    with pytest.raises(ConfigError, match="tasks"):
        import_model("tadformer", tmp_path / "model.safetensors", None, tmp_path / "out")
    (tmp_path / "order.toml").write_text("[tasks]\nsemseg = 5\nnormals = 3\nsaliency = 1\n")
    code, out, _ = tdss(
        *command, "--config", str(tmp_path / "order.toml"), "--out", str(tmp_path / "out"), "--json", capsys=capsys
    )
    assert code == 0 and len(json.loads(out)["left_out"]) == 7
    arrays = oracle("tiny.npz")
    with torch.no_grad():
        outputs = checkpoint.load(tmp_path / "out")[1].double()(torch.tensor(arrays["x"]).double())
    assert far(arrays["dtf_straight/out/sal"], outputs["saliency"][..., ::7, ::7]) < FREE


@pytest.mark.parametrize(("kind", "rank"), [("dynamic", 16), ("static", 64)])
def test_every_name_of_the_released_layout_has_its_tensor(kind: str, rank: int) -> None:
    """The layouts are those of the published models at 448; only shapes are compared."""
    layout = json.loads((ORACLES / "layout.json").read_text())[kind]
    types = {"f32": torch.float32, "i64": torch.int64}
    weights = {name: torch.empty(shape, dtype=types[dtype], device="meta") for name, (shape, dtype) in layout.items()}
    config = make_config(READER.describe(weights) | {"name": "published"}, ORACLES)
    assert (config.adapter.rank, config.adapter.filter, config.image.height) == (rank, kind, 448)  # type: ignore[attr-defined]
    tensors, left, _ = READER.translate(weights, config)
    expected = shapes(config).state_dict()
    assert {name: x.shape for name, x in tensors.items()} == {name: x.shape for name, x in expected.items()}
    assert len(tensors) + len(left) == len(weights)
    effect = [name for name in left if not name.endswith(("attn_mask", "relative_position_index"))]
    assert len(effect) == 2 * 8 and all(".prompt_layernorm." in name for name in effect)


def test_a_tensor_that_no_model_has_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(released("dynamic") | {"backbone.absolute_pos_embed": torch.zeros(1, 2, 3)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"unexpected backbone\.absolute_pos_embed"):
        import_model("tadformer", tmp_path / "x.pth", None, tmp_path / "out")


def test_a_file_of_something_else_and_an_unknown_system_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "x.pth")
    for system, words in (("tadformer", "this is no model of the system"), ("nothing", "no reader has this name")):
        code, _, err = tdss(
            "import",
            "--from",
            system,
            "--weights",
            str(tmp_path / "x.pth"),
            "--out",
            str(tmp_path / "out"),
            capsys=capsys,
        )
        assert code == 2 and words in err and not (tmp_path / "out").exists()
    code, _, err = tdss("import", "--weights", str(tmp_path / "x.pth"), "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and "--config" in err
