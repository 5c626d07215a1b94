"""Twenty kills −9 at random moments of a node's life; the soak does the same for longer."""

from pathlib import Path

from tests.fire.campaign import Campaign
from tests.services.node.world import Deployed

KILLS = 20


async def test_twenty_kills_lose_and_double_nothing(chain: Deployed, tmp_path: Path) -> None:
    async with Campaign.begin(chain, tmp_path / "node", seed=1, kills=KILLS) as campaign:
        tally = await campaign.run(KILLS)
    print(tally)
    assert (tally.kills, tally.lost, tally.doubled) == (KILLS, 0, 0)
    assert tally.receipts > 2 * KILLS
    assert tally.claimed >= tally.acknowledged > 0
