"""A lost machine: the seed, the chain and the nodes bring every channel back."""

from pathlib import Path
from typing import Any

import pytest
from tests.services.client.people import DEPOSIT, new_node, open_channel, send
from tests.services.client.scripted import ScriptedNode, changed
from tests.services.client.world import World

from waypost.client.channel import Channel
from waypost.client.recovery import Recovered
from waypost.errors import InvalidAnswer, NodeDisagrees, NodeUnreachable, WaypostError
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import Signature

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def claim(world: World, node: ScriptedNode, channel: Channel) -> None:
    """The node takes on chain what it was paid."""
    account = node.accounts[channel.signer]
    receipt = SignedReceipt(
        Receipt(channel.payee, channel.token, account.paid), Signature.from_hex(account.signature)
    )
    await node.operator.sender.send(world.channels.claim(channel.payee, channel.token, [receipt]))


async def test_the_seed_alone_brings_everything_back(world: World, tmp_path: Path) -> None:
    nodes = [await new_node(world) for _ in range(2)]
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        for node in (nodes[0], nodes[0], nodes[1]):
            await open_channel(client, node)
        for _ in range(3):
            await send(client)
        before = {c.signer: (c.record.operator, c.books.signed, c.books.spent) for c in client.channels.all()}
    async with world.client(account, tmp_path / "new") as client:
        recovered = await client.channels.recover()
        assert not recovered.faults
        after = {c.signer: (c.record.operator, c.books.signed, c.books.spent) for c in recovered.channels}
        assert after == before
        assert all(channel.books.deposited == DEPOSIT for channel in recovered.channels)
        await send(client)
        assert (await client.channels.recover()).channels == []
    async with world.client(account, tmp_path / "new") as client:
        assert len(client.channels.open_channels()) == 3


async def test_closed_channels_and_gaps_are_passed_over(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        closed = await open_channel(client, node)
        await client.channels.close(closed, await world.funded())
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        gap = await client.channels._openings.prepare(verified, terms, fee=0)
        client.channels._channels[gap.signer] = gap
        opened = await open_channel(client, node, DEPOSIT + 1)
        assert [closed.record.index, gap.record.index, opened.record.index] == [0, 1, 2]
    async with world.client(account, tmp_path / "new") as client:
        recovered = await client.channels.recover([node.operator.address])
        assert [channel.signer for channel in recovered.channels] == [opened.signer]


async def test_an_old_receipt_helps_a_node_to_nothing(world: World, tmp_path: Path) -> None:
    """It gives service for the difference; when it claims the later receipt, the client stops."""
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        channel = await open_channel(client, node)
        await send(client)
        old = node.accounts[channel.signer].paid, node.accounts[channel.signer].signature
        await send(client)
        latest = node.accounts[channel.signer].paid, node.accounts[channel.signer].signature
    async with world.client(account, tmp_path / "new") as client:
        cheating = node.accounts[channel.signer]
        (cheating.paid, cheating.signature), cheating.spent = old, old[0]
        (channel,) = (await client.channels.recover([node.operator.address])).channels
        assert channel.books.signed == old[0]
        cheating.paid, cheating.signature = latest
        await claim(world, node, channel)
        with pytest.raises(NodeDisagrees, match="withheld"):
            await client.channels.refresh()
        with pytest.raises(NodeDisagrees, match="withheld"):
            await send(client)


async def recover_with(
    world: World, tmp_path: Path, node: ScriptedNode, claimed: bool, **lie: Any
) -> Recovered:
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        channel = await open_channel(client, node)
        await send(client)
        if claimed:
            await claim(world, node, channel)
    node.tamper = changed(channel.path, **lie)
    async with world.client(account, tmp_path / "new") as client:
        recovered = await client.channels.recover([node.operator.address])
        (found,) = recovered.channels
        with pytest.raises(NodeDisagrees, match="after recovery"):
            await send(client)
        node.tamper = None  # it thinks better of it
        again = await client.channels.recover([node.operator.address])
        assert not again.faults
        await send(client)
        assert client.channels.by_signer(found.signer).books.spent == node.accounts[found.signer].spent
        return recovered


NO_RECEIPT: dict[str, Any] = {"receipt": None, "paid": "0", "spent": "0"}


@pytest.mark.parametrize(
    ("lie", "claimed", "error"),
    [
        (NO_RECEIPT, True, NodeDisagrees),  # "nothing was ever signed", but it claimed
        ({"spent": lambda spent: str(int(spent) + 1)}, False, InvalidAnswer),
        ({"paid": lambda paid: str(int(paid) + 1)}, False, InvalidAnswer),
        ({"receipt": lambda r: r | {"cumulative": str(int(r["cumulative"]) + 1)}}, False, InvalidAnswer),
        ({"receipt": lambda r: r | {"signature": "0x" + "11" * 64}}, False, InvalidAnswer),
        ({"receipt": lambda r: r | {"signature": "nonsense"}}, False, InvalidAnswer),
        ({"signer": "0x1111111111111111111111111111111111111111"}, False, InvalidAnswer),  # another's channel
        ({"payer": "0x1111111111111111111111111111111111111111"}, False, InvalidAnswer),
        ({"paid": -1}, False, InvalidAnswer),
    ],
)
async def test_lies_are_not_believed_and_cost_nothing(
    world: World, tmp_path: Path, lie: dict[str, Any], claimed: bool, error: type[WaypostError]
) -> None:
    node = await new_node(world)
    recovered = await recover_with(world, tmp_path, node, claimed, **lie)
    assert [type(fault) for fault in recovered.faults.values()] == [error]


async def test_a_channel_whose_node_is_gone_can_still_be_closed(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path / "lost") as client:
        await open_channel(client, node)
    del world.network.hosts[node.operator.host]
    async with world.client(account, tmp_path / "new") as client:
        recovered = await client.channels.recover([node.operator.address])
        assert [type(fault) for fault in recovered.faults.values()] == [NodeUnreachable]
        (channel,) = recovered.channels
        closing = await client.channels.close(channel, await world.funded(), consent=False)
        assert closing.closes_at > 0
        assert closing.refund == 0  # at least: what was signed is not known
