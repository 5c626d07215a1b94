"""C1 to C6: payers, payees and a thief do what they like with channels. See README.md."""

from dataclasses import dataclass
from typing import Any

import pytest
from brownie import accounts, chain
from brownie.test import given
from eth_account.signers.local import LocalAccount
from hypothesis import settings
from hypothesis import strategies as st

from anvil import next_block_at
from channel_ledger import (
    CLOSED,
    CLOSING,
    DOLLAR,
    FAR,
    MAX_UINT,
    NO_PERMIT,
    NO_RECEIPT,
    OPEN,
    Ledger,
    as_tuple,
    fresh_key,
)
from errors import reverts
from signing import key

START = 100_000 * DOLLAR
DONATED = 7  # by somebody who sent tokens to the contract itself
DELAY = 60
NOT_REFUSED, REVERT = 0, 1


payers = payees = st.integers(0, 1)
people = one_in_four = st.integers(0, 3)
ways = st.integers(0, 2)
channels = st.integers(0, 255)
amounts = st.integers(1, 100 * DOLLAR)
totals = st.integers(0, 150 * DOLLAR)
entries = st.lists(st.tuples(channels, totals), max_size=5)

STEPS = st.one_of(
    st.tuples(st.just("claim"), payees, entries),
    st.tuples(st.just("start_close"), channels, one_in_four),
    st.tuples(st.just("finish_close"), channels, one_in_four),
    st.tuples(st.just("close"), channels, totals, totals, one_in_four),
    st.tuples(st.just("open"), payers, payees, amounts, ways),
    st.tuples(st.just("open_again"), channels, payers),
    st.tuples(st.just("top_up"), channels, payers, amounts),
    st.tuples(st.just("deny"), people),
    st.tuples(st.just("withdraw_credit"), people),
)


@dataclass
class Modelled:
    """A channel as it should be."""

    signer: LocalAccount
    payer: int
    payee: int
    deposited: int
    everything: tuple  # a receipt for more than any deposit
    claimed: int = 0
    status: int = OPEN
    closes_at: int = 0

    @property
    def locked(self) -> int:
        return 0 if self.status == CLOSED else self.deposited - self.claimed


class Machine:
    """Persons 0 and 1 pay, 2 and 3 are paid; the thief has neither money nor rights and sends most calls."""

    def __init__(self, channels: Any, token: Any, census: Any) -> None:
        self.channels, self.token, self.census, self.thief = channels, token, census, accounts[9]
        self.keys = [key(f"person {i}") for i in range(4)]
        self.people = [accounts.add(one.key) for one in self.keys]
        self.ledgers = [Ledger(channels, token, self.thief, str(payee)) for payee in self.people[2:]]
        self.all: list[Modelled] = []
        self.wealth = [START, START, 0, 0]  # what everybody kept or received, credits included
        self.credits, self.withdrawn = [0] * 4, [0] * 4
        self.denied = [False] * 4
        for payer in self.people[:2]:
            token.mint(payer, START, {"from": payer})
            token.approve(channels, MAX_UINT, {"from": payer})
        token.mint(channels, DONATED, {"from": self.thief})
        for person in range(2):
            self.open(payer=person, payee=person, amount=100 * DOLLAR, way=0)

    # Model

    def pick(self, number: int, *statuses: int) -> Modelled:
        """A channel, three times out of four in one of the given states if there is one."""
        preferred = [channel for channel in self.all if channel.status in statuses] if number % 4 else []
        choice = preferred or self.all
        return choice[number // 4 % len(choice)]

    def name(self, channel: Modelled) -> tuple[str, Any, str]:
        return self.ledgers[channel.payee].payee, self.token, channel.signer.address

    def give(self, person: int, amount: int) -> None:
        self.wealth[person] += amount
        if self.denied[person]:
            self.credits[person] += amount

    def finish(self, channel: Modelled) -> None:
        self.give(channel.payer, channel.locked)
        channel.status = CLOSED

    # Open and top up

    def open(self, payer: int, payee: int, amount: int, way: int) -> None:
        """By the payer, by its signature, or by ERC-3009."""
        ledger, signer, owner = self.ledgers[payee], fresh_key(), self.keys[payer]
        opening = ledger.opening(signer, payer=owner.address, amount=amount, closeDelay=DELAY)
        terms = as_tuple(opening), ledger.sign(signer, "Opening", opening).compact
        if way == 0:
            self.channels.open(*terms, {"from": self.people[payer]})
        elif way == 1:
            consent = ledger.sign(owner, "Opening", opening).packed
            self.channels.openFor(*terms, consent, NO_PERMIT, {"from": self.thief})
        else:
            authorization = ledger.authorization(owner, "Opening", opening)
            self.channels.openWithAuthorization(*terms, authorization, {"from": self.thief})
        self.wealth[payer] -= amount
        self.all.append(Modelled(signer, payer, payee, amount, ledger.receipt(signer, 2**128 - 1)))

    def open_again(self, number: int, payer: int) -> None:  # C4
        channel, sender = self.pick(number, CLOSED), self.people[payer]
        ledger = self.ledgers[channel.payee]
        opening = ledger.opening(channel.signer, payer=str(sender), closeDelay=DELAY)
        signature = ledger.sign(channel.signer, "Opening", opening).compact
        with reverts("AlreadyOpened", *self.name(channel)):
            self.channels.open(as_tuple(opening), signature, {"from": sender})

    def top_up(self, number: int, payer: int, amount: int) -> None:
        channel = self.pick(number, OPEN)
        arguments = *self.name(channel), amount, {"from": self.people[payer]}
        if channel.status == OPEN:
            self.channels.topUp(*arguments)
            channel.deposited += amount
            self.wealth[payer] -= amount
        else:
            with reverts("ChannelNotOpen", channel.status):
                self.channels.topUp(*arguments)

    # Claim

    def claim(self, payee: int, entries: list[tuple[int, int]]) -> None:
        """A batch for one payee; entries of the other's channels are worth nothing."""
        paid, receipts = 0, [NO_RECEIPT]
        for number, total in entries:
            channel = self.pick(number, OPEN, CLOSING)
            receipts.append(self.ledgers[channel.payee].receipt(channel.signer, total))
            earned = min(total, channel.deposited)
            if channel.payee == payee and channel.status != CLOSED and earned > channel.claimed:
                paid += earned - channel.claimed
                channel.claimed = earned
        assert self.ledgers[payee].claim(*receipts).return_value == paid
        self.give(2 + payee, paid)

    # Close

    def start_close(self, number: int, one_in_four: int) -> None:
        channel = self.pick(number, OPEN)
        sender = self.people[channel.payer] if one_in_four else self.thief
        arguments = *self.name(channel), {"from": sender}
        if channel.status != OPEN:
            with reverts("ChannelNotOpen", channel.status):
                self.channels.startClose(*arguments)
        elif sender == self.thief:
            with reverts("NotPayer", self.thief, self.people[channel.payer]):
                self.channels.startClose(*arguments)
        else:
            channel.closes_at = self.channels.startClose(*arguments).timestamp + DELAY
            channel.status = CLOSING

    def finish_close(self, number: int, one_in_four: int) -> None:  # C5
        channel = self.pick(number, CLOSING)
        now = chain[-1].timestamp + (DELAY if one_in_four else 1)
        next_block_at(now)
        arguments = *self.name(channel), {"from": self.thief}
        if channel.status != CLOSING:
            with reverts("NotClosing", channel.status):
                self.channels.finishClose(*arguments)
        elif now < channel.closes_at:
            with reverts("TooEarly", now, channel.closes_at):
                self.channels.finishClose(*arguments)
        else:
            self.channels.finishClose(*arguments)
            self.finish(channel)

    def close(self, number: int, signed: int, final: int, one_in_four: int) -> None:
        """The thief asks for one total with a receipt for another, and now and then without the payee."""
        channel = self.pick(number, OPEN, CLOSING)
        ledger, earned = self.ledgers[channel.payee], min(signed, channel.deposited)
        consents = self.keys[2 + channel.payee if one_in_four else channel.payer]
        action = dict(
            zip(("payee", "token", "signer"), map(str, self.name(channel)), strict=True),
            finalCumulative=final,
            deadline=FAR,
        )
        consent = ledger.sign(consents, "Close", action).packed
        arguments = as_tuple(action), consent, ledger.receipt(channel.signer, signed), {"from": self.thief}
        if not one_in_four:
            error = ("InvalidSignature", ledger.payee)
        elif channel.status == CLOSED:
            error = ("ChannelNotOpen", CLOSED)
        elif final > max(channel.claimed, earned):
            error = ("AmountOutOfRange", final, earned)
        else:
            self.channels.close(*arguments)
            owed = max(final - channel.claimed, 0)
            channel.claimed += owed
            self.give(2 + channel.payee, owed)
            self.finish(channel)
            return
        with reverts(*error):
            self.channels.close(*arguments)

    # Tokens and credits

    def deny(self, person: int) -> None:
        self.denied[person] = not self.denied[person]
        refusal = REVERT if self.denied[person] else NOT_REFUSED
        self.token.refuse(self.people[person], refusal, {"from": self.thief})

    def withdraw_credit(self, person: int) -> None:
        owner = self.people[person]
        arguments = self.token, self.thief, {"from": owner}
        if self.credits[person] == 0:
            with reverts("NothingToWithdraw", owner, self.token):
                self.channels.withdrawCredit(*arguments)
        else:
            self.channels.withdrawCredit(*arguments)
            self.withdrawn[person] += self.credits[person]
            self.credits[person] = 0

    # Invariants

    def check(self) -> None:
        self.check_wealth()
        self.check_channels()

    def check_channels(self) -> None:  # C2, C6
        for payee, ledger in enumerate(self.ledgers):
            mine = [channel for channel in self.all if channel.payee == payee]
            signers = [channel.signer.address for channel in mine]
            states = self.channels.channelsOf(ledger.payee, self.token, signers)
            for state, channel in zip(states, mine, strict=True):
                assert state[1:4] == (channel.deposited, channel.claimed, channel.closes_at)
                assert state[5] == channel.status
                assert channel.claimed <= channel.deposited
            receipts = [channel.everything for channel in mine]
            worth = self.channels.claim.call(ledger.payee, self.token, receipts, {"from": self.thief})
            assert worth == sum(channel.locked for channel in mine)

    def check_wealth(self) -> None:  # C1, C3, C5
        held, tokens, credits = self.census.take(self.channels, self.token, self.people)
        assert held == sum(channel.locked for channel in self.all) + sum(self.credits) + DONATED
        assert list(credits) == self.credits
        assert [sum(parts) for parts in zip(tokens, credits, self.withdrawn, strict=True)] == self.wealth
        for payee in range(2):
            claimed = sum(channel.claimed for channel in self.all if channel.payee == payee)
            assert self.wealth[2 + payee] == claimed

    def leave(self) -> None:  # C6
        """Every payer leaves without anybody's help, and every credit is paid out."""
        for channel in self.all:
            if channel.status == OPEN:
                self.channels.startClose(*self.name(channel), {"from": self.people[channel.payer]})
        next_block_at(chain[-1].timestamp + DELAY)
        for channel in self.all:
            if channel.status != CLOSED:
                self.channels.finishClose(*self.name(channel), {"from": self.thief})
        _, _, credits = self.census.take(self.channels, self.token, self.people)
        for person, credit in zip(self.people, credits, strict=True):
            if credit:
                self.channels.withdrawCredit(self.token, self.thief, {"from": person})
        assert self.token.balanceOf(self.channels) == DONATED


@pytest.fixture(scope="module")
def contracts(Channels: Any, RefusingToken: Any, Census: Any) -> tuple[Any, ...]:
    sender = {"from": accounts[9]}
    return Channels.deploy(DELAY, DELAY, sender), RefusingToken.deploy(sender), Census.deploy(sender)


@given(steps=st.lists(STEPS, min_size=20, max_size=20))
@settings(max_examples=20)
def test_channels(contracts: tuple[Any, ...], steps: list[tuple]) -> None:
    machine = Machine(*contracts)
    for name, *arguments in steps:
        getattr(machine, name)(*arguments)
        machine.check()
    machine.leave()
