"""Raw folders made of a photographed face → prepared folder, with the real BlazeFace."""

import csv
import errno
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from casme_tf import crop_clip
from casme_tf.errors import UserError
from casme_tf.face_crop import FaceDetector, crop_box
from casme_tf.face_model import find_model
from casme_tf.images import read_rgb
from casme_tf.prepare import prepare_dataset

# fmt: off
COLUMNS = [
    "subject", "clip", "onset", "apex", "offset", "action_units", "emotion", "apex_source", "fps",
    "box_x", "box_y", "box_width", "box_height", "face_score", "face_range", "faces",
    "frame_width", "frame_height", "recipe", "source_digest", "frames_digest",
]
SHEET_COLUMNS = [
    "Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units",
    "Estimated Emotion",
]
# fmt: on
CLIPS = [
    ("01", "EP02_01f", 46, 59, 86, "4+7", "disgust"),
    ("01", "EP19_05", 9, 30, 51, "L12+R4", "happiness"),
    ("02", "EP06_02_01", 101, 132, 160, "?", "others"),
]


def frame(shift: float = 0) -> np.ndarray:
    """Return a raw frame of 640×480 px: the photographed face, 190 px wide, moved right."""
    return cv2.warpAffine(
        data.astronaut(), np.float32([[2, 0, shift - 129], [0, 2, -19]]), (640, 480)
    )


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


class Corpus:
    """A raw folder and its coding sheet."""

    def __init__(self, folder: Path, root: str = "CASME2-RAW", name: str = "img{}.jpg"):
        self.raw, self.root, self.name = folder / "raw", folder / "raw" / root, name
        self.coding, self.out = folder / "coding.csv", folder / "prepared"
        for number, (subject, clip, onset, apex, *_) in enumerate(CLIPS):
            self.write(subject, clip, onset, jpeg(frame(8 * number)))
            self.write(subject, clip, apex, jpeg(frame(8 * number + 2)))
        self.annotate(CLIPS)

    def path(self, subject, clip, index) -> Path:
        return self.root / f"sub{subject}" / clip / self.name.format(index)

    def write(self, subject, clip, index, content: bytes) -> None:
        path = self.path(subject, clip, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def annotate(self, clips) -> None:
        with self.coding.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(SHEET_COLUMNS)
            for subject, clip, onset, apex, offset, units, emotion in clips:
                writer.writerow([subject, clip, "", onset, apex, offset, "", units, emotion])

    def prepare(self, **options):
        return prepare_dataset(self.raw, self.coding, self.out, **options)

    def manifest(self) -> list[dict[str, str]]:
        with (self.out / "manifest.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file's time and content by its name."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def files_of(clips) -> list[str]:
    frames = [
        f"sub{subject}/ROI_{clip}/{name}_frame.jpg"
        for subject, clip, *_ in clips
        for name in ("apex", "onset")
    ]
    return sorted(["manifest.csv", *frames])


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path)


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
    corpus = Corpus(tmp_path_factory.mktemp("corpus"))
    result = corpus.prepare()
    assert (result.prepared, result.reused, result.failures, result.notes) == (3, 0, (), ())
    return corpus


@pytest.fixture
def prepared(prepared_once, tmp_path):
    """Return a prepared corpus that a test may spoil."""
    folder = tmp_path / "copy"
    shutil.copytree(prepared_once.raw.parent, folder)
    corpus = Corpus(folder)
    return corpus


def test_layout_name_by_name(prepared):
    assert sorted(tree(prepared.out)) == files_of(CLIPS)
    folders = {path for path in prepared.out.rglob("*") if path.is_dir()}
    assert len(folders) == 2 + 3


def test_manifest_says_what_the_sheet_says(prepared):
    rows = prepared.manifest()
    assert list(rows[0]) == COLUMNS
    for row, (subject, clip, onset, apex, offset, units, emotion) in zip(rows, CLIPS, strict=True):
        assert [row[name] for name in COLUMNS[:9]] == [
            *(f"sub{subject}", clip, str(onset), str(apex), str(offset), units, emotion),
            *("sheet", "200"),
        ]
        assert (row["frame_width"], row["frame_height"]) == ("640", "480")


def test_both_frames_are_cropped_with_the_box_of_the_onset(prepared):
    with FaceDetector() as detector:
        for row, (subject, clip, onset, apex, *_) in zip(prepared.manifest(), CLIPS, strict=True):
            source = read_rgb(prepared.path(subject, clip, onset))
            face = detector.detect(source)
            box = crop_box(face, (480, 640))
            assert [int(row[f"box_{name}"]) for name in ("x", "y", "width", "height")] == [
                *(box.x, box.y, box.width, box.height)
            ]
            assert float(row["face_score"]) == pytest.approx(face.score, abs=1e-4)
            assert (row["face_range"], row["faces"]) == ("short", "1")
            folder = prepared.out / f"sub{subject}" / f"ROI_{clip}"
            moved = read_rgb(prepared.path(subject, clip, apex))
            for name, expected in (("onset", box.crop(source)), ("apex", box.crop(moved))):
                written = read_rgb(folder / f"{name}_frame.jpg").astype(int)
                assert written.shape == expected.shape
                assert np.abs(written - expected).mean() < 0.6


def test_jpeg_of_a_crop_keeps_chroma_and_makes_no_motion(prepared):
    row = prepared.manifest()[0]
    path = prepared.out / "sub01/ROI_EP02_01f/onset_frame.jpg"
    with Image.open(path) as image:
        assert [sampling[1:3] for sampling in image.layer] == [(1, 1)] * 3  # 4:4:4
    x, y, width, height = (int(row[f"box_{name}"]) for name in ("x", "y", "width", "height"))
    source = read_rgb(prepared.path("01", "EP02_01f", 46))[y : y + height, x : x + width]
    greys = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (source, read_rgb(path)))
    flow = cv2.calcOpticalFlowFarneback(*greys, None, 0.5, 3, 19, 5, 7, 1.2, 0)
    length = np.linalg.norm(flow, axis=-1)[20:-20, 20:-20]
    assert length.mean() < 0.01
    assert length.max() < 0.15


def test_run_again_does_nothing(prepared, capfd):
    before = tree(prepared.out)
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (0, 3)
    assert tree(prepared.out) == before
    assert capfd.readouterr() == ("", "")


def test_changed_source_is_done_again_and_nothing_else(prepared):
    before = tree(prepared.out)
    prepared.write("01", "EP19_05", 30, jpeg(frame(13)))
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (1, 2)
    after = tree(prepared.out)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        "manifest.csv",
        "sub01/ROI_EP19_05/onset_frame.jpg",
        "sub01/ROI_EP19_05/apex_frame.jpg",
    }
    assert sorted(after) == files_of(CLIPS)


@pytest.mark.parametrize("damage", ["gone", "emptied", "folder gone"])
def test_missing_or_damaged_output_is_made_anew(prepared, damage):
    before = tree(prepared.out)
    path = prepared.out / "sub02/ROI_EP06_02_01/apex_frame.jpg"
    if damage == "gone":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        shutil.rmtree(path.parent.parent)
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (1, 2)
    after = tree(prepared.out)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_changed_annotation_changes_the_manifest_alone(prepared):
    before = tree(prepared.out)
    prepared.annotate([*CLIPS[:2], (*CLIPS[2][:5], "17", "sadness")])
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (0, 3)
    after = tree(prepared.out)
    assert {name for name in after if after[name] != before[name]} == {"manifest.csv"}
    assert [row["emotion"] for row in prepared.manifest()] == ["disgust", "happiness", "sadness"]
    assert prepared.manifest()[2]["action_units"] == "17"


def test_other_face_model_does_all_anew(prepared):
    result = prepared.prepare(face_model=find_model("full"))
    assert (result.prepared, result.reused) == (3, 0)
    assert {row["face_range"] for row in prepared.manifest()} == {"full"}
    assert len([note for note in result.notes if "full-range" in note]) == 3


def test_clip_that_left_the_sheet_is_removed(prepared):
    prepared.annotate(CLIPS[:2])
    result = prepared.prepare()
    assert (result.prepared, result.reused, result.failures) == (0, 2, ())
    assert result.notes[0].startswith("sub02/EP06_02_01: removed")
    assert sorted(tree(prepared.out)) == files_of(CLIPS[:2])
    assert not (prepared.out / "sub02").exists()


def test_several_faces_are_noted(corpus):
    two = np.full((480, 640, 3), 110, np.uint8)
    head = data.astronaut()[:260, 100:360]
    two[:260, :260], two[:200, 300:500] = head, cv2.resize(head, (200, 200))
    corpus.write("01", "EP02_01f", 46, jpeg(two))
    result = corpus.prepare()
    assert result.notes == ("sub01/EP02_01f: 2 faces; the largest was taken.",)
    assert corpus.manifest()[0]["faces"] == "2"


GREY = Image.fromarray(frame()).convert("L")


def as_file(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [as_file(GREY, "JPEG"), as_file(GREY.convert("RGBA"), "PNG")], ids=["grey", "alpha"]
)
def test_grey_and_transparent_frames_are_taken(corpus, content):
    corpus.write("01", "EP02_01f", 46, content)
    corpus.write("01", "EP02_01f", 59, content)
    assert corpus.prepare().failures == ()
    crop = read_rgb(corpus.out / "sub01/ROI_EP02_01f/onset_frame.jpg").astype(int)
    assert np.ptp(crop, axis=2).max() <= 1
    assert crop.std() > 20


BAD_FRAMES = {
    "missing": (None, "no .*img{}.jpg"),
    "zero bytes": (b"", "img{}.jpg, which is empty"),
    "truncated": (jpeg(frame())[:9000], "img{}.jpg must be a whole image file"),
    "no image": (b"<html></html>", "img{}.jpg, which is no image format"),
    "another size": (jpeg(frame()[:240, :320]), "img46.jpg of .* px, img59.jpg of .* px"),
}


@pytest.mark.parametrize("which", ["onset", "apex"])
@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frame_is_listed_and_the_rest_is_done(corpus, case, which):
    content, reason = BAD_FRAMES[case]
    index = {"onset": 46, "apex": 59}[which]
    if content is None:
        corpus.path("01", "EP02_01f", index).unlink()
    else:
        corpus.write("01", "EP02_01f", index, content)
    result = corpus.prepare()
    assert (result.prepared, len(result.failures)) == (2, 1)
    failure = result.failures[0]
    assert (failure.subject, failure.clip) == ("sub01", "EP02_01f")
    assert "\n" not in failure.reason
    assert re.search(reason.format(index), failure.reason), failure.reason
    assert sorted(tree(corpus.out)) == files_of(CLIPS[1:])


def test_frame_without_a_face_is_listed(corpus):
    corpus.write("02", "EP06_02_01", 101, jpeg(np.full((480, 640, 3), 128, np.uint8)))
    result = corpus.prepare()
    assert result.failures[0][:2] == ("sub02", "EP06_02_01")
    assert result.failures[0].reason.startswith("A frame must show a face.")
    assert sorted(tree(corpus.out)) == files_of(CLIPS[:2])


def test_clip_without_an_apex_or_a_folder_is_listed(corpus):
    corpus.annotate([CLIPS[0], (*CLIPS[1][:3], "/", *CLIPS[1][4:]), CLIPS[2]])
    shutil.rmtree(corpus.root / "sub02")
    result = corpus.prepare()
    assert [failure[:2] for failure in result.failures] == [
        ("sub01", "EP19_05"),
        ("sub02", "EP06_02_01"),
    ]
    assert "must name the apex" in result.failures[0].reason
    assert "must have a folder" in result.failures[1].reason


def test_failing_clip_keeps_what_an_earlier_run_made_of_it(prepared):
    before = tree(prepared.out)
    prepared.write("01", "EP19_05", 9, b"")
    for _ in range(2):
        result = prepared.prepare()
        assert (result.prepared, result.reused, len(result.failures)) == (0, 2, 1)
        assert tree(prepared.out).keys() == before.keys()
        assert prepared.manifest()[1]["clip"] == "EP19_05"


def test_failing_clip_of_other_frames_than_before_is_removed(prepared):
    prepared.annotate([CLIPS[0], (*CLIPS[1][:3], 31, *CLIPS[1][4:]), CLIPS[2]])
    result = prepared.prepare()
    assert [failure.clip for failure in result.failures] == ["EP19_05"]
    assert sorted(tree(prepared.out)) == files_of([CLIPS[0], CLIPS[2]])


@pytest.mark.parametrize(
    ("root", "name"),
    [
        (".", "img{}.jpg"),
        ("CASME2_RAW_selected", "img{}.jpg"),
        ("Cropped", "reg_img{}.jpg"),
        ("Cropped-updated/Cropped", "reg_img{}.jpg"),
    ],
)
def test_roots_and_frame_names(tmp_path, root, name):
    corpus = Corpus(tmp_path, root, name)
    assert corpus.prepare().prepared == 3
    assert sorted(tree(corpus.out)) == files_of(CLIPS)


def test_crops_of_the_authors_are_taken_whole(tmp_path):
    corpus = Corpus(tmp_path, "Cropped", "reg_img{}.jpg")
    for index in (46, 59):
        corpus.write("01", "EP02_01f", index, jpeg(np.full((34, 28, 3), 128, np.uint8)))
    assert corpus.prepare().failures == ()
    row = corpus.manifest()[0]
    assert [row[name] for name in COLUMNS[9:18]] == [
        *("0", "0", "28", "34"),
        *("", "cropped", "", "28", "34"),
    ]
    assert read_rgb(corpus.out / "sub01/ROI_EP02_01f/apex_frame.jpg").shape == (34, 28, 3)


def test_wrong_folders_and_arguments(corpus, tmp_path):
    def error(**changed) -> str:
        arguments = {"raw": corpus.raw, "coding": corpus.coding, "out": corpus.out} | changed
        with pytest.raises(UserError) as caught:
            prepare_dataset(**arguments)
        assert not corpus.out.exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.docx").write_text("mine")
    assert "not there" in error(raw=tmp_path / "absent")
    assert "is no folder" in error(raw=corpus.coding)
    assert "has no such file" in error(raw=tmp_path / "empty")
    assert "which holds files but no manifest.csv" in error(out=tmp_path / "foreign")
    assert "a file" in error(out=corpus.coding)
    assert "at least 1" in error(workers=0)
    assert "does not exist" in error(face_model=tmp_path / "absent.tflite")
    assert "another format" in error(face_model=corpus.coding)
    assert "absent.csv" in error(coding=tmp_path / "absent.csv")
    corpus.annotate([("26", "EP01_01", 1, 5, 9, "4", "others")])
    assert "none of 1; the first, sub26/EP01_01" in error()
    shutil.copytree(corpus.root, corpus.raw / "Cropped")
    assert "must hold one corpus" in error()
    assert (tmp_path / "foreign" / "thesis.docx").read_text() == "mine"


def test_manifest_of_somebody_else_is_refused(corpus):
    corpus.out.mkdir()
    (corpus.out / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        corpus.prepare()
    assert sorted(tree(corpus.out)) == ["manifest.csv"]


def test_full_disk_is_one_error_and_the_next_run_goes_on(prepared, monkeypatch):
    for subject, clip, _, apex, *_ in CLIPS:
        prepared.write(subject, clip, apex, jpeg(frame(20)))
    encode, calls = crop_clip.encode_jpeg, []

    def encode_until_full(rgb):
        calls.append(rgb)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(rgb)

    monkeypatch.setattr(crop_clip, "encode_jpeg", encode_until_full)
    with pytest.raises(UserError, match=r"must be writable.*No space left"):
        prepared.prepare(workers=1)
    assert sorted(tree(prepared.out)) == sorted([*files_of(CLIPS)[1:], "manifest.partial.csv"])
    monkeypatch.undo()
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (2, 1)
    assert sorted(tree(prepared.out)) == files_of(CLIPS)


def test_torn_line_of_a_killed_run_is_passed_over(prepared):
    whole = (prepared.out / "manifest.csv").read_bytes()
    (prepared.out / "manifest.csv").unlink()
    (prepared.out / "manifest.partial.csv").write_bytes(whole[:-10])
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (1, 2)
    assert (prepared.out / "manifest.csv").read_bytes() == whole
    assert sorted(tree(prepared.out)) == files_of(CLIPS)


def test_kill_at_every_step_leaves_no_broken_clip(tmp_path):
    """Runs in a process of its own, which forks a run for each step and kills it there."""
    corpus = Corpus(tmp_path, "Cropped", "reg_img{}.jpg")
    corpus.annotate(CLIPS[:2])
    assert corpus.prepare().prepared == 2
    corpus.write("01", "EP19_05", 30, jpeg(frame(13)))
    corpus.annotate([*CLIPS[1:]])  # one clip leaves, one has changed, one is new
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kill_at_every_step.py"), tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = int(done.stdout.split()[-1])
    assert steps >= 15
