"""The committed artifacts are what these tests exercise: Brownie's own build, byte for byte."""

import json
from pathlib import Path

import brownie
import pytest

FOLDER = Path(__file__).parents[2] / "services" / "waypost" / "chain" / "artifacts"
ARTIFACTS = sorted(path.stem for path in FOLDER.glob("*.json"))


def test_artifacts_are_the_deployed_contracts():
    assert ARTIFACTS == ["Channels", "DevDollar", "NodeRegistry", "RlnMembership"]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifact_equals_brownies_build(name):
    artifact = json.loads((FOLDER / f"{name}.json").read_text())
    build = getattr(brownie, name)._build
    assert artifact["bytecode"] == "0x" + build["bytecode"]
    assert artifact["deployedBytecode"] == "0x" + build["deployedBytecode"]
