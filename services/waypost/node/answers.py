"""Answers kept for retries: a paid request that is sent again under its idempotency key
is answered from here, and charged once."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from waypost.errors import IdempotencyConflict

KEPT = 24 * 3600
"""Seconds for which a key stands for its answer."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's key for one request, and the hash of what it asked for."""

    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request cost, in token base units, and its JSON result."""

    charged: int
    result: Any


def find(connection: sqlite3.Connection, signer: str, idempotency: Idempotency, now: int) -> Answer | None:
    """The answer that this channel's key stands for. Raises IdempotencyConflict."""
    row = connection.execute(
        "SELECT body_hash, charged, answer FROM answers WHERE signer = ? AND key = ? AND created > ?",
        (signer, idempotency.key, now - KEPT),
    ).fetchone()
    if row is None:
        return None
    if row["body_hash"] != idempotency.body_hash:
        raise IdempotencyConflict(key=idempotency.key)
    return Answer(int(row["charged"]), json.loads(row["answer"]))


def remember(
    connection: sqlite3.Connection,
    signer: str,
    idempotency: Idempotency,
    answer: Answer,
    now: int,
) -> None:
    """Lets the key stand for this answer; an older one of the same key has expired."""
    connection.execute(
        "INSERT OR REPLACE INTO answers (signer, key, body_hash, charged, answer, created)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            signer,
            idempotency.key,
            idempotency.body_hash,
            str(answer.charged),
            json.dumps(answer.result),
            now,
        ),
    )


def prune(connection: sqlite3.Connection, now: int) -> int:
    """Drops answers that are too old to stand for anything; how many."""
    return connection.execute("DELETE FROM answers WHERE created <= ?", (now - KEPT,)).rowcount
