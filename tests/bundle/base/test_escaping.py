"""Text of an untrusted file cannot steer the terminal, and JSON stays JSON."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.base.escaping import escaped

STEERING = {
    "\x1b[2J": "\\u001b[2J",
    "\x9b31m": "\\u009b31m",
    "\r": "\\u000d",
    "\x08": "\\u0008",
    "\x7f": "\\u007f",
    "\u202eabc\u2066": "\\u202eabc\\u2066",
    "\u200f": "\\u200f",
    "\u2028": "\\u2028",
    "\U000e0041": "\\udb40\\udc41",
    "\ud800": "\\ud800",
}


@pytest.mark.parametrize(("text", "shown"), STEERING.items(), ids=ascii)
def test_what_steers_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert escaped(f"a{text}b") == f"a{shown}b"


@pytest.mark.parametrize("text", ["", "two\nlines\tand a tab", "−0.07% ± ² é 中 ✓ → │ 🙂", "\\u001b"])
def test_ordinary_text_stays(text: str) -> None:
    assert escaped(text) == text


@given(st.text())
def test_nothing_that_steers_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    shown = escaped(text)
    assert escaped(shown) == shown
    assert all(character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs") for character in shown)


@pytest.mark.slow
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_json_document_keeps_its_value(value: object) -> None:
    assert json.loads(escaped(json.dumps(value, ensure_ascii=False))) == json.loads(json.dumps(value))
