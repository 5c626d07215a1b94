"""Measures the gas of every call into gas.json (`make gas`), the same to the unit in every run.
Totals of whole transactions, in the steady state unless the label says `first`."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from brownie import accounts, chain

import anvil
from channel_ledger import DOLLAR, FAR, MAX_UINT, NO_PERMIT, NO_RECEIPT, Ledger, as_tuple, fresh_key
from members import Members, fresh_secret, record_of
from operators import Operators
from signing import key

SNAPSHOT = Path(__file__).parent / "gas.json"
BUDGETS = {
    "channels.open.first": 115_000,
    "channels.open": 98_000,
    "channels.claim.single": 53_000,
    "channels.claim.marginal_100": 11_000,
    "rln.register": 85_000,
    "rln.slash.reveal": 110_000,
}
CLOSE_DELAY = 36 * 3600
UNBONDING = 40 * 86400
ENDPOINT = "https://waypost.example:8443"
RLN_PERIOD, RLN_WINDOW = 7 * 86400, 2 * 86400
SALTS = Random(3).randbytes(32), Random(4).randbytes(32)


class Book(Ledger):
    """A ledger whose amounts and salts look like real ones: few zero bytes."""

    random = Random(2)

    def opening(self, signer: Any, /, **changes: Any) -> dict[str, Any]:
        terms = {
            "closeDelay": CLOSE_DELAY,
            "amount": self.random.randrange(50 * DOLLAR, 100 * DOLLAR),
            "salt": self.random.randbytes(32),
        }
        return super().opening(signer, **terms | changes)

    def send_opening(self, payer: Any) -> Any:
        """Opens a channel of `payer`'s and returns the transaction and the channel's signer."""
        signer = fresh_key()
        opening = self.opening(signer, payer=str(payer))
        signature = self.sign(signer, "Opening", opening).compact
        return self.channels.open(as_tuple(opening), signature, {"from": payer}), signer

    def send_openings(self, count: int) -> Any:
        """Opens `count` channels of the payer's, each with another payee."""
        signers = [fresh_key() for _ in range(count)]
        openings = [self.opening(signer, payee=fresh_key().address) for signer in signers]
        signatures = [self.sign(s, "Opening", o).compact for s, o in zip(signers, openings, strict=True)]
        return self.channels.openMany([as_tuple(o) for o in openings], signatures, {"from": self.payer})

    def claim_more(self, signers: list[Any], totals: dict[str, int]) -> Any:
        """Claims one more receipt of each channel; `totals` remembers what they have signed."""
        for signer in signers:
            totals[signer.address] = totals.get(signer.address, 0) + self.random.randrange(DOLLAR, 5 * DOLLAR)
        return self.claim(*(self.receipt(signer, totals[signer.address]) for signer in signers))


def marginal(ten: Any, hundred: Any) -> int:
    """What one more entry costs, from batches of 10 and of 100."""
    return round((hundred.gas_used - ten.gas_used) / 90)


@pytest.fixture
def book(DevDollar: Any, Channels: Any) -> Book:
    """Channels with payers who gave an unlimited allowance, as wallets do, and a client who only signs."""
    dollar = DevDollar.deploy({"from": accounts[0]})
    channels = Channels.deploy(CLOSE_DELAY, 90 * 86400, {"from": accounts[0]})
    for payer in accounts[1:12]:
        dollar.mint(payer, 10**6 * DOLLAR, {"from": payer})
        dollar.approve(channels, MAX_UINT, {"from": payer})
    dollar.mint(key("client").address, 10**6 * DOLLAR, {"from": accounts[0]})
    return Book(channels, dollar, accounts[1], str(accounts[19]))


def channel_calls(book: Book) -> Iterator[tuple[str, int]]:
    """Every call of Channels, in an order in which each is possible."""
    client, relayer = key("client"), {"from": accounts[2]}

    tx, first = book.send_opening(accounts[1])
    yield "channels.open.first", tx.gas_used
    opened = [book.send_opening(accounts[1 + i % 11]) for i in range(111)]
    yield "channels.open", opened[0][0].gas_used
    yield "channels.open_many.marginal", marginal(book.send_openings(10), book.send_openings(100))

    signer = fresh_key()
    opening = book.opening(signer, payer=client.address)
    arguments = as_tuple(opening), book.sign(signer, "Opening", opening).compact
    authorization = book.authorization(client, "Opening", opening)
    tx = book.channels.openWithAuthorization(*arguments, authorization, relayer)
    yield "channels.open_with_authorization", tx.gas_used

    for label, permitted in (("channels.open_for.permit", True), ("channels.open_for", False)):
        signer = fresh_key()
        opening = book.opening(signer, payer=client.address)
        payer_sig = book.sign(client, "Opening", opening).packed
        permit = book.permit(client, MAX_UINT) if permitted else NO_PERMIT
        signer_sig = book.sign(signer, "Opening", opening).compact
        yield label, book.channels.openFor(as_tuple(opening), signer_sig, payer_sig, permit, relayer).gas_used

    top_up = (book.payee, book.token, first.address, 7 * DOLLAR + 1)
    yield "channels.top_up", book.channels.topUp(*top_up, {"from": accounts[1]}).gas_used
    action = book.top_up(first, payer=client.address)
    tx = book.channels.topUpFor(
        as_tuple(action), book.sign(client, "TopUp", action).packed, NO_PERMIT, relayer
    )
    yield "channels.top_up_for", tx.gas_used
    action = book.top_up(first, payer=client.address, salt=b"\x09" * 32)
    authorization = book.authorization(client, "TopUp", action)
    tx = book.channels.topUpWithAuthorization(as_tuple(action), authorization, relayer)
    yield "channels.top_up_with_authorization", tx.gas_used

    totals: dict[str, int] = {}
    signers = [signer for _, signer in opened]
    yield "channels.claim.first", book.claim_more([first], totals).gas_used
    book.claim_more(signers, totals)
    yield "channels.claim.single", book.claim_more(signers[110:], totals).gas_used
    ten, hundred = book.claim_more(signers[100:110], totals), book.claim_more(signers[:100], totals)
    yield "channels.claim.batch_10", ten.gas_used
    yield "channels.claim.batch_100", hundred.gas_used
    yield "channels.claim.marginal_100", marginal(ten, hundred)

    yield "channels.close.start", book.start_close(first).gas_used
    yield "channels.close.finish", book.finish_close(first, wait=CLOSE_DELAY).gas_used
    yield "channels.close.consent", close(book, signers[0], totals, more=0)
    yield "channels.close.consent.receipt", close(book, signers[1], totals, more=DOLLAR)


def close(book: Book, signer: Any, totals: dict[str, int], more: int) -> int:
    """The payee closes, claiming `more` than before."""
    final = totals[signer.address] + more
    receipt = book.receipt(signer, final) if more else NO_RECEIPT
    action = (book.payee, book.token, signer.address, final, FAR)
    return book.channels.close(action, b"", receipt, {"from": accounts[19]}).gas_used


def registry_calls(book: Book, registry: Any) -> Iterator[tuple[str, int]]:
    """Every call of NodeRegistry, by the second of two operators."""
    operators = Operators(registry, book.token)
    first, operator = accounts[3], accounts[4]
    for account in (first, operator):
        book.token.approve(registry, MAX_UINT, {"from": account})
    operators.register(first, endpoint=ENDPOINT)
    registry.stake(600 * DOLLAR, {"from": first})

    sender, slasher, victim = {"from": operator}, accounts[8], accounts[9]
    by_slasher = {"from": slasher}
    yield "registry.register", operators.register(operator, payout=accounts[5], endpoint=ENDPOINT).gas_used
    yield "registry.stake.first", registry.stake(300 * DOLLAR, sender).gas_used
    yield "registry.stake", registry.stake(300 * DOLLAR, sender).gas_used
    yield "registry.update", registry.update(3, accounts[6], ENDPOINT, b"\x0c" * 32, sender).gas_used
    key = fresh_key()
    yield (
        "registry.rotate_key",
        registry.rotateKey(key.address, operators.prove(operator, key).packed, sender).gas_used,
    )

    yield "registry.provision.first", registry.provision(slasher, 300 * DOLLAR, sender).gas_used
    yield "registry.provision", registry.provision(slasher, 100 * DOLLAR, sender).gas_used
    yield "registry.lock", registry.lock(operator, 60 * DOLLAR, by_slasher).gas_used
    yield "registry.unlock", registry.unlock(operator, 20 * DOLLAR, by_slasher).gas_used
    registry.slash(
        operator, DOLLAR, victim, by_slasher
    )  # the victim and the burn address hold tokens from now on
    yield "registry.slash", registry.slash(operator, 20 * DOLLAR, victim, by_slasher).gas_used
    yield "registry.thaw", registry.thaw(slasher, 100 * DOLLAR, sender).gas_used
    yield "registry.cancel_thaw", registry.cancelThaw(slasher, sender).gas_used
    registry.thaw(slasher, 100 * DOLLAR, sender)
    yield "registry.slash.thawing", registry.slash(operator, 20 * DOLLAR, victim, by_slasher).gas_used
    chain.sleep(UNBONDING)
    yield "registry.withdraw", registry.withdraw(slasher, operator, sender).gas_used


def member_calls(book: Book, contract: Any) -> Iterator[tuple[str, int]]:
    """Every call of RlnMembership, by members other than the first, with a home node that was paid before."""
    client, relayer, home, slasher = key("client"), {"from": accounts[2]}, accounts[15], accounts[16]
    members = Members(contract, book.token, accounts[1], home)
    payers = accounts[5:10]
    for payer in (accounts[1], *payers):
        book.token.approve(contract, MAX_UINT, {"from": payer})
    secrets = [fresh_secret() for _ in range(106)]
    commitments = [members.commitment(secret) for secret in secrets]

    def register(number: int, payer: Any, periods: int = 4) -> Any:
        return contract.register(commitments[number], 100, home, periods, {"from": payer})

    yield "rln.register.first", register(0, accounts[1]).gas_used
    tx = register(1, payers[0])
    yield "rln.register", tx.gas_used
    early = [record_of(tx, contract) for tx in (register(i, payers[i % 5], 1) for i in range(2, 102))]
    record = record_of(tx, contract)

    action = members.registration(commitments[102], payer=client.address)
    signature = members.sign(client, "Registration", action).packed
    permit = members.permit(client, sum(contract.cost(100, 4)))
    yield (
        "rln.register_for.permit",
        contract.registerFor(as_tuple(action), signature, permit, relayer).gas_used,
    )
    action = members.registration(commitments[103], payer=client.address)
    authorization = members.authorization(client, "Registration", action, sum(contract.cost(100, 4)))
    tx = contract.registerWithAuthorization(as_tuple(action), authorization, relayer)
    yield "rln.register_with_authorization", tx.gas_used

    sender = {"from": payers[0]}
    yield "rln.extend.first", contract.extend(record, 3, sender).gas_used
    yield "rln.extend", contract.extend(record, 3, sender).gas_used
    chain.sleep(RLN_PERIOD // 3)
    contract.collect(home, early[:1], relayer)  # home node and burn address hold tokens from now on
    yield "rln.collect.first", contract.collect(home, early[1:2], relayer).gas_used
    chain.sleep(RLN_PERIOD // 3)
    yield "rln.collect", contract.collect(home, early[1:2], relayer).gas_used
    contract.collect(home, early, relayer)
    chain.sleep(RLN_PERIOD // 3)
    ten, hundred = (contract.collect(home, early[:count], relayer) for count in (10, 100))
    yield "rln.collect.marginal_100", marginal(ten, hundred)

    yield "rln.expire", contract.expire(early[0], relayer).gas_used
    yield "rln.exit", contract.exit(record, sender).gas_used
    chain.sleep(RLN_PERIOD)
    contract.withdraw(early[0], relayer)
    yield "rln.withdraw", contract.withdraw(record, relayer).gas_used

    for number in (104, 105):  # the slasher holds tokens the second time
        record = record_of(register(number, payers[1]), contract)
        chain.sleep(RLN_PERIOD // 3)
        commit = members.commit(secrets[number], slasher, slasher, SALTS[number % 2])
        chain.mine(1)
        arguments = secrets[number], slasher, SALTS[number % 2], record, {"from": slasher}
        reveal = contract.slash(*arguments)
    yield "rln.slash.commit", commit.gas_used
    yield "rln.slash.reveal", reveal.gas_used


def test_gas(book: Book, NodeRegistry: Any, RlnMembership: Any) -> None:
    anvil.prepare()
    deployer = {"from": accounts[0]}
    registry = NodeRegistry.deploy(book.token, 500 * DOLLAR, UNBONDING, deployer)
    membership = RlnMembership.deploy(book.token, 20, RLN_PERIOD, RLN_WINDOW, 73_001, 1_009, deployer)
    gas = dict([*channel_calls(book), *registry_calls(book, registry), *member_calls(book, membership)])
    SNAPSHOT.write_text(json.dumps(gas, indent=2) + "\n")
    assert {label: gas[label] for label, budget in BUDGETS.items() if gas[label] > budget} == {}
