"""The NodeRegistry contract: who serves what, with how much stake. Reads, calls as values, events.
Amounts are the stake token's base units; times are Unix seconds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import Event
from waypost.chain.connection import BlockId, Call
from waypost.chain.credits import Credits
from waypost.protocol.eip712 import Domain, registry_domain
from waypost.protocol.signatures import Signature, checksum

NOBODY = checksum(bytes(20))
FOREVER = 2**40 - 1
PAGE = 500
"""Nodes that one request asks for."""


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A registered node. `services` are the bits of `protocol.nodes`; `stake` backs the node, `thawing` is on
    its way out, both over all provisions."""

    operator: ChecksumAddress
    node_key: ChecksumAddress
    payout: ChecksumAddress
    services: int
    registered_at: int
    stake: int
    thawing: int
    metadata_hash: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class Provision:
    """The part of an operator's stake that one slasher can take, or that is assigned to nobody (None).

    `amount` backs promises; `thawing` does not, and can be withdrawn from `thawed_at` on (0: nothing thaws);
    `locked` is what the slasher has set aside of both.
    """

    slasher: ChecksumAddress | None
    amount: int
    thawing: int
    thawed_at: int
    locked: int

    def withdrawable(self, now: int, unbonding: int) -> int:
        """What `withdraw` would send at Unix time `now`, with the registry's unbonding time in seconds."""
        if not self.thawing or now < self.thawed_at:
            return 0
        kept = max(0, self.locked - self.amount) if now < self.thawed_at + unbonding else 0
        return self.thawing - kept


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """Whose node key it is, valid at Unix times in [since, until); `until` is None for a current key."""

    operator: ChecksumAddress
    since: int
    until: int | None


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
class KeyRotated(Event):
    """`node_key` signs for the node from now on, instead of `previous`."""

    operator: ChecksumAddress
    node_key: ChecksumAddress
    previous: ChecksumAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Staked(Event):
    """`amount` was added, which makes `stake` in all."""

    operator: ChecksumAddress
    amount: int
    stake: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfProvision(Event):
    """Something happened to the operator's provision for `slasher` (the zero address: for nobody)."""

    operator: ChecksumAddress
    slasher: ChecksumAddress
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned(_OfProvision):
    """`amount` was assigned to the slasher, which makes `provision`."""

    provision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thawing(_OfProvision):
    """`amount` backs nothing any more, and can be withdrawn at `thawed_at`."""

    thawed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawCancelled(_OfProvision):
    """`amount` backs promises again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(_OfProvision):
    """`amount` left the registry."""

    to: ChecksumAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(_OfProvision):
    """The slasher set `amount` aside, which makes `locked`."""

    locked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked(_OfProvision):
    """The slasher released `amount`, which leaves `locked`."""

    locked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slashed(_OfProvision):
    """The beneficiary was paid `amount`, and as much was burned."""

    beneficiary: ChecksumAddress


class Registry(Credits):
    """Reads raise RpcUnreachable, RpcFailed or WrongContract; calls send nothing."""

    artifact = "NodeRegistry"
    events = (
        Registered,
        Updated,
        KeyRotated,
        Staked,
        Provisioned,
        Thawing,
        ThawCancelled,
        Withdrawn,
        Locked,
        Unlocked,
        Slashed,
        *Credits.events,
    )

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

    async def provisions(self, operator: ChecksumAddress) -> list[Provision]:
        """All of the operator's stake: what is assigned to nobody first, then by slasher."""
        slashers, provisions = await self._read("provisions", operator)
        return [
            Provision(slasher if int(slasher, 16) else None, *fields)
            for slasher, fields in zip(slashers, provisions, strict=True)
        ]

    async def key_period(self, node_key: ChecksumAddress) -> KeyPeriod | None:
        """Whose key this is, and when it is valid; None if nobody ever used it."""
        operator, since, until = await self._read("keyPeriod", node_key)
        return KeyPeriod(operator, since, None if until == FOREVER else until) if int(operator, 16) else None

    async def count(self) -> int:
        """How many nodes ever registered."""
        return int(await self._read("count"))

    async def total(self) -> int:
        """All stake, thawing included; credits come on top."""
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
        proof = key_signature.to_rsv()
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

    def rotate_key(self, node_key: ChecksumAddress, key_signature: Signature) -> Call:
        """Ends the node key's period and begins that of a new one; `key_signature` as in `register`."""
        return self._call("rotateKey", node_key, key_signature.to_rsv())

    def stake(self, amount: int) -> Call:
        """Adds stake that the operator has approved; it is assigned to nobody."""
        return self._call("stake", amount)

    def provision(self, slasher: ChecksumAddress, amount: int) -> Call:
        """Lets `slasher` take `amount` of what is assigned to nobody."""
        return self._call("provision", slasher, amount)

    def thaw(self, amount: int, slasher: ChecksumAddress | None = None) -> Call:
        """Takes stake out of a provision; restarts the unbonding time of everything that thaws in it."""
        return self._call("thaw", slasher or NOBODY, amount)

    def cancel_thaw(self, slasher: ChecksumAddress | None = None) -> Call:
        """Makes everything that thaws in a provision back promises again."""
        return self._call("cancelThaw", slasher or NOBODY)

    def withdraw(self, to: ChecksumAddress, slasher: ChecksumAddress | None = None) -> Call:
        """Sends everything that has thawed in a provision and is not locked."""
        return self._call("withdraw", slasher or NOBODY, to)

    # ---- Calls by a slasher ----

    def lock(self, operator: ChecksumAddress, amount: int) -> Call:
        """Sets stake aside for an obligation."""
        return self._call("lock", operator, amount)

    def unlock(self, operator: ChecksumAddress, amount: int) -> Call:
        """Releases it; all that is locked, if that is less."""
        return self._call("unlock", operator, amount)

    def slash(self, operator: ChecksumAddress, amount: int, beneficiary: ChecksumAddress) -> Call:
        """Takes twice the amount: half for the beneficiary, half to burn."""
        return self._call("slash", operator, amount, beneficiary)


def _node(fields: tuple[Any, ...]) -> RegisteredNode:
    return RegisteredNode(*fields)
