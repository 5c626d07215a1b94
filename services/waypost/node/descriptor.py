"""The node's signed description of itself: made once, signed again before what it promises runs out."""

from collections.abc import Callable, Mapping

from waypost import __version__
from waypost.errors import JSON
from waypost.node.limits import MAX_PAGE, MAX_TOPICS
from waypost.node.prices import HONOURED_SECONDS, PriceBook
from waypost.node.settings import NodeSettings
from waypost.protocol.eip712 import node_domain
from waypost.protocol.messages import MAX_PAYLOAD
from waypost.protocol.nodes import Contracts, Limits, NodeDescriptor, Services
from waypost.protocol.payments import network
from waypost.protocol.signatures import address_of

OFFERED = Services.STORE | Services.RELAY
"""What this version serves."""


class Descriptor:
    """The answer of `GET /v1/node`. `clock` gives Unix seconds."""

    def __init__(self, settings: NodeSettings, prices: PriceBook, clock: Callable[[], int]) -> None:
        self._settings, self._prices, self._clock = settings, prices, clock
        self._domain = node_domain(settings.chain_id, settings.registry)
        self._key = settings.node_key.get_secret_value()
        self._answer: Mapping[str, JSON] = {}
        self._stale_at = 0

    def signed(self) -> Mapping[str, JSON]:
        """The description and its signature; its prices hold for at least another five minutes."""
        now = self._clock()
        if now >= self._stale_at:
            self._answer = self._describe(now).sign(self._domain, self._key)
            self._stale_at = now + HONOURED_SECONDS // 2
        return self._answer

    def _describe(self, now: int) -> NodeDescriptor:
        settings = self._settings
        return NodeDescriptor(
            operator=settings.operator,
            node_key=address_of(self._key),
            payee=settings.payee,
            services=OFFERED,
            endpoint=settings.endpoint,
            chain_id=settings.chain_id,
            network=network(settings.chain_id),
            contracts=Contracts(
                channels=settings.channels,
                registry=settings.registry,
                token=settings.token,
                membership=None if settings.rln is None else settings.rln.contract,
            ),
            prices=self._prices.current(),
            limits=Limits(
                max_payload=MAX_PAYLOAD,
                min_retention=settings.retention_min,
                max_retention=settings.retention_max,
                min_close_delay=settings.min_close_delay,
                confirmations=settings.confirmations,
                max_topics=MAX_TOPICS,
                max_page=MAX_PAGE,
            ),
            version=__version__,
            issued=now,
        )
