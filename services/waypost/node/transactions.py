"""The gas account's transactions as they are kept: what was meant, and every signed attempt at it.
Rows of `transactions` and `attempts` as values; what happens to them is decided in `outbox`."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eth_typing import ChecksumAddress, HexAddress, HexStr

from waypost.chain.connection import Call
from waypost.node.backends.schema import find_meta, write_meta

_ACCOUNT = "gas_account"
_ANOTHERS = "transactions_of_another_account"
"""Facts of the database: whose the transactions are, and the last id of those that another account signed."""


class State(StrEnum):
    """What became of a transaction, as far as the applied blocks tell."""

    SENT = "sent"  # signed and stored; sent at once, and again until it is mined
    MINED = "mined"
    REVERTED = "reverted"  # mined, but the contract refused it
    CANCELLED = "cancelled"  # it had become pointless: an empty transfer took its nonce
    LOST = "lost"  # another program used its nonce


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction; a later one has higher fees (wei per gas).

    `empty`: a transfer of nothing to ourselves, which only uses up the nonce.
    """

    hash: bytes
    raw: bytes
    max_fee: int
    tip: int
    empty: bool
    signed_at: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was meant, and what became of it.

    `ceiling` is the most that it is worth per gas, in wei; None: whatever it takes. `attempts` is
    never empty and in order of signing; `hash` is that of the mined one, or of the newest.
    """

    id: int
    purpose: str
    nonce: int
    call: Call
    gas: int
    ceiling: int | None
    urgent: bool
    state: State
    hash: bytes
    block_number: int | None
    created: int
    attempts: tuple[Attempt, ...]

    @property
    def newest(self) -> Attempt:
        """The attempt with the highest fees."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True)
class Draft:
    """A transaction that is about to be signed: what for, what, with how much gas, at which price at most."""

    purpose: str
    call: Call
    gas: int
    ceiling: int | None = None
    urgent: bool = False


def add(connection: sqlite3.Connection, draft: Draft, nonce: int, attempt: Attempt) -> int:
    """Stores a transaction with its first attempt; returns its id."""
    row = connection.execute(
        "INSERT INTO transactions (purpose, nonce, target, data, gas, ceiling, urgent, state, hash, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            draft.purpose,
            nonce,
            draft.call.to,
            draft.call.data,
            draft.gas,
            None if draft.ceiling is None else str(draft.ceiling),
            draft.urgent,
            State.SENT,
            attempt.hash,
            attempt.signed_at,
        ),
    )
    assert row.lastrowid is not None
    add_attempt(connection, row.lastrowid, attempt)
    return row.lastrowid


def add_attempt(connection: sqlite3.Connection, transaction: int, attempt: Attempt) -> None:
    """Stores one more attempt at a transaction that is not mined."""
    connection.execute(
        "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            attempt.hash,
            transaction,
            attempt.raw,
            str(attempt.max_fee),
            str(attempt.tip),
            attempt.empty,
            attempt.signed_at,
        ),
    )
    connection.execute("UPDATE transactions SET hash = ? WHERE id = ?", (attempt.hash, transaction))


def find(connection: sqlite3.Connection, transaction: int) -> Transaction:
    """One transaction. Raises KeyError."""
    row = connection.execute("SELECT * FROM transactions WHERE id = ?", (transaction,)).fetchone()
    if row is None:
        raise KeyError(transaction)
    return _transaction(connection, row)


def sent(connection: sqlite3.Connection) -> list[Transaction]:
    """Those that are not mined yet, in order of their nonces."""
    rows = connection.execute("SELECT * FROM transactions WHERE state = ? ORDER BY nonce, id", (State.SENT,))
    return [_transaction(connection, row) for row in rows.fetchall()]


def adopt(connection: sqlite3.Connection, account: ChecksumAddress) -> bool:
    """Makes `account` the one whose transactions these are; False if it was before.

    What another account signed counts as lost, unless the chain says later that it was mined after all.
    """
    previous = find_meta(connection, _ACCOUNT)
    if previous == account:
        return False
    if previous is not None:
        connection.execute("UPDATE transactions SET state = ? WHERE state = ?", (State.LOST, State.SENT))
        highest = connection.execute("SELECT max(id) AS id FROM transactions").fetchone()["id"]
        write_meta(connection, _ANOTHERS, str(highest or 0))
    write_meta(connection, _ACCOUNT, account)
    return previous is not None


def next_nonce(connection: sqlite3.Connection) -> int:
    """The nonce after the highest that a transaction of ours has, or had when it was mined."""
    row = connection.execute(
        "SELECT max(nonce) AS highest FROM transactions WHERE state <> ? AND id > ?",
        (State.LOST, int(find_meta(connection, _ANOTHERS) or 0)),
    ).fetchone()
    return 0 if row["highest"] is None else int(row["highest"]) + 1


def count_since(connection: sqlite3.Connection, purpose: str, since: int) -> int:
    """How many were signed for this purpose from that time on."""
    row = connection.execute(
        "SELECT count(*) AS n FROM transactions WHERE purpose = ? AND created >= ?", (purpose, since)
    ).fetchone()
    return int(row["n"])


def conclude(connection: sqlite3.Connection, attempt: bytes, state: State, block: int) -> bool:
    """The attempt with that hash was mined in block number `block`; False if it is none of ours."""
    changed = connection.execute(
        "UPDATE transactions SET state = ?, hash = ?, block_number = ?"
        " WHERE id = (SELECT transaction_id FROM attempts WHERE hash = ?)",
        (state, attempt, block, attempt),
    )
    return changed.rowcount > 0


def give_up(connection: sqlite3.Connection, transaction: int) -> None:
    """Its nonce was used by another program."""
    connection.execute(
        "UPDATE transactions SET state = ? WHERE id = ? AND state = ?", (State.LOST, transaction, State.SENT)
    )


def reopen(connection: sqlite3.Connection, above: int) -> None:
    """A reorg undid the blocks above: what was mined there is waiting again."""
    connection.execute(
        "UPDATE transactions SET state = ?, block_number = NULL WHERE block_number > ?", (State.SENT, above)
    )


def hurry(connection: sqlite3.Connection, nonce: int) -> None:
    """The waiting transactions up to this nonce are urgent, whatever they cost."""
    connection.execute(
        "UPDATE transactions SET urgent = 1, ceiling = NULL WHERE state = ? AND nonce <= ?",
        (State.SENT, nonce),
    )


def _transaction(connection: sqlite3.Connection, row: Any) -> Transaction:
    attempts = connection.execute(
        # Fees only rise; of two attempts in the same second the dearer one is newer.
        "SELECT * FROM attempts WHERE transaction_id = ? ORDER BY length(max_fee), max_fee",
        (row["id"],),
    )
    return Transaction(
        id=row["id"],
        purpose=row["purpose"],
        nonce=row["nonce"],
        call=Call(ChecksumAddress(HexAddress(HexStr(row["target"]))), row["data"]),
        gas=row["gas"],
        ceiling=None if row["ceiling"] is None else int(row["ceiling"]),
        urgent=bool(row["urgent"]),
        state=State(row["state"]),
        hash=row["hash"],
        block_number=row["block_number"],
        created=row["created"],
        attempts=tuple(_attempt(attempt) for attempt in attempts.fetchall()),
    )


def _attempt(row: Any) -> Attempt:
    return Attempt(
        hash=row["hash"],
        raw=row["raw"],
        max_fee=int(row["max_fee"]),
        tip=int(row["tip"]),
        empty=bool(row["empty"]),
        signed_at=row["signed_at"],
    )
