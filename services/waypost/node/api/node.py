"""GET /v1/node: who serves here, for which prices, within which limits."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from waypost.node.api.access import NodeHere
from waypost.node.api.fields import Address, Amount, Bytes32, CompactSignature, Model
from waypost.node.api.models import Time

router = APIRouter(prefix="/v1", tags=["node"])


class Chain(Model):
    """The chain that the contracts are on; `network` is its CAIP-2 name."""

    id: int
    network: str


class Contracts(Model):
    """The contracts that the node works with, and the token it is paid in; `membership` if it follows RLN."""

    channels: Address
    registry: Address
    token: Address
    membership: Address | None = None


class Prices(Model):
    """The price list; `validUntil` is a promise."""

    price_id: Bytes32
    valid_until: Time
    token: Address
    store_per_kib_hour: Amount
    fetch_per_kib: Amount
    relay_per_kib: Amount
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


@router.get("/node", response_model=Node)
async def describe_node(node: NodeHere) -> JSONResponse:
    """The node's description of itself, signed by its node key over the canonical JSON (RFC 8785)."""
    # As it was signed: passing it through the model would drop fields that a signature covers.
    return JSONResponse(node.descriptor.signed(), headers={"Cache-Control": "public, max-age=60"})
