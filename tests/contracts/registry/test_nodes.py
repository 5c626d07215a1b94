"""NodeRegistry.nodes: who serves what, page by page."""

import pytest
from brownie import ZERO_ADDRESS, accounts

from channel_ledger import DOLLAR
from errors import reverts
from operators import LEASE, NOBODY, RELAY, STORE

EVERYBODY = 2**256 - 1


@pytest.fixture
def listed(operators):
    """Five nodes: store; relay; store and relay; store with too little stake; all services."""
    services = [STORE, RELAY, STORE | RELAY, STORE, STORE | RELAY | LEASE]
    stakes = [500, 600, 700, 499, 1_000]
    people = accounts[10:15]
    for person, bits, stake in zip(people, services, stakes, strict=True):
        operators.token.mint(person, stake * DOLLAR, {"from": person})
        operators.token.approve(operators.registry, stake * DOLLAR, {"from": person})
        operators.register(person, services=bits, endpoint=f"https://{stake}.example")
        operators.registry.stake(stake * DOLLAR, {"from": person})
    return people


def who(page):
    return [node[0] for node in page]


@pytest.mark.parametrize(
    ("services", "found"),
    [
        (0, [0, 1, 2, 4]),
        (STORE, [0, 2, 4]),
        (RELAY, [1, 2, 4]),
        (STORE | RELAY, [2, 4]),
        (LEASE, [4]),
        (8, []),
    ],
)
def test_lists_who_serves_all_of_it_with_enough_stake(operators, listed, services, found):
    page, following = operators.registry.nodes(services, 0, 100)
    assert who(page) == [listed[i] for i in found]
    assert following == 0


def test_a_listed_node_is_whole(operators, listed):
    page, _ = operators.registry.nodes(LEASE, 0, 100)
    assert page[0].dict() == operators.node(listed[4])


def test_pages_look_at_as_many_registrations_as_told(operators, listed):
    pages, cursor = [], 0
    while True:
        page, cursor = operators.registry.nodes(STORE, cursor, 2)
        pages.append(who(page))
        if cursor == 0:
            break
    assert pages == [[listed[0]], [listed[2]], [listed[4]]]


@pytest.mark.parametrize("limit", [5, 6, EVERYBODY])
def test_the_last_page_says_so(operators, listed, limit):
    assert operators.registry.nodes(0, 0, limit)[1] == 0


@pytest.mark.parametrize("cursor", [5, 6, EVERYBODY])
def test_nothing_past_the_end(operators, listed, cursor):
    assert operators.registry.nodes(0, cursor, EVERYBODY) == ((), 0)


def test_looking_at_none_gets_nowhere(operators, listed):
    assert operators.registry.nodes(0, 2, 0) == ((), 2)


def test_nobody_registered(operators):
    assert operators.registry.nodes(0, 0, 10) == ((), 0)


def test_thawing_takes_a_node_off_the_list(operators, listed):
    operators.registry.thaw(NOBODY, 1, {"from": listed[0]})
    assert listed[0] not in who(operators.registry.nodes(STORE, 0, 100)[0])
    operators.registry.cancelThaw(NOBODY, {"from": listed[0]})
    assert listed[0] in who(operators.registry.nodes(STORE, 0, 100)[0])


def test_reports_its_terms(registry, dollar):
    assert (registry.token(), registry.minStake(), registry.unbonding()) == (dollar, 500 * DOLLAR, 40 * 86400)
    assert (registry.STORE(), registry.RELAY(), registry.LEASE()) == (STORE, RELAY, LEASE)


def test_reports_its_domain(registry, operators):
    assert bytes(registry.DOMAIN_SEPARATOR()) == operators.domain.separator
    assert registry.eip712Domain()[1:3] == ("Waypost NodeRegistry", "1")


def test_refuses_to_deploy_without_a_token(NodeRegistry, deployer, stranger):
    for nothing in (ZERO_ADDRESS, str(stranger)):
        with reverts("InvalidToken", nothing):
            NodeRegistry.deploy(nothing, 1, 1, {"from": deployer})


def test_refuses_to_deploy_without_a_way_out(NodeRegistry, deployer, dollar):  # N5
    year = 365 * 86400
    with reverts("UnbondingTooLong", year + 1, year):
        NodeRegistry.deploy(dollar, 1, year + 1, {"from": deployer})
    assert NodeRegistry.deploy(dollar, 1, year, {"from": deployer}).unbonding() == year
