"""What is waiting in a mailbox, and where: nodes list ids and sizes for free, each from its own cursor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from eth_typing import ChecksumAddress

from waypost.client import answers
from waypost.client.answers import ListedMessage, ListingAnswer
from waypost.client.nodes import Node
from waypost.errors import JSON, InvalidAnswer, NodeRefused, WaypostError

MAX_LISTED = 10_000
"""Entries taken from one node at a time; the next listing goes on there."""
MAX_PAGE = 100
MAX_TOPICS = 64


@dataclass(slots=True)
class NodeListing:
    """What one node lists, and its cursors after that, by topic."""

    node: Node
    entries: dict[bytes, ListedMessage] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Listing:
    """What all nodes list. `faults`: nodes that could not be asked or believed."""

    nodes: dict[ChecksumAddress, NodeListing] = field(default_factory=dict)
    faults: dict[ChecksumAddress, WaypostError] = field(default_factory=dict)

    def holders(self, id: bytes) -> list[Node]:
        """Nodes that list a message."""
        return [listing.node for listing in self.nodes.values() if id in listing.entries]

    @property
    def ids(self) -> list[bytes]:
        """Every listed message once, in order of listing."""
        return list(dict.fromkeys(id for listing in self.nodes.values() for id in listing.entries))


async def list_node(node: Node, topics: Sequence[str], cursors: Mapping[str, str]) -> NodeListing:
    """Everything that a node has on these topics after its cursors. Raises what `NodeClient.call` raises."""
    listing = NodeListing(
        node, cursors={topic: cursor for topic, cursor in cursors.items() if topic in topics}
    )
    limits = node.descriptor.limits
    width = max(1, min(limits.max_topics, MAX_TOPICS))
    for cursor, group in _by_cursor(topics, cursors):
        for chunk in _chunks(group, width):
            try:
                await _follow(listing, chunk, cursor)
            except NodeRefused as error:
                # The node lost its database: what it has now is listed from the start.
                if error.details.get("reason") != "invalid_cursor" or cursor is None:
                    raise
                await _follow(listing, chunk, None)
    return listing


async def _follow(listing: NodeListing, topics: Sequence[str], cursor: str | None) -> None:
    size = max(1, min(listing.node.descriptor.limits.max_page, MAX_PAGE))
    while len(listing.entries) < MAX_LISTED:
        body: dict[str, JSON] = {"topics": list(topics), "limit": size}
        if cursor is not None:
            body["cursor"] = cursor
        response = await listing.node.client.call("POST", "/v1/mailbox", body)
        page = answers.parse(ListingAnswer, response.body)
        for entry in page.messages:
            if entry.topic not in topics:
                sentence = f"{listing.node.client.endpoint} lists a message of another topic."
                raise InvalidAnswer(sentence, operator=listing.node.operator)
            listing.entries[entry.id] = entry
        if page.cursor is not None:
            listing.cursors.update(dict.fromkeys(topics, page.cursor))
        if len(page.messages) < size or page.cursor in (None, cursor):
            return
        cursor = page.cursor


def _by_cursor(topics: Iterable[str], cursors: Mapping[str, str]) -> Iterator[tuple[str | None, list[str]]]:
    groups: dict[str | None, list[str]] = {}
    for topic in topics:
        groups.setdefault(cursors.get(topic), []).append(topic)
    yield from groups.items()


def _chunks(items: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), width):
        yield items[start : start + width]
