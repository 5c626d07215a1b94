"""What ledger tests are made of: keys that sign, a chain that is only a list of blocks, a clock."""

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.channels import Claimed, Closed, CloseStarted, Opened, ToppedUp
from waypost.node.accounts import ChannelAccount
from waypost.node.backends.schema import Identity
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Ledger
from waypost.protocol.eip712 import channels_domain, node_domain
from waypost.protocol.receipts import Receipt, ReceiptVerifier, SignedReceipt
from waypost.protocol.signatures import address_of

CHAIN_ID = 31337


def key(name: str) -> bytes:
    """A private key by name."""
    return hashlib.sha256(name.encode()).digest()


def address(name: str) -> ChecksumAddress:
    """The address of `key(name)`."""
    return address_of(key(name))


CHANNELS, REGISTRY, TOKEN = address("channels"), address("registry"), address("token")
PAYEE, PAYER, OPERATOR = address("payee"), address("payer"), address("operator")
IDENTITY = Identity(CHAIN_ID, CHANNELS, REGISTRY, TOKEN, PAYEE)
DOMAIN = channels_domain(CHAIN_ID, CHANNELS)
NODE_DOMAIN = node_domain(CHAIN_ID, REGISTRY)
VERIFIER = ReceiptVerifier(DOMAIN, PAYEE, TOKEN)


@dataclass
class Clock:
    """Unix seconds that only a test moves."""

    now: int = 1_800_000_000

    def __call__(self) -> int:
        return self.now


def signed(
    signer: str,
    cumulative: int,
    payee: ChecksumAddress = PAYEE,
    token: ChecksumAddress = TOKEN,
) -> SignedReceipt:
    """A receipt by the channel `signer` (a name)."""
    receipt = Receipt(payee, token, cumulative)
    return SignedReceipt(receipt, receipt.sign(DOMAIN, key(signer)))


def open_ledger(db: Database, clock: Clock, **options: int) -> Ledger:
    """The books in `db`."""
    return Ledger(db, VERIFIER, clock, **options)


def open_database(folder: Path) -> Database:
    """The database of the node under test."""
    return Database(folder, IDENTITY)


@dataclass
class Blocks:
    """A chain of blocks that holds events of Channels and tells a ledger about them."""

    db: Database
    ledger: Ledger
    chain: list[BlockRef] = field(default_factory=lambda: [BlockRef(100, b"\1" * 32, b"\0" * 32, 0)])
    forks: int = 0

    @property
    def head(self) -> BlockRef:
        """The latest block."""
        return self.chain[-1]

    async def mine(self, *events: tuple[type[Event], dict[str, Any]], count: int = 1) -> BlockRef:
        """A block with these events, then empty ones until there are `count`."""
        for number in range(count):
            parent = self.chain[-1]
            name = f"{parent.hash.hex()} {self.forks}".encode()
            block = BlockRef(parent.number + 1, hashlib.sha256(name).digest(), parent.hash, 0)
            self.chain.append(block)
            decoded = [_event(block, index, *event) for index, event in enumerate(events)]
            await self.apply(block, decoded if number == 0 else [])
        return self.head

    async def apply(self, block: BlockRef, events: list[Event]) -> None:
        """Tells the ledger about one block."""
        await self.db.write(lambda connection: self.ledger.apply(connection, events, block))

    async def undo(self, count: int) -> None:
        """A reorg takes the last `count` blocks away; the next ones have other hashes."""
        self.forks += 1
        del self.chain[-count:]
        await self.db.write(lambda connection: self.ledger.rollback(connection, self.head))


def opened(
    signer: str,
    amount: int,
    *,
    close_delay: int = 3600,
    payee: ChecksumAddress = PAYEE,
    token: ChecksumAddress = TOKEN,
) -> tuple[type[Event], dict[str, Any]]:
    """The channel `signer` (a name) opens."""
    fields = {"payer": PAYER, "amount": amount, "close_delay": close_delay}
    return Opened, {"signer": address(signer), "payee": payee, "token": token, **fields}


def topped_up(signer: str, amount: int) -> tuple[type[Event], dict[str, Any]]:
    """Somebody adds to the deposit."""
    return ToppedUp, {"signer": address(signer), "from_": PAYER, "amount": amount, "deposited": 0}


def claimed(*entries: tuple[str, int]) -> tuple[type[Event], dict[str, Any]]:
    """A claim pays these channels."""
    named = tuple((address(signer), amount) for signer, amount in entries)
    return Claimed, {"total": sum(amount for _, amount in entries), "entries": named}


def close_started(signer: str, closes_at: int) -> tuple[type[Event], dict[str, Any]]:
    """The payer starts closing."""
    return CloseStarted, {"signer": address(signer), "closes_at": closes_at}


def closed(signer: str, total: int) -> tuple[type[Event], dict[str, Any]]:
    """The channel ends; `total` went to the payee over its life."""
    return Closed, {"signer": address(signer), "claimed": total, "refund": 0}


def _event(block: BlockRef, index: int, kind: type[Event], fields: dict[str, Any]) -> Event:
    origin = {
        "contract": CHANNELS,
        "block_number": block.number,
        "block_hash": block.hash,
        "transaction_hash": bytes(32),
        "log_index": index,
    }
    return kind(**{"payee": PAYEE, "token": TOKEN, **origin, **fields})


def costs(amount: int, result: object = None) -> Callable[[sqlite3.Connection], tuple[int, object]]:
    """An effect that only costs."""
    return lambda _: (amount, result)


async def account_of(ledger: Ledger, signer: str) -> ChannelAccount:
    """By this name."""
    account = await ledger.account(address(signer))
    assert account is not None
    return account
