"""What the node sends for members, as it is kept: rows of `member_actions`, beside the transactions."""

import sqlite3

from eth_typing import ChecksumAddress

from waypost.errors import MembershipRefused
from waypost.node import transactions
from waypost.node.member_log import commitment_bytes
from waypost.node.submissions import Kind, Record
from waypost.node.transactions import State, Transaction

FAILED = (State.REVERTED, State.CANCELLED, State.LOST)


def find_member(connection: sqlite3.Connection, id_commitment: int) -> sqlite3.Row | None:
    """The member's row, if anybody registered this commitment."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM members WHERE id_commitment = ?", (commitment_bytes(id_commitment),)
    ).fetchone()
    return row


def latest(
    connection: sqlite3.Connection,
    kind: Kind,
    contract: ChecksumAddress,
    id_commitment: int,
    digest: bytes | None = None,
) -> Transaction | None:
    """The newest transaction of this kind for the member of the contract; with `digest`: for that request."""
    row = connection.execute(
        "SELECT id FROM member_actions JOIN transactions ON id = transaction_id"
        " WHERE id_commitment = ? AND kind = ? AND target = ? AND digest = coalesce(?, digest)"
        " ORDER BY id DESC LIMIT 1",
        (commitment_bytes(id_commitment), kind.purpose, contract, digest),
    ).fetchone()
    return None if row is None else transactions.find(connection, row["id"])


def recording(kind: Kind, id_commitment: int, payer: ChecksumAddress, digest: bytes) -> Record:
    """Stores whose a transaction is, in the write that stores the transaction."""

    def record(connection: sqlite3.Connection, transaction: int) -> None:
        connection.execute(
            "INSERT INTO member_actions (transaction_id, kind, id_commitment, payer, digest)"
            " VALUES (?, ?, ?, ?, ?)",
            (transaction, kind.purpose, commitment_bytes(id_commitment), payer, digest),
        )

    return record


def require_alive(kind: Kind, transaction: Transaction) -> None:
    """Raises MembershipRefused for a transaction that came to nothing."""
    if transaction.state in FAILED:
        raise MembershipRefused(
            f"The {kind.purpose} failed on chain, or somebody else sent it first.",
            transaction="0x" + transaction.hash.hex(),
            state=transaction.state.value,
        )
