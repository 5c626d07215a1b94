"""Members followed on a real chain: every node has the tree that the events say, through reorgs, crashes and
endpoints that leave things out."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.services.node.faults import Fuse, PowerCut
from tests.services.node.membership import (
    RATE,
    ROOT_SECONDS,
    Registry,
    RlnNode,
    deploy_membership,
    rln_node,
)
from tests.services.node.money_node import Clock, until
from tests.services.node.test_audit import Forgetful
from tests.services.node.world import Deployed, World, deployed_chain

from waypost.errors import BooksDisagree, MemberRemoved, MemberUnknown, NodeNotReady
from waypost.protocol.merkle import check_path, empty_root
from waypost.protocol.rln import DEPTH, identity_commitment


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """A chain of its own, since its time is moved."""
    with deployed_chain() as chain:
        yield chain


@pytest.fixture
async def registry(world: World) -> Registry:
    return await deploy_membership(world)


@pytest.fixture
async def node(registry: Registry, tmp_path: Path) -> AsyncIterator[RlnNode]:
    async with rln_node(registry, tmp_path / "node") as running:
        yield running


async def assert_agrees(node: RlnNode) -> None:
    """The node's tree is the model's, and every member's path leads to its root."""
    registry = node.registry
    state = await node.members.state()
    assert state.root == registry.root
    assert state.leaves == len(registry.leaves)
    assert state.members == sum(1 for value in registry.leaves.values() if value)
    assert await node.members.accepts(state.root) or not registry.leaves
    await node.audit.check()


async def test_members_come_and_go(registry: Registry, node: RlnNode) -> None:
    with pytest.raises(NodeNotReady):
        await node.members.state()
    await node.catch_up()
    assert await node.root() == empty_root(DEPTH)
    records = [await registry.register(secret, rate=secret) for secret in range(1, 6)]
    await node.catch_up()
    await assert_agrees(node)
    for record in records:
        path = await node.members.path(record.id_commitment)
        check_path(record.id_commitment, record.rate, path.index, path.siblings, path.root)
        assert path.root == registry.root
        assert await node.members.record(record.id_commitment) == record
    await registry.exit(records[1])
    await registry.slash(3, records[2])
    await registry.exit(records[3])
    await registry.slash(4, records[3])  # after it left: the stake is still there
    await node.catch_up()
    await assert_agrees(node)
    for gone in records[1:4]:
        with pytest.raises(MemberRemoved):
            await node.members.path(gone.id_commitment)
    with pytest.raises(MemberUnknown):
        await node.members.path(identity_commitment(99))
    exposed = await node.members.exposed()
    assert [(each.secret, each.rate) for each in exposed] == [(3, 3), (4, 4)]


async def test_other_nodes_have_the_same_tree_however_they_came_to_it(
    registry: Registry, node: RlnNode, tmp_path: Path
) -> None:
    """One follows block by block; one reads the past in ranges, by a clock for which all of it is long ago,
    and hashes when it is asked; one restarts in between."""
    records = []
    for secret in range(1, 5):
        records.append(await registry.register(secret))
        await node.catch_up()
    async with rln_node(registry, tmp_path / "third") as third:
        await third.catch_up()
    await registry.exit(records[0])
    await registry.world.mine(70)
    await node.catch_up()
    clock = Clock(10 * ROOT_SECONDS)
    async with rln_node(registry, tmp_path / "other", clock=clock) as other:
        await other.catch_up()
        assert not await other.db.read(other.tree.is_settled)
        await assert_agrees(other)
        assert await other.db.read(other.tree.is_settled)
        await registry.register(9)
        await other.catch_up()
        await assert_agrees(other)
    async with rln_node(registry, tmp_path / "third") as third:
        await third.catch_up()
        await assert_agrees(third)
    await node.catch_up()
    await assert_agrees(node)


async def test_roots_are_accepted_while_they_are_new(registry: Registry, tmp_path: Path) -> None:
    clock = Clock()
    async with rln_node(registry, tmp_path / "node", clock=clock) as node:
        record = await registry.register(1)
        await node.catch_up()
        with_member = await node.root()
        clock.shift = 10 * ROOT_SECONDS  # the newest root stays, however old it is
        assert await node.members.accepts(with_member)
        clock.shift = 0
        await registry.register(2)
        await registry.exit(record)
        await node.catch_up()
        roots = (await node.members.state()).roots
        assert [each.root for each in roots][-1] == with_member
        assert roots[0].accepted_until is None
        until_ = roots[-1].accepted_until
        assert until_ is not None
        for each in roots:
            assert await node.members.accepts(each.root)
        replaced = await registry.world.connection.block(roots[1].block)
        assert replaced is not None
        assert until_ == replaced.timestamp + ROOT_SECONDS
        clock.shift = until_ - clock()
        assert await node.members.accepts(with_member)
        clock.shift += 5
        assert not await node.members.accepts(with_member)
        assert await node.members.accepts(roots[0].root)
        assert not await node.members.accepts(12345)


async def test_the_chains_time_counts_where_it_is_later(registry: Registry, node: RlnNode) -> None:
    await registry.register(1)
    await node.catch_up()
    old = await node.root()
    await registry.register(2)
    await node.catch_up()
    assert await node.members.accepts(old)
    snapshot = await registry.world.rpc("evm_snapshot")
    try:
        await registry.world.rpc("evm_increaseTime", ROOT_SECONDS + 10)
        await registry.world.mine()
        await node.catch_up()
        assert not await node.members.accepts(old)
    finally:
        await registry.world.rpc("evm_revert", snapshot)


@pytest.mark.parametrize("depth", range(1, 13))
async def test_reorgs_are_followed_back_and_forth(registry: Registry, node: RlnNode, depth: int) -> None:
    world = registry.world
    first, second = await registry.register(1), await registry.register(2)
    await node.catch_up()
    before, kept = await node.root(), dict(registry.leaves)
    snapshot = await world.rpc("evm_snapshot")
    # Undone: an exit, a slash and new members, as far as the depth allows.
    steps = [registry.exit(first), *(registry.register(secret) for secret in range(3, 2 + depth))]
    for step in steps:
        await step
    await node.catch_up()
    await assert_agrees(node)
    undone = await node.root()
    await world.rpc("evm_revert", snapshot)
    registry.leaves = dict(kept)
    await registry.exit(second)
    await world.mine(depth)
    await node.catch_up()
    await assert_agrees(node)
    assert await node.members.accepts(before)
    assert not await node.members.accepts(undone)
    assert (await node.members.path(first.id_commitment)).index == 0
    with pytest.raises(MemberUnknown if depth > 1 else MemberRemoved):
        await node.members.path(identity_commitment(3) if depth > 1 else second.id_commitment)
    # And the same members again, at other leaves.
    await registry.register(7)
    await registry.register(3)
    await node.catch_up()
    await assert_agrees(node)


async def test_a_reorg_that_only_undoes_brings_the_old_root_back(registry: Registry, node: RlnNode) -> None:
    world = registry.world
    await registry.register(1)
    await node.catch_up()
    old, leaves = await node.root(), dict(registry.leaves)
    snapshot = await world.rpc("evm_snapshot")
    await registry.register(2)
    await node.catch_up()
    await world.rpc("evm_revert", snapshot)
    registry.leaves = leaves
    await world.mine(3)
    await node.catch_up()
    await assert_agrees(node)
    assert (await node.members.state()).roots[0].root == old
    assert (await node.members.state()).roots[0].accepted_until is None


async def test_a_crash_between_any_two_writes_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    records = [await registry.register(secret) for secret in range(1, 4)]
    await registry.exit(records[0])
    for at in itertools.count():
        fuse, folder = Fuse(at), tmp_path / str(at)
        with contextlib.suppress(PowerCut):
            async with rln_node(registry, folder, connection=fuse.connection, database=fuse.database) as node:
                await node.catch_up()
                await node.root()
        async with rln_node(registry, folder) as node:
            await node.catch_up()
            await assert_agrees(node)
        if not fuse.blown:
            break
    assert at >= 5


async def test_books_are_not_ahead_of_their_cursor(registry: Registry, tmp_path: Path) -> None:
    """After each single write: the members are those that the chain has at the cursor's block."""
    for secret in range(1, 4):
        await registry.register(secret)
    for at in range(1, 12):
        fuse, folder = Fuse(at), tmp_path / str(at)
        with contextlib.suppress(PowerCut):
            async with rln_node(registry, folder, connection=fuse.connection, database=fuse.database) as node:
                await node.catch_up()
        async with rln_node(registry, folder) as node:
            state = await node.members.state()
            if state.block.number < registry.start:  # the contract is not there yet
                assert state.leaves == 0
                continue
            assert await registry.contract.leaves(block=state.block.hash) == state.leaves


def forget(node: RlnNode, forgets: bool) -> None:
    assert isinstance(node.connection, Forgetful)
    node.connection.forgets = forgets


async def test_a_registration_that_was_left_out_is_missed_by_the_next(
    registry: Registry, tmp_path: Path
) -> None:
    await registry.register(1)
    async with rln_node(registry, tmp_path / "node", connection=Forgetful) as node:
        await node.catch_up()
        forget(node, True)
        await registry.register(2)
        await node.catch_up()
        forget(node, False)
        await registry.register(3)
        async with node.following():

            async def complete() -> bool:
                return (await node.members.state()).leaves == 3

            await until(complete)
        await node.catch_up()
        await assert_agrees(node)


@pytest.mark.parametrize("what", ["registration", "removal"])
async def test_what_nothing_misses_is_found_by_the_audit(
    registry: Registry, tmp_path: Path, what: str
) -> None:
    record = await registry.register(1)
    async with rln_node(registry, tmp_path / "node", connection=Forgetful) as node:
        await node.catch_up()
        forget(node, True)
        await (registry.register(2) if what == "registration" else registry.exit(record))
        await node.catch_up()
        assert await node.root() != registry.root
        forget(node, False)
        async with node.following():
            with pytest.raises(BooksDisagree):
                await node.audit.check()

            async def right() -> bool:
                return await node.root() == registry.root

            await until(right)
        await node.catch_up()
        await assert_agrees(node)


async def test_what_cannot_follow_is_not_believed(registry: Registry, node: RlnNode) -> None:
    """An endpoint that goes on leaving things out stops the members' book, and says so."""
    await registry.register(1, rate=RATE)
    async with rln_node(registry, node.db._path.parent / "liar", connection=Forgetful) as liar:
        forget(liar, True)
        await liar.catch_up()
        forget(liar, False)
        second = await registry.register(2)
        original = liar.connection.logs_of

        async def only_the_second(addresses, block_hash):  # type: ignore[no-untyped-def]
            found = await original(addresses, block_hash)
            return tuple(log for log in found if second.id_commitment.to_bytes(32) in log.topics)

        liar.connection.logs_of = only_the_second  # type: ignore[method-assign]
        async with liar.following():
            await until(lambda: liar.sync.fault == BooksDisagree.code)
        assert (await liar.members.state()).leaves == 0
