"""What goes over the wire, one model per body. Amounts are decimal strings in token base units, times
Unix seconds, sizes bytes, binary data 0x-hex, and payloads base64."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

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
from waypost.node.limits import MAX_PAGE, MAX_TOPICS

Time = Annotated[int, Field(strict=True, ge=0, le=UINT40_MAX)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=UINT32_MAX)]
Topic = Annotated[str, Field(min_length=1, max_length=256)]
Topics = Annotated[tuple[Topic, ...], Field(min_length=1, max_length=MAX_TOPICS)]
Cursor = Annotated[str, Field(min_length=1, max_length=128)]
Limit = Annotated[int, Field(strict=True, ge=1, le=MAX_PAGE)]


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
    """The chain that the contracts are on; `network` is its CAIP-2 name."""

    id: int
    network: str


class Contracts(Model):
    """The contracts that the node works with, and the token it is paid in."""

    channels: Address
    registry: Address
    token: Address


class Prices(Model):
    """The price list; `validUntil` is a promise."""

    price_id: Bytes32
    valid_until: Time
    token: Address
    store_per_kib_hour: Amount
    fetch_per_kib: Amount
    opening: Amount
    min_receipt: Amount
    min_deposit: Amount


class Limits(Model):
    """What requests are held to."""

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
    """All that is needed to open a channel for a payer without ETH."""

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
    status: Literal["opening", "open", "closing", "closed"]
    closes_at: Time
    close_delay: Seconds
    receipt: Receipt | None


class OpenedChannel(Accounts):
    """The channel is open, and its first receipt paid for opening it."""

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
    receipt: Receipt | None


class OpenSession(Model):
    """EIP-712 `Session`, signed by the channel's signer."""

    token: Address
    signer: Address
    nonce: Uint256
    expires: Time
    signature: CompactSignature


class OpenedSession(Model):
    """A session."""

    session: str
    """The bearer token."""
    expires: Time


class RaiseReceipt(Receipt):
    """A receipt for this node, of the channel that is named."""

    token: Address
    signer: Address


class Raised(Accounts):
    """The books after a receipt."""

    balance: Amount


# ---- Messages ----


class StoreMessage(Model):
    """A message as 14/WAKU2-MESSAGE has it, and how long to keep it."""

    topic: Topic
    payload: Base64
    timestamp: Nanoseconds
    meta: Base64 = b""
    retention: Seconds


class StoredMessage(Accounts):
    """What is kept, until when."""

    id: Bytes32
    size: int
    """Bytes that are kept and were charged for."""
    accepted: Time
    expires: Time


class ListMailbox(Model):
    """What to list: everything on these topics after the cursor."""

    topics: Topics
    cursor: Cursor | None = None
    limit: Limit = MAX_PAGE


class Entry(Model):
    """A message without its payload; fetching it is charged by `size`."""

    id: Bytes32
    topic: str
    size: int
    timestamp: Nanoseconds
    expires: Time


class Mailbox(Model):
    """One page, oldest first."""

    messages: list[Entry]
    cursor: str
    """Where to go on."""
    pruned_before: str | None = None


class FetchMessages(Model):
    """Either ids, or topics with an optional cursor and limit."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["ids"]}, {"required": ["topics"]}]})

    ids: Annotated[tuple[Bytes32, ...], Field(min_length=1, max_length=MAX_PAGE)] = ()
    topics: Topics = ()
    cursor: Cursor | None = None
    limit: Limit = MAX_PAGE

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.ids) == bool(self.topics):
            raise ValueError("give ids or topics, one of them")
        return self


class Delivered(Model):
    """A message."""

    id: Bytes32
    topic: str
    payload: Base64
    timestamp: Nanoseconds
    meta: Base64 | None = None
    expires: Time


class Missing(Model):
    """Why a message is not there: message_expired or message_unknown."""

    id: Bytes32
    code: str


class Fetched(Accounts):
    """The messages that are there."""

    messages: list[Delivered]
    missing: list[Missing]
    cursor: str | None = None


# ---- Health and operation ----


class Health(Model):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Model):
    """The node follows its chain."""

    status: Literal["ready"] = "ready"
    head: int
    """Number of the newest block that the books cover."""


class Totals(Model):
    """Sums over all channels, in base units; `earned` is what was claimed or is claimable."""

    channels: int
    paid: Amount
    spent: Amount
    earned: Amount
    claimable: Amount
    claimed: Amount
    confirming: Amount
    at_risk: Amount
    lost: Amount


class Claim(Model):
    """A claim that was sent; `block` is None until it is mined."""

    transaction: Bytes32
    state: str
    value: Amount
    receipts: int
    block: int | None
    created: Time


class Claims(Model):
    """The transactions that claimed."""

    transactions: list[Bytes32]


class Status(Model):
    """A node at a glance; `faults` are codes of what is wrong now, `gasBalance` is in wei."""

    operator: Address
    payee: Address
    ready: bool
    head: int
    head_age: int | None
    totals: Totals
    stored_bytes: int
    gas_account: Address
    gas_balance: Uint256 | None
    waiting_transactions: int
    claim: Claim | None
    claims: list[Claim]
    faults: list[str]
