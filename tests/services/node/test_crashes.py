"""Real processes that die or find their disk full while they write, and what is in the books after."""

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.services.node.books import open_database
from tests.services.node.paying import PRICES, RETENTION, SIGNER, Payer

from waypost.node.backends.sqlite import FILE, Database

ROUNDS = 6


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.services.node.paying", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def contents(connection: sqlite3.Connection) -> tuple[dict[str, int], list[int], int, str]:
    """Charges by key, sizes of the stored messages, bytes in the quota, SQLite's own opinion."""
    answers = connection.execute("SELECT key, charged FROM answers")
    sizes = connection.execute("SELECT size FROM messages")
    used = connection.execute("SELECT bytes FROM storage_used WHERE signer = ''").fetchone()
    verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    return (
        {row["key"]: int(row["charged"]) for row in answers},
        [row["size"] for row in sizes],
        used["bytes"] if used else 0,
        verdict,
    )


async def check_books(db: Database, acknowledged: dict[str, int]) -> None:
    charges, sizes, used, verdict = await db.read(contents)
    assert verdict == "ok"
    assert acknowledged.items() <= charges.items()
    account = await Payer(db).ledger.account(SIGNER)
    assert account is not None
    assert account.spent == sum(charges.values()) <= account.covered
    assert sorted(charges.values()) == sorted(PRICES.store_cost(size, RETENTION) for size in sizes)
    assert used == sum(sizes)


async def test_a_killed_process_loses_no_acknowledged_charge(tmp_path: Path) -> None:
    chance = random.Random(2)
    acknowledged: dict[str, int] = {}
    for number in range(ROUNDS):
        with start(tmp_path, number) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 300))]
            process.kill()
            lines += process.stdout.readlines()  # what it said before it died counts as well
        fields = [line.split() for line in lines if line.endswith("\n")]
        acknowledged |= {key: int(charged) for key, charged, _, _ in fields}
        async with open_database(tmp_path) as db:
            await check_books(db, acknowledged)
            payer = Payer(db)
            await payer.start()
            # Clients that got no answer ask again, and so may those that did.
            open_ends = [f"{number}-{worker}-{n}" for worker in range(8) for n in range(400)]
            retried = chance.sample(open_ends, 20) + chance.choices(sorted(acknowledged), k=20)
            for key in retried:
                answer = await payer.pay(key)
                assert answer.replayed or key not in acknowledged
                assert acknowledged.setdefault(key, answer.charged) == answer.charged
            await check_books(db, acknowledged)


async def test_a_full_disk_stops_writes_alone(tmp_path: Path) -> None:
    process = await asyncio.to_thread(start, tmp_path, "full", 1_000_000)
    output, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    full, reads, again = (line.split() for line in output.splitlines())
    count, spent = int(full[2]), int(full[3])
    each = spent // count
    assert count > 10
    assert reads == ["reads", str(spent)]
    assert again == ["room", "again", "0", str(spent + each)]
    async with open_database(tmp_path) as db:
        await check_books(db, {f"full-{n}": each for n in range(count + 1)})


async def test_a_torn_log_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(3)
    log = f"{FILE}-wal"
    async with open_database(tmp_path / "live") as db:
        payer = Payer(db)
        await payer.start()
        acknowledged = {key: (await payer.pay(key)).charged for key in ("a", "b", "c")}
        safe = (tmp_path / "live" / log).stat().st_size
        for key in "defgh":
            await payer.pay(key)
        whole = (tmp_path / "live" / log).read_bytes()
        assert len(whole) > safe
        for number in range(10):
            copy = tmp_path / f"{number}"
            copy.mkdir()
            shutil.copy(tmp_path / "live" / FILE, copy)
            end = chance.randint(safe, len(whole))
            (copy / log).write_bytes(whole[:end] + chance.randbytes(chance.choice((0, 5000))))
            async with open_database(copy) as restored:
                await check_books(restored, acknowledged)


async def test_commits_are_flushed_to_disk(tmp_path: Path) -> None:
    async with open_database(tmp_path) as db:
        pragmas = ("journal_mode", "synchronous", "fullfsync")
        found = await db.write(
            lambda connection: [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        )
    assert found == ["wal", 2, 1]
