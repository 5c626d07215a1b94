"""POST /v1/mailbox and /v1/mailbox/fetch: what is there, for free, and the messages themselves, by the KiB.
Topics and ids travel in the body, so that they stay out of logs."""

from typing import TypedDict

from fastapi import APIRouter, Response

from waypost.node.api import models
from waypost.node.api.access import PAYING, Buyer, NodeHere
from waypost.node.api.errors import PAID, problems
from waypost.node.mailboxes import Found, Page

router = APIRouter(prefix="/v1", tags=["mailbox"])


@router.post("/mailbox", response_model_exclude_none=True, responses=problems())
async def list_mailbox(node: NodeHere, body: models.ListMailbox) -> models.Mailbox:
    """Ids and sizes after a cursor, oldest first; free, so that junk cannot bill the reader."""
    page = await node.messages.list(body.topics, body.cursor, body.limit, node.clock())
    return models.Mailbox(
        messages=[
            models.Entry(
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
async def fetch_messages(buyer: Buyer, body: models.FetchMessages, response: Response) -> models.Fetched:
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
    return models.Fetched(
        messages=[
            models.Delivered(
                id=kept.message.id,
                topic=kept.message.topic,
                payload=kept.message.payload,
                timestamp=kept.message.timestamp_ns,
                meta=kept.message.meta or None,
                expires=kept.expires,
            )
            for kept in found.messages
        ],
        missing=[models.Missing(id=id, code=error.code) for id, error in found.missing.items()],
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
