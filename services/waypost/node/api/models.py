"""What several bodies have in common; each route's own models stand beside it. Amounts are decimal strings
in token base units, times Unix seconds, sizes bytes, binary data 0x-hex, and payloads base64."""

from typing import Annotated

from pydantic import Field

from waypost.node.api.fields import UINT32_MAX, UINT40_MAX, Amount, CompactSignature, GivenAmount, Model

Time = Annotated[int, Field(strict=True, ge=0, le=UINT40_MAX)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=UINT32_MAX)]
Topic = Annotated[str, Field(min_length=1, max_length=256)]


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


class GivenReceipt(Model):
    """The same in a request."""

    cumulative: GivenAmount
    signature: CompactSignature


class Accounts(Model):
    """What a paid answer adds, for the client to compare with its own books."""

    charged: Amount
    """By this request."""
    paid: Amount
    """The highest receipt of the channel."""
    spent: Amount
    """On the channel so far."""
