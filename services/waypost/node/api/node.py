"""GET /v1/node: who serves here, for which prices, within which limits."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from waypost.node.api import models
from waypost.node.api.access import NodeHere

router = APIRouter(prefix="/v1", tags=["node"])


@router.get("/node", response_model=models.Node)
async def describe_node(node: NodeHere) -> JSONResponse:
    """The node's description of itself, signed by its node key over the canonical JSON (RFC 8785)."""
    # As it was signed: passing it through the model would drop fields that a signature covers.
    return JSONResponse(node.descriptor.signed(), headers={"Cache-Control": "public, max-age=60"})
