"""Opens channels for payers without ETH: the node sends their signed opening, paid by the first receipt."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.channels import Channels, Opened
from waypost.errors import OpeningRefused
from waypost.node import transactions
from waypost.node.accounts import ChannelAccount, Status
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Ledger
from waypost.node.loops import Signal
from waypost.node.opening_rules import KIND, OpeningRules, Request
from waypost.node.submissions import Record, Submissions, settle
from waypost.node.transactions import State, Transaction
from waypost.protocol.openings import Authorization, SignedOpening
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import Signature

GAS_TOLERANCE = 2
"""An opening is sent while its gas costs at most this many times its price."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpeningResult:
    """`account` is None while the opening is not deep enough in the chain; `charged` in base units."""

    transaction: bytes
    account: ChannelAccount | None
    charged: int


class Openings:
    """Openings of channels to the ledger's payee. `signal` rings when blocks were applied."""

    def __init__(
        self,
        channels: Channels,
        ledger: Ledger,
        rules: OpeningRules,
        submissions: Submissions,
        db: Database,
        signal: Signal,
        *,
        wait_seconds: float = 8.0,
    ) -> None:
        self._channels = channels
        self._ledger = ledger
        self._rules = rules
        self._submissions = submissions
        self._db = db
        self._signal = signal
        self._wait_seconds = wait_seconds

    async def submit(
        self, signed: SignedOpening, authorization: Authorization, receipt: SignedReceipt, prices: PriceList
    ) -> OpeningResult:
        """Sends the opening, once however often it is asked for, and waits a moment for the channel.

        Raises OpeningRefused, OpeningRateLimited, what `OpeningRules` raises, InsufficientFunds (of the
        node's gas account) or another ChainError.
        """
        request = Request(signed, authorization, receipt)
        self._rules.check_signatures(request)
        async with self._submissions.lock:
            transaction = await self._db.read(lambda connection: _standing(connection, request))
            if transaction is None:
                transaction = await self._send(request, prices)
        return await self._result(request.opening.signer, transaction)

    # ---- Following the chain ----

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """Credits the receipts of channels that opened: in the write that enters the opening in the books,
        so that nobody can spend the deposit, or start closing, in between. Comes after the ledger."""
        ours = (self._ledger.accounts.payee, self._ledger.accounts.token)
        for event in events:
            if isinstance(event, Opened) and (event.payee, event.token) == ours:
                self._credit(connection, event.signer)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """Nothing: what was paid and spent outlives reorgs, and the outbox sends the opening again."""

    def _credit(self, connection: sqlite3.Connection, signer: ChecksumAddress) -> None:
        # Only our own transactions tell which opening it was; but whoever sent it, ours cost gas.
        row = connection.execute(
            "SELECT * FROM openings JOIN transactions ON id = transaction_id"
            " WHERE signer = ? AND credited = 0 AND state IN (?, ?, ?) ORDER BY id DESC LIMIT 1",
            (signer, State.SENT, State.MINED, State.LOST),
        ).fetchone()
        if row is None:
            return
        accounts = self._ledger.accounts
        receipt = SignedReceipt(
            Receipt(accounts.payee, accounts.token, int(row["cumulative"])),
            Signature.from_bytes(row["signature"]),
        )
        self._ledger.credit(connection, signer, receipt, int(row["price"]))
        connection.execute("UPDATE openings SET credited = 1 WHERE transaction_id = ?", (row["id"],))

    # ---- Sending ----

    async def _send(self, request: Request, prices: PriceList) -> Transaction:
        opening = request.opening
        self._rules.check_terms(request, prices, self._submissions.now())
        await self._submissions.check_limits(KIND, opening.payer)
        if await self._ledger.account(opening.signer) is not None:
            raise OpeningRefused("The channel is open already.", signer=opening.signer)
        call = self._channels.open_with_authorization(request.signed, request.authorization)
        sent = await self._submissions.send(
            KIND,
            call,
            _recording(request, prices.opening),
            worth=prices.opening or None,
            slack=GAS_TOLERANCE,
        )
        log.info("opening_sent", signer=opening.signer, payer=opening.payer, amount=opening.amount)
        return sent

    async def _result(self, signer: ChecksumAddress, transaction: Transaction) -> OpeningResult:
        async def look() -> OpeningResult:
            return await self._db.read(lambda connection: self._look(connection, signer, transaction.id))

        return await settle(look, lambda result: result.account is not None, self._signal, self._wait_seconds)

    def _look(self, connection: sqlite3.Connection, signer: ChecksumAddress, id: int) -> OpeningResult:
        transaction = transactions.find(connection, id)
        row = connection.execute("SELECT * FROM openings WHERE transaction_id = ?", (id,)).fetchone()
        account = self._ledger.accounts.find(connection, signer)
        if row["credited"]:
            if account is None or account.status is Status.OPENING:
                return OpeningResult(transaction.hash, None, 0)
            return OpeningResult(transaction.hash, account, int(row["price"]))
        if transaction.state in (State.REVERTED, State.CANCELLED, State.LOST):
            raise OpeningRefused(
                "The opening failed on chain; the deposit was not taken.",
                transaction="0x" + transaction.hash.hex(),
                state=transaction.state.value,
            )
        return OpeningResult(transaction.hash, None, 0)


def first_unseen(connection: sqlite3.Connection) -> int | None:
    """The lowest block with an opening of ours whose event the books have not seen; None if there is none."""
    row = connection.execute(
        "SELECT min(block_number) AS block FROM openings JOIN transactions ON id = transaction_id"
        " WHERE credited = 0 AND state = ?",
        (State.MINED,),
    ).fetchone()
    return None if row["block"] is None else int(row["block"])


def _standing(connection: sqlite3.Connection, request: Request) -> Transaction | None:
    """The transaction that was sent for this request; None if there is none, or it failed.

    Raises OpeningRefused if one stands for another request of the same signer.
    """
    row: Any = connection.execute(
        "SELECT id, digest, state, credited FROM openings JOIN transactions ON id = transaction_id"
        " WHERE signer = ? ORDER BY id DESC LIMIT 1",
        (request.opening.signer,),
    ).fetchone()
    if row is None or (not row["credited"] and row["state"] not in (State.SENT, State.MINED)):
        return None
    if row["digest"] != request.digest:
        raise OpeningRefused(
            "This signer's channel was opened by another request.", signer=request.opening.signer
        )
    return transactions.find(connection, row["id"])


def _recording(request: Request, price: int) -> Record:
    opening, receipt = request.opening, request.receipt

    def record(connection: sqlite3.Connection, transaction: int) -> None:
        connection.execute(
            "INSERT INTO openings (transaction_id, signer, payer, digest, price, cumulative, signature)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                transaction,
                opening.signer,
                opening.payer,
                request.digest,
                str(price),
                str(receipt.cumulative),
                receipt.signature.to_bytes(),
            ),
        )

    return record
