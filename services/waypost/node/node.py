"""A running node: its parts, as the routes see them. `app` puts them together."""

from collections.abc import Callable
from dataclasses import dataclass

from waypost.errors import NodeNotReady
from waypost.node.backends.sqlite import Database
from waypost.node.claims import Claimer
from waypost.node.closing import Closing
from waypost.node.descriptor import Descriptor
from waypost.node.ledger import Ledger
from waypost.node.membership import HomeMembers
from waypost.node.messages import MessageStore
from waypost.node.metrics import Metrics
from waypost.node.openings import Openings
from waypost.node.outbox import Outbox
from waypost.node.peers import Peers
from waypost.node.prices import PriceBook
from waypost.node.relay import Relay
from waypost.node.rln import Rln
from waypost.node.sessions import Sessions
from waypost.node.settings import NodeSettings
from waypost.node.sync import Sync
from waypost.node.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Node:
    """`clock` gives Unix seconds."""

    settings: NodeSettings
    clock: Callable[[], int]
    db: Database
    prices: PriceBook
    descriptor: Descriptor
    ledger: Ledger
    messages: MessageStore
    sessions: Sessions
    sync: Sync
    openings: Openings
    closing: Closing
    outbox: Outbox
    claimer: Claimer
    relay: Relay
    peers: Peers
    rln: Rln | None
    home_members: HomeMembers | None
    tasks: Tasks
    metrics: Metrics

    def need_chain(self) -> None:
        """Raises NodeNotReady while the chain is out of sight: what depends on deposits must wait."""
        if not self.sync.ready:
            raise NodeNotReady("The node has not caught up with its chain; try again shortly.", retryAfter=5)
