"""The nullifier log: the first signal of each nullifier, and what another one is beside it. Proofs play no
part in it: Groth16 lets anybody change one proof into another of the same signal."""

import sqlite3
from dataclasses import dataclass
from enum import Enum, auto

from waypost.errors import InvalidProof, InvalidShares
from waypost.protocol.rln import Signal, recover_secret

_PRUNED_AT_ONCE = 5_000
"""Rows of one write, so that others need not wait for long."""


class Verdict(Enum):
    """What a signal is, beside those of its nullifier that were seen before."""

    NEW = auto()
    DUPLICATE = auto()
    """The same share: nothing new is disclosed."""
    CONFLICT = auto()
    """Another share, which discloses the sender's secret."""
    EXPOSED = auto()
    """Another share of somebody whose secret this node had found before: nothing new."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """`secret`: the sender's, if the two signals disclose it."""

    verdict: Verdict
    secret: int | None = None


def weigh(connection: sqlite3.Connection, signal: Signal) -> Weighed:
    """What the signal is beside the one that the log has. Unless that is NEW, it needs no proof: a line
    through the logged share that fits the nullifier is known to nobody who does not know the secret.

    Raises InvalidProof for a signal that cannot be true beside the logged one.
    """
    row = connection.execute(
        "SELECT * FROM shares WHERE nullifier = ?", (signal.nullifier.to_bytes(32),)
    ).fetchone()
    if row is None:
        return Weighed(Verdict.NEW)
    x, y, external = (int.from_bytes(row[name]) for name in ("x", "y", "external_nullifier"))
    logged = Signal(y, signal.root, signal.nullifier, x, external)
    if logged == signal:
        return Weighed(Verdict.DUPLICATE)
    try:
        return Weighed(Verdict.CONFLICT, recover_secret(logged, signal))
    except InvalidShares:
        raise InvalidProof("The signal is not of the member whose nullifier it has.") from None


def enter(connection: sqlite3.Connection, signal: Signal, epoch: int) -> None:
    """Logs a signal that is NEW."""
    words = (signal.nullifier, signal.external_nullifier, signal.x, signal.y)
    nullifier, external, x, y = (each.to_bytes(32) for each in words)
    connection.execute("INSERT INTO shares VALUES (?, ?, ?, ?, ?)", (nullifier, epoch, external, x, y))


def prune(connection: sqlite3.Connection, oldest: int, newest: int) -> int:
    """Forgets some signals of epochs before `oldest` or after `newest`; returns how many."""
    return connection.execute(
        "DELETE FROM shares WHERE nullifier IN"
        " (SELECT nullifier FROM shares WHERE epoch < ? OR epoch > ? LIMIT ?)",
        (oldest, newest, _PRUNED_AT_ONCE),
    ).rowcount


def count(connection: sqlite3.Connection) -> int:
    """How many it has."""
    return int(connection.execute("SELECT count(*) FROM shares").fetchone()[0])
