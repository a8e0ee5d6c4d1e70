import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from scipy.ndimage import map_coordinates

from casme_tf.clips.frames import read_rgb
from casme_tf.datasets.coding_sheet import read_coding_sheet
from casme_tf.errors import UserError
from casme_tf.labels import CLASSES, class_of
from casme_tf.synthetic import Corpus, open_corpus, oracle_accuracy, synthesize, true_flow
from casme_tf.synthetic.motion import Unit, draw_habits, parse_units, unit_field
from casme_tf.synthetic.schedule import IRREGULAR_NAMES, draw_schedule
from casme_tf.synthetic.subject import draw_subject
from scripts.lab.measure_corpus import measure_corpus

CLIPS, FRAMES = 12, 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    out = tmp_path_factory.mktemp("corpus") / "stand-in"
    return synthesize(out, subjects=4, clips=CLIPS, frames=FRAMES, seed=3, workers=1)


def truth_of(corpus: Corpus) -> list[dict[str, str]]:
    with corpus.truth.open(newline="") as file:
        return list(csv.DictReader(file))


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_layout_is_that_of_casme2(corpus: Corpus) -> None:
    assert sorted(path.name for path in corpus.root.iterdir()) == [
        "CASME2-RAW",
        "CASME2-coding-stand-in.xlsx",
        "corpus.json",
        "truth.csv",
    ]
    rows = truth_of(corpus)
    frames = {
        f"{row['subject']}/{row['clip']}/img{n}.jpg"
        for row in rows
        for n in range(int(row["onset"]), int(row["offset"]) + 1)
    }
    assert len(frames) == CLIPS * FRAMES
    assert {p.relative_to(corpus.raw).as_posix() for p in corpus.raw.rglob("*.jpg")} == frames
    assert {row["subject"] for row in rows} == {"sub01", "sub02", "sub03", "sub04"}
    assert len({row["onset"] for row in rows}) > 10
    for name in sorted(frames)[::20]:
        assert read_rgb(corpus.raw / name).shape == (480, 640, 3)


def test_coding_sheet_has_the_columns_and_cells_of_2014(corpus: Corpus) -> None:
    rows = list(openpyxl.load_workbook(corpus.coding).active.iter_rows(values_only=True))
    assert rows[0] == (
        *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
        *("Action Units", "Estimated Emotion"),
    )
    assert {row[0] for row in rows[1:]} == {"01", "02", "03", "04"}
    sheet = read_coding_sheet(corpus.coding)
    read = {(clip.subject, clip.clip): clip for clip in sheet.clips}
    for row in truth_of(corpus):
        clip = read.pop((row["subject"], row["clip"]))
        assert (clip.onset, clip.apex, clip.offset) == tuple(
            int(row[name]) for name in ("onset", "apex", "offset")
        )
        assert clip.emotion == row["emotion"]
        assert clip.action_units in ("?", re.sub(r":[\d.]+", "", row["action_units"]))
    assert not read


@pytest.mark.slow
def test_same_seed_gives_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    def draw(name: str, seed: int, workers: int) -> dict[str, str]:
        synthesize(tmp_path / name, subjects=2, clips=4, frames=4, seed=seed, workers=workers)
        return digests(tmp_path / name)

    alone = draw("alone", 5, 1)
    assert draw("two", 5, 2) == alone
    other = draw("other", 6, 1)
    assert not set(alone.values()) & set(other.values())


def test_proportions_of_casme2() -> None:
    clips = draw_schedule(subjects=26, clips=255, frames=17, seed=0).clips
    assert Counter(clip.emotion for clip in clips) == {
        "others": 99,
        "disgust": 63,
        "happiness": 32,
        "repression": 27,
        "surprise": 25,
        "sadness": 7,
        "fear": 2,
    }
    sizes = Counter(clip.subject for clip in clips)
    assert len(sizes) == 26
    assert sizes["sub17"] == 36 == max(sizes.values())
    assert min(sizes.values()) >= 4
    assert len(set(sizes.values())) > 5
    assert len({(clip.subject, clip.name) for clip in clips}) == 255


@pytest.mark.parametrize(("subjects", "clips"), [(8, 48), (6, 60), (3, 12), (5, 9), (1, 4), (7, 7)])
def test_small_corpora_have_every_class_in_as_many_subjects_as_possible(
    subjects: int, clips: int
) -> None:
    drawn = draw_schedule(subjects=subjects, clips=clips, frames=9, seed=2).clips
    assert len(drawn) == clips
    assert len({clip.subject for clip in drawn}) == subjects
    count = Counter(class_of(clip.emotion) for clip in drawn)
    holders = defaultdict(set)
    for clip in drawn:
        holders[class_of(clip.emotion)].add(clip.subject)
    assert set(count) == set(CLASSES)
    for name in ("positive", "surprise"):
        assert len(holders[name]) == min(count[name], subjects)


def test_irregularities_of_casme2() -> None:
    clips = draw_schedule(subjects=26, clips=255, frames=17, seed=0).clips
    names = {clip.name for clip in clips}
    assert set(IRREGULAR_NAMES) <= names
    assert all(re.fullmatch(r"EP\d\d_\d\df?", name) for name in names - set(IRREGULAR_NAMES))
    assert [clip.name for clip in clips if not clip.apex_coded] == ["EP12_01f"]
    cells = [clip.cell for clip in clips]
    assert {"?", "4", 4, "4+7", "L12+R4"} <= set(cells)
    assert all(
        clip.apex_coded for clip in draw_schedule(subjects=4, clips=49, frames=9, seed=0).clips
    )


@pytest.mark.slow
def test_missing_apex_is_a_slash_in_the_sheet_and_known_in_the_truth(tmp_path: Path) -> None:
    corpus = synthesize(tmp_path / "out", subjects=1, clips=50, frames=4, seed=0, workers=1)
    sheet = openpyxl.load_workbook(corpus.coding).active
    rows = list(sheet.iter_rows(min_row=2, values_only=True))
    slashes = [(f"sub{row[0]}", row[1]) for row in rows if row[4] == "/"]
    assert len(slashes) == 1
    truth = {(row["subject"], row["clip"]): row for row in truth_of(corpus)}[slashes[0]]
    assert int(truth["onset"]) < int(truth["apex"]) < int(truth["offset"])


def test_a_sheet_without_apexes_hides_nothing_else(tmp_path: Path) -> None:
    size = {"subjects": 1, "clips": 3, "frames": 4, "seed": 0, "workers": 1}
    known = synthesize(tmp_path / "known", **size)
    hidden = synthesize(tmp_path / "hidden", apexes=False, **size)
    assert hidden.truth.read_bytes() == known.truth.read_bytes()
    assert digests(hidden.raw) == digests(known.raw)
    cells = [
        [list(row) for row in openpyxl.load_workbook(corpus.coding).active.values]
        for corpus in (known, hidden)
    ]
    for row, other in zip(*cells, strict=True):
        if row[0] != "Subject":
            assert isinstance(row[4], int)
            row[4] = "/"
        assert row == other


def test_true_flow_explains_the_frames(corpus: Corpus) -> None:
    grid = np.dstack(np.meshgrid(np.arange(640), np.arange(480))).astype(np.float32)
    ratios = []
    for row in truth_of(corpus):
        folder = corpus.raw / row["subject"] / row["clip"]
        flow, face = true_flow(corpus.root, row["subject"], row["clip"], int(row["apex"]))
        assert flow.shape == (480, 640, 2)
        assert flow.dtype == np.float32
        assert face.dtype == bool
        assert 0.15 < face.mean() < 0.40
        still, _ = true_flow(corpus.root, row["subject"], row["clip"], int(row["onset"]))
        assert not still.any()
        onset, apex = (
            cv2.GaussianBlur(read_rgb(folder / f"img{row[name]}.jpg").astype(np.float32), (0, 0), 1)
            for name in ("onset", "apex")
        )
        back = cv2.remap(apex, grid + flow, None, cv2.INTER_CUBIC)
        moves = face & (np.linalg.norm(flow, axis=-1) > 0.5)
        # Flicker is light, not motion: compare at equal brightness.
        back *= onset[face].mean() / back[face].mean()
        apex *= onset[face].mean() / apex[face].mean()
        ratios.append(np.abs(back - onset)[moves].mean() / np.abs(apex - onset)[moves].mean())
    assert np.median(ratios) < 0.5
    assert max(ratios) < 0.8


def test_backward_map_inverts_the_true_displacement() -> None:
    drawn = draw_schedule(subjects=5, clips=12, frames=9, seed=4)
    y, x = np.mgrid[:480, :640].astype(np.float32)
    for clip in drawn.clips:
        motion = drawn.motion(clip)
        points = motion.backward_map(clip.apex)
        forward = motion.displacement(clip.apex)
        there = points + np.dstack(
            [
                map_coordinates(forward[..., k], (points[..., 1], points[..., 0]), mode="nearest")
                for k in (0, 1)
            ]
        )
        miss = np.hypot(there[..., 0] - x, there[..., 1] - y)
        assert miss[5:-5, 5:-5].max() < 0.01


def test_expressions_rise_to_the_apex_and_peak_between_half_and_three_px() -> None:
    drawn = draw_schedule(subjects=26, clips=255, frames=17, seed=0)
    for clip in drawn.clips[::6]:
        motion = drawn.motion(clip)
        assert 0.5 <= np.linalg.norm(motion.expression, axis=-1).max() <= 3.0
        course = [motion.activity(frame) for frame in range(17)]
        assert course[0] == 0
        assert course[clip.apex] == max(course) == 1
        assert np.all(np.diff(course[: clip.apex + 1]) > 0)
        assert np.all(np.diff(course[clip.apex :]) < 0)
        head = motion.displacement(16) - motion.expression * np.float32(course[16])
        if not motion.blink[1]:
            assert np.linalg.norm(head, axis=-1)[motion.face_mask()].max() < 2.5


@pytest.mark.parametrize(
    ("number", "landmark", "outward", "down"),
    [
        (1, "inner brow", 0, -1),
        (2, "outer brow", 0, -1),
        (4, "inner brow", -1, 1),
        (5, "upper lid", 0, -1),
        (6, "cheek", 0, -1),
        (7, "lower lid", 0, -1),
        (9, "nose side", 0, -1),
        (10, "side of upper lip", 0, -1),
        (12, "lip corner", 1, -1),
        (14, "beside lip corner", -1, 0),
        (15, "lip corner", 0, 1),
        (17, "chin boss", 0, -1),
        (20, "lip corner", 1, 0),
        (24, "lower lip", 0, -1),
        (25, "lower lip", 0, 1),
        (26, "chin", 0, 1),
        (45, "upper lid", 0, 1),
    ],
)
def test_action_units_move_as_facs_says(
    number: int, landmark: str, outward: int, down: int
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        subject, habits = draw_subject(rng), draw_habits(rng)
        away, height = subject.landmarks()[landmark]
        for side, sign in (("L", 1), ("R", -1)):
            field = unit_field(subject, Unit(number, side, 2.0), habits[number], np.eye(2, 3))
            # On a midline landmark, a one-sided unit pulls its own half.
            column = round(subject.x + sign * (away or 12))
            dx, dy = field[round(height), column]
            assert np.hypot(dx, dy) > 0.4
            for moved, expected in ((sign * dx, outward), (dy, down)):
                if expected:
                    assert moved * expected > 0.15
            other_half = (
                field[:, : int(subject.x) - 60] if sign > 0 else field[:, int(subject.x) + 60 :]
            )
            assert np.linalg.norm(field, axis=-1).max() == pytest.approx(2.0, abs=1e-3)
            assert np.linalg.norm(other_half, axis=-1).max() < 0.7


def test_units_are_read_with_their_sides() -> None:
    assert [unit.name for unit in parse_units("L12+R4+17")] == ["L12", "R4", "17"]
    with pytest.raises(ValueError, match="'99'"):
        parse_units("4+99")


def test_oracle_accuracy_is_that_of_many_drawn_corpora() -> None:
    per_set: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in range(20):
        for clip in draw_schedule(subjects=26, clips=255, frames=17, seed=seed).clips:
            names = "+".join(unit.name for unit in clip.units)
            per_set[names][class_of(clip.emotion)] += 1
    right = sum(max(count.values()) for count in per_set.values())
    assert right / (20 * 255) == pytest.approx(oracle_accuracy(), abs=0.01)
    assert oracle_accuracy() == pytest.approx(0.85, abs=0.005)


@pytest.mark.slow
def test_blazeface_finds_every_face_and_farneback_sees_the_motion(corpus: Corpus) -> None:
    measures = measure_corpus(corpus.root)
    assert measures.clips == CLIPS
    assert measures.faces_found == 1.0
    assert 0.05 < measures.displacement < 1.0
    assert measures.epe < 0.5 * measures.displacement
    assert measures.moving_epe < 0.4 * measures.moving_displacement
    assert measures.epe <= measures.opencv_epe + 1e-5
    assert measures.moving_epe <= measures.moving_opencv_epe + 1e-5
    assert f"{measures.epe:.6f} px" in measures.to_string()
    assert measure_corpus(corpus.root, limit=2).clips == 2


def test_people_look_different(corpus: Corpus) -> None:
    first = {}
    for row in truth_of(corpus):
        first[row["subject"]] = read_rgb(
            corpus.raw / row["subject"] / row["clip"] / f"img{row['onset']}.jpg"
        )
    faces = [frame[150:400, 220:420].astype(float) for frame in first.values()]
    differences = [np.abs(a - b).mean() for i, a in enumerate(faces) for b in faces[:i]]
    assert min(differences) > 8


def test_drawing_needs_neither_tensorflow_nor_mediapipe() -> None:
    code = (
        "import sys, casme_tf.synthetic; "
        "print(sorted({'tensorflow', 'mediapipe'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subjects": 0}, "number of subjects must be at least 1. Received: 0"),
        ({"subjects": 9}, "Received: 9 subjects and 8 clips"),
        ({"clips": 0}, "number of clips must be at least 1. Received: 0"),
        ({"frames": 3}, "frames a clip must be at least 4. Received: 3"),
        ({"seed": -1}, "seed must be at least 0. Received: -1"),
        ({"workers": 0}, "workers must be at least 1. Received: 0"),
    ],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    right = {"subjects": 2, "clips": 8, "frames": 5, "seed": 1}
    with pytest.raises(UserError, match=message):
        synthesize(tmp_path / "out", **(right | wrong))
    assert not list(tmp_path.iterdir())


def test_output_that_is_not_empty_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        synthesize(tmp_path, subjects=1, clips=1, frames=4, seed=1)
    with pytest.raises(UserError, match="not empty"):
        synthesize(tmp_path / "mine.txt", subjects=1, clips=1, frames=4, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    made = synthesize(tmp_path / "empty", subjects=1, clips=1, frames=4, seed=1)
    assert open_corpus(made.root) == made


def test_truth_is_refused_where_there_is_none(corpus: Corpus, tmp_path: Path) -> None:
    row = truth_of(corpus)[0]
    with pytest.raises(UserError, match="Received: sub99/EP01_01"):
        true_flow(corpus.root, "sub99", "EP01_01", 1)
    with pytest.raises(UserError, match=f"from {row['onset']} to {row['offset']}"):
        true_flow(corpus.root, row["subject"], row["clip"], int(row["offset"]) + 1)
    with pytest.raises(UserError, match="folder that synthesize wrote"):
        true_flow(tmp_path, row["subject"], row["clip"], 1)
    arguments = (corpus.root / "corpus.json").read_text()
    (tmp_path / "corpus.json").write_text(re.sub(r'"generator": \d+', '"generator": 0', arguments))
    with pytest.raises(UserError, match="Received: generator 0"):
        open_corpus(tmp_path)
    with pytest.raises(UserError, match="at least 1 clip"):
        measure_corpus(corpus.root, limit=0)
