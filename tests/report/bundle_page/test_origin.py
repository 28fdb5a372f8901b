"""A page says when, where and with which command its bundle was built, and a page that is drawn again keeps it."""

import re
import sys
from pathlib import Path

import pytest

from bundle.formats.manifest import load_bundle
from report.bundle_page.origin import NOT_KNOWN, now_here
from report.bundle_page.page import render
from tests.report import made
from tests.report.bundle_page.test_page import Reader


@pytest.mark.parametrize("program", ["/opt/bin/tdss", "/a/checkout/cli/main.py"])
def test_now_here_has_a_date_a_machine_and_the_command(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "pipeline", "--target", "in tel"])
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d UTC, on .+ \(\w+ \w+\), with: tdss pipeline --target 'in tel'", now_here()
    )


def test_a_page_that_is_drawn_again_keeps_how_the_bundle_was_built(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.regression())
    assert f"Built {NOT_KNOWN}" in Reader(render(load_bundle(folder)).read_text(encoding="utf-8")).text
    told = "2026-01-02 03:04 UTC, on <b>host</b>, with: tdss pipeline"
    render(load_bundle(folder), built=told)
    again = Reader(render(load_bundle(folder)).read_text(encoding="utf-8"))
    assert f"Built {told}" in again.text and again.tags["b"] == 0
