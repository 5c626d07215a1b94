"""One channel's account: what the chain says about it, what was paid by receipt, what was spent.
Rows of the `channels` table as values; the rules are in `ledger`."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eth_typing import ChecksumAddress

from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import Signature


class Status(StrEnum):
    """Where a channel is in its life, as far as this node trusts the chain."""

    OPENING = "opening"  # seen, but not deep enough; or undone by a reorg
    OPEN = "open"
    CLOSING = "closing"  # from the block that says so, however shallow
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """Amounts in token base units.

    `deposited` counts only what is deep enough in the chain, `claimed` everything mined,
    `claimed_final` what is deep enough. `paid` is the total of the highest receipt, which may lie
    above `deposited` after a reorg. `frozen_until`: nothing is accepted or spent before that time.
    """

    payee: ChecksumAddress
    token: ChecksumAddress
    signer: ChecksumAddress
    payer: ChecksumAddress | None
    deposited: int
    claimed: int
    claimed_final: int
    paid: int
    spent: int
    signature: bytes | None
    status: Status
    closes_at: int
    close_delay: int
    opened_block: int
    frozen_until: int

    @property
    def receipt(self) -> SignedReceipt | None:
        """The highest receipt: `paid` with its signature."""
        if self.signature is None:
            return None
        receipt = Receipt(self.payee, self.token, self.paid)
        return SignedReceipt(receipt, Signature.from_bytes(self.signature))

    @property
    def covered(self) -> int:
        """The part of `paid` that the deposit backs."""
        return min(self.paid, self.deposited)

    @property
    def balance(self) -> int:
        """What can still be spent; below zero only after a reorg took deposit away."""
        return self.covered - self.spent

    @property
    def claimable(self) -> int:
        """What a claim would pay now."""
        if self.status is Status.CLOSED:
            return 0
        return max(0, self.covered - self.claimed)

    @property
    def earned(self) -> int:
        """What the chain has paid or would pay for the receipts at hand."""
        return self.claimed + self.claimable

    @property
    def lost(self) -> int:
        """Service that was given and that nothing pays for any more."""
        if self.status is Status.OPENING and self.opened_block:
            return 0  # an opening was paid for that only has to grow deeper
        return max(0, self.spent - self.earned)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all channels, in token base units.

    `paid`: by receipts, as far as deposits cover them. `earned` = claimed on chain + `claimable`.
    `claimed` is deep enough, `confirming` mined but not yet so deep. `at_risk` is the part of
    `claimable` on channels that are closing. `lost`: spent, but taken away by a reorg or a close.
    """

    channels: int = 0
    paid: int = 0
    spent: int = 0
    earned: int = 0
    claimable: int = 0
    claimed: int = 0
    confirming: int = 0
    at_risk: int = 0
    lost: int = 0


class Accounts:
    """Reads and writes accounts of one payee and token."""

    def __init__(self, payee: ChecksumAddress, token: ChecksumAddress) -> None:
        self.payee = payee
        self.token = token

    def find(self, connection: sqlite3.Connection, signer: str) -> ChannelAccount | None:
        """The account of a channel, if the node ever saw it."""
        row = connection.execute("SELECT * FROM channels WHERE signer = ?", (signer,)).fetchone()
        return None if row is None else self._account(row)

    def every(self, connection: sqlite3.Connection) -> list[ChannelAccount]:
        """All accounts."""
        return [self._account(row) for row in connection.execute("SELECT * FROM channels")]

    def claimable(self, connection: sqlite3.Connection) -> list[ChannelAccount]:
        """Accounts that a claim would pay for: those that close soonest first, then by value."""
        accounts = [account for account in self._live(connection) if account.claimable]
        return sorted(accounts, key=lambda a: (a.closes_at or float("inf"), -a.claimable))

    def unclaimed(self, connection: sqlite3.Connection) -> list[ChannelAccount]:
        """Accounts with receipts for more than was claimed, whatever the books say of their deposits."""
        return [account for account in self._live(connection) if account.paid > account.claimed]

    def save(self, connection: sqlite3.Connection, account: ChannelAccount) -> None:
        """Stores paid, spent, signature and freeze: the part that the chain has no say in."""
        connection.execute(
            "UPDATE channels SET paid = ?, spent = ?, signature = ?, frozen_until = ? WHERE signer = ?",
            (
                str(account.paid),
                str(account.spent),
                account.signature,
                account.frozen_until,
                account.signer,
            ),
        )

    def totals(self, connection: sqlite3.Connection) -> Totals:
        """Sums over all channels."""
        accounts = self.every(connection)
        return Totals(
            channels=len(accounts),
            paid=sum(a.covered for a in accounts),
            spent=sum(a.spent for a in accounts),
            earned=sum(a.earned for a in accounts),
            claimable=sum(a.claimable for a in accounts),
            claimed=sum(a.claimed_final for a in accounts),
            confirming=sum(a.claimed - a.claimed_final for a in accounts),
            at_risk=sum(a.claimable for a in accounts if a.status is Status.CLOSING),
            lost=sum(a.lost for a in accounts),
        )

    def _live(self, connection: sqlite3.Connection) -> list[ChannelAccount]:
        rows = connection.execute("SELECT * FROM channels WHERE status <> ?", (Status.CLOSED,))
        return [self._account(row) for row in rows]

    def _account(self, row: Any) -> ChannelAccount:
        return ChannelAccount(
            payee=self.payee,
            token=self.token,
            signer=row["signer"],
            payer=row["payer"],
            deposited=int(row["deposited"]),
            claimed=int(row["claimed"]),
            claimed_final=int(row["claimed_final"]),
            paid=int(row["paid"]),
            spent=int(row["spent"]),
            signature=row["signature"],
            status=Status(row["status"]),
            closes_at=row["closes_at"],
            close_delay=row["close_delay"],
            opened_block=row["opened_block"],
            frozen_until=row["frozen_until"],
        )
