"""From values to HTML: the only module of this package that imports Jinja2."""

from pathlib import Path

from bundle.base.errors import not_installed
from bundle.base.escaping import escaped

FOLDER = Path(__file__).resolve().parent


def printed(template: str, page: object, **more: object) -> str:
    """Return the page of a template of this package; every string is escaped, what is undefined is an error.

    Raises:
        TargetUnavailable: Jinja2 is not installed, as on a device.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise not_installed(
            "the page", "jinja2", extra="host", where="report.bundle_page.template", error=error
        ) from error
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_visible
    )
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(page=page, css=css, **more)


def _visible(value: object) -> object:
    """Escape a text that could reverse or hide words of the page; what is HTML already stays."""
    return escaped(value) if type(value) is str else value
