"""RLN in an operator's commands: the section of node.json that `init` writes, and what `status` shows."""

import hashlib
from pathlib import Path
from typing import Any

from waypost import files
from waypost.cli.amounts import Unit
from waypost.cli.node.admin import OperatorSide
from waypost.cli.places import Deployed
from waypost.errors import FileUnusable, InvalidConfig, NodeRefused
from waypost.node.settings import KEY_FILES_FOLDER, NodeConfig, RlnSettings
from waypost.zk import verifying_key
from waypost.zk.keys import require_allowed

CONTRACT = "RlnMembership"
_WINDOW = 3
"""Place of the window among the constructor's arguments."""
_LARGEST = 1024 * 1024


def section(there: Deployed, wanted: bool | None, key: str | None) -> dict[str, object]:
    """The settings of RLN by the manifest: none if the chain has no membership contract, or it is not wanted.

    Raises InvalidConfig if it is wanted, and the chain has none.
    """
    deployment = there.manifest.contracts.get(CONTRACT)
    if deployment is None or wanted is False:
        if wanted or key is not None:
            reason = "--no-rln was given" if deployment else f"the manifest has no {CONTRACT}"
            raise InvalidConfig(f"The node cannot follow RLN: {reason}.")
        return {}
    epoch, root = timing(int(deployment.constructor_arguments[_WINDOW]))
    return {
        "rln": {
            "contract": deployment.address,
            "start_block": deployment.block,
            "epoch_seconds": epoch,
            "root_seconds": root,
            "verifying_key": None if key is None else _sha256(key),
        }
    }


def timing(window: int) -> tuple[int, int]:
    """epochSeconds and rootSeconds for a contract with this window: the usual ones, or shorter ones where
    people try things. They follow from the window alone, so that all nodes of a network have the same.

    Raises InvalidConfig if the window is too short for any.
    """
    tolerance = int(NodeConfig.model_fields["clock_tolerance_seconds"].default)
    usual = RlnSettings.model_fields
    epoch = min(int(usual["epoch_seconds"].default), window // 10)
    root = min(int(usual["root_seconds"].default), (window - epoch - 2 * tolerance) // 3)
    if root < 1:
        raise InvalidConfig(
            f"Who leaves {CONTRACT} can be slashed for {window} s, which is too short for a node to do so:"
            " say --no-rln.",
            window=window,
        )
    return epoch, root


def read_verifying_key(path: Path | None, chain_id: int) -> str | None:
    """The content of a verifying key's file, which may be used on this chain; None without a file.

    Raises FileUnusable, InvalidKey or DevelopmentKey.
    """
    if path is None:
        return None
    try:
        if path.stat().st_size > _LARGEST:
            raise FileUnusable(f"{path} is too large for a verifying key.", path=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}.", path=str(path)) from None
    require_allowed(verifying_key.parse(data), chain_id)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FileUnusable(f"{path} is not UTF-8.", path=str(path)) from None


def keep_verifying_key(folder: Path, key: str | None) -> None:
    """Puts the file where the node looks for it, named by its hash."""
    if key is not None:
        files.write(folder / KEY_FILES_FOLDER / f"{_sha256(key)}.json", key, secret=False)


async def look(node: OperatorSide, status: dict[str, Any]) -> dict[str, Any] | None:
    """The RLN of a node with this status: what members' fees have brought, too, if that can be told now. None
    without RLN."""
    found: dict[str, Any] | None = status.get("rln")
    if found is None:
        return None
    try:
        members = await node.ask("GET", "/rln/members")
    except NodeRefused:
        return {**found, "fees": None}
    names = ("collected", "collectable", "burned", "gas", "gasPrice", "gasCost")
    late = sum(member["late"] for member in members["members"])
    return {**found, "fees": {**{name: members[name] for name in names}, "late": late}}


def lines(found: dict[str, Any] | None, unit: Unit) -> list[str]:
    """The same for people."""
    if found is None:
        return []
    level, fees = "level" if found["ready"] else "behind", found["fees"]
    read = f"read to block {found['head']}, {level}"
    shown = [f"members      {found['mine']} of {found['members']} pay this node  ({read})"]
    if fees is not None:
        late = f"; {fees['late']} members are not paid for any more" if fees["late"] else ""
        shown.append(f"  fees       {unit.show(int(fees['collectable']))} can be collected{late}")
    slow = "  (slow: this platform has no native library)" if found["library"] == "py_ecc" else ""
    return [
        *shown,
        f"  proofs     {found['verified']:,} verified by {found['library']}{slow},"
        f" {found['invalid']:,} invalid",
        f"  exposed    {found['exposed']} members; slashes: {found['committed']} committed,"
        f" {found['won']} won ({unit.show(int(found['reward']))}), {found['lost']} lost",
    ]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
