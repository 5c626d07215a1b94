"""One shard of the soak: `python -m tests.fire.soak SEED KILLS`.
Ends with a line of JSON; fails if anything was lost or doubled."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.fire.anvil import anvil
from tests.fire.campaign import Campaign, to_json
from tests.fire.world import deployed

from waypost.node import logs


async def main(seed: int, kills: int) -> None:
    logs.configure("error")
    with anvil() as url, tempfile.TemporaryDirectory() as folder:
        there = await deployed(url)
        async with Campaign.begin(there, Path(folder) / "node", seed, kills) as campaign:
            tally = to_json(await campaign.run(kills))
    print(json.dumps(tally))
    sys.exit(1 if tally["lost"] or tally["doubled"] else 0)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
