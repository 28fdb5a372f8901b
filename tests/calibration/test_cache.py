"""A calibration kept in a folder is given back for the same question only, and a refusal says what differs."""

from pathlib import Path

import pytest
from pydantic import JsonValue

from bundle.base.errors import ArtifactError
from bundle.tasks.preprocess import Preprocess
from calibration.cache import CalibrationKey, differences, keep, look_up

KEY = CalibrationKey(
    graph="a" * 64,
    images="b" * 64,
    ids=("one", "two"),
    preprocess=Preprocess(height=8, width=8),
    scheme={"preset": "performance"},
    format="onnx",
    kept=("gate",),
    code="f" * 64,
    tools={"nncf": "3"},
)
OTHERS: dict[str, JsonValue | tuple[str, ...] | Preprocess] = {
    "graph": "c" * 64,
    "images": "d" * 64,
    "ids": ("two", "one"),
    "preprocess": Preprocess(height=8, width=16),
    "scheme": {"preset": "mixed"},
    "format": "openvino",
    "kept": ("gate", "head"),
    "code": "0" * 64,
    "tools": {"nncf": "4"},
}


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A folder that holds one answer."""
    with keep(tmp_path / "entry", KEY) as folder:
        (folder / "graph.onnx").write_bytes(b"answer")
    return tmp_path / "entry"


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert not look_up(tmp_path, KEY)


def test_the_same_question_finds_the_answer(entry: Path) -> None:
    assert look_up(entry, KEY)
    assert (entry / "graph.onnx").read_bytes() == b"answer"


@pytest.mark.parametrize("field", list(CalibrationKey.model_fields))
def test_another_question_is_refused_by_name(entry: Path, field: str) -> None:
    other = KEY.model_copy(update={field: OTHERS[field]})
    with pytest.raises(ArtifactError, match=f"another {field}\n") as caught:
        look_up(entry, other)
    assert str(OTHERS[field])[:10] in caught.value.expected
    assert differences(KEY, other) == (field,) and KEY.digest != other.digest


def test_every_difference_is_named(entry: Path) -> None:
    with pytest.raises(ArtifactError, match="another images, another scheme"):
        look_up(entry, KEY.model_copy(update={"images": "e" * 64, "scheme": {}}))


def test_an_altered_answer_is_refused(entry: Path) -> None:
    (entry / "graph.onnx").write_bytes(b"Answer")
    with pytest.raises(ArtifactError, match=r"graph\.onnx was altered"):
        look_up(entry, KEY)


def test_a_block_that_fails_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), keep(tmp_path / "entry", KEY) as folder:
        (folder / "half").write_text("")
        raise KeyError
    assert not look_up(tmp_path / "entry", KEY) and list(tmp_path.iterdir()) == []
