"""A generated section: what a person wrote around it stays, and broken marks never cost a line of it."""

from pathlib import Path

import pytest

from bundle.base.errors import InputError
from studies.generated_section import opening_mark, replace_section

OPENING, CLOSING = opening_mark("numbers"), "<!-- /numbers -->"


def test_a_section_is_added_once_then_replaced(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    replace_section(page, "numbers", "first\n", title="Page")
    assert page.read_text() == f"# Page\n\n{OPENING}\n\nfirst\n\n{CLOSING}\n"
    page.write_text(f"# Mine\n\nabove\n\n{OPENING}\n{CLOSING}\n\nbelow\n")
    for body in ("second", "third", "third"):
        replace_section(page, "numbers", body, title="Page")
        assert page.read_text() == f"# Mine\n\nabove\n\n{OPENING}\n\n{body}\n\n{CLOSING}\n\nbelow\n"


def test_two_sections_of_a_page_leave_each_other_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for name, body in (("numbers", "1"), ("more", "2"), ("numbers", "3")):
        replace_section(page, name, body, title="Page")
    assert page.read_text() == f"# Page\n\n{OPENING}\n\n3\n\n{CLOSING}\n\n<!-- more -->\n\n2\n\n<!-- /more -->\n"


@pytest.mark.parametrize("marks", [OPENING, CLOSING, f"{CLOSING}\n{OPENING}", f"{OPENING}\n{OPENING}\n{CLOSING}"])
def test_marks_that_are_no_pair_are_refused(tmp_path: Path, marks: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{marks}\nbelow\n")
    with pytest.raises(InputError, match="the marks of the section 'numbers' are no pair"):
        replace_section(page, "numbers", "text", title="Page")
    assert page.read_text() == f"above\n{marks}\nbelow\n"
