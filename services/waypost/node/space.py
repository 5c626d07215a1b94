"""The space that messages take: counted while their payload is there, freed when they expire.
Rows outlive their payload for a while, so that expired can be told from unknown."""

import sqlite3
from collections.abc import Sequence

from waypost.node.backends.schema import read_meta, write_meta

EVERYBODY = ""
"""The row of `storage_used` that counts for all channels together."""
FORGOTTEN = "forgotten"
"""Fact about the store: the latest sequence number whose row is gone altogether."""
AT_ONCE = 200
"""Messages that one write expires, so that other writes need not wait long."""


def expire(connection: sqlite3.Connection, now: int) -> int:
    """Frees the payloads of some messages that have expired; how many."""
    rows = connection.execute(
        "SELECT sequence FROM messages WHERE expires <= ? AND payload IS NOT NULL LIMIT ?", (now, AT_ONCE)
    )
    return drop(connection, [row["sequence"] for row in rows])


def drop(connection: sqlite3.Connection, sequences: Sequence[int]) -> int:
    """Frees payloads that are still there; their rows stay. Returns how many."""
    dropped = 0
    for sequence in sequences:
        for row in connection.execute(
            "UPDATE messages SET meta = NULL, payload = NULL WHERE sequence = ? AND payload IS NOT NULL"
            " RETURNING signer, size",
            (sequence,),
        ).fetchall():
            count(connection, row["signer"], -row["size"])
            dropped += 1
    return dropped


def forget(connection: sqlite3.Connection, before: int) -> int:
    """Deletes some rows whose message expired by `before`; how many."""
    rows = connection.execute(
        "DELETE FROM messages WHERE sequence IN"
        " (SELECT sequence FROM messages WHERE expires <= ? AND payload IS NULL LIMIT ?) RETURNING sequence",
        (before, AT_ONCE),
    ).fetchall()
    latest = max((row["sequence"] for row in rows), default=0)
    if latest > forgotten_until(connection):
        write_meta(connection, FORGOTTEN, str(latest))
    return len(rows)


def used(connection: sqlite3.Connection, signer: str) -> int:
    """Bytes that are kept in the name of `signer`, or of EVERYBODY."""
    row = connection.execute("SELECT bytes FROM storage_used WHERE signer = ?", (signer,)).fetchone()
    return 0 if row is None else int(row["bytes"])


def count(connection: sqlite3.Connection, signer: str, size: int) -> None:
    """Adds to what is kept; a negative size takes away."""
    connection.executemany(
        "INSERT INTO storage_used (signer, bytes) VALUES (?, ?)"
        " ON CONFLICT (signer) DO UPDATE SET bytes = bytes + excluded.bytes",
        ((signer, size), (EVERYBODY, size)),
    )


def forgotten_until(connection: sqlite3.Connection) -> int:
    """The latest sequence number whose row is gone: up to there, nobody knows what there was."""
    return int(read_meta(connection, FORGOTTEN))
