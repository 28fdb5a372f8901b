"""A headless Chromium looks at a page: sizes, pictures, requests and console, without a driver."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
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
  await fetch("/result", {method: "POST", body: JSON.stringify({
    title: inside.title,
    pictures: [...inside.images].map((image) => image.naturalWidth),
    nameless: [...inside.images].filter((image) => !image.alt).length,
    client: inside.documentElement.clientWidth,
    scroll: inside.documentElement.scrollWidth,
    resources: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name),
    scripts: inside.scripts.length,
    overflowing: [...inside.querySelectorAll(".scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1)
      .map((part) => part.getAttribute("aria-label")),
  })});
};
</script>"""

FLAGS = (
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


SETTLE_S = 0.3  # for a message of the console that is still on its way


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
    overflowing: list[str]
    requests: list[str]
    console: list[str]


class Told:
    """What the browser asked for, in order, and the result it sent."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.result = ""
        self.arrived = threading.Event()


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[tuple[str, Told]]:
    """Serve ``files`` by path; yield the address and what a client sent to it."""
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            self._answer(files.get(self.path))

        def do_POST(self) -> None:
            told.result = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(b"")
            told.arrived.set()

        def _answer(self, body: bytes | None) -> None:
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
            yield f"http://127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


def look(page: bytes, *, width: int, seconds: float = 120.0) -> Seen:
    """Open a page in a frame ``width`` pixels wide, with every part unfolded, and wait until every picture is decoded."""
    files = {"/harness.html": HARNESS.replace("WIDTH", str(width)).encode(), "/page.html": page}
    with (
        serving(files) as (address, told),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile("w+") as said,
    ):
        command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", f"{address}/harness.html"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True) as process:
            try:
                assert told.arrived.wait(seconds), "the page did not load"
                time.sleep(SETTLE_S)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        console = [line for line in said.read().splitlines() if "CONSOLE" in line]
    ours = {"/harness.html", "/page.html", "/favicon.ico"}
    requests = [path for path in told.asked if path not in ours]
    return Seen(**json.loads(told.result), requests=requests, console=console)
