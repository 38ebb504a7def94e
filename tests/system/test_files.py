from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import find_photos
from edgeclf.image import ImageSpec
from edgeclf.system import files


def no_room(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_by_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tflite"
    path.write_text("as it was")
    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(OSError, match="No space left on device") as raised:
        files.write_text(path, "new")
    assert raised.value.filename == str(path)
    assert path.read_text() == "as it was" and [*tmp_path.iterdir()] == [path]


def test_what_another_file_fails_with_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, files.replacing(tmp_path / "new"):
        (tmp_path / "gone").read_bytes()
    assert raised.value.filename == str(tmp_path / "gone")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_room_for_decoded_photos_is_taken_before_they_are_decoded(
    make_folder: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = find_photos(make_folder(cat=2, dog=2))  # type: ignore[operator]
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(OSError, match="No space left on device") as raised:
        cache_photos(photos, ImageSpec(8, 8), tmp_path / "cache")
    assert str(raised.value.filename).startswith(str(tmp_path / "cache" / "photos-"))
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_file_system_that_cannot_reserve_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (1000,))
    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    files.reserve(tmp_path / "a.npy")
    array[:] = 7
    assert np.load(tmp_path / "a.npy").sum() == 7000
