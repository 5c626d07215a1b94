"""A node's folder in one file and back: nothing is lost that was in it, and nothing else gets in."""

import io
import json
import os
import resource
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.money_node import NodeKeys, assert_books_agree, open_node
from tests.services.node.world import PRICE, World

from waypost.errors import (
    DataOfAnotherChain,
    DataTooNew,
    InvalidBackup,
    InvalidConfig,
    InvalidCursor,
    WaypostError,
)
from waypost.node import backup, settings
from waypost.node.cursors import Cursors
from waypost.node.settings import NodeConfig

PASSWORD = "of keys that hold nothing"


@pytest.fixture
def folder(world: World, keys: NodeKeys) -> Path:
    """A node's, with settings and keys."""
    manifest = world.manifest
    config = NodeConfig(
        rpc_url=world.url,
        chain_id=manifest.chain_id,
        channels=manifest.channels,
        registry=manifest.registry,
        token=manifest.token,
        operator=keys.payee,
        payee=keys.payee,
        endpoint="http://127.0.0.1:8400",
    )
    roles = {"operator": keys.payee_key, "node": b"\x07" * 32, "gas": keys.gas_key}
    settings.initialise(keys.folder, config, roles, PASSWORD, scrypt_n=2)
    return keys.folder


async def test_a_running_node_is_copied_and_goes_on_elsewhere(
    world: World, keys: NodeKeys, folder: Path, tmp_path: Path
) -> None:
    client, other = await world.client(keys.payee), await world.client(keys.payee)
    async with open_node(world, keys) as node, node.running(claiming=False):
        await node.open(client.request())
        await node.pay(client, 700_000)
        cursor = await node.db.read(lambda connection: Cursors(connection).encode(0))
        manifest = backup.create(folder, tmp_path / "copy")
        # What happens now is in no backup: the chain and the clients know it.
        await node.open(other.request())
        await node.pay(client, 1_500_000)
    assert stat.S_IMODE(os.stat(tmp_path / "copy").st_mode) == 0o600
    restored = NodeKeys(tmp_path / "new", keys.gas_key, keys.payee_key)
    assert backup.restore(tmp_path / "copy", restored.folder) == manifest
    assert settings_and_keys(restored.folder) == settings_and_keys(folder)
    async with open_node(world, restored) as node, node.running():
        await node.catch_up()
        with pytest.raises(InvalidCursor):  # of a store whose numbers will be given out again
            await node.db.read(lambda connection: Cursors(connection).decode(cursor))
        assert (await node.books(client)).paid == 700_000
        await node.pay(client, 1_500_000)  # its next receipt is a total: nothing of it is lost
        await node.pay(other, PRICE)
        await node.has_claimed(1_500_000 + PRICE)
        await assert_books_agree(node)


def settings_and_keys(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def test_a_folder_without_books_is_copied(folder: Path, tmp_path: Path) -> None:
    backup.create(folder, tmp_path / "copy")
    backup.restore(tmp_path / "copy", tmp_path / "new")
    assert settings.read_key(tmp_path / "new", "node", PASSWORD) == b"\x07" * 32
    assert stat.S_IMODE(os.stat(tmp_path / "new" / "keys" / "node.keystore.json").st_mode) == 0o600


def test_a_lost_token_is_no_obstacle(folder: Path, tmp_path: Path) -> None:
    (folder / "admin.token").unlink()
    backup.create(folder, tmp_path / "copy")
    backup.restore(tmp_path / "copy", tmp_path / "new")
    settings.renew_admin_token(tmp_path / "new")  # as the node's start does
    assert settings.load(tmp_path / "new", PASSWORD).admin_token


def test_links_are_followed(folder: Path, tmp_path: Path) -> None:
    key = folder / "keys" / "node.keystore.json"
    key.rename(tmp_path / "elsewhere")
    key.symlink_to(tmp_path / "elsewhere")
    os.link(folder / "keys" / "gas.keystore.json", folder / "keys" / "payee.keystore.json")
    backup.create(folder, tmp_path / "copy")
    backup.restore(tmp_path / "copy", tmp_path / "new")
    assert settings_and_keys(tmp_path / "new") == settings_and_keys(folder)
    assert settings.read_key(tmp_path / "new", "node", PASSWORD) == b"\x07" * 32
    assert not (tmp_path / "new" / "keys" / "node.keystore.json").is_symlink()


@pytest.mark.parametrize("name", ["old_node.keystore.json", "UTC--2026--0xab", ".hidden.keystore.json"])
def test_what_could_not_be_restored_is_named_at_once(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "keys" / name).write_text("{}")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidConfig, match=f"{name} is no file that a backup can hold"):
        backup.create(folder, tmp_path / "copy")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["nowhere", "folder"])
def test_a_link_to_no_file_is_named_at_once(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    (folder / "keys" / "payee.keystore.json").symlink_to(tmp_path / target)
    with pytest.raises(InvalidConfig, match=r"payee\.keystore\.json is no file"):
        backup.create(folder, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    backup.create(folder, tmp_path / "copy")
    with pytest.raises(InvalidConfig, match="exists already"):
        backup.create(folder, tmp_path / "copy")
    with pytest.raises(InvalidConfig, match="not empty"):
        backup.restore(tmp_path / "copy", folder)
    with pytest.raises(InvalidConfig, match="holds no node"):
        backup.create(tmp_path, tmp_path / "another")


def test_a_full_disk_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(InvalidConfig, match="cannot be written"):
            backup.create(folder, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def repacked(source: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """The same archive with other content."""
    with tarfile.open(source) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(content)
    with tarfile.open(target, "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def edit(content: dict[str, bytes], **changes: Any) -> None:
    manifest = json.loads(content["manifest.json"])
    manifest["files"] |= changes.pop("files", {})
    content["manifest.json"] = json.dumps(manifest | changes).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("manifest.json"),
        lambda content: content.pop("node.json"),
        lambda content: content.update({"manifest.json": b"[]"}),
        lambda content: content.update({"node.json": content["node.json"] + b" "}),
        lambda content: content.update({"keys/node.keystore.json": b""}),
        lambda content: edit(content, format="waypost-node-backup/2"),
        lambda content: edit(content, files={"../escape": "00"}),
        lambda content: edit(content, files={"/etc/escape": "00"}),
        lambda content: edit(content, files={"keys/../../escape.keystore.json": "00"}),
        lambda content: edit(content, files={"keys/node.keystore.json": None}),
        lambda content: edit(content, files="everything"),
    ],
    ids=range(11),
)
def test_a_damaged_archive_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], object]
) -> None:
    backup.create(folder, tmp_path / "copy")

    def careful(content: dict[str, bytes]) -> None:
        try:
            change(content)
        except (TypeError, ValueError):
            content["manifest.json"] = b"{"

    with pytest.raises(InvalidBackup):
        backup.restore(repacked(tmp_path / "copy", tmp_path / "bad", careful), tmp_path / "new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bad", "copy", "node"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b" + bytes(600)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidBackup):
        backup.restore(tmp_path / "file", tmp_path / "new")
    with pytest.raises(InvalidBackup, match="no file"):
        backup.restore(tmp_path / "missing", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_cut_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = backup.create(folder, tmp_path / "copy")
    assert whole["files"]
    content = (tmp_path / "copy").read_bytes()
    for length in range(0, len(content), 997):
        (tmp_path / "cut").write_bytes(content[:length])
        try:
            backup.restore(tmp_path / "cut", tmp_path / "new")
        except InvalidBackup:
            assert not (tmp_path / "new").exists()
        else:
            assert not content[length:].strip(b"\x00")  # only the padding was cut
            return


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE meta SET value = '5' WHERE key = 'chain_id'", DataOfAnotherChain),
        ("PRAGMA user_version = 99", DataTooNew),
    ],
)
async def test_books_that_do_not_fit_are_refused(
    world: World, keys: NodeKeys, folder: Path, tmp_path: Path, statement: str, error: type[WaypostError]
) -> None:
    async with open_node(world, keys):
        pass
    connection = sqlite3.connect(folder / "node.db")
    with connection:
        connection.execute(statement)
    connection.close()
    backup.create(folder, tmp_path / "copy")
    with pytest.raises(error):
        backup.restore(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()
