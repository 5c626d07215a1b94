"""Channels' views and constructor."""

import pytest
from brownie import ZERO_ADDRESS, chain

from channel_ledger import DELAY, DOLLAR, NONE, OPEN, as_tuple, fresh_key
from errors import reverts


def test_unknown_channel_is_all_zero(ledger, signer):
    assert ledger.state(signer) == {
        "payer": ZERO_ADDRESS,
        "deposited": 0,
        "claimed": 0,
        "closesAt": 0,
        "closeDelay": 0,
        "status": NONE,
    }


def test_many_channels_in_the_order_asked(ledger):
    first, second, unknown = ledger.open(amount=DOLLAR), ledger.open(amount=2 * DOLLAR), fresh_key()
    asked = [second, unknown, first]
    states = ledger.channels.channelsOf(ledger.payee, ledger.token, [key.address for key in asked])
    assert [(state[1], state[4], state[5]) for state in states] == [
        (2 * DOLLAR, DELAY, OPEN),
        (0, 0, NONE),
        (DOLLAR, DELAY, OPEN),
    ]


def test_no_channels(ledger):
    assert len(ledger.channels.channelsOf(ledger.payee, ledger.token, [])) == 0


def test_hashes_are_typed_datas(ledger, signer):
    opening, top_up = ledger.opening(signer), ledger.top_up(signer)
    assert bytes(ledger.channels.hashOpening(as_tuple(opening))) == ledger.domain.struct_hash(
        "Opening", opening
    )
    assert bytes(ledger.channels.hashTopUp(as_tuple(top_up))) == ledger.domain.struct_hash("TopUp", top_up)


def test_reports_its_domain(channels, ledger):
    """EIP-5267: a wallet can find out what to sign for."""
    fields, name, version, chain_id, contract, salt, extensions = channels.eip712Domain()
    assert (str(fields), name, version, chain_id, contract) == (
        "0x0f",
        ledger.domain.name,
        ledger.domain.version,
        chain.id,
        channels,
    )
    assert (int(str(salt), 16), extensions) == (0, ())
    assert bytes(channels.DOMAIN_SEPARATOR()) == ledger.domain.separator


def test_reports_its_limits(channels):
    assert (channels.minCloseDelay(), channels.maxCloseDelay()) == (60, 90 * 86400)
    assert (channels.MAX_CLAIMS(), channels.MAX_OPENINGS()) == (1000, 200)


@pytest.mark.parametrize(("least", "most"), [(0, 1), (2, 1), (0, 0)])
def test_refuses_to_deploy_without_a_close_delay(Channels, deployer, least, most):
    with reverts("CloseDelayOutOfRange", least, 1, most):
        Channels.deploy(least, most, {"from": deployer})


def test_deploys_with_one_close_delay(Channels, deployer):
    assert Channels.deploy(5, 5, {"from": deployer}).maxCloseDelay() == 5
