"""The commands of docs/operating.md, in their order, on the embedded chain."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from tests.e2e.documents import blocks, replace, run

from waypost.cli.demo.processes import free_ports

OPERATOR = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class Ports:
    """Of one test: its chain and node."""

    def __init__(self) -> None:
        self.chain, node, _ = free_ports(3)
        self.init = f"waypost node init --dev-account 1 --port {node} "
        self.start = f"waypost node run & node=$!\nuntil_ok curl -fs http://127.0.0.1:{node}/readyz"
        self.environment = {"WAYPOST_RPC_URL": f"http://127.0.0.1:{self.chain}"}

    @property
    def deployed(self) -> str:
        """Starts the chain, with the contracts and tokens for the operator."""
        return (
            f"waypost chain --port {self.chain} & chain=$!\nuntil_ok waypost deploy --dry-run\n"
            "waypost deploy --dev-account 0 --yes\n"
            f"waypost token mint 100 --dev-account 0 --to {OPERATOR}\n"
        )


@pytest.fixture
def ports() -> Ports:
    return Ports()


def test_an_operators_life(ports: Ports, tmp_path: Path) -> None:
    wallet = Account.encrypt(b"\x01" * 32, "example", kdf="scrypt", iterations=2)
    (tmp_path / "wallet.json").write_text(json.dumps(wallet))
    script = replace(
        "\n".join(blocks("docs/operating.md")),
        ("waypost node init --dev-account 1 ", ports.init),
        ("init --keystore wallet.json", "init --data-dir public --keystore wallet.json"),
        ("--rpc-url https://rpc.example", f"--rpc-url http://127.0.0.1:{ports.chain}"),
        ("--manifest deployments/CHAIN-ID.json", "--manifest home/deployments/31337.json"),
        ("waypost node run &", ports.start),
        (
            "systemctl restart waypost",
            f"waypost node doctor && exit 1\nkill $node; wait $node\n{ports.start}",
        ),
    )
    output = run(ports.deployed + script, tmp_path, ports.environment)
    assert "earned       0 DUSD" in output
    assert "members      0 of 0 pay this node" in output
    assert "10 DUSD for 0x1111111111111111111111111111111111111111" in output
    assert "Let 10 DUSD that are thawing back the node again?" in output
    assert output.count("signs with an older key") == 1  # between the rotation and the restart
    assert "No stake is left in the registry." in output
    assert "Warning" not in output
    public = json.loads((tmp_path / "public" / "node.json").read_text())
    assert (public["host"], public["port"]) == ("0.0.0.0", 443)


def test_status_without_a_chain(ports: Ports, tmp_path: Path) -> None:
    script = f"""export WAYPOST_PASSWORD=example
{ports.init}
waypost node register --yes
rm "$WAYPOST_HOME/node/admin.token"  # lost; the start makes another
{ports.start}
waypost node status
kill $chain; wait $chain || true
waypost node status --json
waypost node status
waypost node doctor && exit 1
kill $node; wait $node
waypost node status && exit 1
true"""
    output = run(ports.deployed + script, tmp_path, ports.environment)
    assert "\nnext  " not in output.split('"reachable": false')[1]
    assert "chain        out of reach, and with it stake and next steps" in output
    assert "error[rpc_unreachable]" in output
