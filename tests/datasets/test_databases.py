"""Every database by a made-up tree of its shape: prepared, built, loaded, trained on."""

import csv
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from casme_tf.datasets.coding_sheet import read_coding_sheet
from casme_tf.datasets.databases import DATABASES, database_of
from casme_tf.datasets.pairs import Pairs, load_pairs, select_clips
from casme_tf.datasets.prepare import prepare_dataset
from casme_tf.datasets.raw_clips import find_root
from casme_tf.datasets.splits import PROTOCOLS
from casme_tf.datasets.spreadsheet import are_action_units, parse_action_units
from casme_tf.errors import LeakError, UserError
from casme_tf.evaluation.crossval import crossval
from casme_tf.evaluation.leaks import guard_folds
from casme_tf.evaluation.settings import CrossvalConfig
from casme_tf.labels import SCHEMES
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train
from tests.support.databases import TREES, write_table

COMPOSITE = ("casme2", "samm", "smic/hs")
"""Built in every run of the tests; the others only in the slow ones."""

KEPT = 8 + 8 + 9
"""Clips that megc3 keeps of each."""


def build(names: Sequence[str], manual: Path, data: Path, *flags: str) -> None:
    modules = ",".join(f"casme_tf.datasets.{database_of(name).dataset}" for name in names)
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("tfds"), "build", *names, "--imports", modules),
            *("--manual_dir", manual, "--data_dir", data, *flags),
        ],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def rows_of(prepared: Path) -> list[dict[str, str]]:
    with (prepared / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_prepared_by_its_table(tmp_path, name):
    tree = TREES[name](tmp_path)
    done = prepare_dataset(tmp_path, tree.coding, tmp_path / "out", database=name)
    assert (done.prepared, done.failures, done.left_out) == (len(tree.clips), (), ())
    rows = rows_of(tmp_path / "out")
    assert [(row["subject"], row["clip"]) for row in rows] == tree.clips
    spotted = {(r["subject"], r["clip"]) for r in rows if r["apex_source"] != "sheet"}
    assert spotted == tree.spotted
    assert {(row["database"], row["corpus"]) for row in rows} == {(name, name)}
    assert {row["emotion"] for row in rows} <= set(DATABASES[name].emotions)
    for line in tree.notes:
        assert sum(line in note for note in done.notes) == 1, (line, done.notes)
    fps = {float(row["fps"]) for row in rows}
    assert fps == ({DATABASES[name].fps} if DATABASES[name].fps else {200, 300, 500})
    again = prepare_dataset(tmp_path, tree.coding, tmp_path / "out", database=name)
    assert (again.prepared, again.reused) == (0, len(tree.clips))


@pytest.fixture(scope="module")
def composite(shared) -> Path:
    """A folder in which three databases are built, by one command."""

    def make(root: Path) -> None:
        prepared = root / "prepared"
        for name in COMPOSITE:
            folder = root / name.replace("/", "")
            folder.mkdir(parents=True)
            tree = TREES[name](folder)
            out = prepared / database_of(name).dataset
            prepare_dataset(tree.raw, tree.coding, out, database=name)
        build(COMPOSITE, prepared, root / "data", "--add_name_to_manual_dir")

    return shared("composite", make) / "data"


def assert_is_trained_on(name: str, pairs: Pairs, data: Path, runs: Path) -> None:
    tree_emotions = set(pairs.clips["emotion"])
    assert len(pairs) == 9
    assert tree_emotions <= set(DATABASES[name].emotions)
    config = TrainConfig(
        arch="ststnet", data=(name,), data_dir=data, runs=runs, split="all", epochs=1
    )
    folder = train(replace(config, frame_size=64))
    record = json.loads((folder / "config.json").read_text())
    assert record["train"]["data"] == [name]
    assert record["split"]["corpus"] == name
    assert len(record["split"]["parts"]["train"]["subjects"]) == 3


@pytest.mark.parametrize("name", COMPOSITE)
def test_a_built_data_set_is_loaded_and_trained_on(composite, name, tmp_path):
    assert_is_trained_on(name, load_pairs(composite, 64, [name]), composite, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TREES) - set(COMPOSITE)))
def test_every_other_database_is_built_loaded_and_trained_on(name, tmp_path):
    tree = TREES[name](tmp_path)
    prepare_dataset(tree.raw, tree.coding, tmp_path / "out", database=name)
    build([name], tmp_path / "out", tmp_path / "data")
    pairs = load_pairs(tmp_path / "data", 64, [name])
    assert_is_trained_on(name, pairs, tmp_path / "data", tmp_path / "runs")


@pytest.mark.parametrize("name", sorted({database.dataset for database in DATABASES.values()}))
def test_every_builder_says_what_it_is_and_whom_to_cite(name, tmp_path):
    builder = importlib.import_module(f"casme_tf.datasets.{name}").Builder
    metadata = builder.get_metadata()
    homepage = database_of(name).homepage
    assert homepage.removeprefix("https://doi.org/") in metadata.citation
    assert "facial micro-expressions" in metadata.description
    assert "ml.task.image-classification" in metadata.tags
    parts = [each.name.partition("/")[2] for each in DATABASES.values() if each.dataset == name]
    assert [config.name for config in builder.BUILDER_CONFIGS] == [p for p in parts if p]
    for part in parts:
        made = builder(config=part or None, data_dir=tmp_path)
        assert made.info.homepage == homepage
        assert made.info.features["emotion"].names == list(made.database.emotions)


def test_databases_are_joined_with_subjects_of_their_own(composite):
    pairs = load_pairs(composite, 64, ["casme2", "samm", "smic"])
    assert pairs.databases == COMPOSITE
    assert (len(pairs), pairs.corpus) == (27, "composite")
    assert pairs.clips["subject"].nunique() == 9
    clips = select_clips(pairs, "megc3")
    assert clips.databases == COMPOSITE
    # Left out are of CASME II the clip without an apex in the sheet, of SAMM the one of `Other`.
    assert len(clips.labels) == KEPT
    assert clips.class_names[clips.subjects == "samm/006"].tolist() == [
        *("negative", "positive", "surprise"),
    ]
    alone = load_pairs(composite, 64, ["samm"])
    np.testing.assert_array_equal(
        clips.frames["apex"][clips.subjects == "samm/006"],
        alone.frames["apex"][(alone.clips["subject"] == "006").to_numpy()],
    )


def cross_validate(data: Path, runs: Path, protocol: str, **more) -> dict:
    config = CrossvalConfig(
        arch=("zero_shot",),
        data=("casme2", "samm", "smic"),
        data_dir=data,
        runs=runs,
        protocol=protocol,
        scheme="megc3",
        frame_size=64,
        baselines=False,
        resamples=50,
        **more,
    )
    run = crossval(config).runs[-1]
    assert run.name == f"zero_shot-{protocol}-megc3-casme2-samm-smichs"
    return json.loads((run / "metrics.json").read_text())


def test_figures_by_database_add_up_to_the_pooled_ones(composite, tmp_path):
    measured = cross_validate(composite, tmp_path, "loso")
    parts = measured["by_database"]
    assert list(parts) == list(COMPOSITE)
    pooled = np.array(measured["confusion"])
    assert pooled.sum() == KEPT
    np.testing.assert_array_equal(sum(np.array(p["confusion"]) for p in parts.values()), pooled)
    page = (tmp_path / "zero_shot-loso-megc3-casme2-samm-smichs" / "report.html").read_text()
    assert "clips of several databases" in page
    assert "SMIC-HS" in page or "smic/hs" in page


@pytest.mark.usefixtures("without_reports")
def test_databases_are_left_out_in_turn_or_the_last_is_held_out(composite, tmp_path):
    turned = cross_validate(composite, tmp_path, "leave-one-database-out")
    assert (turned["folds"], sum(map(sum, turned["confusion"]))) == (3, KEPT)
    folds = pd.read_csv(
        tmp_path / "zero_shot-leave-one-database-out-megc3-casme2-samm-smichs" / "folds.csv"
    )
    for name in COMPOSITE:
        tested = folds[(folds["fold"] == name) & (folds["part"] == "test")]
        assert {subject.rpartition("/")[0] for subject in tested["subject"]} == {name}
    held = cross_validate(composite, tmp_path, "holdout-database")
    assert sum(map(sum, held["confusion"])) == 9
    assert list(held["by_database"]) == ["smic/hs"]
    with pytest.raises(UserError, match=r"needs clips of several.*--data"):
        crossval(
            CrossvalConfig(
                arch=("zero_shot",), data_dir=composite, protocol="holdout-database", frame_size=64
            )
        )


def test_a_frame_that_two_databases_share_is_a_leak(composite):
    clips = select_clips(load_pairs(composite, 64, ["samm", "smic"]), "megc3")
    folds = PROTOCOLS["leave-one-database-out"](
        clips.subjects, clips.class_names, seed=1, validation=False
    )
    guard_folds(folds, clips.subjects, clips=clips.names, frames=clips.frames)
    clips.frames["onset"][-1] = clips.frames["apex"][0]
    with pytest.raises(LeakError, match=r"onset of smic/hs/s03/\S+ is apex of samm/006/"):
        guard_folds(folds, clips.subjects, clips=clips.names, frames=clips.frames)


def test_classes_that_differ_between_databases_are_not_joined(composite):
    pairs = load_pairs(composite, 64, ["casme2", "samm"])
    with pytest.raises(UserError, match="five must have the same classes in casme2, samm"):
        select_clips(pairs, "five")
    with pytest.raises(UserError, match=r"objective is defined for casme2, samm, casme3/a\..*smic"):
        select_clips(load_pairs(composite, 64, ["smic/hs"]), "objective")
    assert select_clips(load_pairs(composite, 64, ["samm"]), "objective").classes == (
        *("I", "II", "III", "IV", "V"),
    )


def test_a_database_must_be_known_built_and_named_once(composite, tmp_path):
    for names, message in (
        (["casme2", "casme2"], "each once. Received: casme2 casme2"),
        (["smic", "smic/hs"], "each once"),
        ([], "must name databases"),
        (["samm2"], "must be one of casme2, casme, samm.*Received: samm2"),
        (["dfme"], "tfds build dfme --imports casme_tf.datasets.dfme --manual_dir prepared_dfme"),
    ):
        with pytest.raises(UserError, match=message):
            load_pairs(composite, 64, names)


def made_up_pairs(database: str, emotions: dict[str, int], subjects: int, **more) -> Pairs:
    """Pairs without frames, of a table with such counts."""
    named = [emotion for emotion, count in emotions.items() for _ in range(count)]
    clips = pd.DataFrame({"emotion": named, "database": database, "apex_source": "sheet"})
    clips["subject"] = [f"{i % subjects:03d}" for i in range(len(clips))]
    clips["clip"] = [f"clip{i}" for i in range(len(clips))]
    return Pairs({}, np.zeros(len(clips)), clips, database, databases=(database,), **more)


SHEET_OF_2014 = {"disgust": 63, "repression": 27, "happiness": 32, "surprise": 25, "fear": 2}


def test_the_challenge_takes_145_clips_of_the_sheet_of_2014():
    pairs = made_up_pairs("casme2", SHEET_OF_2014 | {"others": 99, "sadness": 7}, 24)
    pairs = replace(pairs, coding_sheet="edition of 2014 (255 rows)")
    pairs.clips.loc[[0, 1], "apex_source"] = "spotted-flow"  # `/`, and an apex that is the onset
    clips = select_clips(pairs, "megc3")
    assert (len(clips.labels), clips.notes) == (145, ())
    assert np.bincount(clips.labels).tolist() == [88, 32, 25]
    assert len(select_clips(pairs, "four").labels) == 255
    pairs.clips["apex_source"] = "spotted-flow"  # a sheet without apexes keeps its clips
    assert len(select_clips(pairs, "megc3").labels) == 147


SAMM = {"anger": 57, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6}
SAMM |= {"happiness": 26, "surprise": 15, "others": 26}
CASME3 = {"disgust": 250, "fear": 86, "anger": 64, "sadness": 57, "others": 161}
CASME3 |= {"happiness": 55, "surprise": 187}


@pytest.mark.parametrize(
    ("database", "scheme", "emotions", "counts"),
    [
        ("casme2", "five", SHEET_OF_2014 | {"others": 99}, [63, 32, 99, 27, 25]),
        ("samm", "megc3", SAMM, [92, 26, 15]),
        ("samm", "five", SAMM, [57, 12, 26, 26, 15]),
        ("smic/hs", "megc3", {"negative": 70, "positive": 51, "surprise": 43}, [70, 51, 43]),
        ("casme3/a", "megc3", CASME3, [457, 55, 187]),
        ("casme3/a", "four", CASME3, [457, 161, 55, 187]),
        ("casme3/a", "seven", CASME3, [64, 250, 86, 55, 161, 57, 187]),
    ],
)
def test_schemes_give_the_published_counts(database, scheme, emotions, counts):
    clips = select_clips(made_up_pairs(database, emotions, 20), scheme)
    assert np.bincount(clips.labels).tolist() == counts
    expected = [e for e in DATABASES[database].expected if e.scheme == scheme and not e.edition]
    for each in expected:
        assert dict(zip(clips.classes, counts, strict=True)) == each.classes


def test_a_clip_that_is_missing_is_named():
    missing = pd.DataFrame([{"subject": "006", "clip": "006_1_2", "emotion": "anger"}])
    missing = missing.assign(database="samm", apex_source="sheet")
    pairs = made_up_pairs("samm", SAMM | {"anger": 56}, 28, missing=missing)
    (note,) = select_clips(pairs, "megc3").notes
    assert note == (
        "megc3 of SAMM: expected 133 clips of 28 subjects, found 132 of 28: 006/006_1_2 is missing"
    )
    assert not select_clips(replace(pairs, corpus="stand-in"), "megc3").notes


def test_a_missing_clip_that_the_scheme_leaves_out_is_not_named():
    rows = [("sub01", "EP01", "disgust", "sheet"), ("sub04", "EP12_01f", "disgust", "")]
    missing = pd.DataFrame(rows, columns=["subject", "clip", "emotion", "apex_source"])
    pairs = made_up_pairs(
        "casme2", SHEET_OF_2014 | {"disgust": 60}, 24, missing=missing.assign(database="casme2")
    )
    (note,) = select_clips(replace(pairs, coding_sheet="edition of 2014 (255 rows)"), "megc3").notes
    assert note.endswith("found 144 of 24: sub01/EP01 is missing")


def test_what_could_not_be_prepared_reaches_the_note(tmp_path):
    tree = TREES["smic/hs"](tmp_path)
    prepared = tmp_path / "out"
    prepare_dataset(tree.raw, None, prepared, database="smic/hs")
    frames = sorted((tree.raw / "s2" / "micro" / "positive" / "s2_po_01").iterdir())
    for path in frames:
        path.write_bytes(b"no picture")
    done = prepare_dataset(tree.raw, None, tmp_path / "other", database="smic/hs")
    assert [failure[:2] for failure in done.failures] == [("s02", "s2_po_01")]
    assert (tmp_path / "other" / "missing.csv").read_text().splitlines()[1:] == [
        "s02,s2_po_01,positive,,"
    ]
    assert not (prepared / "missing.csv").exists()


def test_the_part_of_a_database_is_found_among_the_others(tmp_path):
    for part in ("hs", "vis", "nir"):
        tree = TREES[f"smic/{part}"](tmp_path)
    for part in ("hs", "nir"):
        root = find_root(tree.raw.parent, DATABASES[f"smic/{part}"])
        assert root == tree.raw.parent / part.upper()


def test_a_clip_whose_first_frame_is_not_on_disk_is_a_line_and_missing(tmp_path):
    tree = TREES["casme3/a"](tmp_path)
    (
        tree.raw / "spNo.2" / "a" / "color" / "105.jpg"
    ).unlink()  # its apex is not used: it is spotted
    done = prepare_dataset(tree.raw, tree.coding, tmp_path / "out", database="casme3/a")
    (failure,) = done.failures
    assert failure[:2] == ("spNO.2", "a_105")
    assert "must have its onset frame. Received: no " in failure.reason
    assert failure.reason.endswith("spNo.2/a/color/105.jpg.")
    assert (tmp_path / "out" / "missing.csv").read_text().splitlines()[1:] == [
        "spNO.2,a_105,happiness,VII,"
    ]


def test_all_clips_are_named_whose_apex_is_not_used(tmp_path):
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
    rows = [["spNO.1", "J", f"{n}", f"{n}", f"{n + 9}", "4", "I", "sad"] for n in range(10, 90, 10)]
    path = tmp_path / "table.csv"
    pd.DataFrame(rows, columns=header).to_csv(path, index=False)
    sheet = read_coding_sheet(path, DATABASES["casme3/a"])
    names = ", ".join(f"spNO.1/J_{n}" for n in range(10, 90, 10))
    assert sheet.notes == (f"8 clips: apex equals onset, not used ({names})",)
    assert {clip.apex for clip in sheet.clips} == {None}
    assert {clip.emotion for clip in sheet.clips} == {"sadness"}


def test_objective_classes_are_read_where_a_copy_of_the_sheet_has_them(tmp_path):
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
    table = [[*header, "Estimated Emotion", "Objective Classes"]]
    table += [["01", f"EP0{i}", 1, 2, 3, 4, "disgust", c] for i, c in enumerate([3, "VII", None])]
    sheet = read_coding_sheet(write_table(tmp_path / "edited.xlsx", table))
    assert [clip.objective for clip in sheet.clips] == ["III", "VII", ""]
    table.append(["01", "EP09", 1, 2, 3, 4, "disgust", 8])
    with pytest.raises(UserError, match=r"row 5 .*objective class must be from 1 to 7.*: 8\."):
        read_coding_sheet(write_table(tmp_path / "wrong.xlsx", table))


@pytest.mark.parametrize("name", [n for n in TREES if n != "casme2" and DATABASES[n].columns])
def test_the_table_of_another_database_is_named_with_its_command(tmp_path, name):
    tree = TREES[name](tmp_path)
    with pytest.raises(UserError, match=f"--database {name} --coding") as caught:
        read_coding_sheet(tree.coding)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (["Inducement Code", "Type", "Onset"], "the long videos of SAMM"),
        (["Subject", "Filename", "OnsetF", "TotalMF1"], "the long clips of SMIC"),
        (["Expression type", "Onset"], "all expressions of CAS"),
    ],
)
def test_tables_that_are_not_read_are_named(tmp_path, columns, what):
    path = write_table(tmp_path / "table.xlsx", [["prose"], columns, [1] * len(columns)])
    for database in ("casme2", "samm"):
        with pytest.raises(UserError, match=f"that of {what}.*does not read"):
            read_coding_sheet(path, DATABASES[database])


def test_a_database_without_a_table_takes_none_and_others_need_theirs(tmp_path):
    tree = TREES["smic/hs"](tmp_path)
    with pytest.raises(UserError, match=r"SMIC-HS has no table.*Leave it out"):
        prepare_dataset(tree.raw, tmp_path / "x.csv", tmp_path / "out", database="smic/hs")
    with pytest.raises(UserError, match="--coding must name the table of SAMM"):
        prepare_dataset(tree.raw, None, tmp_path / "out", database="samm")
    with pytest.raises(UserError, match="--database smic/hs, or the folder of VIS"):
        prepare_dataset(tree.raw, None, tmp_path / "out", database="smic/vis")
    with pytest.raises(UserError, match=r"of DFME must lie in sub\*_\*"):
        prepare_dataset(
            tree.raw, TREES["dfme"](tmp_path / "d").coding, tmp_path / "out", database="dfme"
        )
    (tree.raw / "s1" / "micro" / "negative" / "s1_ne_01").rename(
        tree.raw / "s1" / "micro" / "negative" / "first"
    )
    with pytest.raises(UserError, match="a clip must be named such as s1_ne_01"):
        prepare_dataset(tree.raw, None, tmp_path / "out", database="smic/hs")


def test_editions_are_told_apart_by_their_content(tmp_path):
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
    row = ["spNO.1", "a", "1", "2", "3", "4", "I", "Others"]
    for rows, edition in ((860, "v2 (860 rows)"), (921, "v1 (921 rows)"), (7, "table of 7 rows")):
        table = [[*row[:2], str(10 * i + 1), str(10 * i + 2), str(10 * i + 3), *row[5:]]
                 for i in range(rows)]  # fmt: skip
        path = tmp_path / f"{rows}.csv"
        pd.DataFrame(table, columns=header).to_csv(path, index=False)
        assert read_coding_sheet(path, DATABASES["casme3/a"]).version == edition


@pytest.mark.parametrize(("units", "year"), [("4+L10", 2014), ("4+7+L10", 2019)])
def test_an_edited_sheet_of_casme_ii_is_known_by_a_witness(tmp_path, units, year):
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
    table = [[*header, "Estimated Emotion"], ["01", "EP19_05f", 1, 2, 3, units, "disgust"]]
    sheet = read_coding_sheet(write_table(tmp_path / "edited.xlsx", table))
    assert sheet.version == f"edition of {year}, edited (1 rows)"


def test_long_clips_and_apexes_next_to_the_onset_are_noted(tmp_path):
    tree = TREES["samm"](tmp_path)
    book = openpyxl.load_workbook(tree.coding)
    book.active["E17"] = book.active["D17"].value + 1
    book.active["F19"] = book.active["D19"].value + 900
    book.save(tree.coding)
    notes = read_coding_sheet(tree.coding, DATABASES["samm"]).notes
    assert "row 17 (006/006_3_2): apex one frame after the onset" in notes
    assert "row 19 (007/007_2_2): longer than a second: 4.5 s" in notes


@pytest.mark.parametrize(
    ("text", "known"),
    [
        *(("4", True), ("4.0", True), ("R4,5", True), ("6\uff0c12", True), ("1,2,", True)),
        *(("4B+T25", True), ("?4+L10", True), ("13?", True), ("12A/B", True), ("AD19", True)),
        *(("", True), ("?", True), ("4 or 5", False), ("(4)", False), ("soft focus", False)),
        *(("ref(4)", False), ("R12A+AU14", True)),
    ],
)
def test_action_units_that_cannot_be_told_apart_are_known(text, known):
    assert are_action_units(parse_action_units(text)) is known


def test_schemes_know_every_emotion_of_every_database():
    for database in DATABASES.values():
        for emotion in database.emotions:
            assert SCHEMES["four"].class_of(emotion, database.name) is not None
