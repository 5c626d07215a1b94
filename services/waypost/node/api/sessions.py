"""POST /v1/sessions: a channel's signer shows its key once, and gets a bearer token."""

from fastapi import APIRouter

from waypost.errors import ChannelUnknown
from waypost.node.api.access import NodeHere
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, CompactSignature, GivenUint256, Model
from waypost.node.api.models import Time
from waypost.protocol.sessions import Session

router = APIRouter(prefix="/v1", tags=["sessions"])


class OpenSession(Model):
    """EIP-712 `Session`, signed by the channel's signer."""

    token: Address
    signer: Address
    nonce: GivenUint256
    expires: Time
    signature: CompactSignature


class OpenedSession(Model):
    """A session."""

    session: str
    """The bearer token."""
    expires: Time


@router.post("/sessions", status_code=201, responses=problems(401, 404))
async def open_session(node: NodeHere, body: OpenSession) -> OpenedSession:
    """A token of at most one hour that speaks for the channel."""
    if body.token != node.settings.token:
        raise ChannelUnknown(f"This node is paid in {node.settings.token}.", token=body.token)
    asked = Session(operator=node.settings.operator, nonce=body.nonce, expires=body.expires)
    token, expires = await node.sessions.open(body.signer, asked, body.signature, node.clock())
    return OpenedSession(session=token, expires=expires)
