"""A command is run once for what it depends on; one that was killed goes on, and one that failed says why."""

from pathlib import Path

import pytest

from bundle.base.append_log import AppendLog
from bundle.formats.artifacts import Record, write_record
from studies.command_journal import Job, run_job
from studies.zoo import jobs as zoo_jobs
from studies.zoo.jobs import Terms, job_key, jobs, measuring_jobs, run_rows
from studies.zoo.rows import read_rows
from tests.report import made


def job(zoo: Path, terms: Terms, *words: str) -> Job:
    """A job of a row, with other words, whose folder is there."""
    first = next(jobs(read_rows(zoo)[0], terms))
    first.folder.mkdir(parents=True, exist_ok=True)
    return first._replace(words=("cli.main", *words))


def run(job: Job, terms: Terms, zoo: Path) -> list[str]:
    """Run it, and return what was said."""
    said: list[str] = []
    run_job(job, job_key(read_rows(zoo)[0], job, terms), said.append)
    return said


def test_each_row_has_two_bundles_and_a_fold_without_the_last_task(zoo: Path, terms: Terms) -> None:
    row = read_rows(zoo, ["added"])[0]
    jetson, fold = jobs(row, terms)
    [intel] = measuring_jobs(row, terms)
    assert [one.folder for one in (intel, jetson)] == [terms.out / "added" / name for name in ("intel", "jetson")]
    assert fold.words[fold.words.index("--tasks") + 1] == "semseg"
    assert intel.missing == fold.missing == "not run"


def test_the_fold_goes_on_from_the_graph_of_the_bundle(zoo: Path, terms: Terms) -> None:
    row = read_rows(zoo)[0]
    bundle = next(jobs(row, terms))
    assert list(jobs(row, terms))[-1].words[2] == str(row.folder)
    AppendLog(bundle.journal).add('{"key": "k", "seconds": 1.0, "code": 0}')
    made.make(bundle.folder, None, bench=False, images=1, parents={"exported": "ab" * 32})
    assert list(jobs(row, terms))[-1].words[2] == str(row.folder)
    for name, parent in (("other", "cd" * 32), ("own", "ab" * 32)):
        entry = terms.out / ".store" / "simplify" / name
        entry.mkdir(parents=True)
        record = Record(kind="simplified", files={}, parent=parent, inputs=(), outputs=(), settings={}, tools={})
        write_record(entry, record)
    assert list(jobs(row, terms))[-1].words[2] == str(terms.out / ".store" / "simplify" / "own")


@pytest.mark.slow
def test_a_command_is_not_run_again_until_something_changes(zoo: Path, terms: Terms) -> None:
    done = job(zoo, terms, "--version")
    assert "taken from" not in "".join(run(done, terms, zoo)) and done.missing == ""
    before = done.journal.read_bytes()
    assert "taken from" in run(done, terms, zoo)[0] and done.journal.read_bytes() == before
    keys = [done.lines()[-1].key]
    for path in (zoo / done.row / "config.toml", terms.data / "val.txt"):
        path.write_text("changed")
        assert "started" in run(done, terms, zoo)[0]
        assert len({line.key for line in done.lines()}) == 1
        keys.append(done.lines()[-1].key)
    assert len(set(keys)) == 3
    done.folder.rmdir()
    assert "started" in run(done, terms, zoo)[0]


def test_the_seconds_of_a_killed_command_count(zoo: Path, terms: Terms) -> None:
    killed = job(zoo, terms, "--version")
    run(killed, terms, zoo)
    log = AppendLog(killed.journal)
    [entry] = log.entries
    log.keep(0)
    log.add(entry.replace('"code":0', '"code":null').replace('"seconds":', '"seconds":100'))
    assert killed.missing == "not run"
    run(killed, terms, zoo)
    assert len(killed.lines()) == 2 and killed.missing == ""
    assert killed.seconds == sum(line.seconds for line in killed.lines()) > 100


def test_a_command_that_fails_says_why_and_is_tried_again(zoo: Path, terms: Terms) -> None:
    failed = job(zoo, terms, "flod")
    said = run(failed, terms, zoo)
    assert failed.missing == "not run: there is no command 'flod'; 'flod'" and failed.missing in said[-1]
    assert "started" in run(failed, terms, zoo)[0]


@pytest.mark.parametrize("code, there", [(0, True), (1, True), (2, False), (3, False), (4, False), (-9, False)])
def test_a_bundle_beyond_its_budget_is_one(zoo: Path, terms: Terms, code: int, there: bool) -> None:
    ended = job(zoo, terms)
    AppendLog(ended.journal).add(f'{{"key": "k", "seconds": 1.0, "code": {code}}}')
    assert (ended.missing == "") is there
    assert there or ended.missing == f"not run: exit code {code}"


@pytest.mark.slow
def test_every_command_of_every_row_is_run_and_a_fault_ends_all(
    zoo: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, ran = read_rows(zoo), list[tuple[str, str]]()

    def run_job(job: Job, key: str, say: object) -> None:
        ran.append((job.row, job.name))
        if fails and job.name == "growth":
            raise KeyboardInterrupt

    monkeypatch.setattr(zoo_jobs, "run_job", run_job)
    fails = False
    run_rows(rows, terms, 2, ran.append)
    assert sorted(ran) == sorted((row.name, name) for row in rows for name in ("intel", "jetson", "growth"))
    assert {name for _, name in ran[-len(rows) :]} == {"intel"}
    ran.clear()
    fails = True
    with pytest.raises(KeyboardInterrupt):
        run_rows(rows, terms, 1, ran.append)
    assert ran == [(rows[0].name, "jetson"), (rows[0].name, "growth")]
