"""The file by which a restored folder is told from the one that it was copied from."""

import os
import re
from pathlib import Path

import pytest

from waypost.client.marker import Marker
from waypost.errors import InvalidConfig


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "memberships" / "1.marker"
    before = os.umask(0)
    try:
        stamp = Marker(path).advance(7)
    finally:
        os.umask(before)
    assert Marker(path).stamp() == stamp
    assert path.read_text() == "7"
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_whatever_is_in_its_place_has_a_stamp(tmp_path: Path) -> None:
    path = tmp_path / "1.marker"
    assert Marker(path).stamp() == ""
    path.write_bytes(b"\xff" * 100)
    assert Marker(path).stamp().split()[0] == "\ufffd" * 32


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "1.marker"
    path.mkdir()
    sentence = f"^{re.escape(str(path))} cannot be written: Is a directory\\.$"
    with pytest.raises(InvalidConfig, match=sentence) as refused:
        Marker(path).advance(1)
    assert refused.value.details == {"path": str(path)}
