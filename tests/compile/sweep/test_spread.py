"""Where a sweep may run, and a scheduler that is not there."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError, InputError, TargetUnavailable
from compile.stage import cluster
from compile.stage.cluster import AUTHORITY, CERTIFICATE, PRIVATE, Places, require_places
from compile.sweep.spread import run_all
from compile.sweep.unit import Order

ORDER = Order("a/b/c/0", "{}", "0" * 24, "machine")


@pytest.mark.parametrize(
    ("places", "text"),
    [
        (Places(scheduler="tcp://127.0.0.1:8786"), "runs code on its workers"),
        (Places(scheduler="127.0.0.1:8786"), "runs code on its workers"),
        (Places(scheduler="ucx://host:1", insecure=True), "runs code on its workers"),
        (Places(scheduler="tls://host:1"), "tls:// needs certificates"),
        (Places(scheduler="tls://host:1", insecure=True), "tls:// needs certificates"),
        (Places(workers=2, scheduler="tls://host:1"), "one place"),
    ],
)
def test_an_open_address_is_refused(places: Places, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        require_places(places)


def test_an_address_with_certificates_is_taken_and_one_that_is_asked_for(tmp_path: Path) -> None:
    for name in (AUTHORITY, CERTIFICATE):
        (tmp_path / name).write_text("")
    asked = Places(scheduler="tls://host:1", certificates=tmp_path)
    with pytest.raises(ConfigError, match="needs certificates") as caught:
        require_places(asked)
    assert PRIVATE in caught.value.got and CERTIFICATE not in caught.value.got
    (tmp_path / PRIVATE).write_text("")
    for places in (asked, Places(), Places(workers=2), Places(scheduler="tcp://host:1", insecure=True)):
        require_places(places)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(TargetUnavailable, match="a cluster needs distributed") as caught:
        run_all([ORDER], Places(workers=2), print)
    assert "[cluster]" in caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tcp://no.such.host.invalid:8786", "tcp://127.0.0.1:x"])
def test_a_wrong_address_is_one_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with pytest.raises(InputError, match="the scheduler cannot be reached") as caught:
        run_all([ORDER], Places(scheduler=address, insecure=True), print)
    assert caught.value.exit_code == 2 and caught.value.where == address
