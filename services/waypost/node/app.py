"""The composition root: settings become a running node, and the node becomes two ASGI applications."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from pydantic import SecretBytes
from starlette.middleware.cors import CORSMiddleware

from waypost import __version__
from waypost.chain.channels import Channels
from waypost.chain.connection import Connection, connect
from waypost.chain.registry import Registry
from waypost.chain.transactions import Sender
from waypost.errors import InvalidConfig, WrongContract
from waypost.node import prices
from waypost.node.api import (
    admin,
    admin_rln,
    channels,
    errors,
    health,
    mailbox,
    messages,
    node,
    openapi,
    receipts,
    registrations,
    relay,
    rln,
    sessions,
)
from waypost.node.audit import Audit, interval
from waypost.node.backends.sqlite import Database
from waypost.node.claims import Claimer
from waypost.node.closing import Closing
from waypost.node.descriptor import Descriptor
from waypost.node.ledger import Ledger
from waypost.node.limits import RateLimit, RequestBody, buckets
from waypost.node.loops import Signal
from waypost.node.membership import open_home_members
from waypost.node.messages import MessageStore, StoreLimits
from waypost.node.metrics import Metrics, Observed
from waypost.node.node import Node
from waypost.node.opening_rules import OpeningRules
from waypost.node.openings import Openings
from waypost.node.outbox import Outbox
from waypost.node.peers import Peers
from waypost.node.pruner import Pruner
from waypost.node.relay import Relay, RelayLimits
from waypost.node.rln import Rln, open_rln
from waypost.node.sessions import Sessions
from waypost.node.settings import NodeSettings
from waypost.node.submissions import Submissions
from waypost.node.subscriptions import Subscriptions
from waypost.node.sync import Sync
from waypost.node.tasks import Tasks
from waypost.protocol.eip712 import node_domain
from waypost.protocol.payments import PaymentPayload, PaymentRequired, PaymentResponse
from waypost.protocol.receipts import ReceiptVerifier

ROUTERS = (  # the busiest first: they are tried in this order
    messages.router,
    mailbox.router,
    receipts.router,
    relay.router,
    sessions.router,
    channels.router,
    node.router,
    rln.router,
    registrations.router,
    health.router,
)


def unix_time() -> int:
    """The system's clock, in seconds."""
    return int(time.time())


def create_app(settings: NodeSettings, clock: Callable[[], int] = unix_time) -> FastAPI:
    """The public API. Its lifespan opens the node as `app.state.node`, and closes it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_node(settings, metrics, clock) as node:
            app.state.node = node
            yield

    metrics = Metrics()
    app = FastAPI(
        title="Waypost node",
        summary="Messages kept for a fee, paid by signed receipts.",
        version=__version__,
        license_info={"name": "MIT"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    # The last one added meets a request first.
    app.add_middleware(RequestBody, respond=errors.respond)
    app.add_middleware(
        RateLimit,
        buckets=buckets(settings.rate, time.monotonic),
        respond=errors.respond,
        trusted_proxy=settings.trusted_proxy,
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            PaymentPayload.header,
            "Waypost-Price-Id",
        ],
        expose_headers=[PaymentRequired.header, PaymentResponse.header, "Retry-After", "WWW-Authenticate"],
        max_age=86_400,
    )
    app.add_middleware(Observed, metrics=metrics)
    return app


def create_admin_app(node: Node) -> FastAPI:
    """The operator's API, for a listener of its own: every route wants the admin token."""
    app = FastAPI(
        title="Waypost node, operator's side",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.node = node
    app.include_router(admin.router)
    app.include_router(admin_rln.router)
    errors.install(app)
    app.add_middleware(RequestBody, respond=errors.respond)
    return app


@contextlib.asynccontextmanager
async def open_node(
    settings: NodeSettings, metrics: Metrics, clock: Callable[[], int]
) -> AsyncIterator[Node]:
    """A running node. Ends its tasks in the reverse order of their start, then closes the books.

    Raises RpcUnreachable, RpcFailed, WrongChain, WrongContract, InvalidConfig, DataInUse, DataOfAnotherChain,
    DataCorrupt, DataTooNew, StorageFull, or what open_rln raises.
    """
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await connect(settings.rpc_url, settings.chain_id))
        channels = Channels(connection, settings.channels)
        await _check_contracts(connection, channels, settings)
        db = await stack.enter_async_context(Database(settings.data_dir, settings.identity))
        price_book = await db.write(lambda writing: prices.open_book(writing, settings, clock))
        domain = channels.domain()
        verifier = ReceiptVerifier(domain, settings.payee, settings.token)
        ledger = Ledger(
            db,
            verifier,
            clock,
            confirmations=settings.confirmations,
            min_receipt=settings.prices.min_receipt,
            min_close_delay=settings.min_close_delay,
        )
        signal, poll = Signal(), settings.poll_seconds
        sender = Sender(connection, settings.gas_key.get_secret_value())
        outbox = Outbox(sender, db, clock, signal, poll_seconds=poll)
        submissions = Submissions(
            outbox,
            db,
            clock,
            cap_per_hour=settings.opening_cap_per_hour,
            token_per_ether=settings.claim.token_per_ether,
        )
        openings = Openings(
            channels,
            ledger,
            OpeningRules(verifier, settings.channels, min_close_delay=settings.min_close_delay),
            submissions,
            db,
            signal,
        )
        rln = None
        if settings.rln is not None:
            rln = await open_rln(connection, db, settings, settings.rln, outbox, clock)
        relay = _relay(db, settings, rln, clock, metrics)
        node = Node(
            settings=settings,
            clock=clock,
            db=db,
            prices=price_book,
            descriptor=Descriptor(settings, price_book, clock),
            ledger=ledger,
            messages=MessageStore(db, _store_limits(settings)),
            sessions=Sessions(db, node_domain(settings.chain_id, settings.registry), settings.operator),
            sync=Sync(
                connection,
                db,
                [channels],
                [ledger, openings, outbox],
                clock,
                signal,
                start=settings.start_block,
                poll_seconds=poll,
                max_head_age_seconds=settings.max_head_age_seconds,
            ),
            openings=openings,
            closing=Closing(ledger, domain, _secret(settings.payee_key), clock),
            outbox=outbox,
            claimer=Claimer(channels, ledger, outbox, db, clock, signal, settings.claim, poll_seconds=poll),
            relay=relay,
            peers=Peers(Registry(connection, settings.registry), db, relay, settings, clock),
            rln=rln,
            home_members=None
            if settings.rln is None
            else await open_home_members(
                connection, db, settings, settings.rln, outbox, submissions, signal, clock
            ),
            tasks=await stack.enter_async_context(Tasks()),
            metrics=metrics,
        )
        pruner = Pruner(
            node.messages, relay, node.sessions, ledger, clock, gate=None if rln is None else rln.gate
        )
        audit = Audit(channels, ledger, db, node.sync, seconds=interval(settings.min_close_delay))
        for task in (node.sync, outbox, node.claimer, audit, pruner, node.peers):
            node.tasks.start(task)
        for limiting in node.rln.tasks if node.rln else ():
            node.tasks.start(limiting)
        yield node


async def _check_contracts(connection: Connection, channels: Channels, settings: NodeSettings) -> None:
    minimum, maximum = await channels.close_delays()
    if not minimum <= settings.min_close_delay <= maximum:
        raise InvalidConfig(
            f"minCloseDelay is {settings.min_close_delay} s; the contract takes {minimum} to {maximum} s.",
            given=settings.min_close_delay,
            minimum=minimum,
            maximum=maximum,
        )
    for name, address in (("token", settings.token), ("registry", settings.registry)):
        if not await connection.code(address):
            raise WrongContract(f"There is no contract at the {name}'s address {address}.", address=address)


def _relay(
    db: Database, settings: NodeSettings, rln: Rln | None, clock: Callable[[], int], metrics: Metrics
) -> Relay:
    wanted = settings.relay
    limits = RelayLimits(
        retention=wanted.retention_seconds,
        quota_bytes=wanted.quota_bytes,
        clock_tolerance=settings.clock_tolerance_seconds,
        late=0 if rln is None else rln.settings.root_seconds,
    )
    subscriptions = Subscriptions(wanted.max_subscribers, wanted.max_subscriptions_per_address)
    return Relay(db, None if rln is None else rln.gate, limits, subscriptions, clock, metrics)


def _store_limits(settings: NodeSettings) -> StoreLimits:
    return StoreLimits(
        retention_min=settings.retention_min,
        retention_max=settings.retention_max,
        quota_bytes=settings.storage_quota_bytes,
        channel_quota_bytes=settings.channel_quota_bytes,
        clock_tolerance=settings.clock_tolerance_seconds,
    )


def _secret(key: SecretBytes | None) -> bytes | None:
    return None if key is None else key.get_secret_value()
