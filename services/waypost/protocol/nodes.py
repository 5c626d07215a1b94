"""What a node says of itself: services, endpoint, prices and limits, signed by its node key.
The answer of `GET /v1/node`, checked before a client trusts a node with money."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from enum import IntFlag
from ipaddress import ip_address
from typing import Self, cast
from urllib.parse import urlsplit

import rfc8785
from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidDescriptor, InvalidEndpoint, InvalidSignature
from waypost.protocol.eip712 import Address, Bytes32, Domain, TypedStruct, Uint40
from waypost.protocol.fields import Fields, camel_case
from waypost.protocol.prices import PriceList
from waypost.protocol.signatures import keccak

MAX_ENDPOINT = 256


class Services(IntFlag):
    """What a node offers, as the registry's bit map."""

    STORE = 1
    RELAY = 2
    LEASE = 4

    @property
    def names(self) -> list[str]:
        """Lower-case names, lowest bit first."""
        return [str(bit.name).lower() for bit in self]

    @classmethod
    def from_names(cls, names: Collection[object]) -> Self:
        """The reverse; names that this version does not know are left out."""
        return cls(sum(bit for bit in cls if str(bit.name).lower() in names))


@dataclass(frozen=True, slots=True)
class NodeKey(TypedStruct):
    """Signed by the node key under the registry domain: it agrees to serve this operator."""

    error = InvalidDescriptor

    operator: Address
    node_key: Address


@dataclass(frozen=True, slots=True)
class NodeStatement(TypedStruct, primary_type="Node"):
    """Signed by the node key under the node domain; `issued` in Unix seconds."""

    error = InvalidDescriptor

    operator: Address
    descriptor_hash: Bytes32
    issued: Uint40


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts that a node works with, and the token it is paid in; `membership` if it follows RLN."""

    channels: ChecksumAddress
    registry: ChecksumAddress
    token: ChecksumAddress
    membership: ChecksumAddress | None = None

    def to_json(self) -> dict[str, JSON]:
        """Without what is absent."""
        return {name: address for name, address in asdict(self).items() if address is not None}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """The reverse. Raises InvalidDescriptor or InvalidAddress."""
        return cls(
            channels=fields.address("channels"),
            registry=fields.address("registry"),
            token=fields.address("token"),
            membership=fields.address("membership") if "membership" in fields else None,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds, blocks and counts that a node holds requests to."""

    max_payload: int
    min_retention: int
    max_retention: int
    min_close_delay: int
    confirmations: int
    max_topics: int
    max_page: int


@dataclass(frozen=True, slots=True)
class NodeDescriptor:
    """A node's description of itself. `network` names the chain for people; `issued` and prices
    in Unix seconds and token base units."""

    operator: ChecksumAddress
    node_key: ChecksumAddress
    payee: ChecksumAddress
    services: Services
    endpoint: str
    chain_id: int
    network: str
    contracts: Contracts
    prices: PriceList
    limits: Limits
    version: str
    issued: int

    def to_json(self) -> dict[str, JSON]:
        """Without the signature."""
        return {
            "operator": self.operator,
            "nodeKey": self.node_key,
            "payee": self.payee,
            "services": self.services.names,
            "endpoint": self.endpoint,
            "chain": {"id": self.chain_id, "network": self.network},
            "contracts": self.contracts.to_json(),
            "prices": self.prices.to_json(),
            "limits": {camel_case(name): limit for name, limit in asdict(self.limits).items()},
            "version": self.version,
            "issued": self.issued,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse, checking no signature. Raises a ProtocolError."""
        fields = Fields(value, InvalidDescriptor)
        chain, contracts, limits = (fields.fields(name) for name in ("chain", "contracts", "limits"))
        return cls(
            operator=fields.address("operator"),
            node_key=fields.address("nodeKey"),
            payee=fields.address("payee"),
            services=Services.from_names(fields.items("services")),
            endpoint=parse_endpoint(fields.text("endpoint")),
            chain_id=chain.integer("id"),
            network=chain.text("network"),
            contracts=Contracts.from_json(contracts),
            prices=PriceList.from_json(fields.raw("prices")),
            limits=Limits(**{each.name: limits.integer(camel_case(each.name)) for each in fields_of(Limits)}),
            version=fields.text("version"),
            issued=fields.integer("issued", 2**40 - 1),
        )

    def sign(self, domain: Domain, private_key: bytes) -> dict[str, JSON]:
        """The whole answer, `signature` included, by the node key under the node domain."""
        answer = self.to_json()
        signature = _statement(self, answer).sign(domain, private_key)
        return {**answer, "signature": signature.to_hex()}

    @classmethod
    def verify(cls, answer: object, domain: Domain) -> Self:
        """The descriptor in a signed answer of a node on the domain's chain and registry. Fields
        that this version does not know are covered too. Raises a ProtocolError."""
        descriptor = cls.from_json(answer)
        signature = Fields(answer, InvalidDescriptor).signature("signature")
        content = {k: v for k, v in cast(Mapping[str, JSON], answer).items() if k != "signature"}
        found = _statement(descriptor, content).recover(domain, signature)
        if found != descriptor.node_key:
            sentence = f"The descriptor was signed by {found}, not by {descriptor.node_key}."
            raise InvalidSignature(sentence, signer=descriptor.node_key, recovered=found)
        return descriptor


def _statement(descriptor: NodeDescriptor, content: Mapping[str, JSON]) -> NodeStatement:
    try:
        canonical = rfc8785.dumps(content)
    except (ValueError, RecursionError):
        raise InvalidDescriptor("The descriptor has no canonical form (RFC 8785).") from None
    return NodeStatement(descriptor.operator, keccak(canonical), descriptor.issued)


def parse_endpoint(endpoint: str) -> str:
    """The base URL of a node, without a trailing slash. Raises InvalidEndpoint."""
    try:
        url = urlsplit(endpoint)
        secure = url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.hostname))
        clean = not (url.query or url.fragment or url.username or url.password)
        valid = secure and clean and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
    printable = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    if not (valid and printable and 0 < len(endpoint) <= MAX_ENDPOINT):
        sentence = f"An endpoint is an https URL of up to {MAX_ENDPOINT} characters; plain http "
        raise InvalidEndpoint(sentence + "is for loopback only.")
    return endpoint.rstrip("/")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
