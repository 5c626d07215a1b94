"""POST /v1/rln/registrations, extensions and exits: what members without ETH have the node send for them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from waypost.errors import RlnUnavailable
from waypost.node.api.access import NodeHere
from waypost.node.api.channels import Authorization
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Bytes32, CompactSignature, GivenUint256, Model
from waypost.node.api.models import Seconds, Time
from waypost.node.api.rln import RlnHere
from waypost.node.exits import ExitState
from waypost.node.membership import HomeMembers
from waypost.protocol import memberships

router = APIRouter(prefix="/v1/rln", tags=["rln"])

Rate = Annotated[int, Field(strict=True, ge=0, le=2**16 - 1)]
Periods = Seconds


async def members_of(node: NodeHere, rln: RlnHere) -> HomeMembers:
    """What serves the node's own members. Raises RlnUnavailable or NodeNotReady."""
    node.need_chain()
    if node.home_members is None:
        raise RlnUnavailable("This node has no RLN membership contract in its settings.")
    return node.home_members


HomeMembersHere = Annotated[HomeMembers, Depends(members_of)]


class Registration(Model):
    """EIP-712 `Registration` of the RlnMembership contract. `homeNode` is this node's payee."""

    payer: Address
    id_commitment: GivenUint256
    rate: Rate
    home_node: Address
    periods: Periods
    deadline: Time


class Register(Model):
    """A registration, and the payer's ERC-3009 authorization of stake and fee to the contract, whose nonce is
    the registration's struct hash."""

    registration: Registration
    authorization: Authorization


class SubmittedRegistration(Model):
    """`index` of the member's leaf, once it is registered; it is pending until then: repeat the request, or
    ask for the member."""

    transaction: Bytes32
    state: Literal["pending", "registered"]
    index: int | None = None


class Extension(Model):
    """EIP-712 `Extension` of the RlnMembership contract."""

    payer: Address
    id_commitment: GivenUint256
    periods: Periods
    salt: Bytes32
    deadline: Time


class Extend(Model):
    """An extension, and the payer's ERC-3009 authorization of the fee, whose nonce is its struct hash."""

    extension: Extension
    authorization: Authorization


class SubmittedExtension(Model):
    """`paidUntil` once it is mined, if the member has not ended since."""

    transaction: Bytes32
    state: Literal["pending", "extended"]
    paid_until: int | None = None


class Exit(Model):
    """EIP-712 `Exit` of the RlnMembership contract."""

    id_commitment: GivenUint256
    deadline: Time


class Leave(Model):
    """The exit of a member, signed by its owner."""

    exit: Exit
    signature: CompactSignature


class SubmittedExit(Model):
    """Repeat the request from `withdrawableAt` on: then stake and rest are paid back to the owner.
    `transaction` is what the node sent last for it; null if somebody else did."""

    transaction: Bytes32 | None
    state: Literal["pending", "exited", "withdrawn"]
    withdrawable_at: int | None = None


def _responses(model: type[Model], *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {202: {"model": model, "description": "Sent, and not mined yet."}, **problems(*statuses)}


@router.post(
    "/registrations", status_code=201, responses=_responses(SubmittedRegistration, 404, 422, 503, 507)
)
async def register_member(
    response: Response, members: HomeMembersHere, body: Register
) -> SubmittedRegistration:
    """Registers a member whose payer has no ETH. It is sent once, however often asked."""
    registration = memberships.Registration(**dict(body.registration))
    authorization = body.authorization.model_dump(by_alias=True)
    found = await members.registrations.register(registration, authorization)
    if found.index is None:
        response.status_code = 202
    return SubmittedRegistration(
        transaction=found.transaction,
        state="pending" if found.index is None else "registered",
        index=found.index,
    )


@router.post(
    "/extensions", status_code=201, responses=_responses(SubmittedExtension, 404, 410, 422, 503, 507)
)
async def extend_member(response: Response, members: HomeMembersHere, body: Extend) -> SubmittedExtension:
    """Pays for more periods of one of this node's members. It is sent once, however often asked."""
    extension = memberships.Extension(**dict(body.extension))
    authorization = body.authorization.model_dump(by_alias=True)
    found = await members.registrations.extend(extension, authorization)
    if not found.extended:
        response.status_code = 202
    return SubmittedExtension(
        transaction=found.transaction,
        state="extended" if found.extended else "pending",
        paid_until=found.paid_until,
    )


@router.post("/exits", status_code=201, responses=_responses(SubmittedExit, 404, 410, 422, 503, 507))
async def let_member_leave(response: Response, members: HomeMembersHere, body: Leave) -> SubmittedExit:
    """Ends the membership of one of this node's members, for an owner without ETH; later pays it back."""
    exit_ = memberships.Exit(**dict(body.exit))
    found = await members.exits.leave(exit_, body.signature)
    if found.state is ExitState.PENDING:
        response.status_code = 202
    return SubmittedExit(
        transaction=found.transaction, state=found.state.value, withdrawable_at=found.withdrawable_at
    )
