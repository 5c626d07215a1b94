"""Memberships of one account: the right to send so many messages in every epoch, with a stake behind it.
Secrets follow from the seed; what is signed is on disk before it leaves. One membership is for one device."""

from dataclasses import dataclass, field

from eth_typing import ChecksumAddress

from waypost.chain.membership import (
    Exited,
    Expired,
    MemberRecord,
    MemberState,
    Registered,
    Slashed,
    Withdrawn,
)
from waypost.client.account import Account
from waypost.client.channel import Context
from waypost.client.nodes import Node
from waypost.client.rate import RateCounter
from waypost.client.records import LeafRecord, MembershipRecord
from waypost.client.trees import Trees
from waypost.errors import MembershipMissing, RpcFailed, WaypostError
from waypost.protocol.rln import identity_commitment

BEHIND_SECONDS = 3600
"""By so much one of an endpoint's servers may lag another: the one has no member, the other a late time."""
GAP = 8
"""So many secrets in a row that were never registered end the search for memberships."""


@dataclass(slots=True)
class Standing:
    """How a membership is doing. Times in Unix seconds, 0 where there is none. `trees`: whether the nodes
    that were asked have it, or why they cannot say. `left`: messages for the rest of this epoch."""

    record: MembershipRecord
    paid_until: int = 0
    withdrawable_at: int = 0
    epoch: int = 0
    left: int = 0
    seconds_to_next: int = 0
    trees: dict[ChecksumAddress, bool | WaypostError] = field(default_factory=dict)

    @property
    def slashed(self) -> bool:
        """Whether the stake is lost."""
        return self.record.why == "slashed"


class Memberships:
    """Reads of the chain raise ChainErrors; without a contract in the manifest, MembershipMissing."""

    def __init__(self, account: Account, context: Context) -> None:
        self.account, self.context = account, context
        self.trees = Trees(context)
        self._counters: dict[int, RateCounter] = {}

    def all(self) -> list[MembershipRecord]:
        """Every membership under the manifest's contract that is remembered, ended ones too."""
        contract = self.context.deployment.require_membership().address
        return [record for record in self.context.store.memberships() if record.contract == contract]

    def current(self) -> MembershipRecord:
        """The membership that is used, joined or left: the latest that has not ended. Raises
        MembershipMissing."""
        for record in reversed(self.all()):
            if record.status != "ended":
                return record
        raise MembershipMissing("There is no membership: join first.")

    def secret(self, index: int) -> int:
        """Of the membership with this index."""
        ours = self.context.deployment
        contract = ours.require_membership().address
        return self.account.rln_secret(chain_id=ours.chain_id, membership=contract, index=index)

    async def counter(self, record: MembershipRecord) -> RateCounter:
        """The membership's message counter."""
        if record.id_commitment not in self._counters:
            head = await self.context.deployment.connection.head()
            self._counters[record.id_commitment] = RateCounter(
                self.context.store,
                record.id_commitment,
                record.rate,
                self.trees.identifier(record.network, record.epoch_seconds),
                record.epoch_seconds,
                self.context.clock,
                latest=head.timestamp,
            )
        return self._counters[record.id_commitment]

    # ---- What the chain says ----

    async def refresh(self, record: MembershipRecord) -> MembershipRecord:
        """Compare a record with the chain, and save it. A registration whose time is up has ended."""
        contract = self.context.deployment.require_membership()
        state = await contract.member(record.id_commitment)
        if state is None:
            await self._unregistered(record)
        elif state.ended:
            await self._learn(record)
            record.status, record.order = "ended", None
        else:
            if not _fits(record, state):
                await self._learn(record)  # anew after a reorg, which may have given it another leaf
            if not _fits(record, state):
                if record.leaf is not None:
                    raise RpcFailed("The chain's events of the membership do not fit its state.")
                record.status, record.why = "ended", "another registered its commitment"
            else:
                record.status = "left" if state.left_at else "member"
            if (order := record.order) is not None and order.kind == "extensions":
                record.order = None if state.added > order.periods_before else order
        if self.context.store.is_writable:
            self.context.store.save_membership(record)
        return record

    async def _unregistered(self, record: MembershipRecord) -> None:
        """The chain does not have it: it is on its way, or a reorg undid it, after which the same order has
        it registered again, or the endpoint is behind."""
        order = record.order
        if order is None or order.kind != "registrations":
            if record.leaf is None:
                record.status, record.why, record.order = "ended", "never registered", None
            return
        behind = 0 if record.leaf is None else BEHIND_SECONDS
        if (await self.context.deployment.connection.head()).timestamp > order.deadline + behind:
            record.status, record.why, record.order = "ended", "never registered", None
        else:
            record.status = "joining"

    async def _learn(self, record: MembershipRecord) -> None:
        events = await self.context.deployment.require_membership().history(
            record.id_commitment, record.since
        )
        for event in events:
            match event:
                case Registered() if event.owner == self.account.payer and event.rate == record.rate:
                    record.leaf = LeafRecord(owner=event.owner, index=event.index, start=event.start)
                    record.home_node, record.periods = event.home_node, event.periods
                case Slashed():
                    record.why = "slashed"
                case Expired() | Exited():
                    record.why = "expired" if isinstance(event, Expired) else "left"
                case Withdrawn():
                    record.why = "withdrawn"

    def member(self, record: MembershipRecord) -> MemberRecord:
        """What the contract wants back with every call. Raises MembershipMissing before it is registered."""
        member = _member(record)
        if member is None:
            raise MembershipMissing("The chain does not have the membership.", status=record.status)
        return member

    async def status(self, nodes: list[Node] | None = None) -> Standing:
        """The current membership, or the last one that ended, by the chain and by these nodes, or its home
        node. Raises MembershipMissing when there never was one."""
        if not (records := self.all()):
            raise MembershipMissing("There is no membership: join first.")
        try:
            record = self.current()
        except MembershipMissing:
            record = records[-1]
        standing = Standing(await self.refresh(record))
        contract = self.context.deployment.require_membership()
        if record.status == "member":
            standing.paid_until = await contract.paid_until(self.member(record))
            counter = await self.counter(record)
            standing.epoch, standing.left = counter.epoch, counter.left
            standing.seconds_to_next = counter.seconds_to_next
        elif record.status == "left":
            standing.withdrawable_at = await contract.withdrawable_at(self.member(record))
        if record.status in ("joining", "member"):
            try:
                asked = nodes or [await self.context.nodes.get(record.operator)]
            except WaypostError as error:
                asked, standing.trees[record.operator] = [], error
            for node in asked:
                try:
                    standing.trees[node.operator] = await self.trees.has(record, node)
                except WaypostError as error:
                    standing.trees[node.operator] = error
        return standing

    # ---- From the seed ----

    async def recover(self, node: Node) -> list[MembershipRecord]:
        """Memberships that the seed has on chain and this folder does not, after a machine was lost. They
        send nothing before the next epoch. Never while another device uses them: two devices that count
        apart disclose the secret. `node` tells the network's epochs."""
        contract = self.context.deployment.require_membership()
        tree = await self.trees.describe(node)
        known = {record.id_commitment for record in self.all()}
        found, index, unused = list[MembershipRecord](), 0, 0
        while unused < GAP:
            commitment = identity_commitment(self.secret(index))
            state = await contract.member(commitment)
            unused = unused + 1 if state is None else 0
            if state is not None and commitment not in known:
                since = self.context.deployment.membership_block
                events = await contract.history(commitment, since)
                mine = [e for e in events if isinstance(e, Registered) and e.owner == self.account.payer]
                if mine:
                    record = MembershipRecord(
                        contract=contract.address,
                        index=index,
                        id_commitment=commitment,
                        rate=mine[0].rate,
                        periods=mine[0].periods,
                        operator=node.operator,
                        home_node=mine[0].home_node,
                        network=tree.network,
                        epoch_seconds=tree.epoch_seconds,
                        since=since,
                    )
                    found.append(await self.refresh(record))
            index += 1
        return found

    async def unused(self) -> int:
        """The first index above all that this folder or the chain knows."""
        contract = self.context.deployment.require_membership()
        index = max((record.index for record in self.all()), default=-1) + 1
        while await contract.member(identity_commitment(self.secret(index))) is not None:
            index += 1
        return index


def _member(record: MembershipRecord) -> MemberRecord | None:
    leaf = record.leaf
    if leaf is None:
        return None
    return MemberRecord(
        id_commitment=record.id_commitment,
        owner=leaf.owner,
        home_node=record.home_node,
        index=leaf.index,
        rate=record.rate,
        start=leaf.start,
        periods=record.periods,
    )


def _fits(record: MembershipRecord, state: MemberState) -> bool:
    member = _member(record)
    return member is not None and member.hash() == state.record_hash
