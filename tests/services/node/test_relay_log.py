"""The log's quota bounds what the disk holds."""

import itertools
import os
import sqlite3
from collections.abc import Iterator

import pytest

from waypost.node import relay_log
from waypost.node.backends.schema import META, RELAY
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof

QUOTA = 2 * 1024 * 1024
LONG = "/waypost/1/" + "ü" * 120 + "/raw"


class Log:
    """The relay's tables in a database of their own."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self.connection.executescript(META + RELAY)
        self._empty, self._numbers = self._pages(), itertools.count()

    def append(self, size: int, topic: str = "/waypost/1/test/raw", *, proved: bool = True) -> None:
        number = next(self._numbers)
        root, nullifier, y = (int.from_bytes(os.urandom(31)) for _ in range(3))
        proof = RateProof(2_900_000, root, nullifier, y, os.urandom(128)) if proved else None
        message = Message(topic, os.urandom(size), 1_800_000_000 * 10**9 + number)
        relay_log.append(self.connection, Envelope(message, proof), number, QUOTA)

    @property
    def on_disk(self) -> int:
        """Bytes of pages that hold something."""
        return (self._pages() - self._empty) * 4096

    def __len__(self) -> int:
        return self._value("SELECT count(*) FROM relayed")

    def _pages(self) -> int:
        return self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")

    def _value(self, query: str) -> int:
        value: int = self.connection.execute(query).fetchone()[0]
        return value


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    log.connection.execute("BEGIN")
    yield log
    log.connection.close()


@pytest.mark.parametrize(
    ("sizes", "topic", "proved"),
    [
        ([0], None, True),
        ([0], None, False),
        ([0], LONG, True),
        ([0], LONG, False),
        ([1000], None, True),
        ([1500], None, True),  # hardly more than half a page
        ([300, 2600], None, True),  # no two of which fit into one page
        ([100_000], None, True),
        ([0, 150_000], None, False),
    ],
)
def test_the_quota_bounds_what_the_disk_holds(
    log: Log, sizes: list[int], topic: str | None, proved: bool
) -> None:
    given, peak, dropped = itertools.cycle(sizes), 0, 0
    while dropped < 3:  # since then what it holds is laid out anew in pages that are free again
        before = len(log)
        log.append(next(given), *([topic] if topic else []), proved=proved)
        dropped += len(log) <= before
        peak = max(peak, log.on_disk)
    assert QUOTA / 4 < peak <= QUOTA


def test_what_is_dropped_is_counted_no_more(log: Log) -> None:
    for size in (0, 100, 5000):
        for proved in (False, True):
            log.append(size, proved=proved)
    while relay_log.prune(log.connection, 2**40):
        pass
    assert (len(log), relay_log._held(log.connection)) == (0, 0)


def test_books_of_an_earlier_version_are_counted_anew(log: Log) -> None:
    for size in (0, 100, 5000):
        log.append(size)
    held = relay_log._held(log.connection)
    log.connection.execute("DELETE FROM meta")
    log.append(10)
    counted = relay_log._held(log.connection)
    log.connection.execute("DELETE FROM meta")
    assert relay_log._held(log.connection) == counted > held
