"""A node in memory that keeps the rules, with real signatures, until a test makes it lie: `tamper` gets every
honest answer on its way out, after the books were changed, and returns what the client shall see instead."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from eth_typing import ChecksumAddress
from tests.services.client.world import Operator, World

from waypost.errors import WaypostError
from waypost.protocol.eip712 import node_domain
from waypost.protocol.fields import parse_address
from waypost.protocol.messages import MAX_PAYLOAD, Message
from waypost.protocol.nodes import Contracts, Limits, NodeDescriptor, Services
from waypost.protocol.openings import Authorization, Close, SignedOpening
from waypost.protocol.payments import PaymentPayload
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import ReceiptVerifier
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import Signature, address_of

Tamper = Callable[[httpx.Request, httpx.Response], httpx.Response]
HOUR = 3600


class Refusal(Exception):
    """A problem document."""

    def __init__(self, status: int, code: str, **details: Any) -> None:
        super().__init__(code)
        self.response = httpx.Response(status, json={"code": code, "detail": f"It is {code}.", **details})


@dataclass
class Account:
    """A channel in the node's books."""

    payer: ChecksumAddress
    deposited: int
    paid: int = 0
    spent: int = 0
    signature: str = ""


@dataclass
class ScriptedNode:
    """One node of one operator. `clock` gives Unix seconds."""

    world: World
    operator: Operator
    clock: Callable[[], float]
    store_per_kib_hour: int = 100
    fetch_per_kib: int = 50
    opening: int = 10_000
    min_receipt: int = 0
    relay_per_kib: int = 0
    max_page: int = 100
    tamper: Tamper | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    messages: dict[bytes, tuple[Message, int]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    descriptor_changes: dict[str, Any] = field(default_factory=dict)
    descriptor_key: bytes | None = None

    def __post_init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[bytes, dict[str, Any]]] = {}
        self.tokens: dict[str, str] = {}
        self.payee = self.operator.address
        self.domain = self.world.channels.domain()
        self.verifier = ReceiptVerifier(self.domain, self.payee, self.world.manifest.token)
        self.node_domain = node_domain(self.world.connection.chain_id, self.world.manifest.registry)
        self.world.network.hosts[self.operator.host] = self.handle

    def count(self, path: str) -> int:
        """How many requests a path got."""
        return sum(request.url.path == path for request in self.requests)

    @property
    def prices(self) -> PriceList:
        return PriceList(
            token=self.world.manifest.token,
            valid_until=int(self.clock()) + 600,
            store_per_kib_hour=self.store_per_kib_hour,
            fetch_per_kib=self.fetch_per_kib,
            opening=self.opening,
            min_receipt=self.min_receipt,
            min_deposit=100_000,
            relay_per_kib=self.relay_per_kib,
        )

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        try:
            response = await self._serve(request)
        except Refusal as refusal:
            response = refusal.response
        return self.tamper(request, response) if self.tamper else response

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        match request.method, request.url.path.split("/")[2:]:
            case "GET", ["node"]:
                return httpx.Response(200, json=self._descriptor())
            case "POST", ["channels"]:
                return await self._open(body)
            case "POST", ["sessions"]:
                return self._session(body)
            case "GET", ["channels", _, _, signer]:
                self._signer(request)
                return httpx.Response(200, json=self._channel(signer))
            case "POST", ["channels", _, _, signer, "close"]:
                self._signer(request)
                return self._consent(signer)
            case "POST", ["messages"]:
                return self._paid(request, body, self._store, 201)
            case "POST", ["mailbox"]:
                return self._list(body)
            case "POST", ["mailbox", "fetch"]:
                return self._paid(request, body, self._fetch, 200)
        raise Refusal(404, "route_unknown")

    def _descriptor(self) -> dict[str, Any]:
        manifest = self.world.manifest
        descriptor = NodeDescriptor(
            operator=self.operator.address,
            node_key=address_of(self.operator.node_key),
            payee=self.payee,
            services=Services.STORE,
            endpoint=self.operator.endpoint,
            chain_id=manifest.chain_id,
            network="test",
            contracts=Contracts(manifest.channels, manifest.registry, manifest.token),
            prices=self.prices,
            limits=Limits(MAX_PAYLOAD, HOUR, 720 * HOUR, 2, 0, 64, self.max_page),
            version="0",
            issued=int(self.clock()),
        )
        changed = replace(descriptor, **self.descriptor_changes)
        return changed.sign(self.node_domain, self.descriptor_key or self.operator.node_key)

    # ---- Channels ----

    async def _open(self, body: dict[str, Any]) -> httpx.Response:
        signed = SignedOpening.from_json(body)
        opening, channels = signed.opening, self.world.channels
        if opening.signer not in self.accounts:
            authorization = Authorization.from_json(body["authorization"], opening, channels.address)
            try:
                await self.operator.sender.send(channels.open_with_authorization(signed, authorization))
            except WaypostError as error:
                raise Refusal(422, "opening_refused", cause=str(error)) from error
            self.accounts[opening.signer] = Account(opening.payer, opening.amount)
            receipt = body["receipt"]
            self._accept(opening.signer, int(receipt["cumulative"]), Signature.from_hex(receipt["signature"]))
            self.accounts[opening.signer].spent = self.opening
        return httpx.Response(201, json=self._channel(opening.signer))

    def know(self, signer: str, payer: ChecksumAddress, deposited: int) -> None:
        """The node saw a channel open that somebody else submitted."""
        self.accounts[signer] = Account(payer, deposited)

    def _account(self, signer: str) -> Account:
        if signer not in self.accounts:
            raise Refusal(404, "channel_unknown")
        return self.accounts[signer]

    def _accept(self, signer: str, cumulative: int, signature: Signature) -> None:
        account = self._account(signer)
        self.verifier.verify(cumulative, signature, parse_address(signer))
        assert cumulative <= account.deposited, "the client signed more than there is"
        if cumulative > account.paid:
            account.paid, account.signature = cumulative, signature.to_hex()

    def _session(self, body: dict[str, Any]) -> httpx.Response:
        self._account(body["signer"])
        session = Session(self.operator.address, int(body["nonce"]), body["expires"])
        assert session.recover(self.node_domain, Signature.from_hex(body["signature"])) == body["signer"]
        token = secrets.token_urlsafe(16)
        self.tokens[token] = body["signer"]
        return httpx.Response(201, json={"session": token, "expires": body["expires"]})

    def _signer(self, request: httpx.Request) -> str:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refusal(401, "session_invalid")
        return self.tokens[token]

    def _channel(self, signer: str) -> dict[str, Any]:
        account = self._account(signer)
        receipt = (
            {"cumulative": str(account.paid), "signature": account.signature} if account.signature else None
        )
        return {
            "payee": self.payee,
            "token": self.world.manifest.token,
            "signer": signer,
            "payer": account.payer,
            "deposited": str(account.deposited),
            "claimed": "0",
            "paid": str(account.paid),
            "spent": str(account.spent),
            "status": "open",
            "receipt": receipt,
        }

    def _consent(self, signer: str) -> httpx.Response:
        account = self._account(signer)
        close = Close(
            self.payee,
            self.world.manifest.token,
            parse_address(signer),
            account.spent,
            int(self.clock()) + 600,
        )
        signature = close.sign(self.domain, self.operator.key)
        return httpx.Response(
            200, json={"close": close.to_json(), "signature": signature.to_hex(), "receipt": None}
        )

    # ---- Messages ----

    def _paid(
        self,
        request: httpx.Request,
        body: dict[str, Any],
        effect: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]],
        status: int,
    ) -> httpx.Response:
        if request.headers["waypost-price-id"] != self.prices.price_id:
            raise Refusal(409, "price_expired")
        signer = self._signer(request)
        account, key = self._account(signer), (signer, request.headers["idempotency-key"])
        if key in self.answers:
            content, answer = self.answers[key]
            assert content == request.content, "one key, two requests"
            return httpx.Response(status, json=answer)
        if payment := request.headers.get(PaymentPayload.header):
            payload = PaymentPayload.from_header(payment)
            assert payload.accepted.pay_to == self.payee
            self._accept(signer, payload.cumulative, payload.signature)
        cost, answer = effect(body)
        if cost > account.paid - account.spent:
            raise Refusal(402, "payment_required", amount=str(cost))
        account.spent += cost
        answer |= {"charged": str(cost), "paid": str(account.paid), "spent": str(account.spent)}
        self.answers[key] = request.content, answer
        return httpx.Response(status, json=answer)

    def _store(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        message, now = Message.from_json(body), int(self.clock())
        self.messages[message.id] = message, now + body["retention"]
        answer = {
            "id": "0x" + message.id.hex(),
            "size": message.size,
            "accepted": now,
            "expires": now + body["retention"],
        }
        return self.prices.store_cost(message.size, body["retention"]), answer

    def _list(self, body: dict[str, Any]) -> httpx.Response:
        start = int(body.get("cursor", "0"))
        numbered = list(enumerate(self.messages.values(), 1))
        found = [
            (n, message, expires)
            for n, (message, expires) in numbered
            if n > start and message.topic in body["topics"]
        ]
        page = found[: body["limit"]]
        listed = [
            {
                "id": "0x" + message.id.hex(),
                "topic": message.topic,
                "size": message.size,
                "timestamp": str(message.timestamp_ns),
                "expires": expires,
            }
            for _, message, expires in page
        ]
        cursor = page[-1][0] if len(page) < len(found) else len(numbered)
        return httpx.Response(200, json={"messages": listed, "cursor": str(cursor)})

    def _fetch(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        ids = [bytes.fromhex(id[2:]) for id in body["ids"]]
        found = [self.messages[id] for id in ids if id in self.messages]
        if not found:
            raise Refusal(404, "message_unknown")
        delivered = [
            {
                "id": "0x" + message.id.hex(),
                "topic": message.topic,
                "payload": base64.b64encode(message.payload).decode(),
                "timestamp": str(message.timestamp_ns),
                "expires": expires,
            }
            for message, expires in found
        ]
        missing = [
            {"id": "0x" + id.hex(), "code": "message_expired"} for id in ids if id not in self.messages
        ]
        cost = self.prices.fetch_cost(sum(message.size for message, _ in found))
        return cost, {"messages": delivered, "missing": missing}


def changed(path: str, **changes: Any) -> Tamper:
    """A lie: fields of the answers of one path replaced, by values or by functions of the true value."""

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != path or not response.is_success:
            return response
        body = response.json()
        for name, value in changes.items():
            body[name] = value(body[name]) if callable(value) else value
        return httpx.Response(response.status_code, json=body)

    return tamper
