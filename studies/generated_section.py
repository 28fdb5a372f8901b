"""The generated sections of a Markdown page: each is between two marks, and the text around it is written by a person."""

from pathlib import Path

from bundle.base.errors import InputError
from bundle.formats.artifacts import write_text


def replace_section(page: Path, name: str, body: str, *, title: str) -> None:
    """Replace what is between the two marks of ``name``; a page without them gets the section at its end.

    A page that does not exist yet starts with ``title``.

    Raises:
        InputError: one of the two marks is missing or repeated, or they are in the wrong order.
    """
    opening, closing = opening_mark(name), f"<!-- /{name} -->"
    text = page.read_text(encoding="utf-8") if page.is_file() else f"# {title}\n"
    if opening not in text and closing not in text:
        text = f"{text.rstrip()}\n\n{opening}\n{closing}\n"
    before, _, rest = text.partition(opening)
    after = rest.partition(closing)[2]
    if text.count(opening) != 1 or text.count(closing) != 1 or closing in before:
        raise InputError(
            f"the marks of the section {name!r} are no pair",
            expected=f"one line {opening} and, below it, one line {closing}",
            got=f"{text.count(opening)} and {text.count(closing)} of them",
            where=str(page),
            fix="correct the two lines",
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, f"{before}{opening}\n\n{body.strip()}\n\n{closing}{after}")


def opening_mark(name: str) -> str:
    """Return the line above the section ``name``."""
    return f"<!-- {name} -->"
