"""A headless Chromium looks at a page: sizes, pictures, requests and console, without a driver."""

import html
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

HARNESS = """<!DOCTYPE html><title>harness</title>
<iframe id="frame" style="border:0;width:WIDTHpx;height:700px" src="/page.html"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = async () => {
  const inside = frame.contentDocument;
  inside.querySelectorAll("details").forEach((part) => { part.open = true; });
  await Promise.all([...inside.images].map((image) => image.decode().catch(() => 0)));
  document.body.dataset.result = JSON.stringify({
    title: inside.title,
    pictures: [...inside.images].map((image) => image.naturalWidth),
    nameless: [...inside.images].filter((image) => !image.alt).length,
    client: inside.documentElement.clientWidth,
    scroll: inside.documentElement.scrollWidth,
    resources: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name),
    scripts: inside.scripts.length,
  });
};
</script>"""

FLAGS = (
    "--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the browser saw of a page in a frame of a given width."""

    title: str
    pictures: list[int]
    nameless: int
    client: int
    scroll: int
    resources: list[str]
    scripts: int
    requests: list[str]
    console: list[str]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve ``files`` by path; yield the address and the paths asked for, in order."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def look(page: bytes, *, width: int) -> Seen:
    """Open a page in a frame ``width`` pixels wide, with every part unfolded."""
    files = {"/harness.html": HARNESS.replace("WIDTH", str(width)).encode(), "/page.html": page}
    with serving(files) as (address, asked), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", f"{address}/harness.html"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-result="([^"]*)"', done.stdout)
    assert found is not None, f"the page did not load: {done.stderr[-2000:]}"
    result = json.loads(html.unescape(found.group(1)))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    ours = {"/harness.html", "/page.html", "/favicon.ico"}
    return Seen(**result, requests=[path for path in asked if path not in ours], console=console)
