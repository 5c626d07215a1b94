"""GET /v1/rln: the tree of members that proofs are held against, and the paths that members prove with.
Whoever asks for a path shows its commitment to this node; a proof later shows nothing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from waypost.errors import NodeNotReady, RlnUnavailable
from waypost.node.api.access import NodeHere
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Bytes32, Model, Uint256
from waypost.node.api.models import Time
from waypost.node.rln import Rln
from waypost.protocol.rln import DEPTH, hash_to_field, parse_commitment

router = APIRouter(prefix="/v1/rln", tags=["rln"])


async def rln_of(node: NodeHere) -> Rln:
    """The node's RLN. Raises RlnUnavailable, or NodeNotReady while it has not caught up."""
    if node.rln is None:
        raise RlnUnavailable("This node has no RLN membership contract in its settings.")
    if not node.rln.sync.ready:
        raise NodeNotReady("The node has not caught up with its members; try again shortly.", retryAfter=5)
    return node.rln


RlnHere = Annotated[Rln, Depends(rln_of)]
Commitment = Annotated[
    str,
    Path(
        alias="idCommitment",
        pattern="^[1-9][0-9]{0,76}$",
        description="What the member registered: a decimal number below the order of BN254's scalar field.",
    ),
]


class AcceptedRoot(Model):
    """A root that proofs may name: until `acceptedUntil`, or while it is the newest."""

    root: Uint256
    block: int
    accepted_until: Time | None


class Tree(Model):
    """The tree after `block`, and what proofs are made for. `roots` are the accepted ones, newest first; a
    root is accepted for `rootSeconds` after the block that replaced it. `verifyingKey` is the SHA-256 of the
    key's compressed points: alpha, beta, gamma, delta, and those of the public signals."""

    contract: Address
    network: str
    rln_identifier: Uint256
    epoch_seconds: int
    verifying_key: Bytes32
    depth: int
    members: int
    leaves: int
    root: Uint256
    block: int
    block_hash: Bytes32
    root_seconds: int
    roots: list[AcceptedRoot]


class MemberPath(Model):
    """Where a member is in the tree after `block`; `path` are the siblings, lowest first."""

    id_commitment: Uint256
    index: int
    rate: int
    path: list[Uint256]
    root: Uint256
    block: int
    block_hash: Bytes32


@router.get("", responses=problems(404, 503))
async def describe_tree(rln: RlnHere) -> Tree:
    """The tree of members. 404 rln_unavailable: the node follows none."""
    state = await rln.members.state()
    return Tree(
        contract=rln.settings.contract,
        network=rln.settings.network,
        rln_identifier=hash_to_field(rln.identifier),
        epoch_seconds=rln.settings.epoch_seconds,
        verifying_key=bytes.fromhex(rln.key),
        depth=DEPTH,
        members=state.members,
        leaves=state.leaves,
        root=state.root,
        block=state.block.number,
        block_hash=state.block.hash,
        root_seconds=rln.settings.root_seconds,
        roots=[
            AcceptedRoot(root=each.root, block=each.block, accepted_until=each.accepted_until)
            for each in state.roots
        ],
    )


@router.get("/members/{idCommitment}", responses=problems(404, 410, 503))
async def find_member(rln: RlnHere, id_commitment: Commitment) -> MemberPath:
    """The way from a member's leaf to the newest root. 410 member_removed: its leaf is gone for good."""
    found = await rln.members.path(parse_commitment(id_commitment))
    return MemberPath(
        id_commitment=found.id_commitment,
        index=found.index,
        rate=found.rate,
        path=list(found.siblings),
        root=found.root,
        block=found.block.number,
        block_hash=found.block.hash,
    )
