"""EIP-712: a frozen dataclass that states its members' types is a signable struct.
Its digest equals what wallets sign, and its JSON form follows from the same declaration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self, get_type_hints

from eth_typing import ChecksumAddress

from waypost.errors import JSON, ProtocolError
from waypost.protocol.fields import Fields, camel_case, in_range
from waypost.protocol.signatures import Signature, address_bytes, keccak, recover, sign

Address = Annotated[ChecksumAddress, "address"]
Bytes32 = Annotated[bytes, "bytes32"]
Uint16 = Annotated[int, "uint16"]
Uint32 = Annotated[int, "uint32"]
Uint40 = Annotated[int, "uint40"]
Uint128 = Annotated[int, "uint128"]
Uint256 = Annotated[int, "uint256"]

AMOUNT_BITS = 128  # integers from here on are amounts or nonces: decimal strings in JSON

DOMAIN_MEMBERS = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature is valid: one contract on one chain. `separator` is computed once."""

    name: str
    version: str
    chain_id: int
    verifying_contract: ChecksumAddress
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = ",".join(f"{kind} {name}" for name, kind in DOMAIN_MEMBERS)
        words = (
            keccak(f"EIP712Domain({members})".encode()),
            keccak(self.name.encode()),
            keccak(self.version.encode()),
            in_range("chainId", self.chain_id, 256).to_bytes(32),
            address_bytes(self.verifying_contract).rjust(32, b"\0"),
        )
        object.__setattr__(self, "separator", keccak(b"".join(words)))

    def to_json(self) -> dict[str, JSON]:
        """As `eth_signTypedData_v4` takes it."""
        values = (self.name, self.version, self.chain_id, self.verifying_contract)
        return dict(zip((name for name, _ in DOMAIN_MEMBERS), values, strict=True))


def channels_domain(chain_id: int, channels: ChecksumAddress) -> Domain:
    """Receipts, openings and everything else that the Channels contract checks."""
    return Domain("Waypost Channels", "1", chain_id, channels)


def registry_domain(chain_id: int, registry: ChecksumAddress) -> Domain:
    """What the NodeRegistry contract checks."""
    return Domain("Waypost NodeRegistry", "1", chain_id, registry)


def membership_domain(chain_id: int, membership: ChecksumAddress) -> Domain:
    """What the RlnMembership contract checks."""
    return Domain("Waypost RlnMembership", "1", chain_id, membership)


def node_domain(chain_id: int, registry: ChecksumAddress) -> Domain:
    """What is signed between nodes and clients and never reaches a contract."""
    return Domain("Waypost Node", "1", chain_id, registry)


class TypedStruct:
    """Base of the signable structs.

    A subclass is a frozen dataclass whose members are annotated with the types above; its EIP-712
    type is named like the class, or `primary_type`. Members are snake_case here and camelCase in
    EIP-712 and JSON, where integers of 128 bits and more are decimal strings.
    Building one checks every member: raises InvalidAddress, AmountOutOfRange or `error`.
    """

    __slots__ = ()

    error: ClassVar[type[ProtocolError]] = ProtocolError
    members: ClassVar[Mapping[str, tuple[str, str]]]
    primary_type: ClassVar[str]
    type_string: ClassVar[str]
    type_hash: ClassVar[bytes]

    def __init_subclass__(cls, primary_type: str | None = None) -> None:
        hints = get_type_hints(cls, include_extras=True).items()
        kinds = {name: hint.__metadata__[0] for name, hint in hints if hasattr(hint, "__metadata__")}
        cls.members = {name: (camel_case(name), kind) for name, kind in kinds.items()}
        # With slots, dataclass builds the class a second time, without the keyword.
        cls.primary_type = primary_type or vars(cls).get("primary_type", cls.__name__)
        listed = ",".join(f"{kind} {name}" for name, kind in cls.members.values())
        cls.type_string = f"{cls.primary_type}({listed})"
        cls.type_hash = keccak(cls.type_string.encode())

    def __post_init__(self) -> None:
        self._words()

    def _words(self) -> list[bytes]:
        return [
            _word(name, kind, getattr(self, attribute), self.error)
            for attribute, (name, kind) in self.members.items()
        ]

    def struct_hash(self) -> bytes:
        """EIP-712 hashStruct, 32 bytes."""
        return keccak(self.type_hash + b"".join(self._words()))

    def digest(self, domain: Domain) -> bytes:
        """The 32 bytes that are signed."""
        return keccak(b"\x19\x01" + domain.separator + self.struct_hash())

    def sign(self, domain: Domain, private_key: bytes) -> Signature:
        """A compact signature. Raises InvalidPrivateKey."""
        return sign(self.digest(domain), private_key)

    def recover(self, domain: Domain, signature: Signature) -> ChecksumAddress:
        """Who signed this. Raises InvalidSignature."""
        return recover(self.digest(domain), signature)

    def to_abi(self) -> tuple[str | bytes | int, ...]:
        """The members in order, as the contracts' struct of the same name."""
        return tuple(getattr(self, attribute) for attribute in self.members)

    def to_json(self) -> dict[str, JSON]:
        """The members by their camelCase names."""
        return {
            name: _to_json(kind, getattr(self, attribute)) for attribute, (name, kind) in self.members.items()
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidAddress, AmountOutOfRange or the struct's own error."""
        fields = Fields(value, cls.error)
        arguments: dict[str, Any] = {
            attribute: _from_json(fields, name, kind) for attribute, (name, kind) in cls.members.items()
        }
        return cls(**arguments)

    def typed_data(self, domain: Domain) -> dict[str, JSON]:
        """The parameter of `eth_signTypedData_v4`, for wallets."""
        return {
            "types": {
                "EIP712Domain": [{"name": n, "type": kind} for n, kind in DOMAIN_MEMBERS],
                self.primary_type: [{"name": n, "type": k} for n, k in self.members.values()],
            },
            "primaryType": self.primary_type,
            "domain": domain.to_json(),
            "message": self.to_json(),
        }


def _bits(kind: str) -> int:
    return int(kind.removeprefix("uint"))


def _word(name: str, kind: str, value: Any, error: type[ProtocolError]) -> bytes:
    if kind == "address":
        return address_bytes(value).rjust(32, b"\0")
    if kind == "bytes32":
        if not isinstance(value, bytes) or len(value) != 32:
            raise error(f"{name} must be 32 bytes.", field=name)
        return value
    bits = _bits(kind)
    if not isinstance(value, int) or (bits < AMOUNT_BITS and not 0 <= value < 1 << bits):
        raise error(f"{name} must be a {kind}.", field=name)
    return in_range(name, value, bits).to_bytes(32)


def _to_json(kind: str, value: str | bytes | int) -> JSON:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, str) or _bits(kind) < AMOUNT_BITS:
        return value
    return str(value)


def _from_json(fields: Fields, name: str, kind: str) -> Any:
    if kind == "address":
        return fields.address(name)
    if kind == "bytes32":
        return fields.data(name, 32)
    bits = _bits(kind)
    return fields.integer(name, 2**bits - 1) if bits < AMOUNT_BITS else fields.amount(name, bits)
