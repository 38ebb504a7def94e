from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf.cli import main
from edgeclf.errors import DataError, OptionError
from edgeclf.service import gallery
from edgeclf.service.gallery import Gallery
from support.pictures import save, scene
from support.services import artifact, client, shade, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in (10, 2, 1):
        (made / f"photo {number}.jpg").write_bytes(shade(20 * number))
    (made / "drawn.png").write_bytes(save(scene(), "PNG"))
    (made / "secret.jpg").write_text("not a picture, whatever it is called")
    (made / "notes.txt").write_text("not a picture")
    (made / ".hidden.jpg").write_bytes(shade(20))
    (made / "below").mkdir()
    (made / "below" / "other.jpg").write_bytes(shade(20))
    return made


def test_the_pictures_of_the_folder_are_listed_and_nothing_else_is_read(
    folder: Path, tmp_path: Path
) -> None:
    with client(write(tmp_path, artifact()), ui=True, gallery=str(folder)) as http:
        listed = http.get("/v1/gallery").json()["pictures"]
        assert listed == ["drawn.png", "photo 1.jpg", "photo 2.jpg", "photo 10.jpg"]
        got = http.get("/v1/gallery/photo%202.jpg")
        assert got.content == shade(40) and got.headers["content-type"] == "image/jpeg"
        assert http.get("/v1/gallery/drawn.png").headers["content-type"] == "image/png"
        (folder / "later.jpg").write_bytes(shade(20))
        for name in ("secret.jpg", "notes.txt", ".hidden.jpg", "later.jpg", "below%2Fother.jpg",
                     "..%2Fpictures%2Fdrawn.png", "none.jpg"):  # fmt: skip
            assert http.get(f"/v1/gallery/{name}").status_code == 404, name
        (folder / "photo 1.jpg").write_text("replaced by a text")
        (folder / "drawn.png").unlink()
        for name in ("photo%201.jpg", "drawn.png"):
            assert http.get(f"/v1/gallery/{name}").json()["code"] == "no_picture_here"


def test_it_is_empty_unless_wanted_and_bounded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(write(tmp_path, artifact()), ui=True) as http:
        assert http.get("/v1/gallery").json() == {"pictures": []}
    monkeypatch.setattr(gallery, "MOST", 2)
    monkeypatch.setattr(gallery, "MOST_BYTES", len(shade(40)))
    assert list(Gallery(str(folder))._files) == ["photo 1.jpg", "photo 2.jpg"]
    (folder / "photo 1.jpg").write_bytes(shade(20) + b"\0" * len(shade(40)))
    assert gallery._read(folder / "photo 1.jpg") is None


def test_a_folder_without_pictures_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="No such file"):
        Gallery(str(tmp_path / "none"))
    with pytest.raises(OptionError, match="holds no picture"):
        Gallery(str(tmp_path))
    path = str(write(tmp_path, artifact()))
    assert main(["serve", path, "--gallery", str(tmp_path)]) == 2
    assert "no effect without --ui" in capsys.readouterr().err
    words = ["ui", path, "--port", "0", "--runtime", "fake", "--gallery", str(tmp_path)]
    assert main(words) == 2
    assert "holds no picture" in capsys.readouterr().err
