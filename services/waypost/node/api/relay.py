"""POST and WS /v1/relay: messages for whoever listens now, paid for or within a member's rate."""

import sqlite3
from typing import Annotated, TypedDict

from fastapi import APIRouter, Response, WebSocket
from pydantic import Field

from waypost.node.api.access import PAYING, Buyer, node_of
from waypost.node.api.errors import PAID, problems
from waypost.node.api.fields import Base64, Bytes32, GivenUint256, Model, Nanoseconds, Proof
from waypost.node.api.models import Accounts, Time, Topic
from waypost.node.api.subscriber import Subscriber
from waypost.node.relay import Relayed
from waypost.protocol.messages import Message
from waypost.protocol.relay import MAX_EPOCH, Envelope, RateProof

router = APIRouter(prefix="/v1", tags=["relay"])


class GivenRateProof(Model):
    """That the sender is a member, and within its rate in `epoch` (32/RLN-V2): public signals as field
    elements, and Groth16's proof, compressed."""

    epoch: Annotated[int, Field(strict=True, ge=0, le=MAX_EPOCH)]
    root: GivenUint256
    nullifier: GivenUint256
    y: GivenUint256
    proof: Proof


class PublishMessage(Model):
    """A message as 14/WAKU2-MESSAGE has it; with `rateProof` it is passed on to the other nodes."""

    topic: Topic
    payload: Base64
    timestamp: Nanoseconds
    meta: Base64 = b""
    rate_proof: GivenRateProof | None = None

    def envelope(self) -> Envelope:
        """As the protocol has it. Raises InvalidTopic, MessageTooLarge or InvalidMessage."""
        given = self.rate_proof
        proof = None if given is None else RateProof(**dict(given))
        return Envelope(Message(self.topic, self.payload, self.timestamp, self.meta), proof)


class PublishedMessage(Accounts):
    """What was relayed; `duplicate` says that it had been before, which costs nothing."""

    id: Bytes32
    size: int
    """Bytes that were charged for, if a price was due."""
    accepted: Time
    duplicate: bool


class _Published(TypedDict):
    id: str
    size: int
    accepted: int
    duplicate: bool


@router.post(
    "/relay",
    status_code=201,
    responses=problems(*PAID, 403) | {200: {"model": PublishedMessage}},
    openapi_extra=PAYING,
)
async def publish_message(buyer: Buyer, body: PublishMessage, response: Response) -> PublishedMessage:
    """Relays the message: free and to all nodes with a `rateProof`, else for a price to this node's own
    subscribers. 200 if it had been relayed before. docs/relay.md has how to prove a message, and how to
    subscribe, by a WebSocket on this path."""
    node, envelope = buyer.node, body.envelope()
    books: dict[str, int] = {"charged": 0, "paid": 0, "spent": 0}
    if envelope.proof is not None:
        published = _as_json(await node.relay.publish(envelope, buyer.source))
    else:
        relayed: Relayed | None = None

        def relay(connection: sqlite3.Connection) -> tuple[int, _Published]:
            nonlocal relayed
            relayed = node.relay.put(connection, envelope.message)
            return 0 if relayed.duplicate else cost, _as_json(relayed)

        cost = buyer.prices.relay_cost(envelope.message.size)
        done = await buyer.charge(cost, relay)
        if relayed is not None:  # it is not when the answer is an earlier one's
            node.relay.announce(envelope, relayed)
        published = done.result
        books = {"charged": done.charged, "paid": done.paid, "spent": done.spent}
    response.status_code = 200 if published["duplicate"] else 201
    response.headers.update(buyer.success())
    return PublishedMessage.model_validate({**published, **books})


@router.websocket("/relay")
async def subscribe(socket: WebSocket) -> None:
    """Messages as they are relayed; the first frame says which."""
    await Subscriber(await node_of(socket), socket).serve()


def _as_json(relayed: Relayed) -> _Published:
    return _Published(
        id="0x" + relayed.id.hex(),
        size=relayed.size,
        accepted=relayed.accepted,
        duplicate=relayed.duplicate,
    )
