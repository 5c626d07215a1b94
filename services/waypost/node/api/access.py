"""Who is asking: the node behind a request, its session, and how it pays. Dependencies of the routes."""

import hashlib
import re
from typing import Annotated, Any, cast

from eth_typing import ChecksumAddress
from fastapi import Depends, Header, Request
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from waypost.errors import InvalidRequest, SessionInvalid
from waypost.node.answers import Idempotency
from waypost.node.node import Node
from waypost.node.payment import Purchase
from waypost.protocol.payments import PaymentPayload
from waypost.protocol.prices import PriceList

PRICE_ID = "^0x[0-9a-f]{64}$"

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(
        HTTPBearer(auto_error=False, scheme_name="session", description="The token of POST /v1/sessions.")
    ),
]


async def node_of(request: HTTPConnection) -> Node:
    """The node that answers this request."""
    return cast(Node, request.app.state.node)


NodeHere = Annotated[Node, Depends(node_of)]


async def session(node: NodeHere, bearer: Bearer) -> ChecksumAddress:
    """The channel that the bearer token speaks for. Raises SessionInvalid or SessionExpired."""
    if bearer is None:
        raise SessionInvalid("This needs a session: open one with POST /v1/sessions.")
    return await node.sessions.signer_of(bearer.credentials, node.clock())


SessionSigner = Annotated[ChecksumAddress, Depends(session)]


PriceId = Annotated[
    str | None,
    Header(
        alias="Waypost-Price-Id",
        pattern=PRICE_ID,
        description="The price list to charge by; see GET /v1/node.",
    ),
]


async def agreed_prices(node: NodeHere, price_id: PriceId = None) -> PriceList:
    """The price list that the request names, or the current one. Raises PriceExpired."""
    return node.prices.honoured(price_id)


AgreedPrices = Annotated[PriceList, Depends(agreed_prices)]


async def purchase(request: Request) -> Purchase:
    """What this request may spend. Raises what its headers deserve, before anything is looked up or done.

    Reads the headers itself: FastAPI's parameters would cost more than checking a receipt. PAYING shows them.
    """
    node, headers = await node_of(request), request.headers
    payment, key = headers.get(PaymentPayload.header), headers.get("Idempotency-Key")
    bought = Purchase(
        node=node,
        scope=request.scope,
        prices=node.prices.honoured(headers.get("Waypost-Price-Id")),
        payment=None if payment is None else PaymentPayload.from_header(payment),
        session=await _optional_session(node, headers.get("Authorization")),
        idempotency=None if key is None else Idempotency(_checked(key), await _fingerprint(request)),
    )
    request.state.purchase = bought  # for the headers of a refusal
    bought.check()
    return bought


Buyer = Annotated[Purchase, Depends(purchase)]

PAYING: dict[str, Any] = {
    "security": [{"session": []}, {}],
    "parameters": [
        {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}
        for name, description, schema in (
            (
                PaymentPayload.header,
                "x402 v2 `PaymentPayload`, base64 JSON: pays for this request with a receipt of its own.",
                {"maxLength": 8192},
            ),
            (
                "Idempotency-Key",
                "A repeated request gets the first answer for 24 hours, and is charged once.",
                {"pattern": "^[!-~]{1,255}$"},
            ),
            (
                "Waypost-Price-Id",
                "The price list to charge by; a replaced one is honoured for ten minutes.",
                {"pattern": PRICE_ID},
            ),
        )
    ],
}
"""`openapi_extra` of the routes that charge."""

_KEY = re.compile("[!-~]{1,255}", re.ASCII)


async def _optional_session(node: Node, authorization: str | None) -> ChecksumAddress | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise SessionInvalid("The Authorization header must carry a Bearer token.")
    return await node.sessions.signer_of(token.strip(), node.clock())


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidRequest("An Idempotency-Key has 1 to 255 printable ASCII characters, without spaces.")
    return key


async def _fingerprint(request: Request) -> bytes:
    return hashlib.sha256(request.scope["path"].encode() + b"\n" + await request.body()).digest()
