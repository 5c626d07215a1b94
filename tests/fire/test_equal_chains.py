"""One scenario on the embedded py-evm chain and on anvil: the same signed transactions at the same times have
equal outcomes, gas, logs, answers and storage. So what is measured or tested on one holds on the other."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress
from tests.fire.anvil import anvil
from tests.services.chain.endpoint import ask
from tests.services.chain.money import PAYEE, PAYEE_KEY, PAYER, PAYER_KEY, Terms, in_an_hour, terms

from waypost.chain import deploy
from waypost.chain.channels import Channels
from waypost.chain.connection import Call, Connection, connect
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.presets import LOCAL
from waypost.chain.registry import NOBODY, Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.protocol.nodes import NodeKey
from waypost.protocol.openings import Close, StartClose, TopUp, authorize
from waypost.protocol.signatures import address_of, keccak

STRANGER_KEY, OPERATOR_KEY, SLASHER_KEY = FUNDED_KEYS[3:6]
OPERATOR, SLASHER = address_of(OPERATOR_KEY), address_of(SLASHER_KEY)
BURNED = ChecksumAddress("0x000000000000000000000000000000000000dEaD")  # type: ignore[arg-type]
GAS = 3_000_000
MAX_FEE = 100 * 10**9
SLOTS = 12

Step = tuple[str, bytes, Call, int]
"""What it is, who sends it, the call, and seconds since the step before."""


@dataclass
class Chain:
    """One of the two, with the contracts on it."""

    connection: Connection
    url: str
    manifest: Manifest

    async def send(self, raw: bytes, timestamp: int) -> dict[str, Any]:
        """The receipt of a transaction that is mined at this time."""
        sent = await ask(self.url, "eth_sendRawTransaction", "0x" + raw.hex())
        await ask(self.url, "evm_mine", timestamp)
        receipt: dict[str, Any] = await ask(self.url, "eth_getTransactionReceipt", sent)
        return receipt

    async def look(self, views: list[Call]) -> list[Any]:
        """Answers of views, balances and nonces of everybody, code and first slots of the contracts."""
        people = (PAYER, PAYEE, OPERATOR, SLASHER, address_of(STRANGER_KEY))
        contracts = [entry.address for entry in self.manifest.contracts.values()]
        return [
            *[await self.connection.simulate(view) for view in views],
            *[await self.connection.nonce(person) for person in people],
            *[await self.connection.code(contract) for contract in contracts],
            *[
                int(await ask(self.url, "eth_getStorageAt", contract, hex(slot), "latest"), 16)
                for contract in contracts
                for slot in range(SLOTS)
            ],
        ]


@asynccontextmanager
async def both() -> AsyncIterator[tuple[Chain, Chain]]:
    """py-evm and anvil, deployed to by the product; nothing is mined there any more unless a test says so."""
    with anvil() as url:
        async with (
            EmbeddedChain() as embedded,
            await connect(embedded.url) as one,
            await connect(url) as other,
        ):
            yield await prepared(one, embedded.url), await prepared(other, url)


async def prepared(connection: Connection, url: str) -> Chain:
    manifest = await deploy.execute(await deploy.plan(connection, LOCAL), Sender(connection, FUNDED_KEYS[9]))
    await ask(url, "evm_setAutomine", False)
    return Chain(connection, url, manifest)


async def scenario(chain: Chain) -> tuple[list[Step], list[ChecksumAddress]]:
    """Every way to pay, close, stake, slash and leave, and a few that are refused; and the signers."""
    channels = Channels(chain.connection, chain.manifest.channels)
    token = Token(chain.connection, chain.manifest.token)
    domain, where = await token.domain(), (PAYEE, token.address)
    opened: list[Terms] = [terms(channels, token, 1_000 * (number + 1)) for number in range(6)]
    signers = [one.opening.signer for one in opened]
    one, signed, gasless = opened[0], opened[3], opened[4]
    top_up = TopUp(PAYER, *where, signers[0], 500, bytes(32), in_an_hour())
    start = StartClose(*where, signers[3], in_an_hour())
    close = Close(*where, signers[4], 2_000, in_an_hour())
    steps: list[Step] = [
        ("mint", PAYER_KEY, token.mint(PAYER, 10**6), 1),
        ("approve", PAYER_KEY, token.approve(channels.address, 10**6), 1),
        ("open", PAYER_KEY, channels.open(one.signed), 1),
        ("open again", PAYER_KEY, channels.open(one.signed), 1),
        ("open many", PAYER_KEY, channels.open_many([opened[1].signed, opened[2].signed]), 1),
        (
            "open for",
            STRANGER_KEY,
            channels.open_for(signed.signed, signed.opening.sign(channels.domain(), PAYER_KEY)),
            1,
        ),
        (
            "open with authorization",
            STRANGER_KEY,
            channels.open_with_authorization(
                gasless.signed,
                authorize(gasless.opening, channels.address, domain, PAYER_KEY, in_an_hour()),
            ),
            1,
        ),
        ("top up", PAYER_KEY, channels.top_up(*where, signers[0], 500), 1),
        (
            "top up for",
            STRANGER_KEY,
            channels.top_up_for(top_up, top_up.sign(channels.domain(), PAYER_KEY)),
            1,
        ),
        (
            "claim",
            STRANGER_KEY,
            channels.claim(*where, [each.receipt(700 + n) for n, each in enumerate(opened)]),
            1,
        ),
        ("claim more", STRANGER_KEY, channels.claim(*where, [one.receipt(10**6), one.receipt(1)]), 1),
        ("claim nothing", STRANGER_KEY, channels.claim(*where, [one.receipt(10**6)]), 1),
        ("start close", PAYER_KEY, channels.start_close(*where, signers[1]), 1),
        (
            "start close for",
            STRANGER_KEY,
            channels.start_close_for(start, start.sign(channels.domain(), PAYER_KEY)),
            1,
        ),
        ("finish too early", STRANGER_KEY, channels.finish_close(*where, signers[3]), 1),
        ("finish", STRANGER_KEY, channels.finish_close(*where, signers[1]), 5),
        ("finish another", STRANGER_KEY, channels.finish_close(*where, signers[3]), 1),
        (
            "close by consent",
            STRANGER_KEY,
            channels.close(close, close.sign(channels.domain(), PAYEE_KEY), gasless.receipt(2_000)),
            1,
        ),
    ]
    return [*steps, *stake(chain, token)], signers


def stake(chain: Chain, token: Token) -> Iterator[Step]:
    registry = Registry(chain.connection, chain.manifest.registry)
    keys = [keccak(b"node key %d" % number) for number in range(2)]
    proofs = [NodeKey(OPERATOR, address_of(key)).sign(registry.domain(), key) for key in keys]
    victim = address_of(STRANGER_KEY)
    calls = [
        (OPERATOR_KEY, token.mint(OPERATOR, 10**8)),
        (OPERATOR_KEY, token.approve(registry.address, 10**8)),
        (OPERATOR_KEY, registry.stake(1)),  # not registered yet
        (OPERATOR_KEY, registry.register(3, address_of(keys[0]), OPERATOR, "https://one.example", proofs[0])),
        (OPERATOR_KEY, registry.stake(10**8)),
        (OPERATOR_KEY, registry.rotate_key(address_of(keys[1]), proofs[1])),
        (OPERATOR_KEY, registry.update(1, OPERATOR, "https://two.example")),
        (OPERATOR_KEY, registry.provision(SLASHER, 6 * 10**7)),
        (SLASHER_KEY, registry.lock(OPERATOR, 2 * 10**7)),
        (SLASHER_KEY, registry.slash(OPERATOR, 3 * 10**7, victim)),  # more than is not locked
        (SLASHER_KEY, registry.slash(OPERATOR, 10**7, victim)),
        (OPERATOR_KEY, registry.thaw(4 * 10**7, SLASHER)),
        (OPERATOR_KEY, registry.thaw(4 * 10**7)),
        (SLASHER_KEY, registry.unlock(OPERATOR, 10**7)),
        (OPERATOR_KEY, registry.cancel_thaw()),
        (OPERATOR_KEY, registry.withdraw(OPERATOR, SLASHER)),  # too early
    ]
    yield from (((call.name, key, call, 1)) for key, call in calls)
    yield "withdraw what is not locked", OPERATOR_KEY, registry.withdraw(OPERATOR, SLASHER), LOCAL.unbonding
    yield "withdraw the rest", OPERATOR_KEY, registry.withdraw(OPERATOR, SLASHER), LOCAL.unbonding


def views(chain: Chain, signers: list[ChecksumAddress]) -> list[Call]:
    """What the contracts say of everything that the steps were about."""
    channels = Channels(chain.connection, chain.manifest.channels)
    registry = Registry(chain.connection, chain.manifest.registry)
    token = Token(chain.connection, chain.manifest.token)
    nodes = [registry._call(name, OPERATOR) for name in ("node", "provisions")]
    provisions = [registry._call("provisionOf", OPERATOR, slasher) for slasher in (NOBODY, SLASHER)]
    holders = (PAYER, PAYEE, OPERATOR, address_of(STRANGER_KEY), BURNED, channels.address, registry.address)
    balances = [token._call("balanceOf", holder) for holder in holders]
    listed = [registry._call("nodes", 0, 0, 10), registry._call("total"), registry._call("count")]
    opened = channels._call("channelsOf", PAYEE, token.address, signers)
    return [opened, *nodes, *provisions, *balances, *listed]


async def test_both_chains_end_up_equal() -> None:
    async with both() as chains:
        one, other = chains
        assert [entry.address for entry in one.manifest.contracts.values()] == [
            entry.address for entry in other.manifest.contracts.values()
        ]
        steps, signers = await scenario(one)
        now = max([(await chain.connection.head()).timestamp for chain in chains])
        nonces: Counter[bytes] = Counter()
        outcomes: Counter[bool] = Counter()
        for label, key, call, seconds in steps:
            raw = Sender(one.connection, key).sign_exactly(
                call, nonce=nonces[key], gas=GAS, max_fee=MAX_FEE, tip=10**9
            )
            nonces[key] += 1
            now += seconds
            here, there = [await chain.send(raw.raw, now) for chain in chains]
            assert outcome(here) == outcome(there), label
            outcomes[here["status"] == "0x1"] += 1
        assert await one.look(views(one, signers)) == await other.look(views(other, signers))
    assert outcomes == {True: len(steps) - 5, False: 5}


def outcome(receipt: dict[str, Any]) -> dict[str, Any]:
    """All of a receipt that the contracts decide."""
    return {
        "status": receipt["status"],
        "gas": int(receipt["gasUsed"], 16),
        "logs": [(log["address"].lower(), log["topics"], log["data"]) for log in receipt["logs"]],
    }
