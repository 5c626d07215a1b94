"""The operator's routes, on a listener of their own: metrics, books, and claiming now."""

import hmac
from dataclasses import asdict

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST

from waypost.errors import AdminTokenInvalid
from waypost.node.api.access import Bearer, NodeHere
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Amount, Bytes32, Model, Uint256
from waypost.node.api.models import Time
from waypost.node.claim_plan import is_urgent
from waypost.node.claims import ClaimRecord
from waypost.node.node import Node


async def operator(node: NodeHere, bearer: Bearer) -> None:
    """Raises AdminTokenInvalid unless the request carries the node's admin token."""
    given = bearer.credentials if bearer else ""
    expected = node.settings.admin_token.get_secret_value()
    if not hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode()):
        raise AdminTokenInvalid()


router = APIRouter(dependencies=[Depends(operator)])


class Totals(Model):
    """Sums over all channels, in base units; `earned` is what was claimed or is claimable."""

    channels: int
    paid: Amount
    spent: Amount
    earned: Amount
    claimable: Amount
    claimed: Amount
    confirming: Amount
    at_risk: Amount
    lost: Amount


class Claim(Model):
    """A claim that was sent; `block` is None until it is mined."""

    transaction: Bytes32
    state: str
    value: Amount
    receipts: int
    block: int | None
    created: Time


class ClosingChannel(Model):
    """A channel with unclaimed money that nobody can claim any more after `closesAt`."""

    signer: Address
    claimable: Amount
    closes_at: Time


class Claims(Model):
    """The transactions that claimed."""

    transactions: list[Bytes32]


class RlnStatus(Model):
    """The membership contract as far as it was read; `mine`: members in the tree that pay this node.
    `library` verifies proofs with the key that has this digest. Members `exposed` by this node, slashes of
    them `committed`, `won` (with so much `reward`) and `lost` to others."""

    contract: Address
    ready: bool
    head: int
    members: int
    mine: int
    fault: str | None
    verifying_key: str
    library: str
    verified: int
    invalid: int
    exposed: int
    committed: int
    won: int
    lost: int
    reward: Amount


class Status(Model):
    """A node at a glance; `faults` are codes of what is wrong now, `gasBalance` is in wei.

    `claimWaitingSince`: from when on something worth its gas has been waiting to be claimed.
    """

    operator: Address
    payee: Address
    ready: bool
    head: int
    head_age: int | None
    totals: Totals
    closing: list[ClosingChannel]
    claim_waiting_since: Time | None
    stored_bytes: int
    gas_account: Address
    gas_balance: Uint256 | None
    waiting_transactions: int
    claim: Claim | None
    claims: list[Claim]
    faults: list[str]
    rln: RlnStatus | None


@router.get("/metrics")
async def show_metrics(node: NodeHere) -> Response:
    """Prometheus' text format."""
    if node.rln is not None:
        node.metrics.limited(node.rln.proofs, await node.rln.slasher.slashes())
    text = node.metrics.exposition(
        await node.ledger.totals(), node.sync.head, len(node.relay.subscriptions), ready=node.sync.ready
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/status")
async def show_status(node: NodeHere) -> Status:
    """The books, the gas account and the claimer, for `waypost node status`."""
    outbox, claimer = await node.outbox.status(), await node.claimer.status()
    claimable = await node.db.read(node.ledger.accounts.claimable)
    rln = node.rln and node.rln.fault
    return Status(
        operator=node.settings.operator,
        payee=node.settings.payee,
        ready=node.sync.ready,
        head=node.sync.head,
        head_age=node.sync.head_age,
        totals=Totals.model_validate(asdict(await node.ledger.totals())),
        closing=[
            ClosingChannel(signer=a.signer, claimable=a.claimable, closes_at=a.closes_at)
            for a in claimable
            if is_urgent(a)
        ],
        claim_waiting_since=claimer.waiting_since,
        stored_bytes=await node.messages.used_bytes(),
        gas_account=outbox.account,
        gas_balance=outbox.balance,
        waiting_transactions=outbox.waiting,
        claim=None if claimer.flight is None else _claim(claimer.flight),
        claims=[_claim(record) for record in await node.claimer.history()],
        faults=[fault for fault in (node.sync.fault, *outbox.faults, claimer.fault, rln) if fault],
        rln=await _rln(node),
    )


@router.post("/claim", responses=problems(503))
async def claim_now(node: NodeHere) -> Claims:
    """Claims all that is claimable, whatever the gas, and waits for it."""
    return Claims(transactions=await node.claimer.claim_now())


async def _rln(node: Node) -> RlnStatus | None:
    if node.rln is None or node.home_members is None:
        return None
    members, mine = await node.home_members.collector.count()
    return RlnStatus(
        contract=node.rln.settings.contract,
        ready=node.rln.sync.ready,
        head=node.rln.sync.head,
        members=members,
        mine=mine,
        fault=node.rln.fault,
        verifying_key=node.rln.key,
        library=node.rln.library,
        verified=node.rln.proofs.verified,
        invalid=node.rln.proofs.invalid,
        **asdict(await node.rln.slasher.slashes()),
    )


def _claim(record: ClaimRecord) -> Claim:
    return Claim(
        transaction=record.hash,
        state=record.state.value,
        value=record.value,
        receipts=record.receipts,
        block=record.block_number,
        created=record.created,
    )
