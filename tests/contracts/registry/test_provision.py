"""NodeRegistry.provision: how much one slasher may take."""

from channel_ledger import DOLLAR
from errors import reverts
from operators import NOBODY


def test_assigns_what_was_assigned_to_nobody(staked, operators, operator, slasher):
    tx = staked.provision(slasher, 400 * DOLLAR, {"from": operator})
    assert operators.provision(operator, slasher)["amount"] == 400 * DOLLAR
    assert operators.provision(operator)["amount"] == 600 * DOLLAR
    assert operators.node(operator)["stake"] == staked.total() == 1_000 * DOLLAR
    assert dict(tx.events["Provisioned"]) == {
        "operator": operator,
        "slasher": slasher,
        "amount": 400 * DOLLAR,
        "provision": 400 * DOLLAR,
    }


def test_adds_up(provisioned, operators, operator, slasher):
    tx = provisioned.provision(slasher, 600 * DOLLAR, {"from": operator})
    assert tx.events["Provisioned"]["provision"] == 1_000 * DOLLAR
    assert operators.provision(operator, slasher)["amount"] == 1_000 * DOLLAR


def test_refuses_more_than_is_free(provisioned, operator, slasher, stranger):  # N2
    """What one slasher may take is no other's."""
    for whom in (slasher, stranger):
        with reverts("AmountOutOfRange", 600 * DOLLAR + 1, 600 * DOLLAR):
            provisioned.provision(whom, 600 * DOLLAR + 1, {"from": operator})


def test_what_thaws_is_not_free(staked, operator, slasher):
    staked.thaw(NOBODY, 900 * DOLLAR, {"from": operator})
    with reverts("AmountOutOfRange", 101 * DOLLAR, 100 * DOLLAR):
        staked.provision(slasher, 101 * DOLLAR, {"from": operator})


def test_refuses_zero(staked, operator, slasher):
    with reverts("ZeroAmount"):
        staked.provision(slasher, 0, {"from": operator})


def test_refuses_slashers_who_cannot_be(staked, operator):
    for nobody in (NOBODY, staked.address):
        with reverts("InvalidSlasher", nobody):
            staked.provision(nobody, 1, {"from": operator})


def test_strangers_have_nothing_to_provision(staked, stranger, slasher):
    with reverts("AmountOutOfRange", 1, 0):
        staked.provision(slasher, 1, {"from": stranger})


def test_provisions_are_listed(provisioned, operators, operator, slasher, stranger):
    """Each slasher once, whatever it was given since."""
    provisioned.provision(stranger, 100 * DOLLAR, {"from": operator})
    provisioned.provision(slasher, 50 * DOLLAR, {"from": operator})
    provisioned.thaw(stranger, 30 * DOLLAR, {"from": operator})
    provisioned.lock(operator, 20 * DOLLAR, {"from": stranger})
    slashers, provisions = provisioned.provisions(operator)
    assert slashers == (NOBODY, slasher, stranger)
    for whose, provision in zip(slashers, provisions, strict=True):
        assert provision.dict() == operators.provision(operator, whose)
    assert [provision[0] for provision in provisions] == [450 * DOLLAR, 450 * DOLLAR, 70 * DOLLAR]


def test_nobody_has_provisions_before(registry, stranger):
    assert registry.provisions(stranger) == ((NOBODY,), ((0, 0, 0, 0),))
