"""The RlnMembership contract: who may send how many messages in an epoch, with how much at stake.
Reads, calls as values, events. Amounts are the token's base units; times are Unix seconds."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from eth_abi import encode
from eth_typing import ChecksumAddress

from waypost.chain.blocks import Event, Log
from waypost.chain.connection import BlockId, Call
from waypost.chain.credits import Credits, signature_bytes
from waypost.chain.token import NO_PERMIT, Permit
from waypost.errors import RpcFailed
from waypost.protocol.eip712 import Domain, membership_domain
from waypost.protocol.memberships import Exit, Extension, Registration
from waypost.protocol.openings import Authorization
from waypost.protocol.signatures import Signature, keccak

MAX_COLLECTS = 500
"""Members that one collect takes."""
REVEAL_BLOCKS = range(2, 257)
"""So many blocks after its commit a slash may be revealed."""

MAX_SPAN = 2_000
"""Blocks that an endpoint is asked for at once."""

_ENDED = (1).to_bytes(32)
_RECORD = ("uint256", "address", "address", "uint32", "uint16", "uint40", "uint32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered(Event):
    """The leaf at `index` is Poseidon(id_commitment, rate) from now on."""

    id_commitment: int
    owner: ChecksumAddress
    home_node: ChecksumAddress
    index: int
    rate: int
    start: int
    periods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(Event):
    """`payer` paid for `periods` more, until `paid_until`."""

    id_commitment: int
    payer: ChecksumAddress
    periods: int
    paid_until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Event):
    """Fees of these members up to now: `paid` to the home node, and a fifth of them burned."""

    home_node: ChecksumAddress
    paid: int
    burned: int
    id_commitments: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited(Event):
    """The leaf at `index` is zero from now on."""

    id_commitment: int
    index: int
    withdrawable_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(Event):
    """The leaf at `index` is zero from now on; `caller` was paid `reward` for it."""

    id_commitment: int
    caller: ChecksumAddress
    index: int
    reward: int
    withdrawable_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """Stake and rest went to the owner; another member may get the leaf."""

    id_commitment: int
    owner: ChecksumAddress
    index: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashCommitted(Event):
    """Somebody will reveal a secret."""

    slash_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Slashed(Event):
    """The leaf at `index` is zero from now on, and everybody knows the secret: no proof with it counts."""

    id_commitment: int
    receiver: ChecksumAddress
    index: int
    secret: int
    reward: int
    burned: int


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What registration fixes. The contract keeps its hash, and wants it back with every call."""

    id_commitment: int
    owner: ChecksumAddress
    home_node: ChecksumAddress
    index: int
    rate: int
    start: int
    periods: int

    @classmethod
    def of(cls, event: Registered) -> Self:
        """From the registration's event."""
        return cls(*(getattr(event, name) for name in cls.__slots__))

    def to_abi(self) -> tuple[int | str, ...]:
        """The contract's `Record`."""
        return astuple(self)

    def hash(self) -> bytes:
        """What the contract keeps."""
        return keccak(encode(_RECORD, self.to_abi()))


@dataclass(frozen=True, slots=True)
class MemberState:
    """What has changed since registration: periods `added`, fees paid out up to `collected_at` (0: nothing
    yet), when it exited or expired (`left_at`, 0: it is in the tree), and which of the two."""

    record_hash: bytes
    added: int
    collected_at: int
    left_at: int
    expired: bool

    @property
    def ended(self) -> bool:
        """Whether it was withdrawn or slashed."""
        return self.record_hash == _ENDED


class Membership(Credits):
    """Reads raise RpcUnreachable, RpcFailed or WrongContract, and TransactionReverted for a record that is
    no member's; calls send nothing."""

    artifact = "RlnMembership"
    events = (
        Registered,
        Extended,
        Collected,
        Exited,
        Expired,
        Withdrawn,
        SlashCommitted,
        Slashed,
        *Credits.events,
    )

    def domain(self) -> Domain:
        """The EIP-712 domain of registrations, extensions and exits."""
        return membership_domain(self.connection.chain_id, self.address)

    def _build(self, event: type[Event], log: Log, values: dict[str, Any]) -> Event:
        if event is Collected:
            values["id_commitments"] = tuple(values["id_commitments"])
        return super()._build(event, log, values)

    # ---- Reads ----

    async def member(self, id_commitment: int, block: BlockId | None = None) -> MemberState | None:
        """A member's state; None if it never registered."""
        found = MemberState(*await self._read("member", id_commitment, block=block))
        return found if any(found.record_hash) else None

    async def cost(self, rate: int, periods: int) -> tuple[int, int]:
        """Stake and fee of a registration."""
        stake, fee = await self._read("cost", rate, periods)
        return stake, fee

    async def collectable(self, record: MemberRecord) -> tuple[int, int]:
        """What has streamed and was not collected: for the home node, and to burn."""
        paid, burned = await self._read("collectable", record.to_abi())
        return paid, burned

    async def paid_until(self, record: MemberRecord) -> int:
        """Until when a membership is paid for."""
        return int(await self._read("paidUntil", record.to_abi()))

    async def withdrawable_at(self, record: MemberRecord) -> int:
        """When a member that has left can be withdrawn."""
        return int(await self._read("withdrawableAt", record.to_abi()))

    async def committed_at(self, slash_hash: bytes) -> int:
        """The block of the first commit of a hash; 0 if there is none."""
        return int(await self._read("committedAt", slash_hash))

    async def leaves(self, block: BlockId | None = None) -> int:
        """How many leaves of the tree were ever used."""
        return int(await self._read("leaves", block=block))

    async def total(self) -> int:
        """All stake, and all fees that have not streamed or were not collected; credits come on top."""
        return int(await self._read("total"))

    async def token(self) -> ChecksumAddress:
        """The token of stake and fees."""
        token: ChecksumAddress = await self._read("token")
        return token

    async def depth(self) -> int:
        """Levels of the tree below its root."""
        return int(await self._read("depth"))

    async def period(self) -> int:
        """Seconds of a period."""
        return int(await self._read("period"))

    async def window(self) -> int:
        """Seconds for which a member that has left can be slashed: nodes accept its roots for less."""
        return int(await self._read("window"))

    async def history(self, id_commitment: int, first: int) -> list[Event]:
        """What has happened to a member since block `first`, in chain order."""
        topics, found = (None, id_commitment.to_bytes(32)), list[Event]()
        last, span = (await self.connection.head()).number, MAX_SPAN
        while first <= last:
            try:
                until = min(first + span - 1, last)
                logs = await self.connection.logs([self.address], first, until, topics)
            except RpcFailed:
                if span == 1:  # endpoints limit the blocks of one answer, each in its own words
                    raise
                span //= 2
                continue
            found += [event for log in logs if (event := self.decode(log))]
            first = until + 1
        return [event for event in found if getattr(event, "id_commitment", None) == id_commitment]

    # ---- Register and extend ----

    def register(self, id_commitment: int, rate: int, home_node: ChecksumAddress, periods: int) -> Call:
        """By anybody who has approved the cost, and will own the stake."""
        return self._call("register", id_commitment, rate, home_node, periods)

    def register_for(
        self, registration: Registration, payer_signature: Signature | bytes, permit: Permit = NO_PERMIT
    ) -> Call:
        """By anybody, with the payer's signature; `bytes` for contract wallets."""
        signature = signature_bytes(payer_signature)
        return self._call("registerFor", registration.to_abi(), signature, permit.to_abi())

    def register_with_authorization(self, registration: Registration, authorization: Authorization) -> Call:
        """By anybody: the payer needs neither ETH nor an allowance."""
        return self._call("registerWithAuthorization", registration.to_abi(), authorization.to_abi())

    def extend(self, record: MemberRecord, periods: int) -> Call:
        """By anybody who has approved the fee."""
        return self._call("extend", record.to_abi(), periods)

    def extend_for(
        self,
        extension: Extension,
        record: MemberRecord,
        payer_signature: Signature | bytes,
        permit: Permit = NO_PERMIT,
    ) -> Call:
        """By anybody, with the signature of whoever pays."""
        signature = signature_bytes(payer_signature)
        return self._call("extendFor", extension.to_abi(), record.to_abi(), signature, permit.to_abi())

    def extend_with_authorization(
        self, extension: Extension, record: MemberRecord, authorization: Authorization
    ) -> Call:
        """By anybody, paid by an ERC-3009 authorization."""
        arguments = extension.to_abi(), record.to_abi(), authorization.to_abi()
        return self._call("extendWithAuthorization", *arguments)

    # ---- Collect and leave ----

    def collect(self, home_node: ChecksumAddress, records: Sequence[MemberRecord]) -> Call:
        """By anybody, for the home node; at most MAX_COLLECTS. Members of others are skipped."""
        return self._call("collect", home_node, [record.to_abi() for record in records])

    def exit(self, record: MemberRecord) -> Call:
        """By the owner."""
        return self._call("exit", record.to_abi())

    def exit_for(self, exit_: Exit, record: MemberRecord, owner_signature: Signature | bytes) -> Call:
        """By anybody, with the owner's signature of the exit of this member."""
        signature = signature_bytes(owner_signature)
        return self._call("exitFor", record.to_abi(), exit_.deadline, signature)

    def expire(self, record: MemberRecord) -> Call:
        """By anybody, for a tenth of the stake, when a membership is not paid for."""
        return self._call("expire", record.to_abi())

    def withdraw(self, record: MemberRecord) -> Call:
        """By anybody, for the owner, from `withdrawable_at` on."""
        return self._call("withdraw", record.to_abi())

    # ---- Slash ----

    def commit_slash(self, slash_hash: bytes) -> Call:
        """By anybody; `protocol.memberships.slash_hash`. The first commit of a hash stands."""
        return self._call("commitSlash", slash_hash)

    def slash(self, secret: int, receiver: ChecksumAddress, salt: bytes, record: MemberRecord) -> Call:
        """By anybody, REVEAL_BLOCKS after the commit, for the receiver. `secret` is a field element."""
        return self._call("slash", secret, receiver, salt, record.to_abi())

    def sweep(self) -> Call:
        """By anybody: burns what could not be burned before."""
        return self._call("sweep")
