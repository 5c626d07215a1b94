"""An endpoint that gets wrong what a test says, and transactions that are sent through it."""

from collections.abc import Callable
from typing import Any

from eth_typing import ChecksumAddress
from tests.services.node.money_node import MoneyNode

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Call, Connection
from waypost.node import transactions
from waypost.node.transactions import Transaction


class Tampered(Connection):
    """An endpoint of which a test says what it gets wrong."""

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)
        self.free = False
        """Says that gas costs nothing, so that what is sent is never mined."""
        self.tips = 0
        self.extra_nonces = 0
        self.extra_pending = 0
        self.gas: int | None = None
        self.receipts: Callable[[TransactionReceipt | None], TransactionReceipt | None] = lambda found: found

    async def base_fee(self) -> int:
        return 0 if self.free else await super().base_fee()

    async def tip(self) -> int:
        return 0 if self.free else self.tips or await super().tip()

    async def nonce(self, address: ChecksumAddress, *, pending: bool = False) -> int:
        extra = self.extra_pending if pending else self.extra_nonces
        return extra + await super().nonce(address, pending=pending)

    async def estimate(self, call: Call, sender: ChecksumAddress | None = None) -> int:
        found = await super().estimate(call, sender)
        return found if self.gas is None else self.gas

    async def receipt(self, transaction: bytes) -> TransactionReceipt | None:
        return self.receipts(await super().receipt(transaction))


def tampered(node: MoneyNode) -> Tampered:
    assert isinstance(node.connection, Tampered)
    return node.connection


async def stored(node: MoneyNode, transaction: Transaction | None) -> Transaction:
    assert transaction is not None
    number = transaction.id
    return await node.db.read(lambda connection: transactions.find(connection, number))


def nothing(connection: Any, transaction: int) -> None:
    """A record of nothing."""
