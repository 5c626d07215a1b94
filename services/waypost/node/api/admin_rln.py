"""The operator's routes for members: who pays this node, what waits to be collected, and collecting it."""

from fastapi import APIRouter, Depends

from waypost.node.api.admin import operator
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Amount, Bytes32, Model, Uint256
from waypost.node.api.models import Time
from waypost.node.api.registrations import HomeMembersHere
from waypost.node.collecting import HomeMember, Sent

router = APIRouter(prefix="/rln", dependencies=[Depends(operator)])


class Member(Model):
    """A member whose fee streams to this node: the record that the contract wants, what was collected, and
    what waits: `collectable` for the node and `burned`. `late`: nobody pays for it any more, and whoever
    expires it gets `reward`."""

    id_commitment: Uint256
    owner: Address
    home_node: Address
    index: int
    rate: int
    start: Time
    periods: int
    status: str
    paid_until: int
    collected: Amount
    collectable: Amount
    burned: Amount
    late: bool
    reward: Amount


class Members(Model):
    """All of them. Collecting takes `gas`, at `gasPrice` wei each; `gasCost` is that in base units of the
    token, 0 if the node counts gas as free."""

    contract: Address
    payee: Address
    collected: Amount
    collectable: Amount
    burned: Amount
    gas: int
    gas_price: Uint256
    gas_cost: Amount
    members: list[Member]


class Transaction(Model):
    """One that was sent; it is tried again until it is mined."""

    transaction: Bytes32
    state: str


class Transactions(Model):
    """What collected, or expired."""

    transactions: list[Transaction]


@router.get("/members", responses=problems(404, 503))
async def list_members(home: HomeMembersHere) -> Members:
    """The members of this node that have not ended, in the order of their leaves."""
    fees = await home.collector.survey()
    return Members(
        contract=home.collector.contract,
        payee=home.collector.payee,
        collected=sum(member.collected for member in fees.members),
        collectable=fees.collectable,
        burned=fees.burned,
        gas=fees.gas,
        gas_price=fees.gas_price,
        gas_cost=fees.cost,
        members=[_member(member, fees.now) for member in fees.members],
    )


@router.post("/collect", responses=problems(404, 503))
async def collect_fees(home: HomeMembersHere) -> Transactions:
    """Collects all that has streamed to this node, and waits for it."""
    return _transactions(await home.collector.collect())


@router.post("/expire", responses=problems(404, 503))
async def expire_members(home: HomeMembersHere) -> Transactions:
    """Removes members of this node that nobody pays for any more, and waits for it."""
    return _transactions(await home.collector.expire())


def _member(member: HomeMember, now: int) -> Member:
    record = member.record
    return Member(
        id_commitment=record.id_commitment,
        owner=record.owner,
        home_node=record.home_node,
        index=record.index,
        rate=record.rate,
        start=record.start,
        periods=record.periods,
        status=member.status.value,
        paid_until=member.paid_until,
        collected=member.collected,
        collectable=member.collectable,
        burned=member.burned,
        late=member.is_late(now),
        reward=member.reward,
    )


def _transactions(sent: list[Sent]) -> Transactions:
    return Transactions(
        transactions=[Transaction(transaction=each.hash, state=each.state.value) for each in sent]
    )
