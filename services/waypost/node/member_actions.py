"""What the node sends for members, and as it is kept: rows of `member_actions`, beside the transactions.

The node never spends more gas on a member than it keeps of that member's fees, whether the owner leaves at
once or never: so nobody can live on its gas, and whose fees are small leaves later, or sends that itself.
Three things can cost it more: a registration, or an extension by somebody else, that fails on chain, which
`Submissions` limits; a slash, which burns what has not streamed, and more of the owner's; an urgent claim,
which hurries what was sent before it.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from eth_typing import ChecksumAddress

from waypost.chain.connection import Call
from waypost.chain.membership import MemberRecord, Membership, MemberState
from waypost.errors import MembershipRefused, MemberUnknown
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_log import commitment_bytes
from waypost.node.outbox import EMPTY_GAS
from waypost.node.registration_rules import EXTENSION
from waypost.node.submissions import Kind, Submissions, settle
from waypost.node.transactions import State, Transaction

T = TypeVar("T")

FAILED = (State.REVERTED, State.CANCELLED, State.LOST)
EXIT_GAS, WITHDRAWAL_GAS = 60_000, 125_000
"""What is set aside for leaving: without it, who has paid might stay for want of gas."""


@dataclass(frozen=True, slots=True)
class Action:
    """One of this kind, for a member. `payer`: whose limits it counts for; `digest`: of what was signed;
    `later`: gas of what the member may want afterwards."""

    kind: Kind
    id_commitment: int
    payer: ChecksumAddress
    digest: bytes
    later: int = EXIT_GAS + WITHDRAWAL_GAS


class MemberActions:
    """For members of one contract. `signal` rings when blocks were applied."""

    def __init__(
        self,
        membership: Membership,
        submissions: Submissions,
        db: Database,
        signal: Signal,
        *,
        wait_seconds: float = 8.0,
    ) -> None:
        self.membership = membership
        self.submissions = submissions
        self._db = db
        self._signal = signal
        self._wait_seconds = wait_seconds

    async def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """What `look` finds in the books."""
        return await self._db.read(look)

    async def settled(self, look: Callable[[sqlite3.Connection], T], is_settled: Callable[[T], bool]) -> T:
        """The same, once it is settled, or after a moment."""
        return await settle(lambda: self._db.read(look), is_settled, self._signal, self._wait_seconds)

    async def member(self, id_commitment: int) -> sqlite3.Row:
        """The member's row. Raises MemberUnknown."""
        row = await self._db.read(lambda connection: find_member(connection, id_commitment))
        if row is None:
            raise MemberUnknown("Nobody registered this commitment, as far as this node has read.")
        return row

    async def state(self, record: MemberRecord) -> tuple[MemberState | None, int]:
        """The member's state by the chain, and the chain's time. Raises a ChainError."""
        head = await self.membership.connection.head()
        return await self.membership.member(record.id_commitment), head.timestamp

    def latest(
        self, connection: sqlite3.Connection, kind: Kind, id_commitment: int, digest: bytes | None = None
    ) -> Transaction | None:
        """The newest transaction of this kind for the member; with `digest`: for that request."""
        row = connection.execute(
            "SELECT id FROM member_actions JOIN transactions ON id = transaction_id"
            " WHERE id_commitment = ? AND kind = ? AND target = ? AND digest = coalesce(?, digest)"
            " ORDER BY id DESC LIMIT 1",
            (commitment_bytes(id_commitment), kind.purpose, self.membership.address, digest),
        ).fetchone()
        return None if row is None else transactions.find(connection, row["id"])

    async def send(self, action: Action, call: Call, *, kept: int) -> Transaction:
        """Sends the call, and stores whose it is in the write that stores the transaction. Hold the lock of
        `submissions`. `kept`: base units of the member's fees that stay with the node in any case.

        It is sent if what is left of that, after all that was spent on the member before, pays for its gas
        limit and for `later` at twice today's price; its price is never raised above what is left. Raises
        the kind's errors, InsufficientFunds or another ChainError.
        """

        def record(connection: sqlite3.Connection, transaction: int) -> None:
            connection.execute(
                "INSERT INTO member_actions (transaction_id, kind, id_commitment, payer, digest)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    transaction,
                    action.kind.purpose,
                    commitment_bytes(action.id_commitment),
                    action.payer,
                    action.digest,
                ),
            )

        await self.submissions.check_limits(action.kind, action.payer)
        spent = await self._db.read(lambda connection: self._spent(connection, action.id_commitment))
        return await self.submissions.send(
            action.kind,
            call,
            record,
            worth=self.submissions.worth_of(kept, spent),
            later=action.later,
            advice=f"of the member's fees it is sure of {kept} so far, and has spent {spent} wei on it."
            " Ask again when gas is cheaper or another period has begun, or send it yourself.",
        )

    def _spent(self, connection: sqlite3.Connection, id_commitment: int) -> int:
        """Wei for all that was sent for the member, at most: the whole gas limit, at the highest price that
        was signed, or that may be while it waits. Of extensions by others, those that paid a fee: or they
        could use up what is there for leaving."""
        rows = connection.execute(
            "SELECT id FROM member_actions JOIN transactions ON id = transaction_id"
            " WHERE id_commitment = ?1 AND target = ?2 AND state <> ?3 AND (kind <> ?4 OR state = ?5"
            " OR payer = (SELECT owner FROM members WHERE members.id_commitment = ?1))",
            (
                commitment_bytes(id_commitment),
                self.membership.address,
                State.LOST,
                EXTENSION.purpose,
                State.MINED,
            ),
        ).fetchall()
        found = [transactions.find(connection, row["id"]) for row in rows]
        return sum(
            (EMPTY_GAS if each.state is State.CANCELLED else each.gas)
            * max(each.newest.max_fee, (each.ceiling or 0) if each.state is State.SENT else 0)
            for each in found
        )


def find_member(connection: sqlite3.Connection, id_commitment: int) -> sqlite3.Row | None:
    """The member's row, if anybody registered this commitment."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM members WHERE id_commitment = ?", (commitment_bytes(id_commitment),)
    ).fetchone()
    return row


def require_alive(kind: Kind, transaction: Transaction) -> None:
    """Raises MembershipRefused for a transaction that came to nothing."""
    if transaction.state in FAILED:
        raise MembershipRefused(
            f"The {kind.purpose} failed on chain, or somebody else sent it first.",
            transaction="0x" + transaction.hash.hex(),
            state=transaction.state.value,
        )
