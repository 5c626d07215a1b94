"""The commands of the README, as a newcomer would paste them: only ports and folders are this test's own."""

import json
from pathlib import Path

from tests.e2e.documents import ROOT, blocks, replace, run

from waypost.cli.demo.processes import free_ports


def test_by_hand(tmp_path: Path) -> None:
    chain_port, node_port, _ = free_ports(3)
    script = replace(
        blocks("README.md", "## By hand")[0],
        ("waypost chain &", f"waypost chain --port {chain_port} &\nuntil_ok waypost deploy --dry-run"),
        ("node init", f"node init --port {node_port}"),
        ("waypost rln leave", "waypost rln extend --periods 2 --dry-run\nwaypost rln leave"),
        ("waypost node run &", f"waypost node run &\nuntil_ok curl -fs http://127.0.0.1:{node_port}/readyz"),
    )
    environment = {
        "WAYPOST_RPC_URL": f"http://127.0.0.1:{chain_port}",
        "WAYPOST_RLN_KEYS": str(ROOT / "build" / "keys"),  # making the development key takes a while
    }
    output = run(script, tmp_path, environment)
    assert "hello, me" in output
    assert "hello, all" in output
    assert "2 more periods cost 0.02 DUSD; paid until " in output
    assert "Ends the membership: 0.1 DUSD come back, " in output
    assert "Claimed so far: 0.101 DUSD." in output


def test_the_gas_it_states_is_the_snapshots() -> None:
    gas = json.loads((ROOT / "tests/benchmarks/gas.json").read_text())
    labels = (
        "channels.claim.single",
        "channels.claim.marginal_100",
        "channels.open",
        "channels.open_with_authorization",
    )
    text = (ROOT / "README.md").read_text()
    assert [label for label in labels if f"{gas[label]:,}" not in text] == []
