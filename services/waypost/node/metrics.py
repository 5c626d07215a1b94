"""Prometheus metrics of one node, in a registry of its own.
Labels are templates of routes, never paths or keys."""

from functools import cache
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waypost.node.accounts import Totals
from waypost.node.exposures import Slashes
from waypost.node.proofs import Proofs

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
"""Others share a label: strangers must not make labels up."""


class Metrics:
    """Counters that the routes feed, and gauges that are read off the books when somebody scrapes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ("method", "route", "status")
        self._requests = Counter("waypost_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "waypost_request_seconds", "Time to answer.", ("route",), buckets=BUCKETS, registry=self._registry
        )
        self._charged = Counter(
            "waypost_charged_base_units", "Charged for requests.", ("route",), registry=self._registry
        )
        self._totals = Gauge(
            "waypost_channel_base_units", "Sums over all channels.", ("sum",), registry=self._registry
        )
        self._relayed = Counter(
            "waypost_relayed",
            "Messages relayed, by where they came from.",
            ("origin",),
            registry=self._registry,
        )
        self._cut_off = Counter(
            "waypost_subscribers_cut_off", "Subscribers that did not read.", registry=self._registry
        )
        self._subscribers = Gauge("waypost_subscribers", "Subscribers now.", registry=self._registry)
        self._head = Gauge("waypost_head_block", "Newest block in the books.", registry=self._registry)
        self._ready = Gauge("waypost_ready", "1 while the chain is followed.", registry=self._registry)

        self._proofs = Gauge(
            "waypost_proofs", "RLN proofs since the start.", ("sum",), registry=self._registry
        )
        self._members = Gauge(
            "waypost_exposed_members", "Members that sent too much.", ("sum",), registry=self._registry
        )
        self._rewards = Gauge("waypost_slash_reward_base_units", "Paid for slashes.", registry=self._registry)

        # Looking children up by their labels takes longer than counting.
        self._request = cache(self._requests.labels)
        self._duration = cache(self._seconds.labels)
        self._charge = cache(self._charged.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request."""
        self._request(method, route, status).inc()
        self._duration(route).observe(seconds)

    def charged(self, route: str, amount: int) -> None:
        """One paid request."""
        self._charge(route).inc(amount)

    def relayed(self, origin: str) -> None:
        """One message, which was new: "paid", "member" or "node"."""
        self._relayed.labels(origin).inc()

    def cut_off(self) -> None:
        """One subscriber that was too slow."""
        self._cut_off.inc()

    def limited(self, proofs: Proofs, slashes: Slashes) -> None:
        """What RLN's gate and slasher have done, for the next exposition."""
        for name, count in (
            ("verified", proofs.verified),
            ("invalid", proofs.invalid),
            ("batches", proofs.batches),
            ("waiting", len(proofs)),
        ):
            self._proofs.labels(name).set(count)
        for name in ("exposed", "committed", "won", "lost"):
            self._members.labels(name).set(getattr(slashes, name))
        self._rewards.set(slashes.reward)

    def exposition(self, totals: Totals, head: int, subscribers: int, *, ready: bool) -> bytes:
        """All of it, in Prometheus' text format."""
        for name in ("paid", "spent", "earned", "claimable", "claimed", "confirming", "at_risk", "lost"):
            self._totals.labels(name).set(getattr(totals, name))
        self._head.set(head)
        self._subscribers.set(subscribers)
        self._ready.set(ready)
        return generate_latest(self._registry)


class Observed:
    """ASGI: counts and times every request under its route's template."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # nothing was answered: the client went away
        started = perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.answered(method, route, status, perf_counter() - started)
