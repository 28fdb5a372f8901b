"""A store at a URL: what two machines share through it, and what killed, concurrent and refused writers leave."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.base.errors import InputError, TargetUnavailable
from bundle.formats.artifacts import SIDECAR, Exported, load
from compile.stage import shared_prune, store
from compile.stage.shared_prune import entries, prune
from compile.stage.shared_store import reached
from compile.stage.store import StageKey, obtain, open_store, seal, writing
from tests.cli.run import tdss
from tests.compile.made import quiet

fsspec = pytest.importorskip("fsspec", reason="the extra store is not installed")
ROOT = Path(store.__file__).resolve().parents[2]
KEY = StageKey(stage="export", inputs=("a",), settings={}, code="c", tools={})
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of moto's S3 on loopback."""
    pytest.importorskip("s3fs", reason="the extra store is not installed")
    moto = pytest.importorskip("moto.server", reason="moto, flask and flask-cors are not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("stages")
        yield "s3://stages"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind."""
    places = {"file": f"file://{tmp_path}/shared", "memory": f"memory://{uuid.uuid4().hex}"}
    found = places.get(request.param) or f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    return str(found)


def make(folder: Path, text: str = "graph") -> Exported:
    """Write an artifact of two files, one in a folder of its own."""
    with writing(folder, Exported) as temporary:
        (temporary / "model.onnx").write_text(text)
        (temporary / "more").mkdir()
        (temporary / "more" / "data.bin").write_text(text * 1000)
        seal(Exported, temporary, tools={})
    return load(Exported, folder)


def never(folder: Path) -> Exported:
    """Fail: the store has the answer."""
    pytest.fail("it ran again")


def objects(url: str) -> dict[str, bytes]:
    """Every object below a URL, by its path below it."""
    system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    found = system.find(root)
    return {path.removeprefix(root).strip("/"): system.cat_file(path) for path in found}


def alter(url: str, name: str, content: bytes) -> None:
    """Write over an object."""
    system, root = fsspec.core.url_to_fs(url)
    system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
    system.pipe_file(f"{root}/{name}", content)


def test_what_one_machine_made_another_takes(url: str, tmp_path: Path) -> None:
    made = obtain(open_store(url, tmp_path / "one"), Exported, KEY, make, quiet)
    taken = obtain(open_store(url, tmp_path / "two"), Exported, KEY, never, quiet)
    assert taken.record == made.record and taken.folder == tmp_path / "two" / "export" / KEY.digest
    assert load(Exported, taken.folder).file("more/data.bin").read_text() == "graph" * 1000
    record = (made.folder / SIDECAR).read_bytes()
    assert objects(url)[f"export/{KEY.digest}/{SIDECAR}"] == record


def test_what_holds_this_machines_times_is_not_shared(url: str, tmp_path: Path) -> None:
    key = KEY.model_copy(update={"stage": "judge"})
    obtain(open_store(url, tmp_path / "one"), Exported, key, make, quiet)
    assert [name for name in objects(url) if name.startswith("judge")] == []


@pytest.mark.parametrize("spoilt", ["model.onnx", SIDECAR, "missing"])
def test_a_damaged_object_is_named_and_made_again(url: str, tmp_path: Path, spoilt: str) -> None:
    record = obtain(open_store(url, tmp_path / "one"), Exported, KEY, make, quiet).record
    whole, said = objects(url), list[str]()
    name = f"export/{KEY.digest}/{SIDECAR if spoilt == SIDECAR else record.files['model.onnx']}"
    if spoilt == "missing":
        system, root = fsspec.core.url_to_fs(url)
        system.rm_file(f"{root}/{name}")
    else:
        alter(url, name, b"grapf")
    assert obtain(open_store(url, tmp_path / "two"), Exported, KEY, make, said.append).record == record
    what = {SIDECAR: f"{SIDECAR} cannot be read", "missing": "model.onnx is missing"}.get(
        spoilt, "model.onnx was altered"
    )
    assert said == [f"export: {what} in {KEY.digest} of {url}: made again"]
    assert objects(url) == whole
    obtain(open_store(url, tmp_path / "three"), Exported, KEY, never, quiet)


def test_two_writers_of_one_key_do_no_harm(url: str, tmp_path: Path) -> None:
    """They differ in every byte, and are at the same point; what is left is one of the two, whole."""
    together, made = threading.Barrier(2, timeout=60), dict[str, Exported]()

    def write(name: str) -> None:
        def meet(folder: Path) -> Exported:
            together.wait()
            return make(folder, name)

        made[name] = obtain(open_store(url, tmp_path / name), Exported, KEY, meet, quiet)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = obtain(open_store(url, tmp_path / "three"), Exported, KEY, never, quiet)
    assert found.record in [made["one"].record, made["two"].record]
    assert load(Exported, found.folder).record == found.record
    for name in made:
        assert load(Exported, tmp_path / name / "export" / KEY.digest).record == made[name].record


def test_the_second_writer_leaves_the_entry_of_the_first(url: str, tmp_path: Path) -> None:
    def late(folder: Path) -> Exported:
        obtain(open_store(url, tmp_path / "one"), Exported, KEY, make, quiet)
        return make(folder, "other")

    second = obtain(open_store(url, tmp_path / "two"), Exported, KEY, late, quiet)
    found = obtain(open_store(url, tmp_path / "three"), Exported, KEY, never, quiet)
    assert second.file("model.onnx").read_text() == "other" and found.file("model.onnx").read_text() == "graph"


def test_a_record_is_put_only_where_there_is_none(url: str, tmp_path: Path) -> None:
    """The last step of two writers who both saw no entry; where files are renamed, the last one wins, whole."""
    for text in (b"first", b"other"):
        with reached(url) as opened:
            opened.put(text, f"{opened.root}/record", replace=False)
    assert objects(url) == {"record": b"other" if url.startswith("file") else b"first"}


KILLED = """
import os, signal, sys
from pathlib import Path
from bundle.formats.artifacts import SIDECAR, Exported
from compile.stage.shared_store import Opened
from compile.stage.store import obtain, open_store
from tests.compile.stage.test_shared_store import KEY, make
put = Opened.put
def die(self, content, path, **more):
    if path.endswith(SIDECAR):
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, content, path, **more)
Opened.put = die
obtain(open_store(sys.argv[1], Path(sys.argv[2])), Exported, KEY, make, print)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_no_entry_and_what_it_left_is_pruned(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("memory"):
        pytest.skip("it ends with its process")
    command = [sys.executable, "-c", KILLED, url, str(tmp_path / "one")]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert len([name for name in objects(url) if KEY.digest in name]) == 2 and entries(url) == ()
    prune(url, max_bytes=0, older_than_s=0)
    assert len([name for name in objects(url) if KEY.digest in name]) == 2  # the writer may be at work still
    obtain(open_store(url, tmp_path / "one"), Exported, KEY, never, quiet)  # its own folder has it whole
    assert [one.key for one in entries(url)] == [KEY.digest]
    alter(url, f"fold/{KEY.digest}/{'0' * 64}", b"left")
    monkeypatch.setattr(shared_prune, "ABANDONED_S", -60.0)
    assert prune(url, max_bytes=1e9, older_than_s=1e9) == ()
    assert [name for name in objects(url) if name.startswith("fold")] == [] and len(entries(url)) == 1


def test_a_store_that_cannot_be_written_is_one_error_before_any_work(tmp_path: Path, bucket: str) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (f"file://{tmp_path}/file/store", "s3://no-such-bucket/store", "nosuch://store"):
        with pytest.raises(InputError, match="cannot be reached or written") as caught:
            open_store(place, tmp_path / "cache")
        assert caught.value.exit_code == 2 and caught.value.where == place and caught.value.got
    assert not (tmp_path / "cache").exists() and (tmp_path / "file").read_text() == "mine"


def test_a_store_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    root = open_store(f"file://{shared}", tmp_path / "one")
    shared.rename(tmp_path / "away")
    shared.write_text("no folder")
    with pytest.raises(InputError, match="cannot be reached or written"):
        obtain(root, Exported, KEY, make, quiet)
    shared.unlink()
    (tmp_path / "away").rename(shared)
    load(Exported, obtain(root, Exported, KEY, make, quiet).folder)
    obtain(open_store(f"file://{shared}", tmp_path / "two"), Exported, KEY, never, quiet)


@pytest.mark.parametrize(("module", "url"), [("fsspec.core", "memory://x"), ("s3fs", "s3://x")])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, url: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(TargetUnavailable, match=f"a stage store at {url} needs {module.partition('.')[0]},") as caught:
        open_store(url, tmp_path)
    assert "[store]" in caught.value.fix


def test_the_commands_list_and_prune(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("store", "list", "--store", url, capsys=capsys)
    assert code == 2 and "there is no store here" in err
    root = open_store(url, tmp_path / "one")
    keys = [KEY.model_copy(update={"inputs": (str(number),)}) for number in range(3)]
    for key in keys:
        obtain(root, Exported, key, make, quiet)
    code, out, _ = tdss("store", "list", "--store", url, "--json", capsys=capsys)
    rows: list[dict[str, Any]] = json.loads(out)
    assert code == 0 and {row["key"] for row in rows} == {key.digest for key in keys}
    assert {row["kind"] for row in rows} == {"exported"}
    folder = tmp_path / "one" / "export" / keys[0].digest
    assert {row["bytes"] for row in rows} == {sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())}
    words = ("store", "prune", "--store", url, "--max-bytes", str(2 * rows[0]["bytes"]))
    assert tdss(*words, "--dry-run", capsys=capsys)[0] == 0 and len(entries(url)) == 3
    assert tdss(*words, capsys=capsys)[0] == 0
    assert [one.model_dump() for one in entries(url)] == rows[1:]
    assert len(objects(url)) == 1 + 2 * 3  # the mark, and two entries of two files and a record


def test_a_folder_needs_no_fsspec(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from bundle.formats.artifacts import Exported
from compile.stage.store import in_use, obtain, open_store
{MAKES}
root = open_store(sys.argv[1], Path("unused"))
with in_use(root):
    assert obtain(root, Exported, stage_key(0), make, print).folder.is_relative_to(sys.argv[1])
print(sorted({{"fsspec", "s3fs", "dask"}} & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")], cwd=ROOT, check=True, capture_output=True
    )
    assert ran.stdout == b"[]\n" and os.listdir(tmp_path) == ["store"]


MAKES = """
from bundle.formats.artifacts import load
from compile.stage.store import StageKey, seal, writing
def stage_key(number):
    return StageKey(stage="export", inputs=(), settings={}, code="c", tools={})
def make(folder):
    with writing(folder, Exported) as temporary:
        seal(Exported, temporary, tools={})
    return load(Exported, folder)
"""
