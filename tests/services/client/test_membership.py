"""Memberships: joined once, whatever is lost on the way, extended, left, and found again from the seed."""

import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.services.chain.endpoint import ask
from tests.services.client.relaying import (
    FEE_PER_RATE,
    PERIOD,
    STAKE_PER_RATE,
    WINDOW,
    RelayNode,
    membership_of,
    with_membership,
)
from tests.services.client.scripted import Refusal
from tests.services.client.world import DOLLAR, World, open_world

from waypost.client.client import Client
from waypost.client.orders import LeaveStep
from waypost.errors import (
    ClockDiffers,
    EpochSpent,
    InsufficientFunds,
    InvalidMembership,
    MembershipExists,
    MembershipMissing,
    MembershipPending,
    NodeDisagrees,
    NodeRefused,
    TransactionReverted,
)
from waypost.protocol.memberships import slash_hash
from waypost.protocol.rln import identity_commitment

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield await with_membership(opened)


@pytest_asyncio.fixture(loop_scope="module")
async def node(world: World) -> RelayNode:
    return RelayNode(world, await world.operator(), time.time)


async def joined(client: Client, node: RelayNode, rate: int = RATE, periods: int = 2, **options: Any) -> Any:
    found = await client.nodes.get(node.operator.address)
    return await client.orders.join(await client.orders.quote(found, rate, periods), **options)


async def test_a_member_without_ether(world: World, node: RelayNode, tmp_path: Path) -> None:
    account = await world.account()
    async with world.client(account, tmp_path) as client:
        quote = await client.orders.quote(await client.nodes.get(node.operator.address), RATE, 2)
        assert (quote.stake, quote.fee) == (RATE * STAKE_PER_RATE, 2 * RATE * FEE_PER_RATE)
        assert client.memberships.all() == []  # nothing is signed by a quote
        record = await client.orders.join(quote)
        assert await client.balance() == 1000 * DOLLAR - quote.total
        assert await world.connection.balance(account.payer) == 0
        standing = await client.memberships.status()
        assert (standing.left, standing.trees) == (RATE, {node.operator.address: True})
        state = await membership_of(world).member(record.id_commitment)
        assert state is not None
        assert state.record_hash == client.memberships.member(record).hash()
        assert standing.paid_until == client.memberships.member(record).start + 2 * PERIOD

        with pytest.raises(MembershipExists):
            await joined(client, node, rate=RATE + 1)
        assert (await joined(client, node)).index == record.index  # the same once more changes nothing
        assert node.count("/v1/rln/registrations") == 1

        extension = 3 * RATE * FEE_PER_RATE, standing.paid_until + 3 * PERIOD
        assert await client.orders.quote_extension(3) == extension
        assert await client.orders.extend(3) == extension[1]
        await client.orders.extend(1)
        assert (await client.memberships.status()).paid_until == standing.paid_until + 4 * PERIOD
        assert await client.balance() == 1000 * DOLLAR - quote.total - 4 * RATE * FEE_PER_RATE

        plan, before = await client.orders.plan_leave(), await client.balance()
        assert plan.step is LeaveStep.EXIT
        leaving = await client.orders.leave()
        assert leaving.step is LeaveStep.WAIT
        assert leaving.withdrawable_at >= (await world.connection.head()).timestamp + WINDOW
        assert (await client.orders.leave()).step is LeaveStep.WAIT
        with pytest.raises(MembershipMissing):
            await client.orders.extend(1)
        await ask(world.url, "evm_increaseTime", PERIOD)
        await world.funded()  # a block
        assert (await client.orders.leave()).step is LeaveStep.DONE
        assert (await client.memberships.status()).record.why == "withdrawn"
        assert await client.balance() == before + plan.returned
        assert plan.returned == quote.stake + 5 * RATE * FEE_PER_RATE  # one period had begun

        again = await joined(client, node)
        assert again.index == record.index + 1


async def test_a_payer_with_ether_sends_everything_itself(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        sender = await world.funded()
        record = await joined(client, node, sender=sender)
        assert await joined(client, node, sender=sender) == record  # which sends nothing
        await client.orders.extend(1, sender=sender)
        assert (await client.orders.leave(sender=sender)).step is LeaveStep.WAIT
        await ask(world.url, "evm_increaseTime", PERIOD)
        await world.funded()
        assert (await client.orders.leave(sender=sender)).step is LeaveStep.DONE
        assert node.count("/v1/rln/registrations") == node.count("/v1/rln/exits") == 0


async def test_a_lost_answer_registers_once(world: World, node: RelayNode, tmp_path: Path) -> None:
    lost: list[httpx.Request] = []

    def lose(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/v1/rln/registrations" and not lost:
            lost.append(request)
            raise httpx.ReadError("lost", request=request)
        return response

    node.tamper = lose
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        assert (record.status, len(lost)) == ("member", 1)
        assert node.count("/v1/rln/registrations") == 1  # the chain had it


async def test_what_was_interrupted_goes_on_with_the_same_registration(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    account = await world.account()
    node.refuse_next = [Refusal(503, "node_not_ready"), Refusal(422, "membership_refused")]
    async with world.client(account, tmp_path) as client:
        with pytest.raises(NodeRefused, match="membership_refused"):
            await joined(client, node)
        assert (await client.memberships.status()).record.status == "joining"
    async with world.client(account, tmp_path) as client:
        await joined(client, node)
    bodies = {r.content for r in node.requests if r.url.path == "/v1/rln/registrations"}
    assert len(bodies) == 1


async def test_a_wait_that_is_over_says_so(world: World, node: RelayNode, tmp_path: Path) -> None:
    node.refuse_next = [Refusal(503, "node_not_ready")]
    async with world.client(await world.account(), tmp_path) as client:
        found = await client.nodes.get(node.operator.address)
        quote = await client.orders.quote(found, RATE, 1)
        with pytest.raises(NodeRefused, match="node_not_ready"):
            await client.orders.join(quote, wait=0)
        node.refuse_next = [Refusal(404, "member_unknown")]
        with pytest.raises(MembershipPending):
            await client.orders.join(quote, wait=0.5)
        await client.orders.join(quote)


async def test_an_expired_registration_ends_and_the_next_index_is_not_its(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        node.refuse_next = [Refusal(422, "membership_refused")]
        with pytest.raises(NodeRefused):
            await joined(client, node)
        (record,) = client.memberships.all()
        assert record.order is not None
        record.order.deadline = 1
        client.memberships.context.store.save_membership(record)
        assert (await joined(client, node)).index == record.index + 1


@pytest.mark.parametrize("over", [False, True])
async def test_a_registration_that_a_reorg_undid(
    world: World, node: RelayNode, tmp_path: Path, *, over: bool
) -> None:
    """The same one is sent again as long as it is valid; afterwards another index is joined with."""
    async with world.client(await world.account(), tmp_path) as client:
        before = await ask(world.url, "evm_snapshot")
        record = await joined(client, node)
        assert await ask(world.url, "evm_revert", before) is True
        node.records.clear()
        if over:
            assert record.order is not None
            record.order.deadline = 1
            client.memberships.context.store.save_membership(record)
        assert (await client.memberships.status()).record.status == ("ended" if over else "joining")
        again = await joined(client, node)
        assert (again.status, again.index) == ("member", record.index + over)
    bodies = {r.content for r in node.requests if r.url.path == "/v1/rln/registrations"}
    assert len(bodies) == 1 + over


async def test_a_commitment_that_another_registered_is_given_up(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    thief = await world.funded()
    await world.mint(thief.address, 100 * DOLLAR)
    contract = membership_of(world)
    await thief.send(world.token.approve(contract.address, 100 * DOLLAR))
    async with world.client(await world.account(), tmp_path) as client:
        node.refuse_next = [Refusal(422, "membership_refused")]
        with pytest.raises(NodeRefused):
            await joined(client, node)
        (record,) = client.memberships.all()
        await thief.send(contract.register(record.id_commitment, RATE, thief.address, 2))
        again = await joined(client, node)
        assert again.index == record.index + 1
        assert client.memberships.all()[0].why == "another registered its commitment"


async def test_a_slashed_member_is_told(world: World, node: RelayNode, tmp_path: Path) -> None:
    contract, finder = membership_of(world), await world.funded()
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        secret, salt = client.memberships.secret(record.index), bytes(32)
        await finder.send(contract.commit_slash(slash_hash(secret, finder.address, salt)))
        await world.funded()
        await world.funded()
        await finder.send(contract.slash(secret, finder.address, salt, client.memberships.member(record)))
        standing = await client.memberships.status()
        assert (standing.record.status, standing.slashed, standing.left) == ("ended", True, 0)
        with pytest.raises(MembershipMissing):
            await client.orders.leave()


async def test_the_seed_brings_the_membership_back_but_not_this_epoch(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        record = await joined(client, node)
    async with world.client(account, tmp_path / "new") as client:
        found = await client.memberships.recover(await client.nodes.get(node.operator.address))
        assert [(each.id_commitment, each.status) for each in found] == [(record.id_commitment, "member")]
        assert await client.memberships.recover(await client.nodes.get(node.operator.address)) == []
        standing = await client.memberships.status()
        assert standing.left == 0
        ahead = max(0, (await world.connection.head()).timestamp - time.time())
        assert 0 < standing.seconds_to_next <= ahead + 600 + 120
        counter = await client.memberships.counter(found[0])
        with pytest.raises(EpochSpent):
            counter.take(b"first")


async def test_a_copied_folder_does_not_go_on_in_this_epoch(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    account = await world.account()
    async with world.client(account, tmp_path / "home") as client:
        await joined(client, node)
        counter = await client.memberships.counter(client.memberships.current())
        counter.take(b"one")
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
    async with world.client(account, tmp_path / "home") as client:
        assert (await client.memberships.status()).left == RATE - 1
    async with world.client(account, tmp_path / "copy") as client:
        assert (await client.memberships.status()).left == 0


async def test_secrets_are_of_one_contract_and_index(world: World, tmp_path: Path) -> None:
    account = await world.account()
    kinds = [(31337, "0x" + "11" * 20, 0), (31337, "0x" + "11" * 20, 1), (31337, "0x" + "22" * 20, 0)]
    kinds.append((1, "0x" + "11" * 20, 0))
    secrets = {account.rln_secret(chain_id=c, membership=m, index=i) for c, m, i in kinds}
    assert len(secrets) == 4
    assert len({identity_commitment(each) for each in secrets}) == 4
    first = account.rln_secret(chain_id=31337, membership="0x" + "11" * 20, index=0)
    restored = type(account).from_mnemonic(account.mnemonic)
    assert restored.rln_secret(chain_id=31337, membership="0x" + "11" * 20, index=0) == first


async def test_what_cannot_be_bought_is_not_signed(world: World, node: RelayNode, tmp_path: Path) -> None:
    async with world.client(await world.account(1), tmp_path) as client:
        found = await client.nodes.get(node.operator.address)
        with pytest.raises(InsufficientFunds):
            await client.orders.quote(found, RATE, 1)
        for rate, periods in ((0, 1), (2**16, 1), (1, 0)):
            with pytest.raises(InvalidMembership):
                await client.orders.quote(found, rate, periods)
        with pytest.raises(MembershipMissing):
            await client.memberships.status()


@pytest.mark.parametrize(
    "changes",
    [
        {"contract": "0x" + "11" * 20},
        {"network": "elsewhere"},
        {"rlnIdentifier": "7"},
    ],
)
async def test_only_the_manifests_contract_counts(
    world: World, node: RelayNode, tmp_path: Path, changes: dict[str, str]
) -> None:
    def lie(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != "/v1/rln":
            return response
        return httpx.Response(200, json=response.json() | changes)

    node.tamper = lie
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(NodeDisagrees):
            await joined(client, node)
        assert client.memberships.all() == []


async def test_a_path_that_is_another_members_is_refused(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        found = await client.nodes.get(node.operator.address)
        for lie in (
            lambda answer: answer | {"index": answer["index"] ^ 1},
            lambda answer: answer | {"root": "5"},
            lambda answer: answer | {"path": [*answer["path"][:-1], "9"]},
        ):
            node.lie_about_path = lie
            with pytest.raises(NodeDisagrees):
                await client.memberships.trees.path(record, [found])


async def test_two_nodes_with_different_trees_are_found_out(
    world: World, node: RelayNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.client.trees.COMPARE_PAUSE_SECONDS", 0)
    other = RelayNode(world, await world.operator(), time.time)
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        nodes = [await client.nodes.get(each.operator.address) for each in (node, other)]
        path = await client.memberships.trees.path(record, nodes)
        assert path.root in other.known_roots
        other.tamper = lambda request, response: (
            httpx.Response(200, json=response.json() | {"root": "5", "roots": []})
            if request.url.path == "/v1/rln"
            else response
        )
        with pytest.raises(NodeDisagrees, match="different trees"):
            await client.memberships.trees.path(record, nodes)
        del world.network.hosts[other.operator.host]
        assert (await client.memberships.trees.path(record, nodes)).root == path.root


async def test_other_epochs_than_at_the_registration_are_refused(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        node.epoch_seconds = 60
        with pytest.raises(NodeDisagrees, match="epochSeconds"):
            await client.memberships.trees.path(record, [await client.nodes.get(node.operator.address)])


async def test_a_clock_that_is_far_from_the_nodes_makes_no_signal(
    world: World, node: RelayNode, tmp_path: Path
) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        found = await client.nodes.get(node.operator.address)
        for offset, words in ((-100, "ahead of"), (100, "behind")):
            node.date = time.time() + offset
            with pytest.raises(ClockDiffers, match=words):
                await client.memberships.trees.path(record, [found])
        for offset in (-60, 30, 60):
            node.date = time.time() + offset
            await client.memberships.trees.path(record, [found])


async def test_a_chain_without_the_contract_is_named(tmp_path: Path) -> None:
    async with open_world() as plain:
        known = {name: entry for name, entry in plain.manifest.contracts.items() if name != "RlnMembership"}
        plain.manifest = replace(plain.manifest, contracts=known)
        async with plain.client(await plain.account(), tmp_path) as client:
            for ask_for in (client.memberships.status, client.orders.plan_leave):
                with pytest.raises(MembershipMissing, match="manifest"):
                    await ask_for()
            assert not client.mailbox.publisher.has_membership()


async def test_a_commitment_registers_once(world: World, node: RelayNode, tmp_path: Path) -> None:
    """Why every membership needs another index."""
    async with world.client(await world.account(), tmp_path) as client:
        record = await joined(client, node)
        call = membership_of(world).register(record.id_commitment, 1, node.payee, 1)
        with pytest.raises(TransactionReverted, match="AlreadyRegistered"):
            await node.operator.sender.simulate(call)
