"""What a node does for its own members: registers them, lets them leave, collects their fees."""

from collections.abc import Callable
from dataclasses import dataclass

from waypost.chain.connection import Connection
from waypost.chain.fee_streams import Tariff
from waypost.chain.membership import Membership
from waypost.chain.token import Token
from waypost.node.backends.sqlite import Database
from waypost.node.collecting import Collector
from waypost.node.exits import Exits
from waypost.node.loops import Signal
from waypost.node.member_actions import MemberActions
from waypost.node.outbox import Outbox
from waypost.node.registration_rules import RegistrationRules
from waypost.node.registrations import Registrations
from waypost.node.settings import NodeSettings, RlnSettings
from waypost.node.submissions import Submissions


@dataclass(frozen=True, slots=True)
class HomeMembers:
    """The parts, which share one membership contract and the node's gas account."""

    registrations: Registrations
    exits: Exits
    collector: Collector


async def open_home_members(
    connection: Connection,
    db: Database,
    settings: NodeSettings,
    rln: RlnSettings,
    outbox: Outbox,
    submissions: Submissions,
    signal: Signal,
    clock: Callable[[], int],
) -> HomeMembers:
    """For members that name the node's payee. Raises a ChainError."""
    membership = Membership(connection, rln.contract)
    tariff = await Tariff.of(membership)
    token = Token(connection, await membership.token())
    same = token.address == settings.token
    rules = RegistrationRules(
        payee=settings.payee,
        membership=rln.contract,
        domain=membership.domain(),
        token_domain=await token.domain(),
        tariff=tariff,
        paid_in_token=same,
    )
    actions = MemberActions(membership, submissions, db, signal)
    return HomeMembers(
        Registrations(actions, rules),
        Exits(actions, rules),
        Collector(
            membership,
            tariff,
            settings.payee,
            outbox,
            db,
            clock,
            signal,
            token_per_ether=settings.claim.token_per_ether if same else 0,
        ),
    )
