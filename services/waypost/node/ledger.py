"""All rules about money that is paid by receipt: what is accepted, what is charged, what is left.
Every step is one durable commit, so an answer that a client got is in the books for good."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Event
from waypost.errors import (
    ChannelClosed,
    ChannelClosing,
    ChannelNotFinal,
    ChannelUnknown,
    CloseDelayTooShort,
    PaymentRequired,
    ReceiptExceedsDeposit,
    ReceiptForAnotherNode,
    ReceiptTooSmall,
    StaleReceipt,
)
from waypost.node import answers
from waypost.node.accounts import Accounts, ChannelAccount, Status, Totals
from waypost.node.answers import Answer, Idempotency
from waypost.node.backends.sqlite import Database
from waypost.node.channel_log import ChannelLog
from waypost.protocol.receipts import ReceiptVerifier, SignedReceipt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Charge(Generic[T]):
    """One paid request of a channel.

    `effect` does the work in the transaction that pays for it and returns `(cost, result)`, cost in
    token base units; with `idempotency` the result must be JSON. It may run twice, so nothing but
    its connection may remember it. `session`: the caller showed a session of this channel.
    """

    signer: ChecksumAddress
    effect: Callable[[sqlite3.Connection], tuple[int, T]]
    receipt: SignedReceipt | None = None
    session: bool = False
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Charged(Generic[T]):
    """A paid answer. `charged` is its price; `paid` and `spent` are the channel's books now.

    `replayed`: result and price are those of the first request with this idempotency key.
    """

    result: T
    charged: int
    paid: int
    spent: int
    replayed: bool = False


class Ledger:
    """The books of one payee in one token. `clock` gives Unix seconds.

    Deposits count after `confirmations` blocks; a receipt raises the total by at least
    `min_receipt` base units; channels that close faster than `min_close_delay` seconds cannot pay.
    """

    def __init__(
        self,
        db: Database,
        verifier: ReceiptVerifier,
        clock: Callable[[], int],
        *,
        confirmations: int = 0,
        min_receipt: int = 0,
        min_close_delay: int = 0,
    ) -> None:
        self._db = db
        self._verifier = verifier
        self._clock = clock
        self._min_receipt = min_receipt
        self._min_close_delay = min_close_delay
        self.accounts = Accounts(verifier.payee, verifier.token)
        self.log = ChannelLog(verifier.payee, verifier.token, confirmations)

    # ---- Asking ----

    async def account(self, signer: ChecksumAddress) -> ChannelAccount | None:
        """The channel's account, or None if no block so far opened it."""
        return await self._db.read(lambda connection: self.accounts.find(connection, signer))

    async def claimable(self) -> list[ChannelAccount]:
        """Accounts that a claim would pay for: those that close soonest first, then by value."""
        return await self._db.read(self.accounts.claimable)

    async def totals(self) -> Totals:
        """Sums over all channels."""
        return await self._db.read(self.accounts.totals)

    # ---- Paying ----

    async def accept(self, signer: ChecksumAddress, receipt: SignedReceipt) -> ChannelAccount:
        """Takes a receipt in; one that is not above what was paid changes nothing.

        Raises ChannelUnknown, ChannelNotFinal, ChannelClosing, ChannelClosed, CloseDelayTooShort,
        ReceiptForAnotherNode, InvalidReceipt, ReceiptExceedsDeposit or ReceiptTooSmall.
        """

        def work(connection: sqlite3.Connection) -> ChannelAccount:
            account = self._known(connection, signer)
            self._check_usable(account)
            if receipt.cumulative > account.paid:
                self._verify(account, receipt)
                account = self._raised(account, receipt)
                self.accounts.save(connection, account)
            return account

        return await self._db.write(work)

    async def charge(self, charge: Charge[T]) -> Charged[T]:
        """Receipt, effect, price and idempotency record in one commit, or none of them.

        A retry gets the first answer, whatever became of the channel; its receipt is not taken in.
        Raises what `accept` and the effect raise, PaymentRequired (nothing authorises the request,
        or the balance is short), StaleReceipt (the same, with an old receipt) or
        IdempotencyConflict.
        """
        return await self._db.write(lambda connection: self.post(connection, charge))

    def post(self, connection: sqlite3.Connection, charge: Charge[T]) -> Charged[T]:
        """`charge`, inside a write of the caller's."""
        account, receipt = self._known(connection, charge.signer), charge.receipt
        fresh = receipt is not None and receipt.cumulative > account.paid
        if receipt is not None and (fresh or not charge.session):
            self._verify(account, receipt)  # a stale one too, if a retry has nothing else to show
        if charge.idempotency and (charge.session or receipt):
            earlier = answers.find(connection, charge.signer, charge.idempotency, self._clock())
            if earlier is not None:
                books = (earlier.charged, account.paid, account.spent)
                return Charged(earlier.result, *books, replayed=True)
        if not (charge.session or fresh):
            raise _unpaid(account, receipt)
        self._check_usable(account)
        if receipt is not None and fresh:
            account = self._raised(account, receipt)
        cost, result = charge.effect(connection)
        if cost < 0:
            raise ValueError(f"an effect cannot cost {cost}")
        if 0 < cost > account.balance:
            raise _unpaid(account, None if fresh else receipt, cost)
        account = replace(account, spent=account.spent + cost)
        self.accounts.save(connection, account)
        if charge.idempotency:
            answer = Answer(cost, result)
            answers.remember(connection, charge.signer, charge.idempotency, answer, self._clock())
        return Charged(result, cost, account.paid, account.spent)

    def credit(
        self, connection: sqlite3.Connection, signer: ChecksumAddress, receipt: SignedReceipt, cost: int
    ) -> None:
        """Takes in the receipt, verified before, that came with a channel's opening, and charges for it.

        In the write that applies the opening: however shallow it is, and whatever its payer does next,
        the node's part of the bargain is done. Raises ChannelUnknown.
        """
        account = self._known(connection, signer)
        if receipt.cumulative > account.paid:
            signature = receipt.signature.to_bytes()
            account = replace(account, paid=receipt.cumulative, signature=signature)
        self.accounts.save(connection, replace(account, spent=account.spent + cost))

    async def freeze(self, signer: ChecksumAddress, until: int) -> ChannelAccount:
        """Accepts and charges nothing on the channel before `until`, and returns its last state.

        For the time in which a signed consent to close may be used. Raises ChannelUnknown.
        """

        def work(connection: sqlite3.Connection) -> ChannelAccount:
            account = self._known(connection, signer)
            account = replace(account, frozen_until=max(until, account.frozen_until))
            self.accounts.save(connection, account)
            return account

        return await self._db.write(work)

    async def prune(self) -> None:
        """Forgets answers that no retry may ask for any more."""
        now = self._clock()
        await self._db.write(lambda connection: answers.prune(connection, now))

    # ---- Following the chain ----

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """Takes in what the chain did up to `block`, in the write that also moves the cursor."""
        self.log.apply(connection, events, block)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """Undoes what the chain did above `to`; receipts and spending stay."""
        self.log.rollback(connection, to)

    # ---- Rules ----

    def _known(self, connection: sqlite3.Connection, signer: ChecksumAddress) -> ChannelAccount:
        account = self.accounts.find(connection, signer)
        if account is None:
            raise ChannelUnknown(f"The node knows no channel of {signer}.", signer=signer)
        return account

    def _check_usable(self, account: ChannelAccount) -> None:
        """What was paid may be spent until the channel can end; claims come first anyway."""
        now = self._clock()
        if account.status is Status.OPENING:
            raise ChannelNotFinal(signer=account.signer)
        if account.status is Status.CLOSED:
            raise ChannelClosed(signer=account.signer)
        ends = account.status is Status.CLOSING and now >= account.closes_at
        if ends or now < account.frozen_until:
            raise ChannelClosing(signer=account.signer)

    def _verify(self, account: ChannelAccount, receipt: SignedReceipt) -> None:
        payee, token = receipt.receipt.payee, receipt.receipt.token
        if (payee, token) != (self._verifier.payee, self._verifier.token):
            raise ReceiptForAnotherNode(
                f"The receipt pays {payee} in {token};"
                f" this node is paid at {self._verifier.payee} in {self._verifier.token}.",
                payee=payee,
                token=token,
            )
        self._verifier.verify(receipt.cumulative, receipt.signature, account.signer)

    def _raised(self, account: ChannelAccount, receipt: SignedReceipt) -> ChannelAccount:
        """The account with this higher, verified receipt in it."""
        if account.status is Status.CLOSING:
            raise ChannelClosing(signer=account.signer)
        if account.close_delay < self._min_close_delay:
            raise CloseDelayTooShort(
                f"The channel can close within {account.close_delay} s;"
                f" the node needs {self._min_close_delay} s to claim.",
                given=account.close_delay,
                minimum=self._min_close_delay,
            )
        total = receipt.cumulative
        if total > account.deposited:
            raise ReceiptExceedsDeposit(
                f"The receipt's total is {total}, the deposit {account.deposited}.",
                given=str(total),
                maximum=str(account.deposited),
            )
        # The last of a deposit may be small, a whole channel not: claiming it costs gas.
        raised = total - account.paid
        if (total if total == account.deposited else raised) < self._min_receipt:
            raise ReceiptTooSmall(
                f"The receipt raises the total by {raised}; at least {self._min_receipt} is asked.",
                given=str(raised),
                minimum=str(self._min_receipt),
            )
        return replace(account, paid=total, signature=receipt.signature.to_bytes())


def _unpaid(
    account: ChannelAccount, stale: SignedReceipt | None, cost: int | None = None
) -> PaymentRequired | StaleReceipt:
    """With `cost`, the error also says how much is missing and which total would pay for it."""
    details = {"paid": str(account.paid)}
    sentence = "Neither a session nor a receipt came with the request."
    if cost is not None:
        needed = account.spent + cost
        details |= {
            "amount": str(cost),
            "balance": str(account.balance),
            "cumulative": str(needed),
        }
        sentence = (
            f"This costs {cost}, the balance is {account.balance};"
            f" a receipt of {needed} in total would pay for it."
        )
    if stale is None:
        return PaymentRequired(sentence, **details)
    details["given"] = str(stale.cumulative)
    sentence = f"The receipt's total is {stale.cumulative}, but {account.paid} was already paid."
    return StaleReceipt(sentence, **details)
