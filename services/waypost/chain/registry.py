"""The NodeRegistry contract: who serves what, with how much stake. Reads, calls as values, events.
Amounts are the stake token's base units; times are Unix seconds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import Event
from waypost.chain.connection import BlockId, Call
from waypost.chain.contract import Contract
from waypost.protocol.eip712 import Domain, registry_domain
from waypost.protocol.signatures import Signature

PAGE = 500
"""Nodes that one request asks for."""


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A registered node. `services` are the bits of `protocol.nodes`; `thawed_at` is 0 unless
    stake is thawing."""

    operator: ChecksumAddress
    node_key: ChecksumAddress
    payout: ChecksumAddress
    services: int
    registered_at: int
    stake: int
    thawing: int
    thawed_at: int
    metadata_hash: bytes
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered(Event):
    """A node registered."""

    operator: ChecksumAddress
    node_key: ChecksumAddress
    services: int
    payout: ChecksumAddress
    endpoint: str
    metadata_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated(Event):
    """A node changed what it offers."""

    operator: ChecksumAddress
    services: int
    payout: ChecksumAddress
    endpoint: str
    metadata_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Staked(Event):
    """`amount` was added, which makes `stake` in all."""

    operator: ChecksumAddress
    amount: int
    stake: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thawing(Event):
    """`amount` left the stake and can be withdrawn at `thawed_at`."""

    operator: ChecksumAddress
    amount: int
    thawed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawCancelled(Event):
    """`amount` became stake again."""

    operator: ChecksumAddress
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """`amount` left the registry."""

    operator: ChecksumAddress
    to: ChecksumAddress
    amount: int


class Registry(Contract):
    """Reads raise RpcUnreachable, RpcFailed or WrongContract; calls send nothing."""

    artifact = "NodeRegistry"
    events = (Registered, Updated, Staked, Thawing, ThawCancelled, Withdrawn)

    def domain(self) -> Domain:
        """The EIP-712 domain of node-key possession proofs."""
        return registry_domain(self.connection.chain_id, self.address)

    # ---- Reads ----

    async def node(self, operator: ChecksumAddress, block: BlockId | None = None) -> RegisteredNode | None:
        """The operator's node; None if it never registered."""
        found = _node(await self._read("node", operator, block=block))
        return found if found.registered_at else None

    async def nodes(self, services: int, page: int = PAGE) -> AsyncIterator[RegisteredNode]:
        """All nodes with at least these services and the minimum stake, page by page."""
        cursor = 0
        while True:
            found, cursor = await self._read("nodes", int(services), cursor, page)
            for fields in found:
                yield _node(fields)
            if cursor == 0:
                return

    async def operator_of(self, node_key: ChecksumAddress) -> ChecksumAddress | None:
        """Whose node key this is; None if it is nobody's."""
        operator: ChecksumAddress = await self._read("operatorOf", node_key)
        return operator if int(operator, 16) else None

    async def count(self) -> int:
        """How many nodes ever registered."""
        return int(await self._read("count"))

    async def total(self) -> int:
        """All stake, thawing included."""
        return int(await self._read("total"))

    async def token(self) -> ChecksumAddress:
        """The stake token."""
        token: ChecksumAddress = await self._read("token")
        return token

    async def min_stake(self) -> int:
        """The stake below which a node is not listed."""
        return int(await self._read("minStake"))

    async def unbonding(self) -> int:
        """Seconds between a thaw and its withdrawal."""
        return int(await self._read("unbonding"))

    # ---- Calls, all by the operator ----

    def register(
        self,
        services: int,
        node_key: ChecksumAddress,
        payout: ChecksumAddress,
        endpoint: str,
        key_signature: Signature,
        metadata_hash: bytes = bytes(32),
    ) -> Call:
        """`key_signature` is the node key's proof of possession, `protocol.nodes.NodeKey`."""
        proof = key_signature.r + key_signature.s + bytes((key_signature.v,))
        return self._call("register", int(services), node_key, payout, endpoint, metadata_hash, proof)

    def update(
        self,
        services: int,
        payout: ChecksumAddress,
        endpoint: str,
        metadata_hash: bytes = bytes(32),
    ) -> Call:
        """Replaces what the node offers."""
        return self._call("update", int(services), payout, endpoint, metadata_hash)

    def stake(self, amount: int) -> Call:
        """Adds stake that the operator has approved."""
        return self._call("stake", amount)

    def thaw(self, amount: int) -> Call:
        """Takes stake out; restarts the unbonding time of everything that thaws."""
        return self._call("thaw", amount)

    def cancel_thaw(self) -> Call:
        """Makes everything that thaws stake again."""
        return self._call("cancelThaw")

    def withdraw(self, to: ChecksumAddress) -> Call:
        """Sends everything that has thawed."""
        return self._call("withdraw", to)


def _node(fields: tuple[Any, ...]) -> RegisteredNode:
    return RegisteredNode(*fields)
