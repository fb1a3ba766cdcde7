"""Videos: what is written can be read, frames come at their times, and bad files stop nobody."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from iotedge_lab.camera.codecs import CODECS, working_codecs
from iotedge_lab.camera.video import FolderReader, Recorder, fitted, read_video, write_video
from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import DataError, EnvironmentProblem, UsageError

SHADES = (40, 120, 200)


def frames(rows=47, columns=63, shades=SHADES):
    return [np.full((rows, columns, 3), each, np.uint8) for each in shades]


def shade(frame):
    return frame.image[5:-5, 5:-5].mean()


def test_the_wheels_codecs_work():
    """OpenCV's wheels write MPEG-4, Motion JPEG and VP8; H.264 is there where PyAV is."""
    assert {"mp4v", "mjpg", "vp8"} <= set(working_codecs()) <= set(CODECS)


@pytest.mark.parametrize("name", CODECS)
def test_what_is_written_is_read_again(tmp_path, name):
    """One frame a second becomes 30 a second, padded to even sizes, each shown for its second."""
    if name not in working_codecs():
        pytest.skip(f"{name} cannot be written here")
    path = tmp_path / f"road{CODECS[name].suffix}"
    made = write_video(frames(), path, codec_name=name)
    assert (made.frames, made.seconds, made.width, made.height) == (90, 3.0, 64, 48)
    assert made.size == path.stat().st_size
    read = list(read_video(path))
    assert [each.number for each in read] == list(range(90))
    assert [each.seconds for each in read] == pytest.approx([each / 30 for each in range(90)], abs=0.002)
    assert all(each.image.shape == (48, 64, 3) for each in read)
    for number, each in enumerate(read):
        assert shade(each) == pytest.approx(SHADES[number // 30], abs=14), number
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("rate", "fps", "count"), [(24.0, 24.0, 3), (60.0, 30.0, 1), (2.0, 25.0, 37), (1000.0, 1.0, 1)]
)
def test_frames_are_repeated_or_left_out(tmp_path, rate, fps, count):
    """The file lasts as long as its frames do, with one frame at least."""
    made = write_video(frames(48, 64), tmp_path / "a.mp4", rate=rate, fps=fps)
    assert made.frames == count == len(list(read_video(tmp_path / "a.mp4")))


def test_frames_of_other_sizes_are_fitted():
    """A frame that lacks a pixel is padded, another one shrunk or enlarged, with its shape kept."""
    assert np.array_equal(fitted(frames(48, 64)[0], 64, 48), frames(48, 64)[0])
    padded = fitted(frames(47, 63)[0], 64, 48)
    assert padded[:47, :63].min() == 40
    assert padded[47:].max() == padded[:, 63:].max() == 0
    wide = fitted(frames(100, 400)[0], 64, 48)
    assert wide.shape == (48, 64, 3)
    assert wide[:16].min() == 40
    assert wide[16:].max() == 0


def test_a_video_that_fails_leaves_the_old_one(tmp_path):
    """Frames that break in the middle: the file that was there stays, and nothing half written is left."""
    path = tmp_path / "road.mp4"
    write_video(frames(), path)
    before = path.read_bytes()

    def breaking():
        yield frames()[0]
        raise RuntimeError("the camera fell off")

    with pytest.raises(RuntimeError):
        write_video(breaking(), path)
    with pytest.raises(UsageError, match="Frame 1 is no picture"):
        write_video([frames()[0], np.zeros((4, 4))], path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["road.mp4"]


@pytest.mark.parametrize(
    ("options", "name", "word"),
    [
        ({"codec_name": "av1"}, "a.mp4", "mp4v, mjpg, vp8, h264"),
        ({"codec_name": "vp8"}, "a.mp4", r"a\.webm"),
        ({"rate": 0.0}, "a.mp4", "frames a second"),
        ({"fps": 999.0}, "a.mp4", "frames a second"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, options, name, word):
    """Unknown codecs, a suffix of another one, rates that make no sense: UsageError with what to do."""
    with pytest.raises(UsageError, match=word):
        write_video(frames(), tmp_path / name, **options)


def test_no_frames_and_no_folder(tmp_path):
    """A video of nothing is refused; a folder that is not there is the machine's problem."""
    with pytest.raises(UsageError, match="there was none"):
        write_video([], tmp_path / "a.mp4")
    with pytest.raises(EnvironmentProblem):
        write_video(frames(), tmp_path / "nowhere" / "a.mp4")


def test_a_recorder_counts_on_and_keeps_the_newest(tmp_path):
    """Numbers go on from what is there, the newest files stay, and files of others are let alone."""
    (tmp_path / "video-000007.mp4").write_bytes(b"an old one")
    (tmp_path / "video-notes.txt").write_text("x")
    recorder = Recorder(tmp_path, frames, keep=2, rate=30.0)
    assert recorder.record().path.name == "video-000008.mp4"
    assert recorder.record().path.name == "video-000009.mp4"
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["video-000008.mp4", "video-000009.mp4", "video-notes.txt"]


def test_a_recorder_counts_across_codecs_and_bounds_bytes(tmp_path):
    """Another codec goes on with the numbers and removes the old ones; what does not fit goes, but never the newest."""
    first = Recorder(tmp_path, frames, keep=5, rate=30.0).record()
    recorder = Recorder(tmp_path, frames, keep=1, rate=30.0, codec_name="mjpg")
    assert recorder.next_number() == 2
    assert recorder.record().path == recorder.path(2)
    assert not first.path.exists()
    small = Recorder(tmp_path, frames, keep=5, most_bytes=1, rate=30.0)
    assert small.record().path.name == "video-000003.mp4"
    assert [each.name for each in tmp_path.iterdir()] == ["video-000003.mp4"]


def test_a_recorder_sweeps_up_after_one_that_was_killed(tmp_path):
    """Half-written files of its own name go; others stay."""
    (tmp_path / ".video-000001.part.mp4").write_bytes(b"half")
    (tmp_path / ".other-000001.part.mp4").write_bytes(b"half")
    recorder = Recorder(tmp_path, frames, rate=30.0)
    assert recorder.next_number() == 1
    recorder.sweep()
    assert [each.name for each in tmp_path.iterdir()] == [".other-000001.part.mp4"]


@pytest.mark.parametrize("name", ["mp4v", "mjpg", "vp8"])
def test_a_full_disk_is_said(tmp_path, name):
    """OpenCV says nothing of it; here it is an error with what to do, nothing half stays, and stderr stays empty."""
    script = (
        "import resource, sys, numpy as np\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from iotedge_lab.camera.video import write_video\n"
        "from iotedge_lab.errors import EnvironmentProblem\n"
        "noise = np.random.default_rng(1)\n"
        "frames = (noise.integers(0, 255, (180, 320, 3), dtype=np.uint8) for _ in range(20))\n"
        "try:\n"
        "    write_video(frames, sys.argv[1], rate=24, fps=24, codec_name=sys.argv[2])\n"
        "except EnvironmentProblem as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / f"a{CODECS[name].suffix}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), name],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "was not written whole (0 of 20 frames). Is the disk full? Then make room." in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_records_until_it_is_stopped(tmp_path, caplog):
    """It makes one video after another until `stop`; one that cannot be written is logged, and the next one tried."""
    stop, told, tries = threading.Event(), [], []

    def sometimes():
        tries.append(1)
        if len(tries) == 2:
            raise EnvironmentProblem("the disk is full")
        return frames()

    def count(video):
        told.append(video)
        if len(told) == 2:
            stop.set()

    clock = FakeClock()
    Recorder(tmp_path, sometimes, rate=30.0, clock=clock).run(stop, every=0.0, told=count)
    assert [each.path.name for each in told] == ["video-000001.mp4", "video-000002.mp4"]
    assert len(tries) == 3
    assert "the disk is full" in caplog.text


def test_a_recorder_refuses_what_it_cannot_keep(tmp_path):
    """It keeps one file at least, and its prefix leads nowhere else."""
    with pytest.raises(UsageError, match="At least one"):
        Recorder(tmp_path, frames, keep=0)
    with pytest.raises(UsageError, match="prefix"):
        Recorder(tmp_path, frames, prefix="../x")


def bad_files(folder):
    """What a folder of videos may hold besides good ones."""
    write_video(frames(), folder / "whole.mp4")
    write_video(frames(), folder / "whole.avi", codec_name="mjpg")
    (folder / "cut.mp4").write_bytes((folder / "whole.mp4").read_bytes()[:-500])
    (folder / "cut.avi").write_bytes((folder / "whole.avi").read_bytes()[:20000])
    (folder / "text.mp4").write_text("no video at all\n" * 100)
    (folder / "empty.webm").write_bytes(b"")
    (folder / ".video.part.mp4").write_bytes(b"still being written")
    (folder / "readme.txt").write_text("x")


@pytest.mark.parametrize(
    ("name", "word"),
    [("cut.mp4", "cut short"), ("cut.avi", "cut short"), ("text.mp4", "no video"), ("gone.mp4", "exist")],
)
def test_a_bad_video_is_told(tmp_path, name, word):
    """Files that are cut short, foreign or missing: DataError, after the frames that could be read."""
    bad_files(tmp_path)
    read = []
    with pytest.raises(DataError, match=word):
        read.extend(read_video(tmp_path / name))
    assert (len(read) > 5) == (name == "cut.avi")


def test_a_folder_is_read_whatever_lies_in_it(tmp_path, caplog, capfd):
    """Good videos are read, bad ones told once, nothing goes to the terminal, and what is replaced is read again."""
    bad_files(tmp_path)
    problems = []
    reader = FolderReader(tmp_path, problems.append)
    read = [each.path.name for _ in range(3) for each in reader.poll()]
    assert read.count("whole.mp4") == read.count("whole.avi") == 90
    assert 5 < read.count("cut.avi") < 90
    assert set(read) == {"whole.mp4", "whole.avi", "cut.avi"}
    assert sorted(each.path.name for each in problems) == ["cut.avi", "cut.mp4", "empty.webm", "text.mp4"]
    assert reader.problems == len(caplog.records) == 4
    write_video(frames(shades=(90,)), tmp_path / "whole.mp4")
    assert [each.path.name for each in reader.poll()] == ["whole.mp4"] * 30
    (tmp_path / "whole.mp4").unlink()
    assert not list(reader.poll())
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_written_in_place_is_waited_for(tmp_path):
    """A video that another program still writes is not told as broken, and read when it is whole."""
    write_video(frames(), tmp_path / "done.mp4")
    content = (tmp_path / "done.mp4").read_bytes()
    (tmp_path / "done.mp4").unlink()
    problems = []
    reader = FolderReader(tmp_path, problems.append)
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "slow.mp4").write_bytes(content[: int(share * len(content))])
        assert not list(reader.poll())
    (tmp_path / "slow.mp4").write_bytes(content)
    assert len(list(reader.poll())) == 90
    assert not problems


def test_a_folder_is_followed(tmp_path):
    """A folder that does not exist yet is waited for; videos are read as they come, until the reader is stopped."""
    folder, stop, read = tmp_path / "later", threading.Event(), []
    first, second = threading.Event(), threading.Event()

    def follow():
        for each in FolderReader(folder).follow(stop, look_every=0.02):
            read.append((each.path.name, each.number))
            if each.number == 89:
                (second if first.is_set() else first).set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        folder.mkdir()
        write_video(frames(), folder / "a.mp4")
        assert first.wait(60)
        write_video(frames(), folder / "b.mp4")
        assert second.wait(60)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert read == [(name, number) for name in ("a.mp4", "b.mp4") for number in range(90)]


def test_a_reader_that_is_left_does_not_read_a_file_twice(tmp_path):
    """Who stops in the middle of a video goes on with the next one."""
    write_video(frames(), tmp_path / "a.mp4")
    reader = FolderReader(tmp_path)
    assert next(iter(reader.poll())).number == 0
    assert not list(reader.poll())


def test_a_reader_remembers_and_forgets(tmp_path):
    """What an earlier reader had read is not read again, unless it was changed, or is asked for again by name."""
    write_video(frames(), tmp_path / "a.mp4", rate=30.0)
    write_video(frames(), tmp_path / "b.mp4", rate=30.0)
    before = FolderReader(tmp_path)
    assert len(list(before.poll())) > 0
    reader = FolderReader(tmp_path)
    reader.remember(before.done)
    assert list(reader.poll()) == []
    reader.forget("a.mp4")
    assert {each.path.name for each in reader.poll()} == {"a.mp4"}
    write_video(frames(), tmp_path / "b.mp4", rate=15.0)
    assert {each.path.name for each in reader.poll()} == {"b.mp4"}
    reader.forget()
    assert {each.path.name for each in reader.poll()} == {"a.mp4", "b.mp4"}
