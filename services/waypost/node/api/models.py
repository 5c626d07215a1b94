"""What goes over the wire: one model per body. Amounts are decimal strings in token base units, times Unix seconds,
sizes bytes, binary data 0x-hex, and payloads base64."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from waypost.node.api.fields import (
    UINT32_MAX,
    UINT40_MAX,
    Address,
    Amount,
    Base64,
    Bytes32,
    CompactSignature,
    Model,
    Nanoseconds,
    Uint256,
)

MAX_TOPICS = 64
MAX_PAGE = 100

Time = Annotated[int, Field(strict=True, ge=0, le=UINT40_MAX)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=UINT32_MAX)]
Topic = Annotated[str, Field(min_length=1, max_length=256)]
Cursor = Annotated[str, Field(min_length=1, max_length=128)]


class Problem(Model):
    """RFC 9457. `code` is stable; further fields carry the figures of this error."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str


class Receipt(Model):
    """A signed running total; payee and token follow from the channel."""

    cumulative: Amount
    signature: CompactSignature


class Accounts(Model):
    """What a paid answer adds, for the client to compare with its own books."""

    charged: Amount
    """By this request."""
    paid: Amount
    """The highest receipt of the channel."""
    spent: Amount
    """On the channel so far."""


# ---- Node ----


class Chain(Model):
    id: int
    network: str


class Contracts(Model):
    channels: Address
    registry: Address
    token: Address


class Prices(Model):
    price_id: Bytes32
    valid_until: Time
    token: Address
    store_per_kib_hour: Amount
    fetch_per_kib: Amount
    opening: Amount
    min_receipt: Amount
    min_deposit: Amount


class Limits(Model):
    max_payload: int
    min_retention: int
    max_retention: int
    min_close_delay: int
    confirmations: int
    max_topics: int
    max_page: int


class Node(Model):
    """The node's description of itself; `signature` is the node key's, over all other fields."""

    operator: Address
    node_key: Address
    payee: Address
    services: list[str]
    endpoint: str
    chain: Chain
    contracts: Contracts
    prices: Prices
    limits: Limits
    version: str
    issued: Time
    signature: CompactSignature


# ---- Channels, sessions, receipts ----


class Opening(Model):
    """EIP-712 `Opening` of the Channels contract."""

    payer: Address
    payee: Address
    token: Address
    signer: Address
    close_delay: Seconds
    amount: Amount
    salt: Bytes32
    deadline: Time


class Authorization(Model):
    """The payer's ERC-3009 authorization; its nonce is the opening's struct hash."""

    valid_after: Time
    valid_before: Time
    v: Annotated[int, Field(strict=True, ge=0, le=255)]
    r: Bytes32
    s: Bytes32


class OpenChannel(Model):
    opening: Opening
    signer_signature: CompactSignature
    authorization: Authorization
    receipt: Receipt


class Channel(Model):
    """A channel as this node sees it."""

    payee: Address
    token: Address
    signer: Address
    payer: Address
    deposited: Amount
    claimed: Amount
    paid: Amount
    spent: Amount
    balance: Amount
    status: Literal["open", "closing", "closed"]
    closes_at: Time
    close_delay: Seconds
    receipt: Receipt | None


class OpenedChannel(Accounts):
    transaction: Bytes32
    channel: Channel


class PendingChannel(Model):
    """The transaction was sent and is not mined yet: ask for the channel, or repeat the request."""

    transaction: Bytes32
    status: Literal["pending"] = "pending"


class Close(Model):
    """EIP-712 `Close` of the Channels contract."""

    payee: Address
    token: Address
    signer: Address
    final_cumulative: Amount
    deadline: Time


class ConsentedClose(Model):
    """All that `Channels.close` takes."""

    close: Close
    signature: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$")]
    receipt: Receipt


class OpenSession(Model):
    """EIP-712 `Session`, signed by the channel's signer."""

    token: Address
    signer: Address
    nonce: Uint256
    expires: Time
    signature: CompactSignature


class OpenedSession(Model):
    session: str
    """The bearer token."""
    expires: Time


class RaiseReceipt(Receipt):
    token: Address
    signer: Address


class Raised(Accounts):
    balance: Amount


# ---- Messages ----


class StoreMessage(Model):
    topic: Topic
    payload: Base64
    timestamp: Nanoseconds
    meta: Base64 = b""
    retention: Seconds


class StoredMessage(Accounts):
    id: Bytes32
    size: int
    """Bytes that are kept and were charged for."""
    accepted: Time
    expires: Time


class ListMailbox(Model):
    topics: Annotated[list[Topic], Field(min_length=1, max_length=MAX_TOPICS)]
    cursor: Cursor | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_PAGE)] = MAX_PAGE


class Entry(Model):
    id: Bytes32
    topic: str
    size: int
    timestamp: Nanoseconds
    expires: Time


class Mailbox(Model):
    messages: list[Entry]
    cursor: str
    """Where to go on."""
    pruned_before: str | None = None


class FetchById(Model):
    ids: Annotated[list[Bytes32], Field(min_length=1, max_length=MAX_PAGE)]


class Delivered(Model):
    id: Bytes32
    topic: str
    payload: Base64
    timestamp: Nanoseconds
    meta: Base64 | None = None
    expires: Time


class Missing(Model):
    id: Bytes32
    code: str


class Fetched(Accounts):
    messages: list[Delivered]
    missing: list[Missing]
    cursor: str | None = None


# ---- Health and operation ----


class Health(Model):
    status: Literal["ok"] = "ok"


class Readiness(Model):
    status: Literal["ready"] = "ready"
    head: int
    """Number of the newest block that the books cover."""


class Claimed(Model):
    transactions: list[Bytes32]


Status = dict[str, Any]
