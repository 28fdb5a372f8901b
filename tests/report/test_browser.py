import pytest

from bundle.formats.manifest import load_bundle
from report.bundle_page.page import render
from tests.report import browser, made

pytestmark = pytest.mark.skipif(browser.BROWSER is None, reason="no Chromium here: apt-get install chromium")

PHONE = 360


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = made.make(tmp_path_factory.mktemp("bundle") / "made", made.rich(), name="n" * 150, sensitivity=True)
    return render(load_bundle(folder), made.Compiled(0.6)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, 390, 1280])
def test_the_page_stands_alone_and_fits(page: bytes, width: int) -> None:
    seen = browser.look(page, width=width)
    assert seen.title.startswith("Regression")
    assert (seen.client, seen.scroll) == (width, width)
    assert len(seen.pictures) in range(3 * 5 * 6, 4 * 5 * 6 + 1) and min(seen.pictures) == made.WIDTH
    assert seen.nameless == 0
    assert (seen.resources, seen.requests, seen.console, seen.scripts, seen.overflowing) == ([], [], [], 0, [])


def test_the_policy_stops_a_request(page: bytes) -> None:
    spoilt = page.replace(b"<main>", b'<main><img alt="" src="/leak.png">')
    seen = browser.look(spoilt, width=PHONE)
    assert seen.requests == [] and "Content Security Policy" in " ".join(seen.console)


def test_the_harness_sees_faults() -> None:
    faults = (
        b'<title>x</title><img src="/leak.png"><div style="width:500px">wide</div><script>console.error("no")</script>'
        b'<div class="scroll" aria-label="table" style="overflow-x:auto"><p style="width:800px">wide</p></div>'
    )
    seen = browser.look(faults, width=PHONE)
    assert seen.requests == ["/leak.png"] and len(seen.resources) == 1
    assert seen.scroll > seen.client and seen.pictures == [0] and seen.nameless == 1
    assert any("no" in line for line in seen.console) and seen.overflowing == ["table"]
