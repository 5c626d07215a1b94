"""POST /v1/messages: keeps a message, for a price by size and time."""

import sqlite3
from typing import TypedDict

from fastapi import APIRouter, Response

from waypost.node.api.access import PAYING, Buyer
from waypost.node.api.errors import PAID, problems
from waypost.node.api.fields import Bytes32
from waypost.node.api.models import Accounts, Seconds, Time
from waypost.node.api.relay import PublishMessage
from waypost.node.relay import Relayed
from waypost.protocol.relay import Envelope

router = APIRouter(prefix="/v1", tags=["messages"])


class StoreMessage(PublishMessage):
    """A message, and how long to keep it. It is relayed too."""

    retention: Seconds


class StoredMessage(Accounts):
    """What is kept, until when."""

    id: Bytes32
    size: int
    """Bytes that are kept and were charged for."""
    accepted: Time
    expires: Time


NOBODY = "0x0000000000000000000000000000000000000000"
"""In whose name messages are kept that nobody had to pay for."""


class _Kept(TypedDict):
    id: str
    size: int
    accepted: int
    expires: int


@router.post("/messages", status_code=201, responses=problems(*PAID, 403), openapi_extra=PAYING)
async def store_message(buyer: Buyer, body: StoreMessage, response: Response) -> StoredMessage:
    """Keeps the message for `retention` seconds, and relays it, which comes first if it has a `rateProof`;
    storing it again extends that, for the difference."""
    node = buyer.node
    envelope = body.envelope()
    message, now = envelope.message, node.clock()
    if envelope.proof is not None:
        await node.relay.publish(envelope, buyer.source)
    relayed: Relayed | None = None

    def keep(connection: sqlite3.Connection) -> tuple[int, _Kept]:
        nonlocal relayed
        kept = node.messages.put(
            connection, message, buyer.signer or NOBODY, body.retention, buyer.prices, now
        )
        relayed = node.relay.put(connection, message) if kept.accepted == now else None
        return kept.cost, _Kept(
            id="0x" + kept.id.hex(), size=kept.size, accepted=kept.accepted, expires=kept.expires
        )

    done = await buyer.charge(buyer.prices.store_cost(message.size, body.retention), keep)
    if relayed is not None:
        node.relay.announce(Envelope(message), relayed)
    response.headers.update(buyer.success())
    books = {"charged": done.charged, "paid": done.paid, "spent": done.spent}
    return StoredMessage.model_validate({**done.result, **books})
