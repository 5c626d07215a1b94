"""Compiles the contracts into services/waypost/chain/artifacts, so that running a node needs no compiler.
The settings are Brownie's own (brownie-config.yaml), the compiler its shim: both make the same bytecode."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = ROOT / "services" / "waypost" / "chain" / "artifacts"
CONTRACTS = {
    "Channels": "contracts/payments/Channels.sol",
    "DevDollar": "contracts/mocks/DevDollar.sol",
    "NodeRegistry": "contracts/staking/NodeRegistry.sol",
    "RlnMembership": "contracts/rln/RlnMembership.sol",
}
OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "metadata"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail if the committed artifacts differ, write nothing"
    )
    check = parser.parse_args().check

    wanted = compile_contracts()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in ARTIFACTS.rglob("*.json") if path not in wanted]
    if check and stale:
        names = ", ".join(sorted(path.name for path in stale))
        sys.exit(f"artifacts differ from the contracts: {names}; run make artifacts and commit the result")
    for path in stale:
        if path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
    print(
        f"{len(wanted)} artifacts, {len(stale)} written"
        if not check
        else f"{len(wanted)} artifacts are up to date"
    )


def compile_contracts() -> dict[Path, str]:
    """The artifact of every exported contract, and the compiler's input that makes it again.

    Ends the program on a compiler error.
    """
    version, settings = compiler_settings()
    sources = {path: {"content": (ROOT / path).read_text()} for path in CONTRACTS.values()}
    output = run_compiler(version, {"language": "Solidity", "sources": sources, "settings": settings})
    errors = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] == "error"]
    if errors:
        sys.exit("\n".join(errors))
    files = {}
    for name, path in CONTRACTS.items():
        compiled = output["contracts"][path][name]
        files[ARTIFACTS / f"{name}.json"] = render(to_artifact(name, compiled))
        files[ARTIFACTS / "inputs" / f"{name}.json"] = render(to_input(json.loads(compiled["metadata"])))
    return files


def compiler_settings() -> tuple[str, dict[str, Any]]:
    """The compiler's version and settings as Brownie passes them on."""
    config = yaml.safe_load((ROOT / "brownie-config.yaml").read_text())["compiler"]
    solc = config["solc"]
    return solc["version"], {
        "evmVersion": config["evm_version"],
        "optimizer": solc["optimizer"],
        "outputSelection": {path: {name: OUTPUTS} for name, path in CONTRACTS.items()},
        "remappings": solc["remappings"],
        "viaIR": solc["viaIR"],
    }


def run_compiler(version: str, request: dict[str, Any]) -> dict[str, Any]:
    compiler = ROOT / "scripts" / "solc" / f"solc-v{version}"
    if shutil.which("node") is None or not (ROOT / "node_modules" / "solc").is_dir():
        sys.exit("the Solidity compiler is not installed: run make install-node")
    done = subprocess.run(
        [compiler, "--standard-json"], input=json.dumps(request), cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"the Solidity compiler failed: {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def to_artifact(name: str, output: dict[str, Any]) -> dict[str, Any]:
    metadata = json.loads(output["metadata"])
    settings = {key: value for key, value in metadata["settings"].items() if key != "compilationTarget"}
    return {
        "contractName": name,
        "sourceName": CONTRACTS[name],
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + output["evm"]["deployedBytecode"]["object"],
        "compiler": {"version": metadata["compiler"]["version"], "settings": settings},
    }


def to_input(metadata: dict[str, Any]) -> dict[str, Any]:
    """Standard-JSON input with every source that one contract needs: what block explorers ask for."""
    settings = {key: value for key, value in metadata["settings"].items() if key != "compilationTarget"}
    libraries = settings.pop("libraries", {})
    assert not libraries
    return {
        "language": "Solidity",
        "sources": {path: {"content": (ROOT / path).read_text()} for path in sorted(metadata["sources"])},
        "settings": settings | {"outputSelection": {"*": {"*": OUTPUTS}}},
    }


def render(artifact: dict[str, Any]) -> str:
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
