"""One shard of the soak: `python -m tests.fire.member_soak SEED ROUNDS`.
Ends with a line of JSON; fails where members, messages or money are not what they should be."""

import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.fire.anvil import anvil
from tests.fire.member_campaign import MemberCampaign
from tests.fire.world import deployed

from waypost.node import logs

NODES, STRIKES = 3, 2


async def main(seed: int, rounds: int) -> None:
    logs.configure("error")
    with anvil() as url, tempfile.TemporaryDirectory() as folder:
        there = await deployed(url)
        async with MemberCampaign.begin(there, Path(folder), seed, rounds, NODES) as campaign:
            print(json.dumps(asdict(await campaign.run(rounds, STRIKES))))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
