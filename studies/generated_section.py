"""The generated end of a Markdown page: what stands below a mark is replaced, what stands above it is somebody's text."""

from pathlib import Path

from bundle.formats.artifacts import write_text


def replace_below(page: Path, mark: str, body: str, *, title: str) -> None:
    """Replace what stands below ``mark``; a page without it gets both at its end, one that does not exist ``title`` too."""
    text = page.read_text(encoding="utf-8") if page.is_file() else f"# {title}\n"
    write_text(page, f"{text.partition(mark)[0].rstrip()}\n\n{mark}\n\n{body}")
