"""The content of the client's state files. Amounts are decimal strings there, times Unix seconds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from waypost.client.answers import Address
from waypost.client.books import Amount, Books

Status = Literal["opening", "open", "closing", "closed"]


class _Record(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, validate_assignment=True)


class AgreedPrices(_Record):
    """What the node asked when the channel was opened: it is not paid more without the user's consent."""

    store_per_kib_hour: Amount
    fetch_per_kib: Amount
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


class MailboxRecord(_Record):
    """How far the mailbox was read."""

    cursors: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Operator → topic → the node's opaque cursor."""
    seen: dict[str, int] = Field(default_factory=dict)
    """Ids of read messages → when no node has them any more: copies elsewhere are not paid for again."""
