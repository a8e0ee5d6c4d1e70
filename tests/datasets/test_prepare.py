"""Raw folders made of a photographed face → prepared folder, with the real BlazeFace."""

import csv
import errno
import io
import json
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

from casme_tf.clips.blazeface import find_model
from casme_tf.clips.detector import FaceDetector, crop_box
from casme_tf.clips.frames import read_rgb
from casme_tf.datasets import prepare
from casme_tf.datasets.databases import CASME2
from casme_tf.datasets.prepare import prepare_dataset
from casme_tf.datasets.prepared import find_stand_in_record
from casme_tf.datasets.raw_clips import find_root
from casme_tf.errors import UserError
from casme_tf.synthetic import synthesize

# fmt: off
COLUMNS = [
    "database", "corpus", "coding_sheet",
    "subject", "clip", "onset", "apex", "offset", "action_units", "emotion", "objective",
    "apex_source", "fps",
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

    @classmethod
    def at(cls, folder: Path) -> "Corpus":
        """Return what is in a folder already."""
        corpus = cls.__new__(cls)
        corpus.raw, corpus.root = folder / "raw", folder / "raw" / "CASME2-RAW"
        corpus.name = "img{}.jpg"
        corpus.coding, corpus.out = folder / "coding.csv", folder / "prepared"
        return corpus

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
        assert (row["corpus"], row["coding_sheet"]) == ("casme2", "coding sheet")
        assert [row[name] for name in COLUMNS[3:13]] == [
            *(f"sub{subject}", clip, str(onset), str(apex), str(offset), units, emotion),
            *("", "sheet", "200"),
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
    grays = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (source, read_rgb(path)))
    flow = cv2.calcOpticalFlowFarneback(*grays, None, 0.5, 3, 19, 5, 7, 1.2, 0)
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


GRAY = Image.fromarray(frame()).convert("L")


def as_file(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [as_file(GRAY, "JPEG"), as_file(GRAY.convert("RGBA"), "PNG")], ids=["gray", "alpha"]
)
def test_gray_and_transparent_frames_are_taken(corpus, content):
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
    "no image": (b"<html></html>", "img{}.jpg, which is none"),
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
    assert sorted(tree(corpus.out)) == sorted(["missing.csv", *files_of(CLIPS[1:])])


def test_frame_without_a_face_is_listed(corpus):
    corpus.write("02", "EP06_02_01", 101, jpeg(np.full((480, 640, 3), 128, np.uint8)))
    result = corpus.prepare()
    assert result.failures[0][:2] == ("sub02", "EP06_02_01")
    assert result.failures[0].reason.startswith("A frame must show a face.")
    assert sorted(tree(corpus.out)) == sorted(["missing.csv", *files_of(CLIPS[:2])])


def test_clip_without_an_apex_or_a_folder_is_listed(corpus):
    corpus.annotate([CLIPS[0], (*CLIPS[1][:3], "/", *CLIPS[1][4:]), CLIPS[2]])
    shutil.rmtree(corpus.root / "sub02")
    result = corpus.prepare(spot=None)
    assert [failure[:2] for failure in result.failures] == [
        ("sub01", "EP19_05"),
        ("sub02", "EP06_02_01"),
    ]
    assert "must name the apex" in result.failures[0].reason
    assert "must have a folder" in result.failures[1].reason


def smiling(strength: float) -> np.ndarray:
    """Return a raw frame in which a lip corner is pulled up, px."""
    x, y = np.meshgrid(np.arange(640, dtype=np.float32), np.arange(480, dtype=np.float32))
    pull = strength * np.exp(-((x - 285) ** 2 + (y - 285) ** 2) / (2 * 22**2))
    return cv2.remap(frame(), x, y + pull.astype(np.float32), cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def lacking_once(tmp_path_factory):
    """A corpus whose second clip has all its frames, strongest in number 11, and no apex."""
    corpus = Corpus(tmp_path_factory.mktemp("lacking"))
    for index, strength in zip(range(9, 16), (0, 0.9, 2.6, 1.9, 1.1, 0.5, 0.2), strict=True):
        corpus.write("01", "EP19_05", index, jpeg(smiling(strength)))
    corpus.path("01", "EP19_05", 30).unlink()
    corpus.write("01", "EP19_05", 16, jpeg(smiling(9)))  # after the offset
    corpus.annotate(LACKING)
    return corpus


LACKING = [CLIPS[0], (*CLIPS[1][:3], "/", 15, *CLIPS[1][5:]), CLIPS[2]]


@pytest.fixture
def lacking(lacking_once, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(lacking_once.raw.parent, folder)
    return Corpus.at(folder)


@pytest.mark.parametrize("method", ["flow", "ten-cell"])
def test_an_apex_that_the_sheet_lacks_is_found_and_marked(lacking, method):
    result = lacking.prepare(spot=method)
    assert (result.prepared, result.failures) == (3, ())
    assert any(
        note == "1 clip without an apex in the sheet: it was spotted." for note in result.notes
    )
    rows = lacking.manifest()
    assert [row["apex_source"] for row in rows] == ["sheet", f"spotted-{method}", "sheet"]
    assert [row["apex"] for row in rows[::2]] == ["59", "132"]
    apex = int(rows[1]["apex"])
    assert abs(apex - 11) <= (method == "ten-cell")
    box = [int(rows[1][f"box_{side}"]) for side in ("x", "y", "width", "height")]
    crop = read_rgb(lacking.out / "sub01/ROI_EP19_05/apex_frame.jpg")
    source = read_rgb(lacking.path("01", "EP19_05", apex))
    x, y, width, height = box
    difference = np.abs(crop.astype(float) - source[y : y + height, x : x + width])
    assert difference.mean() < 1


def test_a_found_apex_is_kept_until_what_it_depends_on_changes(lacking):
    def again(**options) -> tuple[int, int]:
        result = lacking.prepare(**options)
        assert result.failures == ()
        return result.prepared, result.reused

    lacking.prepare()
    before = tree(lacking.out)
    assert again() == (0, 3)
    assert tree(lacking.out) == before
    # The frames after the offset, and other methods for what the sheet knows, change nothing.
    lacking.write("01", "EP19_05", 16, jpeg(smiling(0)))
    assert again() == (0, 3)
    # A frame between, which might be the apex, does; and so does the method.
    for index, strength in ((10, 0.4), (11, 1.0), (12, 1.9), (13, 2.8), (14, 1.5)):
        lacking.write("01", "EP19_05", index, jpeg(smiling(strength)))
    assert again() == (1, 2)
    assert lacking.manifest()[1]["apex"] == "13"
    assert again(spot="ten-cell") == (1, 2)
    # An apex in the sheet goes before any that was found.
    lacking.annotate([*LACKING[:1], (*LACKING[1][:3], 14, *LACKING[1][4:]), *LACKING[2:]])
    assert again(spot="ten-cell") == (1, 2)
    row = lacking.manifest()[1]
    assert (row["apex"], row["apex_source"]) == ("14", "sheet")


def test_apexes_are_left_out_if_so_asked(lacking):
    result = lacking.prepare(spot=None)
    assert [failure[:2] for failure in result.failures] == [("sub01", "EP19_05")]
    assert [row["apex_source"] for row in lacking.manifest()] == ["sheet", "sheet"]


def test_an_apex_cannot_be_found_without_frames_or_a_face(lacking):
    lacking.write("01", "EP19_05", 9, jpeg(np.full((480, 640, 3), 128, np.uint8)))
    failures = lacking.prepare().failures
    assert "onset frame must show a face" in failures[0].reason
    for index in range(10, 17):
        lacking.path("01", "EP19_05", index).unlink()
    failures = lacking.prepare().failures
    assert "frames after its onset" in failures[0].reason


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
    assert sorted(tree(prepared.out)) == sorted(["missing.csv", *files_of([CLIPS[0], CLIPS[2]])])


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
    assert [row[name] for name in COLUMNS[13:22]] == [
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


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> bytes:
    """The corpus.json of a real stand-in corpus."""
    out = tmp_path_factory.mktemp("drawn") / "stand-in"
    synthesize(out, subjects=1, clips=1, frames=4, seed=0, workers=1)
    return (out / "corpus.json").read_bytes()


@pytest.mark.parametrize(
    ("root", "raw"),
    [
        ("CASME2-RAW", "."),
        ("CASME2-RAW", "CASME2-RAW"),
        (".", "."),
        ("Cropped-updated/Cropped", "Cropped-updated/Cropped"),
        ("renamed/Cropped-updated/Cropped", "renamed"),
    ],
)
@pytest.mark.parametrize("named", ["absolute", "relative", "linked"])
def test_a_stand_in_corpus_is_known_under_any_root(tmp_path, monkeypatch, record, root, raw, named):
    folder = tmp_path / "drawn"
    frame = folder / root / "sub01" / "EP02_01f" / "img1.jpg"
    frame.parent.mkdir(parents=True)
    frame.touch()
    given = folder / raw
    if named == "relative":
        monkeypatch.chdir(given)
        given = Path()
    elif named == "linked":
        given = tmp_path / "link"
        given.symlink_to(folder / raw, target_is_directory=True)
    assert find_stand_in_record(find_root(given, CASME2)) is None
    (folder / "corpus.json").write_bytes(record)
    assert find_stand_in_record(find_root(given, CASME2)).resolve() == folder / "corpus.json"


def test_clips_of_a_stand_in_corpus_are_marked_and_noted(corpus, record):
    (corpus.raw / "corpus.json").write_bytes(record)
    result = corpus.prepare()
    assert result.prepared == 3
    assert [row["corpus"] for row in corpus.manifest()] == ["stand-in"] * 3
    assert result.notes == (
        f"stand-in data: {corpus.raw}/corpus.json says that the clips are drawn, not those of "
        "CASME II.",
    )
    assert corpus.prepare().reused == 3


def test_a_corpus_of_an_older_generator_is_a_stand_in_too(corpus, record):
    older = json.loads(record) | {"generator": 0}
    (corpus.raw / "corpus.json").write_text(json.dumps(older))
    corpus.prepare()
    assert {row["corpus"] for row in corpus.manifest()} == {"stand-in"}


def test_what_only_resembles_the_record_does_not_mark(corpus, record):
    (corpus.raw / "corpus-of-yesterday.json").write_bytes(record)
    (corpus.root / "sub01" / "corpus.json").write_bytes(record)
    (corpus.raw.parent / "beside").mkdir()
    (corpus.raw.parent / "beside" / "corpus.json").write_bytes(record)
    (corpus.raw / "corpus.json").write_text('{"name": "CASME II", "seed": 3}')
    (corpus.root / "corpus.json").mkdir()
    assert corpus.prepare().notes == ()
    assert {row["corpus"] for row in corpus.manifest()} == {"casme2"}


@pytest.mark.parametrize("content", [b"", b'{"generator": 1, "se', b"\xff\xfe"])
def test_a_torn_record_is_refused_rather_than_taken_for_casme_ii(corpus, content):
    (corpus.raw / "corpus.json").write_bytes(content)
    with pytest.raises(UserError, match=r"raw/corpus\.json must be JSON.*move the file away"):
        corpus.prepare()
    assert not corpus.out.exists()


@pytest.mark.parametrize("drawn_first", [True, False])
def test_a_folder_of_another_corpus_is_refused_and_kept(corpus, record, drawn_first):
    def write_record(there: bool) -> None:
        if there:
            (corpus.raw / "corpus.json").write_bytes(record)
        else:
            (corpus.raw / "corpus.json").unlink(missing_ok=True)

    write_record(drawn_first)
    corpus.prepare()
    before = tree(corpus.out)
    write_record(not drawn_first)
    held = "stand-in" if drawn_first else "casme2"
    with pytest.raises(UserError, match=rf"of one corpus, here .*holds clips of {held}\. Choose"):
        corpus.prepare()
    assert tree(corpus.out) == before


def test_full_disk_is_one_error_and_the_next_run_goes_on(prepared, monkeypatch):
    for subject, clip, _, apex, *_ in CLIPS:
        prepared.write(subject, clip, apex, jpeg(frame(20)))
    encode, calls = prepare.encode_jpeg, []

    def encode_until_full(rgb):
        calls.append(rgb)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(rgb)

    monkeypatch.setattr(prepare, "encode_jpeg", encode_until_full)
    with pytest.raises(UserError, match=r"must be writable.*No space left"):
        prepared.prepare(workers=1)
    assert sorted(tree(prepared.out)) == sorted([*files_of(CLIPS)[1:], "manifest.partial.csv"])
    monkeypatch.undo()
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (2, 1)
    assert sorted(tree(prepared.out)) == files_of(CLIPS)


@pytest.mark.parametrize("left", [-10, -60, 3])
def test_torn_line_of_a_killed_run_is_passed_over(prepared, left):
    whole = (prepared.out / "manifest.csv").read_bytes()
    (prepared.out / "manifest.csv").unlink()
    *lines, last = whole.splitlines(keepends=True)
    (prepared.out / "manifest.partial.csv").write_bytes(b"".join(lines) + last[:left])
    result = prepared.prepare()
    assert (result.prepared, result.reused) == (1, 2)
    assert (prepared.out / "manifest.csv").read_bytes() == whole
    assert sorted(tree(prepared.out)) == files_of(CLIPS)


def test_kill_at_every_step_leaves_no_broken_clip(tmp_path):
    """Runs in a process of its own, which forks a run for each step and kills it there."""
    corpus = Corpus(tmp_path, "Cropped", "reg_img{}.jpg")
    kept = ("01", "EP20_01", 5, 6, 7, "4", "disgust")
    corpus.write("01", "EP20_01", 5, jpeg(frame()))
    corpus.write("01", "EP20_01", 6, jpeg(frame(2)))
    corpus.annotate([*CLIPS[:2], kept])
    assert corpus.prepare().prepared == 3
    corpus.write("01", "EP19_05", 30, jpeg(frame(13)))
    corpus.annotate([*CLIPS[1:], kept])  # one clip leaves, one has changed, one is new
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "support" / "kill_at_every_step.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = int(done.stdout.split()[-1])
    assert steps >= 15
