"""The tree of members as nodes show it. A path is checked against what the member knows of itself, and its
root held against another node's, for a wrong one makes proofs that nobody else accepts."""

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from eth_typing import ChecksumAddress

from waypost.client import answers
from waypost.client.answers import PathAnswer, TreeAnswer
from waypost.client.channel import Context
from waypost.client.nodes import Node
from waypost.client.records import MembershipRecord
from waypost.client.transport import Response
from waypost.errors import (
    ClockDiffers,
    MembershipPending,
    NodeDisagrees,
    NodeRefused,
    NoNodesFound,
    ProtocolError,
    WaypostError,
)
from waypost.protocol.merkle import check_path
from waypost.protocol.nodes import Services
from waypost.protocol.rln import Membership, application, hash_to_field

CLOCK_SECONDS = 60
"""How far from our clock a node's may be: signals for another epoch than the nodes' are not made."""
DATE_SECONDS = 3
"""So much may a Date header be behind its node: it has whole seconds, and servers keep it for a while."""
COMPARE_ATTEMPTS = 4
COMPARE_PAUSE_SECONDS = 1.0
"""Nodes hear of a block at different times."""
UNAVAILABLE = frozenset({"rln_unavailable", "route_unknown", "node_not_ready"})


@dataclass(frozen=True, slots=True)
class Path:
    """A member's place: the neighbours up to the root, lowest first."""

    index: int
    siblings: tuple[int, ...]
    root: int

    def membership(self, secret: int, rate: int) -> Membership:
        """What is proved with."""
        return Membership(secret, rate, self.index, self.siblings)


class Trees:
    """What nodes say of the deployment's members."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def describe(self, node: Node) -> TreeAnswer:
        """The node's tree, checked to be that of the manifest's contract. Raises NodeDisagrees, ClockDiffers,
        and what `NodeClient.call` raises."""
        asked = self._context.clock()
        response = await node.client.call("GET", "/v1/rln")
        self._check_clock(node, response, asked)
        answer = answers.parse(TreeAnswer, response.body)
        contract = self._context.deployment.require_membership().address
        identifier = hash_to_field(self.identifier(answer.network, answer.epoch_seconds))
        for name, given, expected in (
            ("contract", answer.contract, contract),
            ("rlnIdentifier", answer.rln_identifier, identifier),
        ):
            if given != expected:
                raise _disagrees(node, name, given, expected)
        return answer

    def identifier(self, network: str, epoch_seconds: int) -> bytes:
        """Of a network's messages, see protocol.rln.application."""
        ours = self._context.deployment
        return application(ours.chain_id, ours.require_membership().address, network, epoch_seconds)

    async def path(self, record: MembershipRecord, nodes: list[Node]) -> Path:
        """From the first of these nodes that has it, compared with the next one that follows the tree.

        Raises MembershipPending when the node does not have the member yet, MembershipMissing by way of
        NodeRefused [member_removed], NodeDisagrees, and when no node answers the first fault.
        """
        faults: list[WaypostError] = []
        for place, node in enumerate(nodes):
            try:
                await self._require_same_network(node, record)
                path = await self._ask(node, record)
            except WaypostError as error:
                faults.append(error)
                continue
            await self._compare(path, node, nodes[place + 1 :], record)
            return path
        telling = [f for f in faults if not isinstance(f, NodeRefused) or _reason(f) not in UNAVAILABLE]
        if not faults:
            raise NoNodesFound("There is no node to ask for the member's path.")
        raise (telling or faults)[0]

    async def has(self, record: MembershipRecord, node: Node) -> bool:
        """Whether the node's tree has the member. Raises as `path`, except that it is pending."""
        try:
            await self._ask(node, record)
        except MembershipPending:
            return False
        return True

    async def nodes(self, first: ChecksumAddress) -> list[Node]:
        """Nodes to ask: `first`, then the others of the registry in random order; those that cannot be
        used are left out."""
        found = [node for node in (await self._context.nodes.survey()).values() if isinstance(node, Node)]
        random.SystemRandom().shuffle(found)
        return sorted(found, key=lambda node: node.operator != first)

    async def relays(self) -> list[Node]:
        """Nodes that pass messages on, in random order: those that registered for it, or all while none
        has."""
        found = [node for node in (await self._context.nodes.survey()).values() if isinstance(node, Node)]
        random.SystemRandom().shuffle(found)
        return [node for node in found if Services.RELAY in Services(node.registered.services)] or found

    async def _ask(self, node: Node, record: MembershipRecord) -> Path:
        asked = self._context.clock()
        try:
            response = await node.client.call("GET", f"/v1/rln/members/{record.id_commitment}")
        except NodeRefused as error:
            if _reason(error) == "member_unknown":
                raise MembershipPending(
                    f"The tree of {node.client.endpoint} does not have the membership yet.",
                    operator=node.operator,
                ) from None
            raise
        self._check_clock(node, response, asked)
        answer = answers.parse(PathAnswer, response.body)
        try:
            check_path(record.id_commitment, record.rate, answer.index, answer.path, answer.root)
        except ProtocolError as error:
            raise NodeDisagrees(
                f"{node.client.endpoint} shows a path that is not the member's: {error}",
                operator=node.operator,
            ) from None
        if record.leaf is not None and answer.index != record.leaf.index:
            raise _disagrees(node, "index", answer.index, record.leaf.index)
        return Path(answer.index, tuple(answer.path), answer.root)

    async def _require_same_network(self, node: Node, record: MembershipRecord) -> TreeAnswer:
        tree = await self.describe(node)
        for name, given, expected in (
            ("network", tree.network, record.network),
            ("epochSeconds", tree.epoch_seconds, record.epoch_seconds),
        ):
            if given != expected:
                raise _disagrees(node, name, given, expected)
        return tree

    async def _compare(self, path: Path, by: Node, others: list[Node], record: MembershipRecord) -> None:
        for node in others:
            for attempt in range(COMPARE_ATTEMPTS):
                if attempt:
                    await self._context.sleep(COMPARE_PAUSE_SECONDS)
                try:
                    tree = await self._require_same_network(node, record)
                except WaypostError:
                    break  # the next one
                if path.root in (tree.root, *(each.root for each in tree.roots)):
                    return
            else:
                raise NodeDisagrees(
                    f"{by.client.endpoint} and {node.client.endpoint} have different trees of members: proofs"
                    " for the one would not hold at the other.",
                    operators=[by.operator, node.operator],
                )

    def _check_clock(self, node: Node, response: Response, asked: float) -> None:
        """Against the Date that the node put on its answer at some time since `asked`."""
        try:
            theirs = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return  # a proxy may leave it out; the node will refuse another epoch
        ahead, behind = asked - theirs - DATE_SECONDS, theirs - self._context.clock()
        if (most := max(ahead, behind)) > CLOCK_SECONDS:
            way = "ahead of" if ahead > behind else "behind"
            raise ClockDiffers(
                f"This machine's clock is {round(most)} s {way} that of {node.client.endpoint}.",
                operator=node.operator,
                seconds=round(ahead if ahead > behind else -behind),
            )


def _reason(error: NodeRefused) -> object:
    return error.details.get("reason")


def _disagrees(node: Node, name: str, given: str | int, expected: str | int) -> NodeDisagrees:
    sentence = f"{node.client.endpoint} states the {name} {given}; here it is {expected}."
    return NodeDisagrees(sentence, field=name, given=str(given), expected=str(expected))
