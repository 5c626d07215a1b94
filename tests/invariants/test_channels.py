"""C1 to C6, S1, S3: payers, payees and a thief do what they like with channels in several tokens, each of
which misbehaves in its way. See README.md."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from brownie import accounts, chain
from brownie.exceptions import VirtualMachineError
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
from errors import REENTRANT_CALL, reverts
from signing import key

START = 100_000 * DOLLAR
DONATED = 7  # by somebody who sent tokens to the contract itself
DELAY = 60
REFUSING, SILENT, REENTRANT = TOKENS = range(3)
ACCEPTED, REVERT, RETURN_FALSE = range(3)

PAYERS = PAYEES = (0, 1)
PEOPLE = ONE_IN_FOUR = range(4)
NUMBERS = range(256)  # to pick from what there is
AMOUNTS = (1, 7 * DOLLAR + 1, 40 * DOLLAR, 100 * DOLLAR)
TOTALS = (0, 1, 20 * DOLLAR, 60 * DOLLAR + 3, 100 * DOLLAR, 2**128 - 1)
WAYS = range(4)
CALLS = range(5)

STEPS = (
    *[("claim", PAYEES, TOKENS, NUMBERS, TOTALS, NUMBERS, TOTALS)] * 4,
    *[("open", PAYERS, PAYEES, TOKENS, AMOUNTS, WAYS)] * 3,
    *[("start_close", NUMBERS, ONE_IN_FOUR)] * 4,
    *[("finish_close", NUMBERS, ONE_IN_FOUR)] * 3,
    *[("close", NUMBERS, TOTALS, TOTALS, ONE_IN_FOUR)] * 3,
    *[("top_up", NUMBERS, PAYERS, AMOUNTS)] * 2,
    *[("reenter", CALLS)] * 2,
    *[("withdraw_credit", NUMBERS)] * 2,
    *[("deny", PEOPLE)] * 2,
    ("open_again", NUMBERS, PAYERS),
    ("open_taxed", PAYERS, PAYEES),
    ("replay", NUMBERS),
)


def draw(chance: Random) -> tuple:
    """One step, each as likely."""
    name, *choices = chance.choice(STEPS)
    return name, *(chance.choice(options) for options in choices)


@dataclass
class Modelled:
    """A channel as it should be."""

    signer: LocalAccount
    payer: int
    payee: int
    token: int
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

    def __init__(self, channels: Any, tokens: list[Any], taxed: Any, census: Any) -> None:
        self.channels, self.tokens, self.taxed, self.census = channels, tokens, taxed, census
        self.thief = accounts[9]
        self.keys = [key(f"person {i}") for i in range(4)]
        self.people = [accounts.add(one.key) for one in self.keys]
        self.ledgers = {
            (payee, which): Ledger(channels, token, self.thief, str(self.people[2 + payee]))
            for payee in range(2)
            for which, token in enumerate(tokens)
        }
        self.all: list[Modelled] = []
        self.used: list[tuple[str, tuple, dict[str, int]]] = []  # signed actions that were carried out
        self.wealth = [[START, START, 0, 0] for _ in tokens]  # kept or received, credits included
        self.credits, self.withdrawn = [0] * 4, [0] * 4  # in the refusing token alone
        self.denied = [False] * 4
        for token in (*tokens, taxed):
            for payer in self.people[:2]:
                token.mint(payer, START, {"from": payer})
                token.approve(channels, MAX_UINT, {"from": payer})
            token.mint(channels, DONATED, {"from": self.thief})
        for which in TOKENS:
            self.open(payer=which % 2, payee=which % 2, which=which, amount=100 * DOLLAR, way=0)
        self.start_close(0, one_in_four=3)
        self.deny(2)

    # Model

    def pick(self, number: int, *statuses: int) -> Modelled:
        """A channel, three times out of four in one of the given states if there is one."""
        preferred = [channel for channel in self.all if channel.status in statuses] if number % 4 else []
        choice = preferred or self.all
        return choice[number // 4 % len(choice)]

    def ledger(self, channel: Modelled) -> Ledger:
        return self.ledgers[channel.payee, channel.token]

    def name(self, channel: Modelled) -> tuple[str, Any, str]:
        return self.ledger(channel).payee, self.tokens[channel.token], channel.signer.address

    def give(self, person: int, which: int, amount: int) -> None:
        self.wealth[which][person] += amount
        if which == REFUSING and self.denied[person]:
            self.credits[person] += amount

    def finish(self, channel: Modelled) -> None:
        self.give(channel.payer, channel.token, channel.locked)
        channel.status = CLOSED

    # Open and top up

    def open(self, payer: int, payee: int, which: int, amount: int, way: int) -> None:
        """By the payer, alone or as one of many; by its signature; by ERC-3009 where the token has that."""
        ledger, signer, owner = self.ledgers[payee, which], fresh_key(), self.keys[payer]
        opening = ledger.opening(signer, payer=owner.address, amount=amount, closeDelay=DELAY)
        terms = as_tuple(opening), ledger.sign(signer, "Opening", opening).compact
        if way == 0:
            self.channels.open(*terms, {"from": self.people[payer]})
        elif way == 1:
            self.channels.openMany([terms[0]], [terms[1]], {"from": self.people[payer]})
        elif way == 2 or which == SILENT:
            consent = ledger.sign(owner, "Opening", opening).packed
            self.by_thief("openFor", *terms, consent, NO_PERMIT)
        else:
            authorization = ledger.authorization(owner, "Opening", opening)
            self.by_thief("openWithAuthorization", *terms, authorization)
        self.wealth[which][payer] -= amount
        self.all.append(Modelled(signer, payer, payee, which, amount, ledger.receipt(signer, 2**128 - 1)))

    def by_thief(self, function: str, *arguments: Any) -> Any:
        """Submits what somebody signed, and remembers it."""
        self.used.append((function, arguments, {"from": self.thief}))
        return getattr(self.channels, function)(*arguments, {"from": self.thief})

    def replay(self, number: int) -> None:  # S1, S3
        """Nothing that was signed works twice, whatever has become of its channel."""
        if not self.used:
            return
        function, arguments, sender = self.used[number % len(self.used)]
        with pytest.raises(VirtualMachineError):
            getattr(self.channels, function)(*arguments, sender)

    def open_again(self, number: int, payer: int) -> None:  # C4
        channel, sender = self.pick(number, CLOSED), self.people[payer]
        ledger = self.ledger(channel)
        opening = ledger.opening(channel.signer, payer=str(sender), closeDelay=DELAY)
        signature = ledger.sign(channel.signer, "Opening", opening).compact
        with reverts("AlreadyOpened", *self.name(channel)):
            self.channels.open(as_tuple(opening), signature, {"from": sender})

    def open_taxed(self, payer: int, payee: int) -> None:
        """A token that delivers less than it was asked for gets no channel."""
        sender, signer = self.people[payer], fresh_key()
        ledger = Ledger(self.channels, self.taxed, sender, str(self.people[2 + payee]))
        opening = ledger.opening(signer, amount=100 * DOLLAR, closeDelay=DELAY)
        with reverts("ShortTransfer", 99 * DOLLAR, 100 * DOLLAR):
            self.channels.open(
                as_tuple(opening), ledger.sign(signer, "Opening", opening).compact, {"from": sender}
            )

    def top_up(self, number: int, payer: int, amount: int) -> None:
        """By the payer itself, or every other time by its signature."""
        channel = self.pick(number, OPEN)
        if channel.status != OPEN:
            with reverts("ChannelNotOpen", channel.status):
                self.channels.topUp(*self.name(channel), amount, {"from": self.people[payer]})
            return
        if number % 2:
            self.channels.topUp(*self.name(channel), amount, {"from": self.people[payer]})
        else:
            ledger, owner = self.ledger(channel), self.keys[payer]
            salt = len(self.used).to_bytes(32, "big")
            action = ledger.top_up(channel.signer, payer=owner.address, amount=amount, salt=salt)
            consent = ledger.sign(owner, "TopUp", action).packed
            self.by_thief("topUpFor", as_tuple(action), consent, NO_PERMIT)
        channel.deposited += amount
        self.wealth[channel.token][payer] -= amount

    # Claim

    def claim(self, payee: int, which: int, *entries: int) -> None:
        """A batch for one payee in one token; entries of other channels are worth nothing."""
        paid, receipts = 0, [NO_RECEIPT]
        for number, total in zip(entries[::2], entries[1::2], strict=True):
            channel = self.pick(number, OPEN, CLOSING)
            receipts.append(self.ledger(channel).receipt(channel.signer, total))
            earned = min(total, channel.deposited)
            mine = (channel.payee, channel.token) == (payee, which)
            if mine and channel.status != CLOSED and earned > channel.claimed:
                paid += earned - channel.claimed
                channel.claimed = earned
        assert self.ledgers[payee, which].claim(*receipts).return_value == paid
        self.give(2 + payee, which, paid)

    # Close

    def start_close(self, number: int, one_in_four: int) -> None:
        """By the payer, by its signature, or by a thief without one."""
        channel = self.pick(number, OPEN)
        payer = self.people[channel.payer]
        if channel.status != OPEN:
            with reverts("ChannelNotOpen", channel.status):
                self.channels.startClose(*self.name(channel), {"from": payer})
            return
        if one_in_four == 0:
            with reverts("NotPayer", self.thief, payer):
                self.channels.startClose(*self.name(channel), {"from": self.thief})
            return
        if one_in_four == 1:
            message = dict(zip(("payee", "token", "signer"), map(str, self.name(channel)), strict=True))
            message["deadline"] = FAR  # type: ignore[assignment]
            consent = self.ledger(channel).sign(self.keys[channel.payer], "StartClose", message).packed
            tx = self.by_thief("startCloseFor", *self.name(channel), FAR, consent)
        else:
            tx = self.channels.startClose(*self.name(channel), {"from": payer})
        channel.closes_at = tx.timestamp + DELAY
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
        ledger, earned = self.ledger(channel), min(signed, channel.deposited)
        consents = self.keys[2 + channel.payee if one_in_four else channel.payer]
        action = dict(
            zip(("payee", "token", "signer"), map(str, self.name(channel)), strict=True),
            finalCumulative=final,
            deadline=FAR,
        )
        consent = ledger.sign(consents, "Close", action).packed
        arguments = as_tuple(action), consent, ledger.receipt(channel.signer, signed)
        if not one_in_four:
            error = ("InvalidSignature", ledger.payee)
        elif channel.status == CLOSED:
            error = ("ChannelNotOpen", CLOSED)
        elif final > max(channel.claimed, earned):
            error = ("AmountOutOfRange", final, earned)
        else:
            self.by_thief("close", *arguments)
            owed = max(final - channel.claimed, 0)
            channel.claimed += owed
            self.give(2 + channel.payee, channel.token, owed)
            self.finish(channel)
            return
        with reverts(*error):
            self.channels.close(*arguments, {"from": self.thief})

    # Tokens and credits

    def reenter(self, which: int) -> None:
        """In the middle of its next transfer a token calls somebody back; every entry point is shut."""
        channel = next((one for one in self.all if one.token == REENTRANT and one.status == OPEN), None)
        if channel is None:
            return
        name, token = self.name(channel), self.tokens[REENTRANT]
        calls = (
            self.channels.claim.encode_input(*name[:2], [channel.everything]),
            self.channels.startClose.encode_input(*name),
            self.channels.finishClose.encode_input(*name),
            self.channels.topUp.encode_input(*name, 1),
            self.channels.withdrawCredit.encode_input(token, self.thief),
        )
        token.arm(self.channels, calls[which], {"from": self.thief})
        self.channels.topUp(*name, 1, {"from": self.people[channel.payer]})
        channel.deposited += 1
        self.wealth[REENTRANT][channel.payer] -= 1
        assert token.called()
        assert token.answer() == REENTRANT_CALL

    def deny(self, person: int) -> None:
        self.denied[person] = not self.denied[person]
        refusal = (REVERT if person % 2 else RETURN_FALSE) if self.denied[person] else ACCEPTED
        self.tokens[REFUSING].refuse(self.people[person], refusal, {"from": self.thief})

    def withdraw_credit(self, number: int) -> None:  # S3
        owed = [person for person in range(4) if self.credits[person]]
        person = owed[number % len(owed)] if owed else number % 4
        owner, token = self.people[person], self.tokens[REFUSING]
        if self.credits[person] == 0:
            with reverts("NothingToWithdraw", owner, token):
                self.channels.withdrawCredit(token, self.thief, {"from": owner})
            return
        if number % 2:
            self.channels.withdrawCredit(token, self.thief, {"from": owner})
        else:
            ledger, salt = self.ledgers[0, REFUSING], len(self.used).to_bytes(32, "big")
            message = {"owner": str(owner), "token": str(token), "to": str(self.thief)}
            message |= {"salt": salt, "deadline": FAR}
            consent = ledger.sign(self.keys[person], "WithdrawCredit", message).packed
            self.by_thief("withdrawCreditFor", owner, token, self.thief, salt, FAR, consent)
        self.withdrawn[person] += self.credits[person]
        self.credits[person] = 0

    # Invariants

    def check(self) -> None:
        for which in TOKENS:
            self.check_wealth(which)
        self.check_channels()

    def check_channels(self) -> None:  # C2, C6
        for (payee, which), ledger in self.ledgers.items():
            mine = [channel for channel in self.all if (channel.payee, channel.token) == (payee, which)]
            if not mine:
                continue
            signers = [channel.signer.address for channel in mine]
            states = self.channels.channelsOf(ledger.payee, self.tokens[which], signers)
            for state, channel in zip(states, mine, strict=True):
                assert state[1:4] == (channel.deposited, channel.claimed, channel.closes_at)
                assert state[5] == channel.status
                assert channel.claimed <= channel.deposited
            receipts = [channel.everything for channel in mine]
            worth = self.channels.claim.call(ledger.payee, self.tokens[which], receipts, {"from": self.thief})
            assert worth == sum(channel.locked for channel in mine)

    def check_wealth(self, which: int) -> None:  # C1, C3, C5
        held, tokens, credits = self.census.take(self.channels, self.tokens[which], self.people)
        owed, left = (self.credits, self.withdrawn) if which == REFUSING else ([0] * 4, [0] * 4)
        mine = [channel for channel in self.all if channel.token == which]
        assert held == sum(channel.locked for channel in mine) + sum(owed) + DONATED
        assert list(credits) == owed
        assert [sum(parts) for parts in zip(tokens, credits, left, strict=True)] == self.wealth[which]
        for payee in range(2):
            claimed = sum(channel.claimed for channel in mine if channel.payee == payee)
            assert self.wealth[which][2 + payee] == claimed

    def leave(self) -> None:  # C6
        """Every payer leaves without anybody's help, and every credit is paid out."""
        for channel in self.all:
            if channel.status == OPEN:
                self.channels.startClose(*self.name(channel), {"from": self.people[channel.payer]})
        next_block_at(chain[-1].timestamp + DELAY)
        for channel in self.all:
            if channel.status != CLOSED:
                self.channels.finishClose(*self.name(channel), {"from": self.thief})
        for token in self.tokens:
            _, _, credits = self.census.take(self.channels, token, self.people)
            for person, credit in zip(self.people, credits, strict=True):
                if credit:
                    self.channels.withdrawCredit(token, self.thief, {"from": person})
            assert token.balanceOf(self.channels) == DONATED


@pytest.fixture(scope="module")
def contracts(
    Channels: Any,
    RefusingToken: Any,
    SilentToken: Any,
    ReentrantToken: Any,
    FeeToken: Any,
    Census: Any,
) -> tuple[Any, ...]:
    sender = {"from": accounts[9]}
    tokens = [kind.deploy(sender) for kind in (RefusingToken, SilentToken, ReentrantToken)]
    return Channels.deploy(DELAY, DELAY, sender), tokens, FeeToken.deploy(sender), Census.deploy(sender)


def test_channels(contracts: tuple[Any, ...], seed: int, fn_isolation: Any) -> None:
    machine, chance = Machine(*contracts), Random(seed)
    for _ in range(20):
        name, *arguments = draw(chance)
        print(name, *arguments)  # shown if it fails
        getattr(machine, name)(*arguments)
        machine.check()
    machine.leave()
