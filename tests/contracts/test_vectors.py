"""tests/vectors, which the services read too: the contracts carry every one of them out, at the addresses
that it names and with the signature that it holds."""

import json
from pathlib import Path

import pytest
from brownie import accounts, web3

from channel_ledger import CLOSED, CLOSING, NO_PERMIT, OPEN
from members import PARAMETERS, record_of
from signing import TYPES, Domain, Signature

FOLDER = Path(__file__).parent.parent / "vectors"


class Vector:
    """One entry of a file, with numbers as numbers."""

    def __init__(self, entry):
        self.name, self.kind, self.signer = entry["name"], entry["primaryType"], entry["signer"]
        domain = entry["domain"]
        self.domain = Domain(
            domain["name"], domain["verifyingContract"], domain["chainId"], domain["version"]
        )
        kinds = {field.split(" ")[1]: field.split(" ")[0] for field in TYPES[self.kind].split(",")}
        self.message = {
            name: int(value) if kinds[name].startswith("uint") else value
            for name, value in entry["message"].items()
        }
        self.struct_hash, self.digest = entry["structHash"], entry["digest"]
        vs = int(entry["vs"], 16)
        s = (vs & (2**255 - 1)).to_bytes(32, "big")
        self.signature = Signature(bytes.fromhex(entry["r"][2:]), s, 27 + (vs >> 255))

    def __repr__(self):
        return self.name


def read(file, *kinds):
    entries = [
        entry for entry in json.loads((FOLDER / file).read_text()) if entry.get("primaryType") in TYPES
    ]
    return [vector for vector in map(Vector, entries) if vector.kind in kinds]


CHANNELS = read(
    "channels.json",
    "Receipt",
    "Opening",
    "TopUp",
    "StartClose",
    "Close",
    "WithdrawCredit",
    "ReceiveWithAuthorization",
)
RECEIPTS = [vector for vector in CHANNELS if vector.kind == "Receipt"]
NAMED = {vector.name: vector for vector in CHANNELS}
NODE_KEYS = read("nodes.json", "NodeKey")
MEMBERSHIPS = read("memberships.json", "Registration", "Extension", "Exit")
MEMBER = {vector.name: vector for vector in MEMBERSHIPS}
OPENING = NAMED["opening"]


def place(contract, container, address):
    """Copies a contract's code to another address; its domain follows the address."""
    web3.provider.make_request("anvil_setCode", [address, web3.eth.get_code(contract.address).hex()])
    return container.at(address)


@pytest.fixture(scope="module")
def token(deployer, RefusingToken):
    """The vectors' token: a test dollar that can be told to refuse."""
    token = place(RefusingToken.deploy({"from": deployer}), RefusingToken, OPENING.message["token"])
    token.mint(OPENING.message["payer"], 10**12, {"from": deployer})
    return token


@pytest.fixture(scope="module")
def placed(channels, token, Channels):
    """Channels at the vectors' address; the payer has approved it."""
    placed = place(channels, Channels, OPENING.domain.contract)
    token.approve(placed, 10**12, {"from": accounts.at(OPENING.message["payer"], force=True)})
    return placed


@pytest.fixture
def named(placed):
    """The channel that the vectors are about: payee, token and signer."""
    return [OPENING.message[name] for name in ("payee", "token", "signer")]


@pytest.fixture
def opened(placed, named, stranger):
    """That channel, opened by the vectors of its signer and of its payer."""
    placed.openFor(
        tuple(OPENING.message.values()),
        OPENING.signature.compact,
        NAMED["opening: by the payer"].signature.packed,
        NO_PERMIT,
        {"from": stranger},
    )
    assert placed.channel(*named)["status"] == OPEN
    return named


def test_there_are_vectors_of_every_action():
    assert {vector.kind for vector in CHANNELS + MEMBERSHIPS} | {"NodeKey"} == set(TYPES) - {
        "Permit",
        "TransferWithAuthorization",
        "CancelAuthorization",
    }
    assert NODE_KEYS


@pytest.mark.parametrize("vector", CHANNELS + MEMBERSHIPS + NODE_KEYS, ids=repr)
def test_hashes(vector):
    assert "0x" + vector.domain.struct_hash(vector.kind, vector.message).hex() == vector.struct_hash
    assert "0x" + vector.domain.digest(vector.kind, vector.message).hex() == vector.digest


@pytest.mark.parametrize("vector", [v for v in CHANNELS if v.kind in ("Opening", "TopUp")], ids=repr)
def test_contract_hashes(placed, vector):
    hashed = placed.hashOpening if vector.kind == "Opening" else placed.hashTopUp
    assert str(hashed(tuple(vector.message.values()))) == vector.struct_hash
    assert bytes(placed.DOMAIN_SEPARATOR()) == vector.domain.separator


@pytest.mark.parametrize("vector", RECEIPTS, ids=repr)
def test_receipt_recovers_its_signer(ReceiptProbe, deployer, vector):
    probe = ReceiptProbe.deploy({"from": deployer})
    payee, token, cumulative = vector.message.values()
    receipt = (cumulative, *vector.signature.compact)
    assert probe.signerOf(vector.domain.separator, payee, token, receipt) == vector.signer
    changed = ((cumulative + 1) % 2**128, *vector.signature.compact)
    assert probe.signerOf(vector.domain.separator, payee, token, changed) != vector.signer


@pytest.mark.parametrize("vector", RECEIPTS, ids=repr)
def test_receipt_is_claimed(placed, opened, stranger, vector):
    payee, token, cumulative = vector.message.values()
    here = vector.domain == OPENING.domain
    placed.claim(payee, token, [(cumulative, *vector.signature.compact)], {"from": stranger})
    claimed = min(cumulative, OPENING.message["amount"]) if here else 0
    assert placed.channel(*opened)["claimed"] == claimed


def test_opening_by_its_payer(placed, named):
    payer = accounts.at(OPENING.message["payer"], force=True)
    placed.open(tuple(OPENING.message.values()), OPENING.signature.compact, {"from": payer})
    assert placed.channel(*named)["deposited"] == OPENING.message["amount"]


def test_opening_by_authorization(placed, named, stranger):
    vector = NAMED["authorization of the opening"]
    window = vector.message["validAfter"], vector.message["validBefore"]
    placed.openWithAuthorization(
        tuple(OPENING.message.values()),
        OPENING.signature.compact,
        (*window, *vector.signature.vrs),
        {"from": stranger},
    )
    assert placed.channel(*named)["deposited"] == vector.message["value"]


def test_top_up(placed, opened, stranger):
    vector = NAMED["top-up"]
    placed.topUpFor(tuple(vector.message.values()), vector.signature.packed, NO_PERMIT, {"from": stranger})
    assert placed.channel(*opened)["deposited"] == OPENING.message["amount"] + vector.message["amount"]


def test_start_of_a_close(placed, opened, stranger):
    vector = NAMED["start of a close"]
    placed.startCloseFor(*vector.message.values(), vector.signature.packed, {"from": stranger})
    assert placed.channel(*opened)["status"] == CLOSING


def test_close_by_consent(placed, opened, stranger):
    vector, receipt = NAMED["close by consent"], NAMED["receipt: one unit"]
    signed = (receipt.message["cumulative"], *receipt.signature.compact)
    placed.close(tuple(vector.message.values()), vector.signature.packed, signed, {"from": stranger})
    channel = placed.channel(*opened)
    assert (channel["status"], channel["claimed"]) == (CLOSED, vector.message["finalCumulative"])


def test_withdrawal_of_a_credit(placed, token, opened, stranger):
    vector, receipt = NAMED["withdrawal of a credit"], NAMED["receipt: one unit"]
    token.refuse(vector.message["owner"], 1, {"from": stranger})
    signed = (receipt.message["cumulative"], *receipt.signature.compact)
    placed.claim(vector.message["owner"], token, [signed], {"from": stranger})
    placed.withdrawCreditFor(*vector.message.values(), vector.signature.packed, {"from": stranger})
    assert token.balanceOf(vector.message["to"]) == receipt.message["cumulative"]


@pytest.mark.parametrize("vector", NODE_KEYS, ids=repr)
def test_node_key(registry, NodeRegistry, vector):
    placed = place(registry, NodeRegistry, vector.domain.contract)
    operator = accounts.at(vector.message["operator"], force=True)
    placed.register(
        1, vector.signer, operator, "https://node.example", 0, vector.signature.packed, {"from": operator}
    )
    assert placed.keyPeriod(vector.signer)[0] == operator


@pytest.fixture(scope="module")
def membership(deployer, token, RlnMembership):
    """RlnMembership at the vectors' address; the payer has approved it."""
    contract = RlnMembership.deploy(token, *PARAMETERS, {"from": deployer})
    placed = place(contract, RlnMembership, MEMBER["registration"].domain.contract)
    token.approve(placed, 10**12, {"from": accounts.at(OPENING.message["payer"], force=True)})
    return placed


@pytest.mark.parametrize("vector", [v for v in MEMBERSHIPS if v.kind != "Exit"], ids=repr)
def test_membership_hashes(membership, vector):
    hashed = membership.hashRegistration if vector.kind == "Registration" else membership.hashExtension
    assert str(hashed(tuple(vector.message.values()))) == vector.struct_hash
    assert bytes(membership.DOMAIN_SEPARATOR()) == vector.domain.separator


def test_the_life_of_a_member(membership, stranger):
    """Registered, extended and ended by the payer's signatures alone."""
    registration, extension, ending = (MEMBER[name] for name in ("registration", "extension", "exit"))
    sender = {"from": stranger}
    tx = membership.registerFor(
        tuple(registration.message.values()), registration.signature.packed, NO_PERMIT, sender
    )
    record = record_of(tx, membership)
    assert record[:2] == (registration.message["idCommitment"], registration.signer)
    membership.extendFor(
        tuple(extension.message.values()), record, extension.signature.packed, NO_PERMIT, sender
    )
    assert membership.member(record[0])["added"] == extension.message["periods"]
    membership.exitFor(record, ending.message["deadline"], ending.signature.packed, sender)
    assert membership.member(record[0])["leftAt"] != 0
