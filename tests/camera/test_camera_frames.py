"""A folder of one's own frames: sizes, kinds, order, and what is wrong with a file."""

import cv2
import numpy as np
import pytest

from iotedge_lab.camera.frames import FrameFolder, read_picture
from iotedge_lab.errors import DataError


def picture(rows=31, columns=47, kind=np.uint8, channels=3):
    shape = (rows, columns) if channels == 1 else (rows, columns, channels)
    return np.random.default_rng(1).integers(0, 200, shape, dtype=np.uint16).astype(kind)


def test_all_kinds_of_pictures_become_frames(tmp_path):
    """Colour, grey, alpha, 16 bits, PNG and JPEG, suffixes in capitals, odd sizes: rows x columns x 3 bytes."""
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    cv2.imwrite(str(tmp_path / "b.jpg"), picture())
    cv2.imwrite(str(tmp_path / "c.png"), picture(channels=1))
    cv2.imwrite(str(tmp_path / "d.png"), picture(channels=4))
    cv2.imwrite(str(tmp_path / "e.png"), picture(kind=np.uint16))
    (tmp_path / "f.JPEG").write_bytes((tmp_path / "b.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    folder = FrameFolder(tmp_path)
    frames = list(folder.frames())
    assert [each.path.name for each in frames] == ["a.png", "b.jpg", "c.png", "d.png", "e.png", "f.JPEG"]
    assert all(each.image.shape == (31, 47, 3) and each.image.dtype == np.uint8 for each in frames)
    assert not folder.broken


def test_frames_are_counted_as_people_count(tmp_path):
    """Frame 10 comes after frame 2."""
    for number in (10, 2, 1, 100):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), picture())
    assert [each.stem for each in FrameFolder(tmp_path).files()] == [
        "frame1",
        "frame2",
        "frame10",
        "frame100",
    ]


def test_broken_files_are_told_by_name_and_left_out(tmp_path, caplog):
    """Cut short, empty, another kind in disguise, damaged: each is named with its reason, the others are read."""
    cv2.imwrite(str(tmp_path / "good.png"), picture())
    whole_png, whole_jpeg = (
        cv2.imencode(suffix, picture(80, 90))[1].tobytes() for suffix in (".png", ".jpg")
    )
    (tmp_path / "cut.png").write_bytes(whole_png[:-40])
    (tmp_path / "cut.jpg").write_bytes(whole_jpeg[: len(whole_jpeg) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    damaged = bytearray(whole_png)
    damaged[16:24] = b"\0" * 8  # no width, no height
    (tmp_path / "damaged.png").write_bytes(damaged)
    (tmp_path / "folder.png").mkdir()
    folder = FrameFolder(tmp_path)
    assert [each.path.name for each in folder.frames()] == ["good.png"]
    assert set(folder.broken) == {"cut.png", "cut.jpg", "empty.png", "text.jpg", "damaged.png", "folder.png"}
    assert "cut short" in folder.broken["cut.jpg"]
    assert "empty" in folder.broken["empty.png"]
    assert "no PNG and no JPEG" in folder.broken["text.jpg"]
    assert all(name in reason for name, reason in folder.broken.items())
    assert len(caplog.records) == 6


def test_folders_without_frames_are_refused(tmp_path):
    """A missing folder, a file in its place, no frames, only broken ones: DataError that says which."""
    with pytest.raises(DataError, match="does not exist"):
        FrameFolder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        FrameFolder(tmp_path / "file")
    with pytest.raises(DataError, match="no frames"):
        FrameFolder(tmp_path)
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(DataError, match="Not one file"):
        list(FrameFolder(tmp_path).frames())
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        read_picture(tmp_path / "gone.png")
