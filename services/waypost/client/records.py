"""The content of the client's state files. Amounts are decimal strings there, times Unix seconds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from waypost.client.answers import Address
from waypost.client.books import Amount, Books

Status = Literal["opening", "open", "closing", "closed"]

MembershipStatus = Literal["joining", "member", "left", "ended"]


class _Record(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, validate_assignment=True)


class AgreedPrices(_Record):
    """What the node asked when the channel was opened: it is not paid more without the user's consent."""

    store_per_kib_hour: Amount
    fetch_per_kib: Amount
    relay_per_kib: Amount = 0
    """Channels that were opened before nodes relayed agreed to no price for it."""
    min_receipt: Amount


class OpeningRecord(_Record):
    """A signed opening on its way: repeated word for word until it is on chain or its time is up."""

    request: dict[str, Any]
    """The body of `POST /v1/channels`, signatures included."""
    fee: Amount
    """The price of having the node submit it."""
    deadline: int


class ChannelRecord(_Record):
    """One channel. Its key is not here: it follows from the seed, the payee and `index`."""

    operator: Address
    payee: Address
    token: Address
    signer: Address
    index: int
    payer: Address
    close_delay: int
    status: Status
    closes_at: int = 0
    agreed: AgreedPrices
    opening: OpeningRecord | None = None
    unverified: bool = False
    """Found again from the seed, while the node's accounts could not be had or believed."""
    books: Books


class OrderRecord(_Record):
    """Something signed for a membership, on its way: repeated word for word until it is on chain or its time
    is up. `kind`: registrations, extensions or exits, as in the node's path."""

    kind: Literal["registrations", "extensions", "exits"]
    body: dict[str, Any]
    deadline: int
    periods_before: int = 0
    """Of an extension: periods added before it."""


class LeafRecord(_Record):
    """What the registration on chain fixed, beside the membership's own terms."""

    owner: Address
    index: int
    start: int


class MembershipRecord(_Record):
    """One membership. Its secret is not here: it follows from the seed, the contract and `index`."""

    contract: Address
    index: int
    id_commitment: Amount
    rate: int
    periods: int
    operator: Address
    home_node: Address
    """Where the operator was paid when it was chosen: it gets the fee."""
    network: str
    epoch_seconds: int
    since: int
    """The block after which everything that happened to it is in the chain."""
    status: MembershipStatus = "joining"
    why: str = ""
    """How it ended."""
    leaf: LeafRecord | None = None
    order: OrderRecord | None = None


class EpochsRecord(_Record):
    """What was signalled in one application: messages used by epoch, none below `floor` ever again; and which
    slot the latest messages got, by id."""

    floor: int = 0
    used: dict[int, int] = Field(default_factory=dict)
    recent: dict[str, tuple[int, int]] = Field(default_factory=dict)


class RateRecord(_Record):
    """What one membership has signalled. `marker` is the stamp of the marker file after `turn` writes; only
    epochs that begin at `not_before` (Unix seconds) or later may be used."""

    turn: int = 0
    marker: str = ""
    not_before: int = 0
    identifiers: dict[str, EpochsRecord] = Field(default_factory=dict)


class RelayRecord(_Record):
    """How far subscriptions were read, by their name: operator → the node's opaque cursor; and the ids of the
    latest messages, which other nodes may still deliver."""

    cursors: dict[str, dict[str, str]] = Field(default_factory=dict)
    seen: list[str] = Field(default_factory=list)


class MailboxRecord(_Record):
    """How far the mailbox was read."""

    cursors: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Operator → topic → the node's opaque cursor."""
    seen: dict[str, int] = Field(default_factory=dict)
    """Ids of read messages → when no node has them any more: copies elsewhere are not paid for again."""
