"""When, where and with which command a bundle was built: the page knows it, the bundle's own files must not.

A date in the manifest would make the same build two different bundles. So a build writes it into its page, and a page
that is drawn again keeps what the earlier page holds.
"""

import platform
import shlex
import sys
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

from bundle.formats.manifest import Bundle

NOT_KNOWN = "not known: no earlier page of this bundle has it"


def now_here() -> str:
    """Say what runs now: the date and time in UTC, the machine, and the command of this process."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    program = Path(sys.argv[0])
    command = shlex.join(["tdss" if program.parts[-2:] == ("cli", "main.py") else program.name, *sys.argv[1:]])
    return f"{when}, on {platform.node()} ({platform.system()} {platform.machine()}), with: {command}"


def built_before(bundle: Bundle, page: str) -> str:
    """Return how the bundle was built, by its earlier page."""
    reader = _Built()
    reader.feed(bundle.results.get(page, b"").decode("utf-8", errors="replace"))
    return reader.built or NOT_KNOWN


class _Built(HTMLParser):
    built = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what ``<meta name="built">`` holds."""
        given = dict(attrs)
        if tag == "meta" and given.get("name") == "built":
            self.built = given.get("content") or ""
