"""`waypost node`: what an operator does, from nothing to a staked, earning node and out again."""

from waypost.cli.collect import collect
from waypost.cli.node import (
    backup,
    doctor,
    funding,
    leaving,
    listing,
    money,
    rotation,
    running,
    setup,
    stake,
)
from waypost.cli.nouns import noun

app = noun("Run a node that earns.")
app.command("init")(setup.init)
app.command("register")(setup.register)
app.command("fund")(funding.fund)
app.command("run")(running.run)
app.command("status")(money.status)
app.command("claim")(money.claim)
app.command("collect")(collect)
app.command("stake")(stake.stake)
app.command("provision")(stake.provision)
app.command("thaw")(stake.thaw)
app.command("cancel-thaw")(stake.cancel_thaw)
app.command("withdraw")(stake.withdraw)
app.command("doctor")(doctor.doctor)
app.command("rotate-key")(rotation.rotate)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("exit")(leaving.leave)
app.command("list")(listing.list_nodes)
