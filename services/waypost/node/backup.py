"""A node's folder in one file: settings, encrypted keys and books, and back again.
The node may run meanwhile: the books are copied as of one moment by SQLite's own backup."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from waypost import __version__, files
from waypost.errors import InvalidBackup, InvalidConfig
from waypost.node import settings
from waypost.node.backends.schema import prepare, renew_store
from waypost.node.backends.sqlite import FILE as BOOKS
from waypost.node.settings import CONFIG_FILE, KEY_FILES_FOLDER, KEYS_FOLDER, TOKEN_FILE, NodeConfig

FORMAT = "waypost-node-backup/1"
MANIFEST = "manifest.json"
MAX_SMALL = 1024 * 1024
"""Bytes of any file in a backup but the books."""

_MEMBER = re.compile(
    rf"{CONFIG_FILE}|{TOKEN_FILE}|{BOOKS}|{KEYS_FOLDER}/[A-Za-z0-9-]{{1,80}}\.keystore\.json"
    rf"|{KEY_FILES_FOLDER}/[0-9a-f]{{64}}\.json"
)


def create(data_dir: Path, target: Path) -> dict[str, Any]:
    """Writes the backup, whole or not at all, readable by its owner alone; an existing file stays as it is.
    Links are followed. Returns its manifest. Raises InvalidConfig, also for a file in the keys' folder that
    `restore` would not take.
    """
    config, names = settings.read_config(data_dir), _names(data_dir)
    if target.exists():
        raise InvalidConfig(f"{target} exists already and is not overwritten.", path=str(target))
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".waypost-backup.") as folder:
            work = Path(folder)
            for name in names:
                (work / name).parent.mkdir(exist_ok=True)
                copy = _copy_books if name == BOOKS else shutil.copyfile
                copy(data_dir / name, work / name)
            manifest = _manifest(config, {name: work / name for name in names})
            (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
            archive = work / "archive"
            with tarfile.open(archive, "w") as tar:
                for name in (MANIFEST, *names):
                    _add(tar, name, work / name)
            archive.chmod(0o600)
            with archive.open("rb") as written:
                os.fsync(written.fileno())
            os.link(archive, target)  # unlike rename, fails when the name is taken
            files.sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise InvalidConfig(f"{target} cannot be written: {error}", path=str(target)) from error
    return manifest


def restore(source: Path, data_dir: Path) -> dict[str, Any]:
    """Makes a node's folder from a backup, whole or not at all. Returns the backup's manifest.

    Raises InvalidConfig for a folder that is in use, InvalidBackup for a damaged file, and DataCorrupt,
    DataTooNew or DataOfAnotherChain for books that do not fit.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise InvalidConfig(f"{data_dir} is not empty: nothing is overwritten.", path=str(data_dir))
    data_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    work = Path(tempfile.mkdtemp(dir=data_dir.parent, prefix=".waypost-restore."))
    try:
        manifest = _unpack(source, work)
        _adopt_books(work)
        if data_dir.exists():
            data_dir.rmdir()
        work.rename(data_dir)
        files.sync_folder(data_dir.parent)
    except OSError as error:
        raise InvalidConfig(f"{data_dir} cannot be restored: {error}", path=str(data_dir)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _names(data_dir: Path) -> list[str]:
    """What to back up. Raises InvalidConfig for what could not be restored."""
    keys = sorted(f"{KEYS_FOLDER}/{path.name}" for path in (data_dir / KEYS_FOLDER).glob("*"))
    token = [TOKEN_FILE] if (data_dir / TOKEN_FILE).exists() else []  # the node's start makes another
    for name in (CONFIG_FILE, *token, *keys):
        path = data_dir / name
        if not (_MEMBER.fullmatch(name) and path.is_file() and path.stat().st_size <= MAX_SMALL):
            raise InvalidConfig(
                f"{path} is no file that a backup can hold, so none was made: move it out of the folder, "
                f"or name it {KEYS_FOLDER}/NAME.keystore.json if it is a key.",
                path=str(path),
            )
    # Verifying keys are public; `init` names them so, and what else is there is not the node's.
    public = (f"{KEY_FILES_FOLDER}/{path.name}" for path in (data_dir / KEY_FILES_FOLDER).glob("*.json"))
    keys += sorted(name for name in public if _MEMBER.fullmatch(name))
    return [CONFIG_FILE, *token, *keys, *([BOOKS] if (data_dir / BOOKS).exists() else [])]


def _copy_books(books: Path, copy: Path) -> None:
    source = sqlite3.connect(f"{books.absolute().as_uri()}?mode=ro", uri=True)
    target = sqlite3.connect(copy)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # all in one file
    finally:
        target.close()
        source.close()


def _manifest(config: NodeConfig, members: dict[str, Path]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "created": int(time.time()),
        "operator": config.operator,
        "chainId": config.chain_id,
        "files": {name: _digest(path) for name, path in members.items()},
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """A regular file of nobody's: `TarFile.add` would note links as links."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = path.stat().st_size, 0o600, int(time.time())
    with path.open("rb") as file:
        tar.addfile(member, file)


def _unpack(source: Path, work: Path) -> dict[str, Any]:
    """Regular files of known names only: nothing can be written elsewhere."""
    try:
        with tarfile.open(source, "r:") as tar:
            members = {member.name: member for member in tar}
            manifest = json.loads(_read(tar, members, MANIFEST))
            expected: dict[str, str] = dict(manifest["files"])
            if manifest["format"] != FORMAT or CONFIG_FILE not in expected:
                raise InvalidBackup(f"{source} is no backup that this version knows.", path=str(source))
            (work / KEYS_FOLDER).mkdir(mode=0o700)
            if any(name.startswith(f"{KEY_FILES_FOLDER}/") for name in expected):
                (work / KEY_FILES_FOLDER).mkdir(mode=0o700)
            for name, digest in expected.items():
                if not _MEMBER.fullmatch(name):
                    raise InvalidBackup(f"{source} names a file that no node has: {name[:80]!r}.")
                with _open(tar, members, name) as packed, _new(work / name) as file:
                    shutil.copyfileobj(packed, file)
                    file.flush()
                    os.fsync(file.fileno())
                if _digest(work / name) != digest:
                    raise InvalidBackup(f"{name} in {source} is damaged.", path=str(source))
    except FileNotFoundError:
        raise InvalidBackup(f"There is no file {source}.", path=str(source)) from None
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InvalidBackup(f"{source} is damaged, or no backup: {error}", path=str(source)) from error
    return dict(manifest)


def _open(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> IO[bytes]:
    member = members[name]
    if not member.isreg() or (name != BOOKS and member.size > MAX_SMALL):
        raise InvalidBackup(f"{name} is no file, or too large.")
    file = tar.extractfile(member)
    assert file is not None  # a regular file
    return file


def _read(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    with _open(tar, members, name) as file:
        return file.read()


def _new(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _adopt_books(folder: Path) -> None:
    """Checks them. What came after the backup is gone, so cursors of before must not count."""
    config = settings.read_config(folder)
    if not (folder / BOOKS).exists():
        return
    connection = sqlite3.connect(folder / BOOKS)
    connection.row_factory = sqlite3.Row
    try:
        prepare(connection, folder / BOOKS, config.identity)
        with connection:
            renew_store(connection)
    except sqlite3.DatabaseError as error:
        raise InvalidBackup(f"The books are damaged: {error}") from error
    finally:
        connection.close()
