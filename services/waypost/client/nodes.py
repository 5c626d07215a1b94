"""Finding nodes and believing them: a node counts once its signed descriptor agrees with the registry and the
chain. What the registry says of a node comes from the chain; everything else the node says is checked against
it."""

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

import httpx
from eth_typing import ChecksumAddress

from waypost.chain.registry import RegisteredNode
from waypost.client.deployment import Deployment
from waypost.client.transport import NodeClient
from waypost.errors import (
    InvalidAnswer,
    NodeDisagrees,
    NoNodesFound,
    PriceTooHigh,
    ProtocolError,
    WaypostError,
)
from waypost.protocol.nodes import NodeDescriptor, Services, parse_endpoint

DESCRIPTOR_SECONDS = 120
"""How long a verified descriptor is used before it is asked for again."""
STALE_SECONDS = 600
"""How long after its prices ran out a descriptor is still no replay of an old one."""
PROBES = 8
"""Nodes asked at the same time."""


@dataclass(frozen=True, slots=True)
class PriceCeiling:
    """The most a client pays, in base units; None for no ceiling."""

    store_per_kib_hour: int | None = None
    fetch_per_kib: int | None = None
    relay_per_kib: int | None = None
    opening: int | None = None
    min_receipt: int | None = None
    """The smallest raise of a total: so much is signed ahead of what was used."""

    def check(self, descriptor: NodeDescriptor) -> None:
        """Raises PriceTooHigh."""
        for name in self.__slots__:
            ceiling, asked = getattr(self, name), getattr(descriptor.prices, name)
            if ceiling is not None and asked > ceiling:
                raise PriceTooHigh(
                    f"{descriptor.endpoint} asks {asked} for {name}; at most {ceiling} is allowed.",
                    operator=descriptor.operator,
                    price=name,
                    given=str(asked),
                    maximum=str(ceiling),
                )


@dataclass(frozen=True, slots=True)
class Node:
    """A node that proved to be who the registry says."""

    descriptor: NodeDescriptor
    registered: RegisteredNode
    client: NodeClient
    verified_at: float

    @property
    def operator(self) -> ChecksumAddress:
        """The account that registered it."""
        return self.descriptor.operator


class Nodes:
    """The registered nodes of a deployment. `clock` gives Unix seconds."""

    def __init__(
        self,
        deployment: Deployment,
        http: httpx.AsyncClient,
        clock: Callable[[], float],
        ceiling: PriceCeiling | None = None,
    ) -> None:
        self._deployment, self._http, self._clock = deployment, http, clock
        self.ceiling = ceiling or PriceCeiling()
        self._known: dict[ChecksumAddress, Node] = {}
        self._asking: dict[ChecksumAddress, asyncio.Lock] = {}

    async def get(self, operator: ChecksumAddress, *, fresh: bool = False) -> Node:
        """One node, verified at most two minutes ago (now, if `fresh`).

        Raises NoNodesFound when it is not registered, and as `verify` does.
        """
        async with self._asking.setdefault(operator, asyncio.Lock()):  # many requests, one look
            known = self._known.get(operator)
            if known is not None and not fresh and self._clock() - known.verified_at < DESCRIPTOR_SECONDS:
                return known
            registered = await self._deployment.registry.node(operator)
            if registered is None:
                raise NoNodesFound(f"{operator} is not registered as a node.", operator=operator)
            return await self.verify(registered)

    async def verify(self, registered: RegisteredNode) -> Node:
        """Ask a registered node for its descriptor and hold it against registry and chain.

        Raises NodeDisagrees, NodeUnreachable, AnswerLost, InvalidAnswer, NodeRefused, PriceTooHigh,
        InvalidEndpoint.
        """
        self._known.pop(registered.operator, None)
        client = NodeClient(parse_endpoint(registered.endpoint), self._http)
        answer = (await client.call("GET", "/v1/node")).body
        try:
            descriptor = NodeDescriptor.verify(answer, self._deployment.node_domain)
        except ProtocolError as error:
            raise InvalidAnswer(
                f"{client.endpoint} has no valid descriptor: {error}",
                endpoint=client.endpoint,
                cause=error.code,
            ) from None
        self._compare(descriptor, registered)
        self.ceiling.check(descriptor)
        node = Node(descriptor, registered, client, self._clock())
        self._known[registered.operator] = node
        return node

    async def survey(self) -> dict[ChecksumAddress, Node | WaypostError]:
        """Every staked store node of the registry, with what is wrong with those that cannot be used."""
        listed = [entry async for entry in self._deployment.registry.nodes(int(Services.STORE))]
        found = await self._probe(listed)
        return {entry.operator: result for entry, result in zip(listed, found, strict=True)}

    async def choose(self, count: int = 1, *, exclude: Collection[ChecksumAddress] = ()) -> list[Node]:
        """`count` usable nodes, drawn at random with chances proportional to stake.

        Raises NoNodesFound, naming what was wrong with the others, when there are fewer.
        """
        listed = [
            e async for e in self._deployment.registry.nodes(int(Services.STORE)) if e.operator not in exclude
        ]
        draw = random.SystemRandom()
        # Sorting by exponential times of rate `weight` is a weighted draw without replacement.
        listed.sort(key=lambda entry: draw.expovariate(1) / max(entry.stake, 1))
        chosen: list[Node] = []
        faults: dict[ChecksumAddress, WaypostError] = {}
        while listed and len(chosen) < count:
            batch, listed = listed[:PROBES], listed[PROBES:]
            for entry, result in zip(batch, await self._probe(batch), strict=True):
                if isinstance(result, Node):
                    chosen.append(result)
                else:
                    faults[entry.operator] = result
        if len(chosen) < count:
            why = "".join(f" {operator}: {fault}" for operator, fault in list(faults.items())[:3])
            raise NoNodesFound(
                f"{count} usable nodes are needed, {len(chosen)} were found.{why}",
                needed=count,
                found=len(chosen),
                faults={operator: fault.code for operator, fault in faults.items()},
            )
        return chosen[:count]

    async def _probe(self, entries: list[RegisteredNode]) -> list[Node | WaypostError]:
        gate = asyncio.Semaphore(PROBES)

        async def probe(entry: RegisteredNode) -> Node | WaypostError:
            async with gate:
                try:
                    return await self.verify(entry)
                except WaypostError as error:
                    return error

        return list(await asyncio.gather(*map(probe, entries)))

    def _compare(self, descriptor: NodeDescriptor, registered: RegisteredNode) -> None:
        ours = self._deployment
        expected: dict[str, tuple[str | int, str | int]] = {
            "operator": (descriptor.operator, registered.operator),
            "nodeKey": (descriptor.node_key, registered.node_key),
            "payee": (descriptor.payee, registered.payout),
            "endpoint": (descriptor.endpoint, parse_endpoint(registered.endpoint)),
            "chain": (descriptor.chain_id, ours.chain_id),
            "channels": (descriptor.contracts.channels, ours.channels.address),
            "registry": (descriptor.contracts.registry, ours.registry.address),
            "token": (descriptor.contracts.token, ours.token.address),
            "price token": (descriptor.prices.token, ours.token.address),
        }
        for name, (given, known) in expected.items():
            if given != known:
                sentence = f"{registered.endpoint} states the {name} {given}; registry and chain say {known}."
                raise NodeDisagrees(sentence, field=name, given=given, expected=known)
        if Services.STORE not in descriptor.services:
            raise NodeDisagrees(f"{registered.endpoint} does not offer to store.", field="services")
        if descriptor.prices.valid_until + STALE_SECONDS < self._clock():
            raise NodeDisagrees(
                f"{registered.endpoint} shows prices that ran out long ago.", field="validUntil"
            )
