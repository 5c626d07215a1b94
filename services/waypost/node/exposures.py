"""Members whose secret is known, because they sent more than their rate: found by this node, or slashed on
chain. What is done about those that it found is in `slasher`; what came of it is what the chain says."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef
from waypost.chain.membership import MemberRecord
from waypost.node import transactions
from waypost.node.member_log import Status, commitment_bytes, record_of
from waypost.node.transactions import State, Transaction
from waypost.protocol.poseidon import R, poseidon
from waypost.protocol.rln import Signal, identity_commitment

MAX_REFUSED = 32
"""Secrets that every proof is held against, the newest: some 0.19 ms each, 6 ms in all. Whoever falls out is
limited by its rate, as before."""
_OPEN_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Exposure:
    """A member that can still be slashed, as of the books. `commit` and `slash` are the latest transactions
    of their kind, `attempts` counts all; `salt` is that of `commit`."""

    secret: int
    record: MemberRecord
    expired: bool
    salt: bytes | None
    commit: Transaction | None
    slash: Transaction | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Slashes:
    """`exposed` by this node; of these, `committed` on chain, `won`, and `lost` to others or because the
    member was withdrawn. `reward` in token base units."""

    exposed: int
    committed: int
    won: int
    lost: int
    reward: int


def enter(connection: sqlite3.Connection, secret: int, now: int) -> bool:
    """A secret was found; False if it was known before."""
    return (
        connection.execute(
            "INSERT OR IGNORE INTO exposures (id_commitment, secret, found) VALUES (?, ?, ?)",
            (commitment_bytes(identity_commitment(secret)), secret.to_bytes(32), now),
        ).rowcount
        > 0
    )


def is_known(connection: sqlite3.Connection, secret: int) -> bool:
    """Whether it was found before, or is on chain."""
    commitment = commitment_bytes(identity_commitment(secret))
    found = connection.execute(
        "SELECT 1 FROM exposures WHERE id_commitment = ?1"
        " UNION SELECT 1 FROM members WHERE id_commitment = ?1 AND secret IS NOT NULL",
        (commitment,),
    )
    return found.fetchone() is not None


class Refused:
    """The secrets that no proof may be made with, kept until the chain or the exposures change."""

    def __init__(self, root_seconds: int) -> None:
        self._root_seconds = root_seconds
        self._known: tuple[tuple[bytes, int], tuple[int, ...]] = ((b"", 0), ())

    def holds(self, connection: sqlite3.Connection, head: BlockRef, now: int, signal: Signal) -> bool:
        """Whether the signal was made with one of them: then its line goes through that secret."""
        if not (secrets := self._secrets(connection, head, now)):
            return False
        if not signal.x:
            return signal.y in secrets
        inverse = pow(signal.x, -1, R)
        return any(poseidon([(signal.y - secret) * inverse % R]) == signal.nullifier for secret in secrets)

    def _secrets(self, connection: sqlite3.Connection, head: BlockRef, now: int) -> tuple[int, ...]:
        key = head.hash, count(connection)
        known, secrets = self._known  # readers are threads: one assignment changes both
        if known != key:
            secrets = _secrets(connection, now - self._root_seconds)
            self._known = key, secrets
        return secrets


def open_exposures(connection: sqlite3.Connection) -> list[Exposure]:
    """Those that can still be slashed, the largest stakes first."""
    rows = connection.execute(
        "SELECT members.*, exposures.secret AS found_secret, salt, commit_id, slash_id, attempts"
        " FROM exposures JOIN members USING (id_commitment) WHERE status IN (?, ?, ?)"
        " ORDER BY rate DESC, found LIMIT ?",
        (Status.MEMBER, Status.EXITED, Status.EXPIRED, _OPEN_AT_ONCE),
    ).fetchall()
    return [_exposure(connection, row) for row in rows]


def note_commit(connection: sqlite3.Connection, id_commitment: int, transaction: int, salt: bytes) -> None:
    """In the write that stores the transaction: with its salt lost, it would be for nothing."""
    connection.execute(
        "UPDATE exposures SET salt = ?, commit_id = ?, slash_id = NULL, attempts = attempts + 1"
        " WHERE id_commitment = ?",
        (salt, transaction, commitment_bytes(id_commitment)),
    )


def note_slash(connection: sqlite3.Connection, id_commitment: int, transaction: int) -> None:
    """In the write that stores the transaction."""
    connection.execute(
        "UPDATE exposures SET slash_id = ?, attempts = attempts + 1 WHERE id_commitment = ?",
        (transaction, commitment_bytes(id_commitment)),
    )


def count(connection: sqlite3.Connection) -> int:
    """Secrets that this node found."""
    return int(connection.execute("SELECT count(*) FROM exposures").fetchone()[0])


def slashes(connection: sqlite3.Connection, receiver: ChecksumAddress) -> Slashes:
    """What became of the exposures, as the chain has it now; `receiver` is paid for this node's slashes."""
    rows = connection.execute(
        "SELECT status, transactions.state AS committed, (SELECT fields FROM member_events AS event"
        " WHERE event.id_commitment = exposures.id_commitment AND kind = ?) AS slashed FROM exposures"
        " LEFT JOIN members USING (id_commitment) LEFT JOIN transactions ON transactions.id = commit_id",
        (Status.SLASHED,),
    ).fetchall()
    ends = [json.loads(row["slashed"]) for row in rows if row["slashed"] is not None]
    won = [int(end["reward"]) for end in ends if end["receiver"] == receiver]
    withdrawn = sum(row["status"] == Status.WITHDRAWN for row in rows)
    return Slashes(
        exposed=len(rows),
        committed=sum(row["committed"] == State.MINED for row in rows),
        won=len(won),
        lost=len(ends) - len(won) + withdrawn,
        reward=sum(won),
    )


def _secrets(connection: sqlite3.Connection, since: int) -> tuple[int, ...]:
    """Of members whose leaf is there, or was there at `since`."""
    found = connection.execute(
        "SELECT exposures.secret FROM exposures JOIN members USING (id_commitment)"
        " WHERE removed_at IS NULL OR removed_at >= ? ORDER BY found DESC LIMIT ?",
        (since, MAX_REFUSED),
    )
    slashed = connection.execute(
        "SELECT secret FROM members WHERE secret IS NOT NULL AND removed_at >= ?"
        " ORDER BY removed_at DESC LIMIT ?",
        (since, MAX_REFUSED),
    )
    distinct = dict.fromkeys(row["secret"] for rows in (found, slashed) for row in rows)
    return tuple(map(int.from_bytes, distinct))[:MAX_REFUSED]


def _exposure(connection: sqlite3.Connection, row: Any) -> Exposure:
    def transaction(name: str) -> Transaction | None:
        return None if row[name] is None else transactions.find(connection, row[name])

    return Exposure(
        secret=int.from_bytes(row["found_secret"]),
        record=record_of(row),
        expired=row["status"] == Status.EXPIRED,
        salt=row["salt"],
        commit=transaction("commit_id"),
        slash=transaction("slash_id"),
        attempts=row["attempts"],
    )
