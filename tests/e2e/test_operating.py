"""The commands of docs/operating.md, in their order, on the embedded chain."""

from pathlib import Path

from tests.e2e.documents import blocks, replace, run

from waypost.cli.demo.processes import free_ports

OPERATOR = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def test_an_operators_life(tmp_path: Path) -> None:
    chain_port, node_port, _ = free_ports(3)
    ready = f"until_ok curl -fs http://127.0.0.1:{node_port}/readyz"
    script = replace(
        "\n".join(blocks("docs/operating.md")),
        ("waypost node init --dev-account 1 ", f"waypost node init --dev-account 1 --port {node_port} "),
        ("waypost node run &", f"waypost node run &\n{ready}"),
    )
    chain = (
        f"waypost chain --port {chain_port} &\nuntil_ok waypost deploy --dry-run\n"
        "waypost deploy --dev-account 0 --yes\n"
        f"waypost token mint 100 --dev-account 0 --to {OPERATOR}\n"
    )
    output = run(chain + script, tmp_path, {"WAYPOST_RPC_URL": f"http://127.0.0.1:{chain_port}"})
    assert "earned       0 DUSD" in output
    assert "10 DUSD for 0x1111111111111111111111111111111111111111" in output
    assert "signs with an older key" in output  # the node was not restarted yet
    assert "No stake is left in the registry." in output
