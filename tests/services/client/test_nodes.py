"""Nodes are believed as far as registry and chain bear them out, and no further."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.client.people import new_node, open_channel, send
from tests.services.client.scripted import ScriptedNode
from tests.services.client.world import World, open_world

from waypost.client.nodes import PriceCeiling
from waypost.errors import (
    InvalidAnswer,
    InvalidEndpoint,
    NodeDisagrees,
    NodeUnreachable,
    NoNodesFound,
    PriceTooHigh,
)
from waypost.protocol.nodes import Contracts, Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x1111111111111111111111111111111111111111"


async def test_an_honest_node_is_believed(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        found = await client.nodes.get(node.operator.address)
        assert found.descriptor.payee == node.payee
        assert (await client.nodes.get(node.operator.address)) is found
        assert (await client.nodes.get(node.operator.address, fresh=True)) is not found
        assert node.count("/v1/node") == 2


async def test_many_requests_look_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        await asyncio.gather(*(client.nodes.get(node.operator.address) for _ in range(10)))
        assert node.count("/v1/node") == 1


@pytest.mark.parametrize(
    ("says", "changes"),
    [
        ("payee", {"payee": STRANGER}),
        ("operator", {"operator": STRANGER}),
        ("signed by", {"node_key": STRANGER}),
        ("endpoint", {"endpoint": "https://elsewhere.example"}),
        ("chain", {"chain_id": 1}),
        ("channels", {"contracts": Contracts(STRANGER, STRANGER, STRANGER)}),  # type: ignore[arg-type]
        ("store", {"services": Services.RELAY}),
    ],
)
async def test_nothing_is_signed_for_a_node_that_contradicts_the_chain(
    world: World, tmp_path: Path, says: str, changes: dict[str, Any]
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        signed = channel.books.signed
        node.descriptor_changes = changes
        for _ in range(2):
            with pytest.raises((NodeDisagrees, InvalidAnswer), match=says):
                await client.nodes.get(node.operator.address, fresh=True)
        with pytest.raises((NodeDisagrees, InvalidAnswer)):
            await send(client)
        assert channel.books.signed == signed
        assert node.count("/v1/messages") == 0


async def test_a_descriptor_of_another_key_is_worthless(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    node.descriptor_key = secrets.token_bytes(32)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(InvalidAnswer, match="signed by"):
            await client.nodes.get(node.operator.address)


async def test_an_altered_descriptor_is_worthless(world: World, tmp_path: Path) -> None:
    node = await new_node(world)

    def cheaper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        body = response.json()
        body["limits"]["minCloseDelay"] = 3600
        return httpx.Response(200, json=body)

    node.tamper = cheaper
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(InvalidAnswer, match="signed by"):
            await client.nodes.get(node.operator.address)


async def test_an_old_descriptor_is_not_replayed(world: World, tmp_path: Path) -> None:
    node = await new_node(world, clock=lambda: time.time() - 3600)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(NodeDisagrees, match="ran out"):
            await client.nodes.get(node.operator.address)


@pytest.mark.parametrize("answer", [{}, {"operator": 7}, {"signature": "0x"}, {"a": [[[[]]]] * 1000}])
async def test_nonsense_is_no_descriptor(world: World, tmp_path: Path, answer: dict[str, Any]) -> None:
    node = await new_node(world)
    node.tamper = lambda request, response: httpx.Response(200, json=answer)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(InvalidAnswer, match="no valid descriptor"):
            await client.nodes.get(node.operator.address)


async def test_who_is_not_registered_is_no_node(world: World, tmp_path: Path) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(NoNodesFound, match="not registered"):
            await client.nodes.get((await world.account()).payer)


async def test_an_endpoint_that_is_no_url_is_not_called(world: World, tmp_path: Path) -> None:
    operator = await world.new_operator()
    update = world.registry.update(int(Services.STORE), operator.address, "http://10.0.0.1:8545/x?y=z")
    await operator.sender.send(update)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(InvalidEndpoint):
            await client.nodes.get(operator.address)


async def test_choosing_takes_what_works_and_names_what_does_not(tmp_path: Path) -> None:
    async with open_world() as world:  # a registry of its own
        good = [await new_node(world) for _ in range(2)]
        dear = await new_node(world, fetch_per_kib=10**9)
        liar = await new_node(world)
        liar.descriptor_changes = {"payee": STRANGER}
        away = await world.operator()
        await world.new_operator(stake=0)  # not listed
        ceiling = PriceCeiling(fetch_per_kib=1000)
        async with world.client(await world.account(), tmp_path, ceiling=ceiling) as client:
            chosen = await client.nodes.choose(2)
            assert {node.operator for node in chosen} == {node.operator.address for node in good}
            survey = await client.nodes.survey()
            faults = {
                operator: type(node) for operator, node in survey.items() if isinstance(node, Exception)
            }
            assert faults == {
                dear.operator.address: PriceTooHigh,
                liar.operator.address: NodeDisagrees,
                away.address: NodeUnreachable,
            }
            with pytest.raises(NoNodesFound, match="3 usable nodes are needed, 2 were found") as raised:
                await client.nodes.choose(3)
            assert raised.value.details["faults"] == {
                dear.operator.address: "price_too_high",
                liar.operator.address: "node_disagrees",
                away.address: "node_unreachable",
            }
            exclude = {good[0].operator.address}
            assert [n.operator for n in await client.nodes.choose(1, exclude=exclude)] == [
                good[1].operator.address
            ]


async def test_a_node_that_moved_its_payee_is_not_paid_at_the_old_one(world: World, tmp_path: Path) -> None:
    operator, elsewhere = await world.new_operator(), (await world.account()).payer
    node = ScriptedNode(world, operator, time.time)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        signed = channel.books.signed
        update = world.registry.update(int(Services.STORE), elsewhere, operator.endpoint)
        await operator.sender.send(update)
        node.descriptor_changes = {"payee": elsewhere}
        await client.nodes.get(operator.address, fresh=True)  # registry and node agree
        with pytest.raises(NodeDisagrees, match="close it and open another"):
            await send(client)
        assert (channel.books.signed, node.count("/v1/messages")) == (signed, 0)
