"""Kills −9 and reorgs in the lives of two members and a spammer; the soak does the same for longer."""

from pathlib import Path

from tests.fire.member_campaign import MemberCampaign
from tests.services.node.world import Deployed


async def test_only_who_spams_is_slashed_and_once(chain: Deployed, tmp_path: Path) -> None:
    async with MemberCampaign.begin(chain, tmp_path, seed=126, rounds=1) as campaign:
        tally = await campaign.run(rounds=1, strikes=1)
    print(tally)
    assert (tally.members, tally.slashed) == (2, 1)
    assert (tally.kills, tally.undone) == (2, 1)
    assert tally.acknowledged > tally.doubtful
