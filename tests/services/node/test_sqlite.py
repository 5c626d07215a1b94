"""The database: durable, shared commits; and every way in which a data folder can be unusable."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.books import IDENTITY, address, open_database

from waypost.errors import (
    DataCorrupt,
    DataInUse,
    DataOfAnotherChain,
    DataTooNew,
    InvalidConfig,
    NodeNotReady,
    StorageFull,
)
from waypost.node.backends import schema, writer
from waypost.node.backends.schema import MIGRATIONS, read_meta
from waypost.node.backends.sqlite import FILE, Database


def insert(name: str) -> Callable[[sqlite3.Connection], str]:
    """A write that leaves a fact."""

    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO meta VALUES (?, '')", (name,))
        return name

    return work


async def facts(db: Database) -> set[str]:
    rows = "SELECT key FROM meta WHERE value = ''"
    return await db.read(lambda connection: {row["key"] for row in connection.execute(rows)})


class Gate:
    """A write that waits inside its transaction until the test lets it go on."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._open.wait(60)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 60)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def held(db: Database) -> AsyncIterator[Gate]:
    """The writer is busy, so that what is submitted meanwhile waits for the next commit."""
    gate = Gate()
    task = asyncio.create_task(db.write(gate))
    await gate.entered()
    yield gate
    gate.open()
    await task


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits wait for all that is submitted, however slow the machine."""
    monkeypatch.setattr(writer, "WINDOW", 60)


# ---- Group commit ----


async def test_waiting_writes_share_a_commit(db: Database, held: Gate, patient: None) -> None:
    commits = db.commits
    tasks = [asyncio.create_task(db.write(insert(f"{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    held.open()
    assert await asyncio.gather(*tasks) == [f"{n}" for n in range(50)]
    assert len(await facts(db)) == 50
    assert db.commits - commits <= 2  # the gate's own, and one for all that waited
    assert db.writes == 51


async def test_one_failing_write_does_not_hurt_its_neighbours(
    db: Database, held: Gate, patient: None
) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        insert("half")(connection)
        raise KeyError("on purpose")

    def clashes(connection: sqlite3.Connection) -> None:
        insert("other half")(connection)
        insert("first")(connection)

    def wrong(connection: sqlite3.Connection) -> None:
        insert("third half")(connection)
        connection.execute("SELECT * FROM nothing")

    works = [insert("first"), fails, clashes, wrong, insert("last")]
    tasks = [asyncio.create_task(db.write(work)) for work in works]
    await asyncio.sleep(0)
    held.open()
    first, *errors, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == ("first", "last")
    assert [type(error) for error in errors] == [
        KeyError,
        sqlite3.IntegrityError,
        sqlite3.OperationalError,
    ]
    assert await facts(db) == {"first", "last"}


async def test_a_write_too_large_for_the_disk_does_not_hurt_its_neighbours(
    db: Database, held: Gate, patient: None
) -> None:
    def large(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 100")  # fails like a full disk
        insert("large")(connection)
        connection.execute("INSERT INTO meta VALUES ('body', ?)", ("x" * 2_000_000,))

    works = [insert("first"), large, insert("last")]
    tasks = [asyncio.create_task(db.write(work)) for work in works]
    await asyncio.sleep(0)
    held.open()
    first, error, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == ("first", "last")
    assert isinstance(error, StorageFull)
    assert await facts(db) == {"first", "last"}


async def test_a_write_is_acknowledged_after_its_commit(db: Database, held: Gate, patient: None) -> None:
    first, gate = asyncio.create_task(db.write(insert("first"))), Gate()
    second = asyncio.create_task(db.write(gate))
    await asyncio.sleep(0)
    held.open()
    await gate.entered()  # the first write has run, in the same transaction
    assert await facts(db) == set()
    assert not first.done()
    gate.open()
    await asyncio.gather(first, second)
    assert await facts(db) == {"first"}


async def test_cancelling_the_caller_does_not_take_the_write_back(
    db: Database, held: Gate, patient: None
) -> None:
    cancelled, neighbour = (asyncio.create_task(db.write(insert(name))) for name in ("kept", "next"))
    await asyncio.sleep(0)
    cancelled.cancel()
    held.open()
    async with asyncio.timeout(60):  # the same commit answers it
        assert await neighbour == "next"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await facts(db) == {"kept", "next"}


async def test_reads_see_one_snapshot_and_cannot_write(db: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def twice(connection: sqlite3.Connection) -> tuple[int, int]:
        count = "SELECT count(*) FROM meta"
        before = connection.execute(count).fetchone()[0]
        entered.set()
        assert go_on.wait(60)
        return before, connection.execute(count).fetchone()[0]

    task = asyncio.create_task(db.read(twice))
    assert await asyncio.to_thread(entered.wait, 60)
    await db.write(insert("meanwhile"))
    go_on.set()
    before, after = await task
    assert before == after
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await db.read(insert("refused"))


async def test_closing_finishes_what_was_submitted(tmp_path: Path) -> None:
    db = open_database(tmp_path)
    tasks = [asyncio.create_task(db.write(insert(f"{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await db.close()
    await db.close()
    await asyncio.gather(*tasks)
    for use in (db.write, db.read):
        with pytest.raises(NodeNotReady):
            await use(insert("late"))
    async with open_database(tmp_path) as again:
        assert len(await facts(again)) == 20


# ---- Unusable folders ----


HOLDER = """
import sys
from pathlib import Path
from tests.services.node.books import open_database
db = open_database(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(tmp_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    with pytest.raises(DataInUse, match="Another process uses"):
        open_database(tmp_path)
    process.kill()
    await process.wait()
    async with open_database(tmp_path):  # the lock died with its process
        with pytest.raises(DataInUse):
            open_database(tmp_path)
    await open_database(tmp_path).close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("chain_id", 1)] + [(name, address("other")) for name in ("channels", "registry", "token", "payee")],
)
async def test_data_of_another_chain_contract_or_payee_is_refused(
    tmp_path: Path, field: str, value: Any
) -> None:
    async with open_database(tmp_path) as db:
        await db.write(insert("kept"))
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(DataOfAnotherChain) as refused:
        Database(tmp_path, replace(IDENTITY, **{field: value}))
    assert refused.value.details["field"] == field
    assert str(value) in str(refused.value)
    assert (tmp_path / FILE).read_bytes() == before
    async with open_database(tmp_path) as db:
        assert await facts(db) == {"kept"}


def test_files_that_are_no_node_database_are_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text("my shopping list\n" * 100)
    with pytest.raises(DataCorrupt):
        open_database(tmp_path)
    assert file.read_text() == "my shopping list\n" * 100
    file.unlink()
    foreign = sqlite3.connect(file)
    foreign.execute("CREATE TABLE bookmarks (url TEXT)")
    foreign.close()
    before = file.read_bytes()
    with pytest.raises(DataCorrupt, match="no database of a Waypost node"):
        open_database(tmp_path)
    assert file.read_bytes() == before


def test_places_that_are_no_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "node" / FILE).mkdir(parents=True)
    for place in ("file", "file/below", "node"):
        with pytest.raises(InvalidConfig, match="cannot be"):
            open_database(tmp_path / place)


async def test_damage_is_noticed(tmp_path: Path) -> None:
    async with open_database(tmp_path) as db:
        await db.write(insert("fact"))
    file = tmp_path / FILE
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        file.write_bytes(damaged)
        with pytest.raises(DataCorrupt):
            open_database(tmp_path)


async def test_data_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await open_database(tmp_path).close()
    raw = sqlite3.connect(tmp_path / FILE)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(DataTooNew) as refused:
        open_database(tmp_path)
    assert refused.value.details["maximum"] == len(MIGRATIONS)


async def test_an_older_database_gets_what_is_new_and_keeps_its_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", MIGRATIONS[:1])
        async with open_database(tmp_path) as db:
            await db.write(insert("fact"))
    async with open_database(tmp_path) as db:
        assert await facts(db) == {"fact"}
        assert await db.read(lambda c: c.execute("SELECT count(*) FROM members").fetchone()[0]) == 0
        version = await db.read(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
    assert version == len(MIGRATIONS)


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()  # what a crash right after creation leaves
    async with open_database(tmp_path) as db:
        assert await db.read(lambda c: read_meta(c, "payee")) == IDENTITY.payee
