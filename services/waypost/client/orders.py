"""Joining, extending and leaving: signed by the account, sent by the home node for nothing, or by whoever has
ETH. An order is on disk before it leaves and is repeated word for word, so that it is paid for once."""

import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any

from waypost.chain.connection import Call
from waypost.chain.fee_streams import Tariff
from waypost.chain.membership import MemberState
from waypost.chain.transactions import Sender
from waypost.client import answers
from waypost.client.answers import OrderAnswer
from waypost.client.membership import Memberships
from waypost.client.nodes import Node
from waypost.client.rate import RateCounter
from waypost.client.records import MembershipRecord, OrderRecord
from waypost.errors import (
    AnswerLost,
    DeploymentMismatch,
    InsufficientFunds,
    InvalidMembership,
    MembershipExists,
    MembershipMissing,
    MembershipPending,
    NodeRefused,
    NodeUnreachable,
    OpeningNeedsGas,
)
from waypost.protocol.eip712 import Domain
from waypost.protocol.memberships import Exit, Extension, Registration, authorize_membership
from waypost.protocol.openings import Authorization, ReceiveWithAuthorization
from waypost.protocol.rln import MAX_LIMIT, identity_commitment
from waypost.protocol.signatures import Signature

VALID_SECONDS = 1800
"""How long a signed registration or extension can be submitted."""
EXIT_SECONDS = 365 * 86_400
"""An exit asks for the withdrawal, too, which may be possible much later."""
REORG_BLOCKS = 64
"""A registration may be mined again that far below the block at which it was signed."""
WAIT_SECONDS = 180.0
POLL_SECONDS = 1.0
REPEAT_SECONDS = 15.0
NOT_YET = frozenset({"node_not_ready", "member_unknown", "membership_rate_limited"})


@dataclass(frozen=True, slots=True)
class Quote:
    """What a membership costs, in base units: the stake comes back, unless it is slashed; the fee does not,
    but for periods that have not begun when it is left. A period is `period` seconds."""

    node: Node
    rate: int
    periods: int
    stake: int
    fee: int
    period: int
    network: str
    epoch_seconds: int

    @property
    def total(self) -> int:
        """What is paid now."""
        return self.stake + self.fee


class LeaveStep(Enum):
    """What leaving needs next."""

    EXIT = "exit"
    WAIT = "wait"
    WITHDRAW = "withdraw"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Leaving:
    """The next step, and from when (Unix seconds) the stake can be withdrawn, 0 if that is not known yet.
    `returned`: before the first step, the base units that come back in the end. `why`: how the membership
    ended, once it has."""

    step: LeaveStep
    withdrawable_at: int = 0
    returned: int = 0
    why: str = ""


class Orders:
    """Changes memberships of one account. Every method raises ChainErrors, and what the node answers."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships
        self._account, self._context = memberships.account, memberships.context

    # ---- Join ----

    async def quote(self, node: Node, rate: int, periods: int) -> Quote:
        """What `rate` messages in an epoch cost for `periods`, with `node` as home. Nothing is signed.

        Raises InvalidMembership, InsufficientFunds, MembershipMissing (no contract), and as `Trees.describe`.
        """
        ours = self._context.deployment
        contract = ours.require_membership()
        if not 1 <= rate <= MAX_LIMIT or not 1 <= periods < 2**32:
            raise InvalidMembership(
                f"A rate is from 1 to {MAX_LIMIT} messages in an epoch, for at least one period.",
                rate=rate,
                periods=periods,
            )
        if (token := await contract.token()) != ours.token.address:
            raise DeploymentMismatch(f"The membership contract takes another token, {token}.", given=token)
        tree = await self._memberships.trees.describe(node)
        stake, fee = await contract.cost(rate, periods)
        period = await contract.period()
        await self._require_balance(stake + fee)
        return Quote(node, rate, periods, stake, fee, period, tree.network, tree.epoch_seconds)

    async def join(
        self, quote: Quote, *, sender: Sender | None = None, wait: float = WAIT_SECONDS
    ) -> MembershipRecord:
        """Register, and wait up to `wait` seconds until the home node's tree has the member. Without `sender`
        the home node sends it, and the payer needs no ETH. Call again to go on waiting.

        Raises MembershipExists, MembershipPending when the wait is over, OpeningNeedsGas.
        """
        record = await self._begin(quote)
        if record.status == "joining":
            await self._carry_out(record, quote.node, sender, wait)
        give_up = self._context.clock() + wait
        while not await self._memberships.trees.has(record, quote.node):
            await self._pause(give_up, "The node's tree does not have the membership yet; ask again later.")
        return record

    async def _begin(self, quote: Quote) -> MembershipRecord:
        store = self._context.store
        for record in self._memberships.all():
            if record.status != "ended" and (await self._memberships.refresh(record)).status != "ended":
                wanted = quote.rate, quote.periods, quote.node.descriptor.payee
                if (record.rate, record.periods, record.home_node) == wanted and record.status != "left":
                    return record
                raise MembershipExists(
                    f"There is a membership already, with {record.rate} messages in an epoch.",
                    status=record.status,
                    rate=record.rate,
                )
        ours, index = self._context.deployment, await self._memberships.unused()
        commitment = identity_commitment(self._memberships.secret(index))
        registration = Registration(
            payer=self._account.payer,
            id_commitment=commitment,
            rate=quote.rate,
            home_node=quote.node.descriptor.payee,
            periods=quote.periods,
            deadline=await self._now() + VALID_SECONDS,
        )
        record = MembershipRecord(
            contract=ours.require_membership().address,
            index=index,
            id_commitment=commitment,
            rate=quote.rate,
            periods=quote.periods,
            operator=quote.node.operator,
            home_node=quote.node.descriptor.payee,
            network=quote.network,
            epoch_seconds=quote.epoch_seconds,
            since=max(0, (await ours.connection.head()).number - REORG_BLOCKS),
            order=OrderRecord(
                kind="registrations",
                body=await self._paid_body("registration", registration, quote.total),
                deadline=registration.deadline,
            ),
        )
        RateCounter.begin(store, commitment)  # before anybody can have a message of this member
        store.save_membership(record)
        return record

    # ---- Extend ----

    async def quote_extension(self, periods: int) -> tuple[int, int]:
        """What more periods of the current membership cost, and until when (Unix seconds) it is paid then.
        Raises as `quote`, and MembershipMissing unless it is a member."""
        record = await self._memberships.refresh(self._memberships.current())
        self._require_member(record)
        if not 1 <= periods < 2**32:
            raise InvalidMembership("A membership is extended by at least one period.", periods=periods)
        contract = self._context.deployment.require_membership()
        _, fee = await contract.cost(record.rate, periods)
        await self._require_balance(fee)
        until = await contract.paid_until(self._memberships.member(record))
        return fee, until + periods * await contract.period()

    async def extend(self, periods: int, *, sender: Sender | None = None, wait: float = WAIT_SECONDS) -> int:
        """Pay for more periods; until when it is paid then. An extension that is still on its way is
        continued instead of begun anew. Raises MembershipMissing unless it is a member."""
        record = await self._memberships.refresh(self._memberships.current())
        self._require_member(record)
        contract = self._context.deployment.require_membership()
        head = await self._context.deployment.connection.head()
        order = record.order
        if order is None or order.kind != "extensions" or head.timestamp > order.deadline:
            state = await self._state(record)
            extension = Extension(
                payer=self._account.payer,
                id_commitment=record.id_commitment,
                periods=periods,
                salt=secrets.token_bytes(32),
                deadline=await self._now() + VALID_SECONDS,
            )
            fee, _ = await self.quote_extension(periods)
            record.order = OrderRecord(
                kind="extensions",
                body=await self._paid_body("extension", extension, fee),
                deadline=extension.deadline,
                periods_before=state.added,
            )
            self._context.store.save_membership(record)
        node = None if sender else await self._context.nodes.get(record.operator)
        await self._carry_out(record, node, sender, wait)
        return await contract.paid_until(self._memberships.member(record))

    # ---- Leave ----

    async def plan_leave(self) -> Leaving:
        """The next step by the chain's state."""
        record = await self._memberships.refresh(self._memberships.current())
        if record.status == "ended":
            return Leaving(LeaveStep.DONE, why=record.why)
        if record.status == "joining":
            raise MembershipPending("The membership is not registered yet.")
        contract, member = self._context.deployment.require_membership(), self._memberships.member(record)
        if record.status == "member":
            tariff, state = await Tariff.of(contract), await self._state(record)
            return Leaving(LeaveStep.EXIT, returned=tariff.returned(member, state, await self._now()))
        at = await contract.withdrawable_at(member)
        return Leaving(LeaveStep.WAIT if await self._now() < at else LeaveStep.WITHDRAW, at)

    async def leave(self, *, sender: Sender | None = None, wait: float = WAIT_SECONDS) -> Leaving:
        """Take the next step, and say which one comes then: exit, and when the window is over, withdraw. The
        home node sends both, or `sender`. Nothing can be sent with the membership afterwards."""
        plan, record = await self.plan_leave(), self._memberships.current()
        if plan.step in (LeaveStep.WAIT, LeaveStep.DONE):
            return plan
        if record.order is None or record.order.kind != "exits":
            deadline = await self._now() + EXIT_SECONDS
            exit_ = Exit(record.id_commitment, deadline)
            signature = exit_.sign(self._domain(), self._account.payer_key)
            record.order = OrderRecord(
                kind="exits",
                body={"exit": exit_.to_json(), "signature": signature.to_hex()},
                deadline=deadline,
            )
            self._context.store.save_membership(record)
        before = record.status
        node = None if sender else await self._context.nodes.get(record.operator)
        await self._carry_out(record, node, sender, wait, changed_from=before)
        if record.status == "ended":
            return Leaving(LeaveStep.DONE, why=record.why)
        return await self.plan_leave()

    # ---- Any order ----

    async def _carry_out(
        self,
        record: MembershipRecord,
        node: Node | None,
        sender: Sender | None,
        wait: float,
        *,
        changed_from: str = "joining",
    ) -> None:
        """Has the record's order carried out, and waits until the chain shows it."""
        order, give_up, repeat = record.order, self._context.clock() + wait, 0.0
        if sender is not None and order is not None:
            await sender.send(await self._call(record, order))
        while True:
            await self._memberships.refresh(record)
            if order is None:
                return self._require_member(record)
            if record.order is None if order.kind == "extensions" else record.status != changed_from:
                return None if order.kind == "exits" else self._require_member(record)
            due = sender is None and self._context.clock() >= repeat
            if due and node is not None and await self._hand_over(node, order, give_up):
                repeat = self._context.clock() + REPEAT_SECONDS
            await self._pause(give_up, "The chain does not have it yet; run this again later.")

    async def _hand_over(self, node: Node, order: OrderRecord, give_up: float) -> bool:
        """Whether the node took it."""
        try:
            response = await node.client.call("POST", f"/v1/rln/{order.kind}", order.body)
            answers.parse(OrderAnswer, response.body)
        except (AnswerLost, NodeUnreachable):
            if self._context.clock() >= give_up:
                raise
            return False
        except NodeRefused as error:
            if error.details.get("reason") not in NOT_YET or self._context.clock() >= give_up:
                raise
            return False
        return True

    async def _call(self, record: MembershipRecord, order: OrderRecord) -> Call:
        ours = self._context.deployment
        contract, body = ours.require_membership(), order.body
        if order.kind == "exits":
            member = self._memberships.member(record)
            if record.status == "left":
                return contract.withdraw(member)
            return contract.exit_for(
                Exit.from_json(body["exit"]), member, Signature.from_hex(body["signature"])
            )
        purpose: Registration | Extension
        if order.kind == "registrations":
            purpose = Registration.from_json(body["registration"])
        else:
            purpose = Extension.from_json(body["extension"])
        given = body["authorization"]
        transfer = ReceiveWithAuthorization(
            from_=purpose.payer,
            to=contract.address,
            value=0,  # the contract knows the price
            valid_after=given["validAfter"],
            valid_before=given["validBefore"],
            nonce=purpose.struct_hash(),
        )
        authorization = Authorization(
            transfer, given["v"], bytes.fromhex(given["r"][2:]), bytes.fromhex(given["s"][2:])
        )
        if isinstance(purpose, Registration):
            return contract.register_with_authorization(purpose, authorization)
        return contract.extend_with_authorization(purpose, self._memberships.member(record), authorization)

    async def _paid_body(self, name: str, purpose: Registration | Extension, amount: int) -> dict[str, Any]:
        ours = self._context.deployment
        if not await ours.token.supports_authorization():
            raise OpeningNeedsGas(f"The token {ours.token.address} knows no signed transfers (ERC-3009).")
        authorization = authorize_membership(
            purpose,
            amount,
            ours.require_membership().address,
            await ours.token.domain(),
            self._account.payer_key,
            purpose.deadline + 1,  # exclusive there
        )
        return {name: purpose.to_json(), "authorization": authorization.to_json()}

    async def _now(self) -> int:
        """The chain's time, or ours where its newest block is old."""
        head = await self._context.deployment.connection.head()
        return max(head.timestamp, int(self._context.clock()))

    async def _require_balance(self, needed: int) -> None:
        payer = self._account.payer
        balance = await self._context.deployment.token.balance_of(payer)
        if balance < needed:
            raise InsufficientFunds(
                f"{payer} has {balance} base units of the token; this costs {needed}.",
                balance=str(balance),
                needed=str(needed),
            )

    async def _state(self, record: MembershipRecord) -> MemberState:
        state = await self._context.deployment.require_membership().member(record.id_commitment)
        if state is None:
            raise MembershipMissing("The chain does not have the membership.")
        return state

    def _require_member(self, record: MembershipRecord) -> None:
        if record.status != "member":
            why = f": {record.why}" if record.why else ""
            raise MembershipMissing(f"The membership is {record.status}{why}.", status=record.status)

    def _domain(self) -> Domain:
        return self._context.deployment.require_membership().domain()

    async def _pause(self, give_up: float, sentence: str) -> None:
        if self._context.clock() >= give_up:
            raise MembershipPending(sentence)
        await self._context.sleep(POLL_SECONDS)
