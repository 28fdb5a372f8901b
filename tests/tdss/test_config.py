"""Numbers of a model's configuration that no model has: each is refused by its key, before memory is asked for."""

from pathlib import Path

import pytest
import tomli_w

from bundle.base.errors import ConfigError
from tdss import checkpoint
from tdss.model import shapes
from tests.tdss.test_checkpoint import small

BIG = str(10**9)
WRONG = [
    ("mlp_ratio = 4.0", "inf", "mlp_ratio"),
    ("mlp_ratio = 4.0", "nan", "mlp_ratio"),
    ("mlp_ratio = 4.0", "-1", "mlp_ratio"),
    ("height = 32", BIG, "height"),
    ("height = 32", "true", "height"),
    ("height = 32", '"32"', "height"),
    ("height = 32", "0", "height"),
    ("embed_dim = 8", BIG, "embed_dim"),
    ("window = 4", BIG, "window"),
    ("rank = 2", BIG, "rank"),
    ("experts = 2", BIG, "experts"),
    ("experts = 2", "9" * 30, "experts"),
    ("hidden = 7", BIG, "hidden"),
    ("stride = 8", "0", "stride"),
    ("top_k = 0", "-1", "top_k"),
    ("semseg = 4", BIG, "semseg"),
    ("temperature = 1.0", "0.0", "temperature"),
    ("temperature = 1.0", "inf", "temperature"),
    ("alpha = 1.0", "nan", "alpha"),
    ("alpha = 1.0", "1e300", "alpha"),
    ("drop_path = 0.0", "1.0", "drop_path"),
]


def text() -> str:
    return tomli_w.dumps(small().model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize(("line", "value", "key"), WRONG)
def test_a_number_that_no_model_has_is_refused_by_its_key(tmp_path: Path, line: str, value: str, key: str) -> None:
    assert text().count(line) == 1
    (tmp_path / "config.toml").write_text(text().replace(line, f"{line.split(' =')[0]} = {value}"))
    with pytest.raises(ConfigError, match="configuration is wrong") as caught:
        checkpoint.read_config(tmp_path / "config.toml")
    assert key in caught.value.got


@pytest.mark.parametrize(("key", "value"), [("std", v) for v in ("0.0", "-1.0", "nan", "inf")] + [("mean", "nan")])
def test_a_normalisation_by_nothing_is_refused(tmp_path: Path, key: str, value: str) -> None:
    old = {"std": "0.229", "mean": "0.485"}[key]
    (tmp_path / "config.toml").write_text(text().replace(old, value, 1))
    with pytest.raises(ConfigError) as caught:
        checkpoint.read_config(tmp_path / "config.toml")
    assert f"image.{key}.0" in caught.value.got


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("height = 1" + "0" * 5000, "4300 digits"),
        ("a = " + "[" * 20_000, "recursion"),
        (".".join(["a"] * 500_000) + " = 1", "more than 64 names"),
        ("[" + ' . "a b"' * 65 + "]", "more than 64 names"),
        ("#" + "x" * (5 << 20), "more"),
        ("\0", "Invalid statement"),
    ],
    ids=["digits", "nested", "dotted", "quoted", "large", "nul"],
)
def test_a_file_made_to_be_heavy_is_refused_at_once(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config.toml").write_text(content.replace('[ . "a b"', '["a b"'))
    with pytest.raises(ConfigError if said != "more" else Exception) as caught:
        checkpoint.read_config(tmp_path / "config.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize("line", ['b = "1.1.1.1"', "b = [" + "0.5, " * 1000 + "]", "b = 1 # " + "." * 500])
def test_dots_in_text_numbers_and_comments_are_no_names(tmp_path: Path, line: str) -> None:
    (tmp_path / "config.toml").write_text(f"{text()}\n[a]\n{line}\n")
    with pytest.raises(ConfigError, match="is wrong") as caught:  # TOML all the same: an unknown key
        checkpoint.read_config(tmp_path / "config.toml")
    assert caught.value.got == "a: is no key here"


def test_a_model_too_large_for_any_host_is_refused_before_it_is_made() -> None:
    config = small()
    wide = config.backbone.model_copy(update={"window": 4096})
    with pytest.raises(ConfigError, match="the model is too large"):
        shapes(config.model_copy(update={"backbone": wide}))
