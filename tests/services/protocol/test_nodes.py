"""Node descriptors: signed as a whole, by the node's key, for one chain and registry."""

import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import addresses, prices

from waypost.errors import InvalidDescriptor, InvalidEndpoint, InvalidPriceList, InvalidSignature
from waypost.protocol.eip712 import node_domain, registry_domain
from waypost.protocol.nodes import (
    MAX_ENDPOINT,
    Contracts,
    Limits,
    NodeDescriptor,
    NodeKey,
    NodeStatement,
    Services,
    parse_endpoint,
)
from waypost.protocol.prices import PriceList
from waypost.protocol.signatures import address_of, checksum, keccak

KEY = b"\x07" * 32
OPERATOR, PAYEE, CHANNELS, REGISTRY, TOKEN = (checksum(bytes([n]) * 20) for n in range(1, 6))
DOMAIN = node_domain(31337, REGISTRY)
DESCRIPTOR = NodeDescriptor(
    operator=OPERATOR,
    node_key=address_of(KEY),
    payee=PAYEE,
    services=Services.STORE | Services.LEASE,
    endpoint="https://node.example",
    chain_id=31337,
    network="local",
    contracts=Contracts(CHANNELS, REGISTRY, TOKEN),
    prices=PriceList(TOKEN, 1_800_000_000, 3, 2, 50_000, 1_000, 1_000_000, 4),
    limits=Limits(153_600, 3_600, 2_592_000, 129_600, 3, 64, 100),
    version="0.1.0",
    issued=1_790_000_000,
)
ANSWER: dict[str, Any] = json.loads(json.dumps(DESCRIPTOR.sign(DOMAIN, KEY)))

sizes = st.integers(0, 2**53 - 1)
descriptors = st.builds(
    NodeDescriptor,
    operator=addresses,
    node_key=st.just(address_of(KEY)),
    payee=addresses,
    services=st.integers(0, 7).map(Services),
    endpoint=st.just("https://node.example"),
    chain_id=sizes,
    network=st.text(),
    contracts=st.builds(Contracts, addresses, addresses, addresses, st.none() | addresses),
    prices=st.builds(PriceList, addresses, sizes, prices, prices, prices, prices, prices),
    limits=st.builds(Limits, *[sizes] * 7),
    version=st.text(),
    issued=st.integers(0, 2**40 - 1),
)


@given(descriptors)
def test_descriptors_survive_the_wire(descriptor: NodeDescriptor) -> None:
    answer = json.loads(json.dumps(descriptor.sign(DOMAIN, KEY)))
    assert NodeDescriptor.verify(answer, DOMAIN) == descriptor


def test_the_order_of_fields_does_not_matter() -> None:
    assert NodeDescriptor.verify(dict(reversed(ANSWER.items())), DOMAIN) == DESCRIPTOR


def test_the_answer_of_a_newer_node_is_understood_and_covered() -> None:
    content = DESCRIPTOR.to_json() | {"pledges": {"outstanding": "7"}}
    statement = NodeStatement(OPERATOR, keccak(rfc8785.dumps(content)), DESCRIPTOR.issued)
    newer = content | {"signature": statement.sign(DOMAIN, KEY).to_hex()}
    assert NodeDescriptor.verify(newer, DOMAIN) == DESCRIPTOR
    with pytest.raises(InvalidSignature):
        NodeDescriptor.verify(newer | {"pledges": {"outstanding": "8"}}, DOMAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"operator": TOKEN},
        {"nodeKey": TOKEN},
        {"payee": TOKEN},
        {"services": ["relay"]},
        {"endpoint": "https://evil.example"},
        {"version": "9"},
        {"issued": 1},
        {"prices": replace(DESCRIPTOR.prices, opening=1).to_json()},
        {"contracts": {"channels": TOKEN, "registry": REGISTRY, "token": TOKEN}},
        {"chain": {"id": 1, "network": "local"}},
        {"limits": ANSWER["limits"] | {"maxPage": 1}},
        {"extra": 1},
    ],
)
def test_every_field_is_signed(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature):
        NodeDescriptor.verify(ANSWER | change, DOMAIN)


@pytest.mark.parametrize(
    "domain", [node_domain(1, REGISTRY), node_domain(31337, TOKEN), registry_domain(31337, REGISTRY)]
)
def test_a_descriptor_is_for_one_chain_and_registry(domain: Any) -> None:
    with pytest.raises(InvalidSignature):
        NodeDescriptor.verify(ANSWER, domain)


def test_another_key_cannot_sign() -> None:
    with pytest.raises(InvalidSignature) as caught:
        NodeDescriptor.verify(DESCRIPTOR.sign(DOMAIN, b"\x08" * 32), DOMAIN)
    assert caught.value.details["signer"] == address_of(KEY)


@pytest.mark.parametrize("field", sorted(ANSWER))
def test_every_field_is_needed(field: str) -> None:
    with pytest.raises(InvalidDescriptor) as caught:
        NodeDescriptor.verify({k: v for k, v in ANSWER.items() if k != field}, DOMAIN)
    assert caught.value.details == {"field": field}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"endpoint": "http://node.example"}, InvalidEndpoint),
        ({"prices": {}}, InvalidPriceList),
        ({"chain": "eip155:1"}, InvalidDescriptor),
        ({"issued": 2**40}, InvalidDescriptor),
        ({"services": "store"}, InvalidDescriptor),
        ({"version": "\ud800"}, InvalidDescriptor),
        ({"extra": 2**60}, InvalidDescriptor),
        ({"extra": float("nan")}, InvalidDescriptor),
        ({"extra": "\ud800"}, InvalidDescriptor),
        ({"\ud800": 1}, InvalidDescriptor),
        ({"signature": "0x00"}, InvalidSignature),
    ],
)
def test_malformed_answers(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NodeDescriptor.verify(ANSWER | change, DOMAIN)


def test_an_answer_nested_beyond_reason_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidDescriptor):
        NodeDescriptor.verify(ANSWER | {"extra": deep}, DOMAIN)


@pytest.mark.parametrize("services", range(8))
def test_services_have_names(services: int) -> None:
    assert Services.from_names(Services(services).names) == services


def test_services_of_a_later_version_have_no_name_here() -> None:
    assert Services(9).names == ["store"]
    assert Services.from_names(["store", "teleport", 7, None, {}]) == Services.STORE


def test_a_node_key_proves_possession_under_the_registry_domain() -> None:
    proof = NodeKey(OPERATOR, address_of(KEY))
    domain = registry_domain(31337, REGISTRY)
    assert proof.recover(domain, proof.sign(domain, KEY)) == proof.node_key


@pytest.mark.parametrize(
    ("endpoint", "parsed"),
    [
        ("https://node.example", "https://node.example"),
        ("https://node.example/", "https://node.example"),
        ("https://node.example:8443/waypost/", "https://node.example:8443/waypost"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
        ("https://" + "x" * (MAX_ENDPOINT - 8), "https://" + "x" * (MAX_ENDPOINT - 8)),
    ],
)
def test_endpoints(endpoint: str, parsed: str) -> None:
    assert parse_endpoint(endpoint) == parsed


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "node.example",
        "https://",
        "https://:443",
        "http://node.example",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "ftp://node.example",
        "javascript:alert(1)",
        "https://node.example:0",
        "https://node.example:65536",
        "https://node.example:port",
        "https://user@node.example",
        "https://user:word@node.example",
        "https://:word@node.example",
        "https://node.example?query",
        "https://node.example#part",
        "https://node .example",
        "https://node.example\n",
        "https://nöde.example",
        "https://[::1",
        "https://" + "x" * (MAX_ENDPOINT - 7),
    ],
)
def test_refused_endpoints(endpoint: str) -> None:
    with pytest.raises(InvalidEndpoint):
        parse_endpoint(endpoint)


@given(st.text() | st.text().map(lambda rest: "https://" + rest))
def test_any_text_is_an_endpoint_or_one_error(text: str) -> None:
    try:
        parsed = parse_endpoint(text)
    except InvalidEndpoint:
        return
    assert parse_endpoint(parsed) == parsed
