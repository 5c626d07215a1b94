"""The acts of the demo in the order of the play. Each names the acts whose outcome it needs, so any can be
played alone; `settle` ends every performance, because only then do the figures have to agree."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import httpx

from waypost.chain import deploy
from waypost.chain.channels import Channels
from waypost.chain.connection import connect
from waypost.chain.embedded import CHAIN_ID, FUNDED_KEYS
from waypost.chain.manifest import Manifest
from waypost.chain.presets import LOCAL
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.demo.cheats import cheat
from waypost.cli.demo.members import chat, join, spam
from waypost.cli.demo.processes import free_ports
from waypost.cli.demo.stage import DOLLAR, Deployed, Stage, Waypost, close
from waypost.cli.demo.texts import texts
from waypost.client import Client
from waypost.errors import DemoFailed, RpcUnreachable
from waypost.node import settings
from waypost.node.descriptor import OFFERED
from waypost.protocol.nodes import NodeKey
from waypost.protocol.signatures import address_of

NODES = ("Ada", "Grace", "Hedy")
DEPOSIT = 2 * DOLLAR
RETENTION_SECONDS = 24 * 3600
AT_ONCE = 12
"""Messages under way at the same time."""
KEYSTORE_WORK = 2**12
"""Scrypt's work factor for keys that hold nothing of value."""


@dataclass(frozen=True, slots=True)
class Act:
    """One part of the play."""

    name: str
    title: str
    play: Callable[[Stage], Awaitable[None]]
    needs: tuple[str, ...] = ()


async def raise_chain(stage: Stage) -> None:
    """Starts the embedded chain as a process and puts the contracts on it."""
    (port,) = free_ports(1)
    stage.rpc_url = f"http://127.0.0.1:{port}"
    await stage.run("chain", "chain", "--port", str(port)).until(partial(_answers, stage.rpc_url))
    connection = await stage.stack.enter_async_context(await connect(stage.rpc_url, CHAIN_ID))
    stage.bank = Sender(connection, FUNDED_KEYS[0])
    manifest = await deploy.execute(await deploy.plan(connection, LOCAL), stage.bank)
    manifest.save(stage.folder / "manifest.json")
    stage.deployed = Deployed(
        connection,
        manifest,
        Channels(connection, manifest.channels),
        Registry(connection, manifest.registry),
        Token(connection, manifest.token),
    )
    stage.narrator.fact(f"chain {CHAIN_ID} at {stage.rpc_url} (py-evm, in a process of its own)")
    for name, address in stage.accounts().items():
        stage.narrator.fact(f"{name} at {address}")


async def raise_nodes(stage: Stage) -> None:
    """Three operators stake, register and start their servers."""
    ports = free_ports(2 * len(NODES))
    starting = []
    for name, port, admin_port in zip(NODES, ports[::2], ports[1::2], strict=True):
        waypost = await _register(stage, name, port, admin_port)
        stage.wayposts.append(waypost)
        process = stage.run(name, "node", "run", "--data-dir", str(waypost.folder))
        starting.append(process.until(partial(_ready, stage, waypost.endpoint)))
        stage.narrator.fact(f"{name} staked {LOCAL.min_stake / DOLLAR:.2f} DUSD, serves {waypost.endpoint}")
    await asyncio.gather(*starting)
    stage.narrator.fact("their servers answer and have caught up with the chain")


async def open_channels(stage: Stage) -> None:
    """Alice, who has tokens and no ETH, opens a channel with each node."""
    await _open_everywhere(stage, await stage.meet("Alice", 10 * DOLLAR), "Alice")


async def store(stage: Stage) -> None:
    """Alice writes to Bob; the nodes keep it for him."""
    alice, bob = stage.people["Alice"], await stage.meet("Bob", 10 * DOLLAR)
    gate = asyncio.Semaphore(AT_ONCE)

    async def send(index: int, text: str) -> None:
        waypost = stage.wayposts[index % len(stage.wayposts)]
        async with gate:
            sent = await alice.mailbox.send(
                bob.mailbox.address, text.encode(), retention=RETENTION_SECONDS, operators=[waypost.operator]
            )
        stage.stored[sent.message.id] = text
        counter.advance()

    with stage.narrator.progress("messages stored", stage.messages) as counter:
        await asyncio.gather(*(send(i, text) for i, text in enumerate(texts(stage.messages, stage.seed))))
    stage.narrator.fact(f"{len(stage.stored)} sealed messages stored, each paid by a signed receipt")


async def fetch(stage: Stage) -> None:
    """Bob, who has no ETH either, pays for what is his and checks every message."""
    bob = stage.people["Bob"]
    await _open_everywhere(stage, bob, "Bob")
    fetched = await bob.mailbox.fetch()
    await bob.mailbox.acknowledge(fetched)
    for fault in fetched.faults:
        stage.narrator.failure(f"{fault.error}")
    stage.fetched = len(fetched.messages)
    stage.verified = sum(
        stage.stored.get(received.message.id) == received.plaintext.decode() for received in fetched.messages
    )
    if not stage.verified == stage.fetched == len(stage.stored):
        raise DemoFailed(
            f"Of {len(stage.stored)} messages {stage.fetched} came, {stage.verified} were right."
        )
    stage.narrator.fact(f"Bob fetched {stage.fetched} messages; {stage.verified} are what Alice wrote")


async def settle(stage: Stage) -> None:
    """The nodes claim what they earned; the people close their channels and get the rest back."""
    for waypost in stage.wayposts:
        await waypost.ask(stage.http, "POST", "/claim")
    stage.narrator.fact(f"every receipt is claimed, in {len(await stage.claims())} transactions")
    for name, client in stage.people.items():
        consent = name == "Alice"  # the others take the way that needs nobody's consent
        channels = client.channels.all()
        await asyncio.gather(*(close(client, channel, stage.bank, consent=consent) for channel in channels))
        spent = sum(channel.books.spent for channel in channels)
        balance = await client.balance()
        if balance != stage.deposited[name] - spent:
            raise DemoFailed(f"{name} brought {stage.deposited[name]}, spent {spent} and has {balance}.")
        how = "with the nodes' consent, at once" if consent else "without asking, after the delay"
        stage.narrator.fact(f"{name} closed {how}: spent {spent / DOLLAR:.6f}, got all the rest back")


ACTS = (
    Act("chain", "A chain and its contracts", raise_chain),
    Act("nodes", "Three operators stake and serve", raise_nodes, ("chain",)),
    Act("open", "A client without ETH opens channels", open_channels, ("nodes",)),
    Act("store", "Messages are stored and paid for", store, ("open",)),
    Act("fetch", "Another client fetches and verifies them", fetch, ("store",)),
    Act("join", "Members join, also without ETH", join, ("nodes",)),
    Act("relay", "Members chat across all nodes", chat, ("join",)),
    Act("spam", "One sends more than its rate", spam, ("join",)),
    Act("cheat", "Cheats, each refused", cheat, ("nodes",)),
    Act("settle", "Claims, closing and refunds", settle, ("nodes",)),
)


def programme(wanted: Iterable[str]) -> list[Act]:
    """These acts (all when none is named), those that they need, and the settling, in order."""
    names = {"settle", *(wanted or (act.name for act in ACTS))}
    for act in reversed(ACTS):
        if act.name in names:
            names.update(act.needs)
    return [act for act in ACTS if act.name in names]


async def _register(stage: Stage, name: str, port: int, admin_port: int) -> Waypost:
    deployed, manifest = stage.deployed, stage.deployed.manifest
    operator_key, node_key = secrets.token_bytes(32), secrets.token_bytes(32)
    operator, endpoint = address_of(operator_key), f"http://127.0.0.1:{port}"
    waypost = Waypost(
        name, stage.folder / name, operator_key, operator, endpoint, f"http://127.0.0.1:{admin_port}"
    )
    config = settings.NodeConfig(
        rpc_url=stage.rpc_url,
        chain_id=manifest.chain_id,
        channels=manifest.channels,
        registry=manifest.registry,
        token=manifest.token,
        start_block=manifest.start_block,
        operator=operator,
        payee=operator,
        endpoint=endpoint,
        port=port,
        admin_port=admin_port,
        # The smallest receipt is one unit: nobody pays ahead, so all columns of the final table are equal.
        prices=settings.PriceSettings(min_receipt=1),
        rate=settings.RateSettings(requests_per_second=1000, burst=1000),
        confirmations=LOCAL.confirmations,
        min_close_delay=LOCAL.min_close_delay,
        poll_seconds=0.2,
        rln=_rln(manifest),
    )
    settings.initialise(
        waypost.folder,
        config,
        {"operator": operator_key, "node": node_key},
        stage.password,
        scrypt_n=KEYSTORE_WORK,
    )
    await stage.give_ether(operator)
    await stage.bank.send(deployed.token.mint(operator, LOCAL.min_stake))
    sender = Sender(deployed.connection, operator_key)
    proof = NodeKey(operator, address_of(node_key)).sign(deployed.registry.domain(), node_key)
    await sender.send(deployed.registry.register(OFFERED, address_of(node_key), operator, endpoint, proof))
    await sender.send(deployed.token.approve(deployed.registry.address, LOCAL.min_stake))
    await sender.send(deployed.registry.stake(LOCAL.min_stake))
    return waypost


def _rln(manifest: Manifest) -> settings.RlnSettings | None:
    """With epochs that last as long as the play, and roots that count in it."""
    entry = manifest.contracts["RlnMembership"]
    return settings.RlnSettings(
        contract=entry.address, start_block=entry.block, epoch_seconds=180, root_seconds=100
    )


async def _open_everywhere(stage: Stage, client: Client, name: str) -> None:
    async def open_at(waypost: Waypost) -> None:
        node = await client.nodes.get(waypost.operator)
        await client.channels.open(node, await client.channels.terms(node, DEPOSIT))

    await asyncio.gather(*(open_at(waypost) for waypost in stage.wayposts))
    ether = await stage.deployed.connection.balance(client.account.payer)
    stage.narrator.fact(
        f"{name} has {ether} ETH and {len(stage.wayposts)} channels with {DEPOSIT / DOLLAR:.2f} DUSD each; "
        "the nodes sent the openings and were paid for it"
    )


async def _answers(rpc_url: str) -> bool:
    try:
        async with await connect(rpc_url, CHAIN_ID):
            return True
    except RpcUnreachable:
        return False


async def _ready(stage: Stage, endpoint: str) -> bool:
    try:
        return (await stage.http.get(endpoint + "/readyz")).is_success
    except httpx.TransportError:
        return False
