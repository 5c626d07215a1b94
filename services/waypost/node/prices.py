"""The prices a node charges now, and the ones it promised until a moment ago."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace

from waypost.errors import InvalidPriceList, PriceExpired
from waypost.node.backends.schema import read_meta, write_meta
from waypost.node.settings import NodeSettings
from waypost.protocol.prices import PriceList

HONOURED_SECONDS = 600
"""How long a price list counts after it was last shown."""

_META = "prices"
_CURRENT = 0  # `valid_until` of the list in force: unlimited, until a restart replaces it


class PriceBook:
    """The current list, and earlier ones for as long as they were promised. `clock` gives Unix seconds."""

    def __init__(self, current: PriceList, earlier: tuple[PriceList, ...], clock: Callable[[], int]) -> None:
        self._current = current
        self._lists = {prices.price_id: prices for prices in (*earlier, current)}
        self._clock = clock

    def current(self) -> PriceList:
        """What new customers pay, promised for the next ten minutes."""
        return replace(self._current, valid_until=self._clock() + HONOURED_SECONDS)

    def honoured(self, price_id: str | None) -> PriceList:
        """The list that a request names, or the current one. Raises PriceExpired."""
        if price_id is None or price_id == self._current.price_id:
            return self._current
        prices = self._lists.get(price_id)
        if prices is None or prices.valid_until <= self._clock():
            sentence = "These prices are no longer honoured: read the current list from /v1/node."
            raise PriceExpired(sentence, priceId=self._current.price_id)
        return prices


def open_book(connection: sqlite3.Connection, settings: NodeSettings, clock: Callable[[], int]) -> PriceBook:
    """The book of the prices in the settings, and of what the last run promised.

    Runs inside a write: promises are written down again, so that they outlive restarts with other prices.
    """
    now = clock()
    current = PriceList(token=settings.token, valid_until=_CURRENT, **settings.prices.model_dump())
    earlier = []
    for prices in _stored(connection):
        until = now + HONOURED_SECONDS if prices.valid_until == _CURRENT else prices.valid_until
        if prices.price_id != current.price_id and until > now:
            earlier.append(replace(prices, valid_until=until))
    write_meta(connection, _META, json.dumps([prices.to_json() for prices in (*earlier, current)]))
    return PriceBook(current, tuple(earlier), clock)


def _stored(connection: sqlite3.Connection) -> list[PriceList]:
    try:
        text = read_meta(connection, _META)
    except KeyError:
        return []
    try:
        return [PriceList.from_json(value) for value in json.loads(text)]
    except InvalidPriceList:  # a version with other prices wrote it
        return []
