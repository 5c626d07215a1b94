"""A node that opens channels, is paid and claims without pause, and prints a line for every answer that a
client gets: made to be killed. Run as `python -m tests.services.node.earning JSON`, see `Job`."""

import asyncio
import dataclasses
import hashlib
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.services.node.money_node import EAGER, MoneyNode, NodeKeys, open_node
from tests.services.node.world import Client, Deployed, World

from waypost.chain.connection import connect
from waypost.chain.manifest import Manifest
from waypost.chain.token import Token
from waypost.node import logs
from waypost.node.opening_rules import Request

CHANNELS = 6
STEP = 50_000


@dataclass(frozen=True)
class Job:
    """What a process is told: where the chain is, whose books these are, how long openings are valid."""

    url: str
    manifest: str
    folder: str
    gas_key: str
    payee_key: str
    start: int
    deadline: int
    round: int

    @property
    def keys(self) -> NodeKeys:
        """The node's accounts and folder."""
        return NodeKeys(Path(self.folder), bytes.fromhex(self.gas_key), bytes.fromhex(self.payee_key))

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(dataclasses.asdict(self))


def client_of(world: World, job: Job, number: int) -> Client:
    """The same in every process."""
    payer, signer = (hashlib.sha256(f"{job.payee_key} {role} {number}".encode()).digest() for role in "ps")
    return Client(world, job.keys.payee, payer, signer)


def request_of(client: Client, job: Job) -> Request:
    """The same in every process: whoever got no answer asks again."""
    return client.request(deadline=job.deadline)


async def earn(node: MoneyNode, job: Job) -> None:
    """Clients in turn raise their receipts; those that have no channel ask for one."""
    chance = random.Random(job.round)
    clients = [client_of(node.world, job, number) for number in range(CHANNELS)]
    while True:
        number = chance.randrange(CHANNELS)
        client = clients[number]
        account = await node.ledger.account(client.signer)
        if account is None:
            opened = await node.open(request_of(client, job))
            print("opened", number, opened.charged, flush=True)
        elif account.paid + STEP <= account.deposited:
            total = account.paid + chance.randint(1, STEP)
            await node.pay(client, total)
            print("paid", number, total, flush=True)


async def main(text: str) -> None:
    logs.configure("error")  # to standard error: standard output is for answers
    job = Job(**json.loads(text))
    manifest = Manifest.load(Path(job.manifest))
    async with await connect(job.url) as connection:
        domain = await Token(connection, manifest.token).domain()
        world = World(Deployed(job.url, manifest, domain), connection)
        world.start = job.start
        async with open_node(world, job.keys, claim=EAGER) as node, node.running():
            await earn(node, job)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
