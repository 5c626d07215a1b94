"""C1 to C6: payers, payees and a thief do what they like with channels. See README.md."""

from dataclasses import dataclass
from typing import Any

from brownie import accounts, chain
from brownie.test import strategy
from eth_account.signers.local import LocalAccount

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
DELAY = 60
NOT_REFUSED, REVERT = 0, 1


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


class ChannelsMachine:
    """Persons 0 and 1 pay, 2 and 3 are paid; the thief has neither money nor rights and sends most calls."""

    payer = strategy("uint8", max_value=1)
    payee = strategy("uint8", max_value=1)
    person = strategy("uint8", max_value=3)
    number = strategy("uint8")
    numbers = strategy("uint8[4]")
    amount = strategy("uint96", min_value=1, max_value=100 * DOLLAR)
    total = strategy("uint96", max_value=150 * DOLLAR)
    totals = strategy("uint96[4]", max_value=150 * DOLLAR)
    way = strategy("uint8", max_value=2)
    one_in_four = strategy("uint8", max_value=3)

    def __init__(cls: Any, channels: Any, token: Any) -> None:  # noqa: N805 (Brownie calls it with the class)
        cls.channels, cls.token, cls.thief = channels, token, accounts[9]
        cls.keys = [key(f"person {i}") for i in range(4)]
        cls.people = [accounts.add(one.key) for one in cls.keys]
        cls.ledgers = [Ledger(channels, token, cls.thief, str(payee)) for payee in cls.people[2:]]
        for payer in cls.people[:2]:
            token.mint(payer, START, {"from": payer})
            token.approve(channels, MAX_UINT, {"from": payer})

    def setup(self) -> None:
        self.all: list[Modelled] = []
        self.wealth = [START, START, 0, 0]  # what everybody kept or received, credits included
        self.credits, self.withdrawn = [0] * 4, [0] * 4
        self.denied = [False] * 4
        self.donated = 0
        for person in range(2):
            self.rule_open(payer=person, payee=person, amount=100 * DOLLAR, way=0)

    # Model

    def pick(self, number: int) -> Modelled:
        return self.all[number % len(self.all)]

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

    def rule_open(self, payer: int, payee: int, amount: int, way: int) -> None:
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

    def rule_open_again(self, number: int, payer: int) -> None:  # C4
        channel = self.pick(number)
        ledger, sender = self.ledgers[channel.payee], self.people[payer]
        opening = ledger.opening(channel.signer, payer=str(sender), closeDelay=DELAY)
        signature = ledger.sign(channel.signer, "Opening", opening).compact
        with reverts("AlreadyOpened", *self.name(channel)):
            self.channels.open(as_tuple(opening), signature, {"from": sender})

    def rule_top_up(self, number: int, payer: int, amount: int) -> None:
        channel = self.pick(number)
        arguments = *self.name(channel), amount, {"from": self.people[payer]}
        if channel.status == OPEN:
            self.channels.topUp(*arguments)
            channel.deposited += amount
            self.wealth[payer] -= amount
        else:
            with reverts("ChannelNotOpen", channel.status):
                self.channels.topUp(*arguments)

    # Claim

    def rule_claim(self, payee: int, numbers: list[int], totals: list[int]) -> None:
        """A batch for one payee; entries of the other's channels are worth nothing."""
        paid, receipts = 0, [NO_RECEIPT]
        for number, total in zip(numbers, totals, strict=True):
            channel = self.pick(number)
            receipts.append(self.ledgers[channel.payee].receipt(channel.signer, total))
            earned = min(total, channel.deposited)
            if channel.payee == payee and channel.status != CLOSED and earned > channel.claimed:
                paid += earned - channel.claimed
                channel.claimed = earned
        assert self.ledgers[payee].claim(*receipts).return_value == paid
        self.give(2 + payee, paid)

    # Close

    def rule_start_close(self, number: int, one_in_four: int) -> None:
        channel = self.pick(number)
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

    def rule_finish_close(self, number: int, one_in_four: int) -> None:  # C5
        channel = self.pick(number)
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

    def rule_close(self, number: int, totals: list[int], one_in_four: int) -> None:
        """The thief asks for one total with a receipt for another, and now and then without the payee."""
        channel, signed, final = self.pick(number), *totals[:2]
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

    def rule_deny(self, person: int) -> None:
        self.denied[person] = not self.denied[person]
        refusal = REVERT if self.denied[person] else NOT_REFUSED
        self.token.refuse(self.people[person], refusal, {"from": self.thief})

    def rule_withdraw_credit(self, person: int) -> None:
        owner = self.people[person]
        arguments = self.token, self.thief, {"from": owner}
        if self.credits[person] == 0:
            with reverts("NothingToWithdraw", owner, self.token):
                self.channels.withdrawCredit(*arguments)
        else:
            self.channels.withdrawCredit(*arguments)
            self.withdrawn[person] += self.credits[person]
            self.credits[person] = 0

    def rule_donate(self, amount: int) -> None:
        self.token.mint(self.channels, amount, {"from": self.thief})
        self.donated += amount

    # Invariants

    def invariant_tokens_held(self) -> None:  # C1
        owed = sum(channel.locked for channel in self.all) + sum(self.credits)
        assert self.token.balanceOf(self.channels) == owed + self.donated

    def invariant_channels(self) -> None:  # C2, C6
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

    def invariant_wealth(self) -> None:  # C3, C5
        for i, person in enumerate(self.people):
            credit = self.channels.credit(person, self.token)
            assert credit == self.credits[i]
            assert self.token.balanceOf(person) + credit + self.withdrawn[i] == self.wealth[i]
        for payee in range(2):
            claimed = sum(channel.claimed for channel in self.all if channel.payee == payee)
            assert self.wealth[2 + payee] == claimed

    def teardown(self) -> None:
        """Every payer leaves without anybody's help, and every credit is paid out."""  # C6
        for channel in self.all:
            if channel.status == OPEN:
                self.channels.startClose(*self.name(channel), {"from": self.people[channel.payer]})
        next_block_at(chain[-1].timestamp + DELAY)
        for channel in self.all:
            if channel.status != CLOSED:
                self.channels.finishClose(*self.name(channel), {"from": self.thief})
        for person in self.people:
            if self.channels.credit(person, self.token):
                self.channels.withdrawCredit(self.token, self.thief, {"from": person})
        assert self.token.balanceOf(self.channels) == self.donated


def test_channels(state_machine: Any, Channels: Any, RefusingToken: Any) -> None:
    channels = Channels.deploy(DELAY, DELAY, {"from": accounts[9]})
    token = RefusingToken.deploy({"from": accounts[9]})
    state_machine(ChannelsMachine, channels, token, settings={"max_examples": 20, "stateful_step_count": 20})
