"""R1 to R5, S2 and S3: members register, extend, exit, expire and withdraw, home nodes collect, and whoever
knows a secret slashes, in any order and at any time. See README.md."""

from random import Random
from typing import Any

import pytest
from brownie import accounts, chain
from member_model import DEPTH, FEE_PER_RATE, PERIOD, STAKE_PER_RATE, WINDOW, Member

from anvil import mine, next_block_at
from channel_ledger import DOLLAR, MAX_UINT
from errors import REENTRANT_CALL, reverts
from members import Members, Record, fresh_secret, slash_hash, split
from operators import BURNED

START = 10_000 * DOLLAR
LEAVES = 2**DEPTH
DONATED = 7  # by somebody who sent tokens to the contract itself
ACCEPTED, REVERT, RETURN_FALSE = 0, 1, 2

OWNERS = (0, 0, 1, 1, 2)
HOMES = (1, 3, 3, 4)  # person 1 is its own home node
PEOPLE = range(5)
NUMBERS = range(256)  # to pick from what there is
RATES = (1, 2, 3, 100, 65_535)
TERMS = (0, 1, 1, 2, 5)  # in periods
WAITS = (1, 7, WINDOW - 1, WINDOW, PERIOD // 2, PERIOD, PERIOD + 1, 3 * PERIOD)
BLOCKS = (0, 1, 1, 2, 254, 255, 256)

STEPS = (
    *[("register", OWNERS, HOMES, RATES, TERMS)] * 5,
    *[("withdraw", NUMBERS, WAITS)] * 4,
    *[("collect", HOMES, WAITS)] * 3,
    *[("exit", NUMBERS, PEOPLE)] * 3,
    *[("expire", NUMBERS, PEOPLE, WAITS)] * 3,
    *[("slash", NUMBERS, PEOPLE, BLOCKS)] * 3,
    *[("extend", NUMBERS, PEOPLE, TERMS)] * 3,
    *[("withdraw_credit", NUMBERS)] * 2,
    ("register_again", NUMBERS, PEOPLE),
    ("refuse", PEOPLE),
    ("refuse_fire",),
    ("sweep",),
)


def draw(chance: Random) -> tuple:
    """One step, each as likely."""
    name, *choices = chance.choice(STEPS)
    return name, *(chance.choice(options) for options in choices)


class Machine:
    """Persons 0, 1 and 2 are owners, the last one without tokens; 1, 3 and 4 are home nodes; all slash."""

    def __init__(self, contract: Any, token: Any, census: Any) -> None:
        self.contract, self.token, self.census = contract, token, census
        self.people, self.haven = accounts[1:6], accounts[9]
        self.helper = Members(contract, token, self.people[0], self.people[3])
        self.members: list[Member] = []
        self.leaves: list[int | None] = []  # whose leaf is not zero: R2 and R4
        self.free: list[int] = []
        self.wealth = [START, START, 0, 0, 0]  # credits included
        self.credits, self.burned, self.unburned, self.withdrawn = [0] * 5, 0, 0, 0
        self.refused, self.no_fire = [False] * 5, False
        self.calls_back = hasattr(token, "arm")
        for owner in self.people:
            token.approve(contract, MAX_UINT, {"from": owner})
        for owner in self.people[:2]:
            token.mint(owner, START, {"from": owner})
        token.mint(contract, DONATED, {"from": self.haven})
        self.burned_before = token.balanceOf(BURNED)
        self.register(0, 3, 100, 2)
        self.register(1, 1, 3, 1)

    @property
    def total(self) -> int:
        return sum(
            member.stake + member.fees - member.streamed for member in self.members if not member.ended
        )

    def pick(self, number: int, *, left: bool = False) -> Member:
        """A member that is still one, mostly."""
        alive = [m for m in self.members if not m.ended and (not left or m.left_at)]
        choice = alive if alive and number % 4 else self.members
        return choice[number // 4 % len(choice)]

    def wait(self, seconds: int) -> int:
        now = chain[-1].timestamp + seconds
        next_block_at(now)
        return now

    def fails(self, member: Member, *, in_tree: bool = False) -> tuple | None:
        """Why nothing can be done with a member."""
        if member.ended:
            return "WrongRecord", member.record[0]
        if in_tree and member.left_at:
            return "AlreadyLeft", member.record[0], member.left_at
        return None

    # Money

    def pay(self, person: int, amount: int) -> None:
        self.wealth[person] += amount
        self.credits[person] += amount if self.refused[person] else 0

    def burn(self, amount: int) -> None:
        if self.no_fire:
            self.unburned += amount
        else:
            self.burned += amount

    def settle(self, member: Member, now: int) -> bool:  # R5
        """Pays what has streamed; whether there was anything."""
        streamed = member.streamed_until(now)
        assert streamed <= (now - member.record[5]) * member.rate * FEE_PER_RATE / PERIOD
        (paid, burned), (paid_before, burned_before) = split(streamed), split(member.streamed)
        self.pay(member.home, paid - paid_before)
        self.burn(burned - burned_before)
        fresh = streamed > member.streamed
        member.streamed = streamed
        return fresh

    def end(self, member: Member, now: int) -> tuple[int, int]:  # R3
        """Settles and forgets a member; its stake and what of its fee will not stream."""
        self.settle(member, now)
        stake, rest = member.stake, member.fees - member.streamed
        member.ended = True
        return stake, rest

    # Members

    def register(self, owner: int, home: int, rate: int, periods: int) -> None:
        secret = fresh_secret()
        stake, fee = STAKE_PER_RATE * rate, FEE_PER_RATE * rate * periods
        tokens = self.wealth[owner] - self.credits[owner]
        commitment = self.helper.commitment(secret)
        sender = {"from": self.people[owner]}
        arguments = commitment, rate, self.people[home], periods, sender
        if periods == 0:
            error: tuple = ("PeriodsOutOfRange", 0, 1, 2**32 - 1)
        elif len(self.leaves) == LEAVES and not self.free:
            error = ("TreeFull", LEAVES)
        elif tokens < stake + fee:
            error = ("ERC20InsufficientBalance", self.people[owner], tokens, stake + fee)
        else:
            record = self.helper.register(
                secret, payer=self.people[owner], home=self.people[home], rate=rate, periods=periods
            )
            self.take_leaf(record)
            self.wealth[owner] -= stake + fee
            self.members.append(Member(secret, record, owner, home, stake, fee, periods=periods))
            return
        with reverts(*error):
            self.contract.register(*arguments)

    def take_leaf(self, record: Record) -> None:  # R2
        """Fresh leaves first, then those that were withdrawn; never one that is taken, or was slashed."""
        if len(self.leaves) < LEAVES:
            assert record[3] == len(self.leaves)
            self.leaves.append(record[0])
        else:
            assert record[3] == self.free.pop()
            assert self.leaves[record[3]] is None
            self.leaves[record[3]] = record[0]

    def register_again(self, number: int, person: int) -> None:  # R3
        """A thief, or the owner itself, registers a commitment that was registered before."""
        member = self.members[number % len(self.members)]
        with reverts("AlreadyRegistered", member.record[0]):
            self.contract.register(member.record[0], 1, self.haven, 1, {"from": self.people[person]})

    def extend(self, number: int, payer: int, periods: int) -> None:
        member = self.pick(number)
        fee, tokens = FEE_PER_RATE * member.rate * periods, self.wealth[payer] - self.credits[payer]
        arguments = member.record, periods, {"from": self.people[payer]}
        error = self.fails(member, in_tree=True)
        if error is None and periods == 0:
            error = ("PeriodsOutOfRange", 0, 1, 2**32 - 1 - member.periods)
        elif error is None and tokens < fee:
            error = ("ERC20InsufficientBalance", self.people[payer], tokens, fee)
        if error is None:
            self.contract.extend(*arguments)
            self.wealth[payer] -= fee
            member.fees += fee
            member.periods += periods
            return
        with reverts(*error):
            self.contract.extend(*arguments)

    def collect(self, home: int, seconds: int) -> None:
        """Everybody's records are given, of which those of the home node count."""
        now = self.wait(seconds)
        records = [member.record for member in self.members]
        tx = self.contract.collect(self.people[home], records, {"from": self.haven})
        found = []
        for member in self.members:
            if member.home == home and not member.ended and self.settle(member, now):
                member.collected_at = min(now, member.stream_end)
                found.append(member.record[0])
        assert list(tx.events["Collected"]["idCommitments"]) == found

    def exit(self, number: int, person: int) -> None:
        member = self.pick(number)
        owner, sender = self.people[member.owner], self.people[person]
        if person != member.owner and number % 2:  # a stranger tries
            with reverts("NotOwner", sender, owner):
                self.contract.exit(member.record, {"from": sender})
        elif error := self.fails(member, in_tree=True):
            with reverts(*error):
                self.contract.exit(member.record, {"from": owner})
        else:
            tx = self.contract.exit(member.record, {"from": owner})
            member.left_at = tx.timestamp
            self.leave(member, tx.events["Exited"])

    def leave(self, member: Member, event: Any) -> None:  # R4
        assert event["index"] == member.record[3]
        assert event["withdrawableAt"] == member.withdrawable_at
        self.leaves[member.record[3]] = None

    def expire(self, number: int, caller: int, seconds: int) -> None:
        member, now = self.pick(number), self.wait(seconds)
        arguments = member.record, {"from": self.people[caller]}
        error = self.fails(member, in_tree=True)
        if error is None and now < member.paid_until:
            error = ("TooEarly", now, member.paid_until)
        if error is None:
            tx = self.contract.expire(*arguments)
            reward = member.stake // 10
            member.left_at, member.expired = now, True
            member.stake -= reward
            self.pay(caller, reward)
            self.leave(member, tx.events["Expired"])
            return
        with reverts(*error):
            self.contract.expire(*arguments)

    def withdraw(self, number: int, seconds: int) -> None:
        member, now = self.pick(number, left=True), self.wait(seconds)
        arguments = member.record, {"from": self.haven}
        error = self.fails(member)
        if error is None and not member.left_at:
            error = ("NotLeft", member.record[0])
        elif error is None and now < member.withdrawable_at:  # R2
            error = ("TooEarly", now, member.withdrawable_at)
        if error is None:
            self.contract.withdraw(*arguments)
            self.pay(member.owner, sum(self.end(member, now)))
            self.free.append(member.record[3])
            return
        with reverts(*error):
            self.contract.withdraw(*arguments)

    def slash(self, number: int, receiver: int, blocks: int) -> None:
        member, person = self.pick(number), self.people[receiver]
        salt = number.to_bytes(32, "big")
        committed = self.contract.committedAt(slash_hash(member.secret, person, salt))
        first = committed or chain.height + 1
        self.helper.commit(member.secret, person, self.haven, salt)
        if blocks:
            mine(blocks)
        now = self.wait(1)
        arguments = member.secret, person, salt, member.record, {"from": self.haven}
        error = self.fails(member)
        if not first + 2 <= chain.height + 1 <= first + 256:
            error = ("RevealOutOfRange", chain.height + 1, first + 2, first + 256)
        if error is None:
            self.contract.slash(*arguments)
            full, rate_stake = member.stake, STAKE_PER_RATE * member.rate
            stake, rest = self.end(member, now)
            burned = rate_stake - rate_stake // 5
            assert burned * 5 >= rate_stake * 4  # S2
            assert full == stake
            self.pay(receiver, stake - burned)
            self.burn(burned + rest)
            self.leaves[member.record[3]] = None  # R4; and it is not used again
            return
        with reverts(*error):
            self.contract.slash(*arguments)

    # Tokens and credits

    def refuse(self, person: int) -> None:
        self.refused[person] = not self.refused[person]
        refusal = (REVERT, RETURN_FALSE)[person % 2] if self.refused[person] else ACCEPTED
        self.token.refuse(self.people[person], refusal, {"from": self.haven})

    def refuse_fire(self) -> None:
        self.no_fire = not self.no_fire
        self.token.refuse(BURNED, RETURN_FALSE if self.no_fire else ACCEPTED, {"from": self.haven})

    def sweep(self) -> None:
        sender = {"from": self.haven}
        if self.unburned and self.no_fire:
            with reverts("SafeERC20FailedOperation", self.token):
                self.contract.sweep(sender)
        elif self.unburned:
            self.contract.sweep(sender)
            self.burned, self.unburned = self.burned + self.unburned, 0
        else:
            with reverts("NothingToWithdraw", BURNED, self.token):
                self.contract.sweep(sender)

    def arm(self, number: int) -> None:
        """The token calls back in the middle of its next transfer, with what would pay if it came through."""
        member, contract = self.pick(number), self.contract
        calls = (
            contract.collect.encode_input(self.people[member.home], [member.record]),
            contract.withdraw.encode_input(member.record),
            contract.expire.encode_input(member.record),
            contract.exit.encode_input(member.record),
            contract.register.encode_input(number + 1, 1, self.haven, 1),
            contract.commitSlash.encode_input(bytes(32)),
            contract.sweep.encode_input(),
            contract.withdrawCredit.encode_input(self.token, self.haven),
        )
        self.token.arm(contract, calls[number % len(calls)], {"from": self.haven})

    def withdraw_credit(self, number: int) -> None:  # S3
        owing = [person for person in PEOPLE if self.credits[person]]
        person = owing[number // 4 % len(owing)] if owing and number % 4 else number // 4 % 5
        owner, credit = self.people[person], self.credits[person]
        arguments = self.token, self.haven, {"from": owner}
        if credit == 0:
            with reverts("NothingToWithdraw", owner, self.token):
                self.contract.withdrawCredit(*arguments)
        else:
            self.contract.withdrawCredit(*arguments)
            self.wealth[person] -= credit
            self.withdrawn += credit
            self.credits[person] = 0

    # Invariants

    def check(self) -> None:
        assert self.contract.total() == self.total  # R1
        everybody = [*self.people, self.haven, BURNED]
        held, tokens, credits = self.census.take(self.contract, self.token, everybody)
        assert held == self.total + sum(self.credits) + self.unburned + DONATED
        assert list(credits) == [*self.credits, 0, self.unburned]
        wealth = [mine - credit for mine, credit in zip(self.wealth, self.credits, strict=True)]
        assert list(tokens) == [*wealth, self.withdrawn, self.burned_before + self.burned]
        for member in self.members:
            found = self.contract.member(member.record[0])
            assert (bytes(found[0]), *found[1:]) == member.state()
        assert self.contract.leaves() == len(self.leaves)
        in_tree = [member.record[0] for member in self.members if not member.ended and not member.left_at]
        assert sorted(leaf for leaf in self.leaves if leaf is not None) == sorted(in_tree)  # R2, R4

    def leave_all(self) -> None:
        """Everybody leaves, and nothing is left: every member ends without anybody's help."""
        for member in self.members:
            if not member.ended and not member.left_at:
                tx = self.contract.exit(member.record, {"from": self.people[member.owner]})
                member.left_at = tx.timestamp
                self.leave(member, tx.events["Exited"])
        now = self.wait(PERIOD + WINDOW)
        for member in self.members:
            if not member.ended:
                self.contract.withdraw(member.record, {"from": self.haven})
                self.pay(member.owner, sum(self.end(member, now)))
        self.check()
        assert self.contract.total() == 0
        assert self.token.balanceOf(self.contract) == sum(self.credits) + self.unburned + DONATED


@pytest.fixture(scope="module")
def contracts(
    RlnMembership: Any, RefusingToken: Any, ReentrantToken: Any, Census: Any
) -> list[tuple[Any, ...]]:
    """With a token that refuses receivers, and with one that calls back."""
    deployer = {"from": accounts[9]}
    parameters = DEPTH, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE
    census = Census.deploy(deployer)
    tokens = [kind.deploy(deployer) for kind in (RefusingToken, ReentrantToken)]
    return [(RlnMembership.deploy(token, *parameters, deployer), token, census) for token in tokens]


def test_membership(contracts: list[tuple[Any, ...]], seed: int, fn_isolation: Any) -> None:
    chance = Random(seed)
    machine = Machine(*contracts[seed % 2])
    for _ in range(20):
        name, *arguments = draw(chance)
        if machine.calls_back and "refuse" in name:
            continue
        print(name, *arguments)  # shown if it fails
        if machine.calls_back:
            machine.arm(chance.choice(NUMBERS))
        getattr(machine, name)(*arguments)
        if machine.calls_back and machine.token.called():
            assert machine.token.answer() == REENTRANT_CALL
        machine.check()
    machine.leave_all()
