"""POST /v1/mailbox and /v1/mailbox/fetch: what is there, for free, and the messages themselves, by the KiB.
Topics and ids travel in the body, so that they stay out of logs."""

from typing import Annotated, Self, TypedDict

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, model_validator

from waypost.node.api.access import PAYING, Buyer, NodeHere
from waypost.node.api.errors import PAID, problems
from waypost.node.api.fields import Base64, Bytes32, Model, Nanoseconds
from waypost.node.api.models import Accounts, Time, Topic
from waypost.node.limits import MAX_PAGE, MAX_TOPICS
from waypost.node.mailboxes import Found, Page

router = APIRouter(prefix="/v1", tags=["mailbox"])

Topics = Annotated[tuple[Topic, ...], Field(min_length=1, max_length=MAX_TOPICS)]
Cursor = Annotated[str, Field(min_length=1, max_length=128)]
Limit = Annotated[int, Field(strict=True, ge=1, le=MAX_PAGE)]


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


@router.post("/mailbox", response_model_exclude_none=True, responses=problems())
async def list_mailbox(node: NodeHere, body: ListMailbox) -> Mailbox:
    """Ids and sizes after a cursor, oldest first; free, so that junk cannot bill the reader."""
    page = await node.messages.list(body.topics, body.cursor, body.limit, node.clock())
    return Mailbox(
        messages=[
            Entry(
                id=entry.id,
                topic=entry.topic,
                size=entry.size,
                timestamp=entry.timestamp_ns,
                expires=entry.expires,
            )
            for entry in page.entries
        ],
        cursor=page.cursor,
        pruned_before=page.pruned_before,
    )


@router.post(
    "/mailbox/fetch", response_model_exclude_none=True, responses=problems(*PAID, 410), openapi_extra=PAYING
)
async def fetch_messages(buyer: Buyer, body: FetchMessages, response: Response) -> Fetched:
    """Messages by id, or what topics hold after a cursor. Charged by the sizes that the list shows."""
    node, now = buyer.node, buyer.node.clock()
    page: Page | None = None
    if body.topics:
        page = await node.messages.list(body.topics, body.cursor, body.limit, now)
    found = await node.messages.get([entry.id for entry in page.entries] if page else body.ids, now)
    if page is None and not found.messages:
        raise _reason(found)
    cost = buyer.prices.fetch_cost(found.size)
    done = await buyer.charge(cost, lambda _: (cost, _answer(found, page)))
    if done.replayed:  # the answer of then, as far as it still exists
        found = await node.messages.get(map(bytes.fromhex, done.result["ids"]), now)
    response.headers.update(buyer.success())
    return Fetched(
        messages=[
            Delivered(
                id=kept.message.id,
                topic=kept.message.topic,
                payload=kept.message.payload,
                timestamp=kept.message.timestamp_ns,
                meta=kept.message.meta or None,
                expires=kept.expires,
            )
            for kept in found.messages
        ],
        missing=[Missing(id=id, code=error.code) for id, error in found.missing.items()],
        cursor=done.result["cursor"],
        charged=done.charged,
        paid=done.paid,
        spent=done.spent,
    )


class _Answer(TypedDict):
    ids: list[str]
    cursor: str | None


def _answer(found: Found, page: Page | None) -> _Answer:
    return {
        "ids": [kept.message.id.hex() for kept in found.messages],
        "cursor": page.cursor if page else None,
    }


def _reason(found: Found) -> Exception:
    """Why nothing was found: expired, if any of them is."""
    errors = sorted(found.missing.values(), key=lambda error: error.code)
    return errors[0]  # message_expired sorts before message_unknown
