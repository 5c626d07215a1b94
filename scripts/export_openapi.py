"""Writes docs/openapi.json: the node's HTTP interface as its routes declare it.
The app is built but never started, so the settings' values do not matter."""

import argparse
import json
import sys
from pathlib import Path

from eth_utils.address import to_checksum_address
from pydantic import SecretBytes, SecretStr

from waypost.node.app import create_app
from waypost.node.settings import NodeSettings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"
ADDRESS = to_checksum_address("0x" + "11" * 20)
KEY = SecretBytes(b"\x01" * 32)
SETTINGS = NodeSettings(
    rpc_url="http://127.0.0.1:8545",
    chain_id=31337,
    channels=ADDRESS,
    registry=ADDRESS,
    token=ADDRESS,
    operator=ADDRESS,
    payee=ADDRESS,
    endpoint="http://127.0.0.1:8400",
    data_dir=Path("unused"),
    node_key=KEY,
    gas_key=KEY,
    admin_token=SecretStr("not used, never started"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the document differs, write nothing")
    check = parser.parse_args().check

    text = json.dumps(create_app(SETTINGS).openapi(), indent=2, sort_keys=True) + "\n"
    if check:
        if not DOCUMENT.exists() or DOCUMENT.read_text() != text:
            sys.exit("docs/openapi.json differs from the routes: run make openapi and commit the result")
        print("docs/openapi.json is up to date")
    else:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
