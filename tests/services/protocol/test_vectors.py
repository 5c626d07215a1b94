"""The vectors that contracts, Python and TypeScript share."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from waypost.protocol.eip712 import Domain, TypedStruct
from waypost.protocol.memberships import Exit, Extension, Registration
from waypost.protocol.messages import Message, pubsub_topic
from waypost.protocol.nodes import NodeDescriptor, NodeKey, NodeStatement
from waypost.protocol.openings import (
    Close,
    Opening,
    ReceiveWithAuthorization,
    StartClose,
    TopUp,
    WithdrawCredit,
    authorize,
)
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import Receipt, ReceiptVerifier
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import Signature, address_of

ROOT = Path(__file__).parents[3]
KINDS: dict[str, type[TypedStruct]] = {
    kind.primary_type: kind
    for kind in (
        Close,
        Exit,
        Extension,
        NodeKey,
        NodeStatement,
        Opening,
        Receipt,
        ReceiveWithAuthorization,
        Registration,
        Session,
        StartClose,
        TopUp,
        WithdrawCredit,
    )
}


def load(name: str) -> Any:
    return json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())


SIGNED = [vector for name in ("channels", "memberships", "sessions", "nodes") for vector in load(name)]


def domain_of(vector: dict[str, Any]) -> Domain:
    given = vector["domain"]
    return Domain(given["name"], given["version"], given["chainId"], given["verifyingContract"])


def signature_of(vector: dict[str, Any]) -> Signature:
    return Signature.from_hex(vector["r"] + vector["vs"][2:])


def named(name: str) -> dict[str, Any]:
    return next(vector for vector in SIGNED if vector["name"] == name)


def test_the_files_are_what_their_script_makes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_vectors.py"), "--check"]
    subprocess.run(command, check=True)


def test_every_kind_of_struct_has_a_vector() -> None:
    assert {vector["primaryType"] for vector in SIGNED} == set(KINDS)


@pytest.mark.parametrize("vector", SIGNED, ids=lambda vector: vector["name"])
def test_signed_structs(vector: dict[str, Any]) -> None:
    struct = KINDS[vector["primaryType"]].from_json(vector["message"])
    domain, key = domain_of(vector), bytes.fromhex(vector["privateKey"][2:])
    assert struct.to_json() == vector["message"]
    assert struct.type_string == vector["type"]
    assert struct.struct_hash().hex() == vector["structHash"][2:]
    assert struct.digest(domain).hex() == vector["digest"][2:]
    assert struct.sign(domain, key) == signature_of(vector)
    assert struct.recover(domain, signature_of(vector)) == vector["signer"] == address_of(key)


@pytest.mark.parametrize(
    "vector", [v for v in SIGNED if v["primaryType"] == "Receipt"], ids=lambda vector: vector["name"]
)
def test_receipts_by_the_lean_path(vector: dict[str, Any]) -> None:
    message = vector["message"]
    verifier = ReceiptVerifier(domain_of(vector), message["payee"], message["token"])
    assert verifier.signer(int(message["cumulative"]), signature_of(vector)) == vector["signer"]


def test_an_authorization_follows_from_its_opening() -> None:
    vector = named("authorization of the opening")
    opening = Opening.from_json(named("opening")["message"])
    channels = named("opening")["domain"]["verifyingContract"]
    key = bytes.fromhex(vector["privateKey"][2:])
    authorization = authorize(
        opening, channels, domain_of(vector), key, int(vector["message"]["validBefore"])
    )
    signature = signature_of(vector)
    assert authorization.transfer.nonce == opening.struct_hash()
    assert (authorization.v, authorization.r, authorization.s) == (signature.v, signature.r, signature.s)


def test_the_node_descriptor() -> None:
    vector = named("descriptor")
    answer = vector["descriptor"] | {"signature": vector["r"] + vector["vs"][2:]}
    descriptor = NodeDescriptor.verify(answer, domain_of(vector))
    assert descriptor.sign(domain_of(vector), bytes.fromhex(vector["privateKey"][2:])) == answer


@pytest.mark.parametrize("vector", load("messages")["hashes"], ids=lambda vector: vector["name"])
def test_message_hashes_of_the_rfc(vector: dict[str, str]) -> None:
    payload, meta, digest = (bytes.fromhex(vector[name][2:]) for name in ("payload", "meta", "hash"))
    message = Message(vector["topic"], payload, int(vector["timestamp"]), meta, vector["pubsubTopic"])
    assert message.id == digest


@pytest.mark.parametrize("vector", load("messages")["shards"], ids=lambda vector: vector["topic"])
def test_shards_of_content_topics(vector: dict[str, Any]) -> None:
    assert pubsub_topic(vector["topic"]) == f"/waku/2/rs/1/{vector['shard']}"


@pytest.mark.parametrize("vector", load("prices"), ids=lambda vector: vector["name"])
def test_prices(vector: dict[str, Any]) -> None:
    prices = PriceList.from_json(vector["prices"])
    assert prices.to_json() == vector["prices"]
    for case in vector["costs"]:
        assert prices.store_cost(case["size"], case["seconds"]) == int(case["store"])
        assert prices.fetch_cost(case["size"]) == int(case["fetch"])
        assert prices.relay_cost(case["size"]) == int(case["relay"])
