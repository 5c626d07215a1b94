"""What nodes answer, checked for shape before anything believes it. Amounts are decimal strings."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

from eth_typing import ChecksumAddress
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from waypost.errors import InvalidAnswer, WaypostError
from waypost.protocol.messages import MAX_META, MAX_PAYLOAD, MAX_TOPIC
from waypost.protocol.poseidon import R
from waypost.protocol.rln import DEPTH, MAX_LIMIT
from waypost.protocol.signatures import address_bytes

MAX_AMOUNT_DIGITS = 39  # a uint128 has no more


def _amount(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_AMOUNT_DIGITS:
        return int(value)
    raise ValueError("not an amount as a decimal string")


def _address(value: str) -> str:
    try:
        address_bytes(value)
    except WaypostError as error:
        raise ValueError(str(error)) from None
    return value


def _id(value: object) -> bytes:
    if isinstance(value, str) and len(value) == 66 and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    raise ValueError("not 32 bytes of 0x-hex")


def _element(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 77 and int(value) < R:
        return int(value)
    raise ValueError("not an element of BN254's scalar field as a decimal string")


Amount = Annotated[int, BeforeValidator(_amount)]
FieldElement = Annotated[int, BeforeValidator(_element)]
Address = Annotated[ChecksumAddress, AfterValidator(_address)]
MessageId = Annotated[bytes, BeforeValidator(_id)]
Seconds = Annotated[int, Field(ge=0, lt=2**53)]
Cursor = Annotated[str, Field(min_length=1, max_length=512)]


class Answer(BaseModel):
    """Fields that this version does not know are ignored: nodes may add some."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class PaidAnswer(Answer):
    """Every answer that costs something names its price and the channel's totals."""

    charged: Amount
    paid: Amount
    spent: Amount


class SessionAnswer(Answer):
    """`POST /v1/sessions`."""

    session: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]+$")]
    expires: Seconds


class ReceiptAnswer(Answer):
    """A receipt as the node keeps it."""

    cumulative: Amount
    signature: Annotated[str, Field(max_length=200)]


class ChannelAnswer(Answer):
    """`GET /v1/channels/…`: the channel as the node sees it."""

    payee: Address
    token: Address
    signer: Address
    payer: Address
    deposited: Amount
    claimed: Amount
    paid: Amount
    spent: Amount
    status: str
    receipt: ReceiptAnswer | None = None


class CloseTerms(Answer):
    """What the payee consents to."""

    payee: Address
    token: Address
    signer: Address
    final_cumulative: Amount
    deadline: Seconds


class CloseAnswer(Answer):
    """`POST /v1/channels/…/close`."""

    close: CloseTerms
    signature: Annotated[str, Field(pattern=r"^0x([0-9a-fA-F]{2})*$", max_length=4096)]
    receipt: ReceiptAnswer | None = None


class StoredAnswer(PaidAnswer):
    """`POST /v1/messages`."""

    id: MessageId
    size: Seconds
    accepted: Seconds
    expires: Seconds


class ListedMessage(Answer):
    """One line of a listing."""

    id: MessageId
    topic: Annotated[str, Field(max_length=1024)]
    size: Annotated[int, Field(ge=0, le=MAX_PAYLOAD + MAX_META + MAX_TOPIC + 8)]
    expires: Seconds


class ListingAnswer(Answer):
    """`POST /v1/mailbox`."""

    messages: list[ListedMessage]
    cursor: Cursor | None = None
    pruned_before: str | None = None


class MissingMessage(Answer):
    """A message that the node no longer has, and why."""

    id: MessageId
    code: Annotated[str, Field(max_length=64)]


class DeliveryAnswer(PaidAnswer):
    """`POST /v1/mailbox/fetch`. The messages stay raw: each is checked by itself."""

    messages: list[dict[str, object]]
    missing: list[MissingMessage] = Field(default_factory=list)


class TreeAnswer(Answer):
    """`GET /v1/rln`: the tree of members that the node holds proofs against."""

    contract: Address
    network: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    rln_identifier: FieldElement
    epoch_seconds: Annotated[int, Field(ge=1, le=86_400)]
    root: FieldElement
    roots: list["RootAnswer"] = Field(default_factory=list)


class RootAnswer(Answer):
    """A root that proofs may name."""

    root: FieldElement


class PathAnswer(Answer):
    """`GET /v1/rln/members/…`: where a member is in the tree."""

    index: Annotated[int, Field(ge=0, lt=2**DEPTH)]
    rate: Annotated[int, Field(ge=1, le=MAX_LIMIT)]
    path: Annotated[list[FieldElement], Field(min_length=DEPTH, max_length=DEPTH)]
    root: FieldElement


class OrderAnswer(Answer):
    """`POST /v1/rln/registrations`, `extensions` or `exits`."""

    transaction: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")] | None = None
    state: Annotated[str, Field(max_length=32)]


class RelayedAnswer(Answer):
    """`POST /v1/relay`."""

    id: MessageId
    accepted: Seconds
    duplicate: bool = False


class PaidRelayAnswer(RelayedAnswer, PaidAnswer):
    """`POST /v1/relay`, for money."""


AnswerType = TypeVar("AnswerType", bound=Answer)


def parse(model: type[AnswerType], body: Mapping[str, object]) -> AnswerType:
    """The answer as `model`. Raises InvalidAnswer naming the first field at fault."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise InvalidAnswer(
            f"The node's answer has a bad field {field}: {problem['msg']}.", field=field
        ) from None
