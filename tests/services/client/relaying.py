"""A scripted node that follows members and relays, with a real WebSocket server on loopback."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import httpx
from tests.services.client.scripted import Refusal, ScriptedNode
from tests.services.client.world import DOLLAR, World
from websockets.asyncio.server import ServerConnection, serve

from waypost.chain import artifacts, proxy
from waypost.chain.manifest import Deployment
from waypost.chain.membership import Exited, Expired, MemberRecord, Membership, Registered, Slashed
from waypost.client.client import Client
from waypost.client.subscription import Heard, Subscription
from waypost.errors import ProtocolError, WaypostError
from waypost.protocol.memberships import Exit, Extension, Registration
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.messages import Message
from waypost.protocol.openings import Authorization, ReceiveWithAuthorization
from waypost.protocol.payments import PaymentPayload
from waypost.protocol.relay import Envelope, RateProof
from waypost.protocol.rln import DEPTH, Signal, application, hash_to_field, leaf
from waypost.protocol.signatures import Signature
from waypost.zk.proof import Proof
from waypost.zk.verifier import Verifier

PERIOD, WINDOW = 1_000, 100
STAKE_PER_RATE, FEE_PER_RATE = DOLLAR, DOLLAR // 10
NETWORK = "waypost"
BATCH = 64 * 1024
TOPIC, OTHER = "/chat/1/lobby/plain", "/chat/1/kitchen/plain"
PROOF = RateProof(7, 1, 2, 3, bytes(128))


async def with_membership(world: World) -> World:
    """The world with a membership contract in its manifest."""
    arguments = (world.token.address, DEPTH, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE)
    artifact = artifacts.load("RlnMembership")
    init = artifact.init_code(arguments)
    block = (await world.connection.head()).number
    await world.deployer.send(proxy.create(init, bytes(32), "RlnMembership"))
    entry = Deployment(proxy.address_of(init, bytes(32)), block, None, artifact.hash, arguments)
    contracts = {**world.manifest.contracts, "RlnMembership": entry}
    world.manifest = replace(world.manifest, contracts=contracts)
    return world


def membership_of(world: World) -> Membership:
    return Membership(world.connection, world.manifest.contracts["RlnMembership"].address)


@dataclass
class RelayNode(ScriptedNode):
    """Keeps the rules of `/v1/rln` and `/v1/relay`, until a test makes it lie."""

    relay_per_kib: int = 0
    epoch_seconds: int = 600
    verifier_of_proofs: Verifier | None = None
    known_roots: set[int] = field(default_factory=set)
    signals: list[Signal] = field(default_factory=list)
    relayed: list[Envelope] = field(default_factory=list)
    refuse_next: list[Refusal] = field(default_factory=list)
    lie_about_path: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    sockets: list[ServerConnection] = field(default_factory=list)
    firsts: list[dict[str, Any]] = field(default_factory=list)
    overcharge: int = 0
    forget_before: int = 0
    junk: list[str] = field(default_factory=list)
    """Frames to send before anything else."""
    broken_rules: list[AssertionError] = field(default_factory=list)
    """What subscribers did that they must not do."""
    date: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.changed = asyncio.Condition()
        self.records: dict[int, MemberRecord] = {}

    @property
    def contract(self) -> Membership:
        return membership_of(self.world)

    # ---- HTTP ----

    async def handle(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle(request)
        if self.date is not None:
            response.headers["date"] = formatdate(self.date, usegmt=True)
        return response

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        match request.method, request.url.path.split("/")[2:]:
            case "GET", ["rln"]:
                tree = await self._tree()
                return httpx.Response(
                    200,
                    json={
                        "contract": self.contract.address,
                        "network": NETWORK,
                        "rlnIdentifier": str(hash_to_field(self.identifier)),
                        "epochSeconds": self.epoch_seconds,
                        "root": str(tree.root),
                        "roots": [{"root": str(root)} for root in self.known_roots],
                    },
                )
            case "GET", ["rln", "members", commitment]:
                tree = await self._tree()
                record = self.records.get(int(commitment))
                if record is None:
                    raise Refusal(404, "member_unknown")
                answer = {
                    "index": record.index,
                    "rate": record.rate,
                    "path": [str(each) for each in tree.path(record.index)],
                    "root": str(tree.root),
                }
                return httpx.Response(
                    200, json=self.lie_about_path(answer) if self.lie_about_path else answer
                )
            case "POST", ["rln", kind]:
                return await self._order(kind, body)
            case "POST", ["relay"]:
                if self.refuse_next:
                    raise self.refuse_next.pop(0)
                if "rateProof" in body:
                    return await self._relay_proved(body)
                response = self._paid(request, body, self._relay_paid, 201)
                await self.ring()
                return response
        return await super()._serve(request)

    @property
    def identifier(self) -> bytes:
        return application(self.world.manifest.chain_id, self.contract.address, NETWORK, self.epoch_seconds)

    async def _tree(self) -> MerkleTree:
        tree, connection = MerkleTree(), self.world.connection
        logs = await connection.logs([self.contract.address], 0, (await connection.head()).number)
        for event in map(self.contract.decode, logs):
            if isinstance(event, Registered):
                self.records[event.id_commitment] = MemberRecord.of(event)
                tree.set({event.index: leaf(event.id_commitment, event.rate)})
            elif isinstance(event, Exited | Expired | Slashed):
                tree.set({event.index: 0})
        self.known_roots.add(tree.root)
        return tree

    async def _order(self, kind: str, body: dict[str, Any]) -> httpx.Response:
        if self.refuse_next:
            raise self.refuse_next.pop(0)
        try:
            call = await self._call(kind, body)
            receipt = await self.operator.sender.send(call)
        except WaypostError as error:
            raise Refusal(422, "membership_refused", cause=str(error)) from error
        return httpx.Response(
            201, json={"transaction": "0x" + receipt.hash.hex(), "state": "done", "index": None}
        )

    async def _call(self, kind: str, body: dict[str, Any]) -> Any:
        await self._tree()
        if kind == "exits":
            exit_ = Exit.from_json(body["exit"])
            record = self.records[exit_.id_commitment]
            state = await self.contract.member(exit_.id_commitment)
            assert state is not None
            if state.left_at:
                return self.contract.withdraw(record)
            return self.contract.exit_for(exit_, record, Signature.from_hex(body["signature"]))
        purpose: Any = (Registration if kind == "registrations" else Extension).from_json(
            body[kind.removesuffix("s")]
        )
        given = body["authorization"]
        transfer = ReceiveWithAuthorization(
            purpose.payer,
            self.contract.address,
            0,
            given["validAfter"],
            given["validBefore"],
            purpose.struct_hash(),
        )
        r, s = (bytes.fromhex(given[name][2:]) for name in "rs")
        authorization = Authorization(transfer, given["v"], r, s)
        if kind == "registrations":
            assert purpose.home_node == self.payee
            return self.contract.register_with_authorization(purpose, authorization)
        record = self.records[purpose.id_commitment]
        return self.contract.extend_with_authorization(purpose, record, authorization)

    async def _relay_proved(self, body: dict[str, Any]) -> httpx.Response:
        envelope = Envelope.from_json(body)
        message, proof = envelope.message, envelope.proof
        assert proof is not None
        await self._tree()
        if abs(proof.epoch - int(self.clock()) // self.epoch_seconds) > 0:
            raise Refusal(422, "epoch_out_of_range")
        if proof.root not in self.known_roots:
            raise Refusal(422, "root_unknown")
        signal = proof.signal(message, self.identifier)
        for earlier in self.signals:
            same = earlier.nullifier == signal.nullifier
            assert not same or (earlier.x, earlier.y) == (signal.x, signal.y), "the secret is disclosed"
        if self.verifier_of_proofs is not None:
            assert self.verifier_of_proofs.verify(Proof(proof.proof), signal.public)
        self.signals.append(signal)
        known = any(each.message.id == message.id for each in self.relayed)
        if not known:
            await self.publish(envelope)
        return httpx.Response(
            200 if known else 201,
            json={
                "id": "0x" + message.id.hex(),
                "size": message.size,
                "accepted": int(self.clock()),
                "duplicate": known,
                "charged": "0",
            },
        )

    def _relay_paid(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        envelope = Envelope.from_json(body)
        self.relayed.append(envelope)
        message = envelope.message
        answer = {
            "id": "0x" + message.id.hex(),
            "size": message.size,
            "accepted": int(self.clock()),
            "duplicate": False,
        }
        return self.prices.relay_cost(message.size), answer

    # ---- WebSocket ----

    async def publish(self, *envelopes: Envelope) -> None:
        """Messages that reach this node from elsewhere."""
        self.relayed.extend(envelopes)
        await self.ring()

    async def ring(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def subscribed(self, socket: ServerConnection) -> None:
        """One connection, until either side has enough."""
        serving = asyncio.create_task(self._subscribed(socket))
        gone = asyncio.create_task(socket.wait_closed())
        await asyncio.wait([serving, gone], return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, gone):
            task.cancel()
        (end, _) = await asyncio.gather(serving, gone, return_exceptions=True)
        if isinstance(end, AssertionError):
            self.broken_rules.append(end)

    async def _subscribed(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        try:
            first = json.loads(await socket.recv())
            self.firsts.append(first)
            await self._deliver(socket, first)
        except Refusal as refusal:
            problem = refusal.response.json()
            await socket.send(
                json.dumps({"type": "error", "problem": {"status": refusal.response.status_code, **problem}})
            )
            await socket.close(4000 + refusal.response.status_code, problem["code"])
        except ProtocolError as error:
            await socket.close(4400, error.code)

    async def _deliver(self, socket: ServerConnection, first: dict[str, Any]) -> None:
        if self.refuse_next:
            raise self.refuse_next.pop(0)
        for frame in self.junk:
            await socket.send(frame)
        cursor = first.get("cursor")
        if cursor is not None and not cursor.isdigit():
            raise Refusal(400, "invalid_cursor")
        place = len(self.relayed) if cursor is None else int(cursor)
        if place < self.forget_before:
            await socket.send(json.dumps({"type": "pruned", "cursor": str(self.forget_before)}))
            place = self.forget_before
        live = False
        while True:
            batch, size = [], 0
            while place < len(self.relayed) and size < BATCH:
                envelope = self.relayed[place]
                place += 1
                if envelope.message.topic in first["topics"]:
                    batch.append((place, envelope))
                    size += envelope.message.size
            if batch:
                await self._send(socket, first, batch, size)
            elif not live:
                live = True
                await socket.send(json.dumps({"type": "live", "cursor": str(place)}))
            else:
                async with self.changed:
                    if place == len(self.relayed):
                        await self.changed.wait()

    async def _send(
        self, socket: ServerConnection, first: dict[str, Any], batch: list[tuple[int, Envelope]], size: int
    ) -> None:
        cost = self.prices.relay_cost(size)
        signer = self.tokens.get(first.get("session", ""))
        if cost:
            if signer is None:
                raise Refusal(401, "session_invalid")
            demand = {"type": "payment_required", "amount": str(cost), "required": "e30="}
            await socket.send(json.dumps(demand))
            answer = json.loads(await socket.recv())
            assert answer["accept"] == str(cost)
            if "payment" in answer:
                payload = PaymentPayload.from_header(answer["payment"])
                self._accept(signer, payload.cumulative, payload.signature)
            account = self._account(signer)
            if cost > account.paid - account.spent:
                raise Refusal(402, "payment_required")
            account.spent += cost
        for place, envelope in batch:
            frame = {"type": "message", "cursor": str(place), "message": envelope.to_json()}
            await socket.send(json.dumps(frame))
        if cost:
            assert signer is not None
            account = self._account(signer)
            done = {
                "type": "account",
                "charged": str(cost + self.overcharge),
                "paid": str(account.paid),
                "spent": str(account.spent),
                "cursor": str(batch[-1][0]),
            }
            await socket.send(json.dumps(done))


@contextlib.asynccontextmanager
async def relay_node(world: World, clock: Callable[[], float], **options: Any) -> AsyncIterator[RelayNode]:
    """A registered node whose sockets are real."""
    handlers: list[RelayNode] = []

    async def handle(socket: ServerConnection) -> None:
        await handlers[0].subscribed(socket)

    async with serve(handle, "127.0.0.1", 0, max_size=2**20) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        operator = await world.new_operator(endpoint=f"http://127.0.0.1:{port}")
        node = RelayNode(world, operator, clock, **options)
        handlers.append(node)
        try:
            yield node
        finally:
            world.network.hosts.pop(operator.host, None)
    assert not node.broken_rules


# ---- Listening ----


def messages(count: int, *, topic: str = TOPIC, size: int = 10) -> list[Envelope]:
    return [
        Envelope(Message(topic, b"%d " % number + b"x" * size, 1_000_000 + number), PROOF)
        for number in range(count)
    ]


async def listen(client: Client, *nodes: RelayNode, **options: Any) -> Subscription:
    operators = [node.operator.address for node in nodes]
    return await client.mailbox.subscribe([TOPIC], operators=operators, **options)


async def take(subscription: Subscription, count: int) -> list[Heard]:
    found = []
    async with asyncio.timeout(60):
        async for heard in subscription:
            found.append(heard)
            if len(found) == count:
                return found
    raise AssertionError("it ended")


def texts(found: list[Heard]) -> list[bytes]:
    return [heard.message.payload for heard in found]


def sent(envelopes: list[Envelope]) -> list[bytes]:
    return [envelope.message.payload for envelope in envelopes]


async def until_live(subscription: Subscription) -> None:
    async with asyncio.timeout(60):
        await subscription.live.wait()
