"""Where tables and progress bars are drawn: a rich console that escapes what would steer the terminal."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from bundle.base.escaping import escaped


class EscapingConsole(Console):
    """A console whose text cannot steer the terminal; the styles and cursor movements that rich itself adds stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of ``renderable`` with their text escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escaped(segment.text))
