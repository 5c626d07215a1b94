"""What must be true of members once all is quiet, by the numbers of tests/invariants/README.md: on the chain,
and at nodes that may have lived through anything."""

from collections import Counter
from collections.abc import Collection, Sequence

from eth_typing import ChecksumAddress
from tests.e2e.net import BURNED
from tests.fire.member_nodes import Mortal
from tests.services.node.world import World

from waypost.chain.blocks import Event
from waypost.chain.membership import Membership, Registered, Slashed
from waypost.chain.presets import LOCAL
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.rln import leaf


async def check_chain(world: World, membership: Membership, payees: Sequence[ChecksumAddress]) -> set[int]:
    """R1 to R3 and R5: who joined stays or was slashed once, and money went where it belongs, to the unit.
    The members that were slashed. Of members that nobody collected from or extended."""
    events = await history(world, membership)
    joined = {event.id_commitment: event for event in events if isinstance(event, Registered)}
    slashes = [event for event in events if isinstance(event, Slashed)]
    slashed = {event.id_commitment for event in slashes}
    assert len(slashed) == len(slashes), "R3: a secret slashes once"
    places = [event.index for event in events if isinstance(event, Registered)]
    assert places == list(range(len(places))), "R2: nobody was given the leaf of another"

    paid = Counter[ChecksumAddress]()
    for slash in slashes:
        member = joined[slash.id_commitment]
        stake, fee = await membership.cost(member.rate, member.periods)
        assert slash.reward == stake // 5
        assert slash.receiver in payees
        streamed = stake + fee - slash.reward - slash.burned
        block = await world.connection.block(slash.block_hash)
        assert block is not None
        elapsed, price = block.timestamp - member.start, member.rate * LOCAL.member_fee_per_rate
        assert streamed == elapsed * price // LOCAL.member_period, "R5: no more than what has streamed"
        paid[slash.receiver] += slash.reward
        paid[member.home_node] += streamed * 4 // 5
        paid[BURNED] += slash.burned + streamed - streamed * 4 // 5
    for account in (*payees, BURNED):
        assert await world.token.balance_of(account) == paid[account], "deposit = reward + fees + burned"
    live = [event for event in joined.values() if event.id_commitment not in slashed]
    held = sum([sum(await membership.cost(member.rate, member.periods)) for member in live])
    assert await membership.total() == held, "R1: stake and fees of who is there"
    assert await world.token.balance_of(membership.address) == held, "R1: nothing else, and no less"
    return slashed


async def check_trees(world: World, membership: Membership, nodes: Collection[Mortal]) -> None:
    """R4: every node's tree is the one that somebody makes who reads the events for the first time."""
    leaves = dict[int, int]()
    for event in await history(world, membership):
        if isinstance(event, Registered):
            leaves[event.index] = leaf(event.id_commitment, event.rate)
        elif isinstance(event, Slashed):
            leaves[event.index] = 0
    fresh = MerkleTree()
    fresh.set(leaves)
    for node in nodes:
        shown = await node.tree()
        assert shown is not None
        members = sum(value != 0 for value in leaves.values())
        assert (shown["leaves"], shown["members"]) == (len(leaves), members)
        assert int(shown["root"]) == fresh.root, "R4: a slashed member's leaf is zero, and no other"


async def history(world: World, membership: Membership, first: int = 0) -> list[Event]:
    """What happened to members from block `first` on."""
    head = await world.connection.head()
    logs = await world.connection.logs([membership.address], first, head.number)
    return [event for log in logs if (event := membership.decode(log))]
