"""Sends calls as one account: simulated first, EIP-1559 fees, nonces in order, stuck transactions replaced.
A signed transaction is a value, so that whoever must not lose it can persist it before it is sent."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Call, Connection


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What is broadcast; `raw` alone is enough to restore it."""

    hash: bytes
    raw: bytes
    nonce: int

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """Restores a persisted transaction."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas: the newest block's base fee, and the tip that gets a transaction into the next one."""

    base: int
    tip: int

    @property
    def limit(self) -> int:
        """`maxFeePerGas` that survives a few full blocks."""
        return 2 * self.base + self.tip


Persist = Callable[[SignedTransaction], Awaitable[None]]


class Sender:
    """One account's transactions. Safe to use from many tasks of one process."""

    def __init__(
        self, connection: Connection, private_key: bytes, *, max_fee_per_gas: int | None = None
    ) -> None:
        self.connection = connection
        self.address: ChecksumAddress

    async def fees(self) -> Fees:
        """What a transaction should offer now. Raises ChainError."""
        raise NotImplementedError

    def sign_exactly(
        self, call: Call, *, nonce: int, gas: int, max_fee: int, tip: int
    ) -> SignedTransaction:
        """Signs without asking the endpoint and without reserving the nonce: for whoever keeps the
        account's nonces and fees itself, on disk."""
        raise NotImplementedError

    async def simulate(self, call: Call) -> bytes:
        """What the call would return if it were sent now. Raises TransactionReverted."""
        raise NotImplementedError

    async def sign(self, call: Call, *, gas: int | None = None) -> SignedTransaction:
        """Simulates the call, then signs it with the next nonce, which is now reserved: broadcast it, or `release` it.

        Raises TransactionReverted, InsufficientFunds, FeeTooHigh."""
        raise NotImplementedError

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Hands it to the endpoint; success also if it is already known or mined. Raises ChainError."""
        raise NotImplementedError

    async def wait(
        self, transaction: SignedTransaction | Sequence[SignedTransaction], *, confirmations: int = 1, timeout: float = 120.0
    ) -> TransactionReceipt:
        """Waits until it, or one of its replacements, is in a block (confirmations=1), or deeper.

        Raises TransactionReverted, or TransactionStuck after `timeout` seconds."""
        raise NotImplementedError

    async def replace(self, transaction: SignedTransaction) -> SignedTransaction:
        """The same transaction with fees that replace it: at least an eighth more, and what is asked now."""
        raise NotImplementedError

    def release(self, transaction: SignedTransaction) -> None:
        """Gives back the nonce of a transaction that was signed and never broadcast."""
        raise NotImplementedError

    async def send(
        self,
        call: Call,
        *,
        confirmations: int = 1,
        timeout: float = 120.0,
        gas: int | None = None,
        persist: Persist | None = None,
    ) -> TransactionReceipt:
        """Signs, persists, broadcasts, waits, and replaces what is stuck."""
        raise NotImplementedError
