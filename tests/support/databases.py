"""Made-up trees and tables of the databases: folders, headers, irregular rows, drawn faces.

Nothing here is a row or a frame of a database; names of clips follow the published patterns.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import openpyxl

from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import draw_schedule

SUBJECTS, EACH, FRAMES = 3, 3, 6
"""Each subject has one clip of each of three emotions."""

APEX = 4
"""The frame of a clip that tables name as its apex, from 0."""


@dataclass
class Tree:
    """A raw tree, its table, and what preparation must make of them.

    Attributes:
        raw: The folder to pass as --raw.
        coding: The table; None if there is none.
        clips: Subject and clip as prepared, in the table's order.
        spotted: Those of them whose apex the table does not give.
        notes: A part of each line that must be printed.
    """

    raw: Path
    coding: Path | None = None
    clips: list[tuple[str, str]] = field(default_factory=list)
    spotted: set[tuple[str, str]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


@lru_cache(maxsize=1)
def drawn_clips() -> tuple[tuple[np.ndarray, ...], ...]:
    """Return the frames of each clip, `(480, 640, 3)` uint8 BGR."""
    schedule = draw_schedule(subjects=SUBJECTS, clips=SUBJECTS * EACH, frames=FRAMES, seed=7)
    portraits = {
        name: paint_portrait(schedule.traits(name), schedule.portrait_rng(name))
        for name in {clip.subject for clip in schedule.clips}
    }
    return tuple(
        tuple(
            cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            for rgb in render_clip(
                portraits[clip.subject], schedule.motion(clip), schedule.sensor_rng(clip)
            )
        )
        for clip in schedule.clips
    )


def write_frames(
    folder: Path, seed: str, clip: int, first: int, name: Callable[[int], str]
) -> None:
    """Write a drawn clip, a little brighter by seed; `name` gives the file of a number."""
    folder.mkdir(parents=True, exist_ok=True)
    brighter = 1 + zlib.crc32(seed.encode()) % 20  # no two databases hold the same frame
    for number, image in enumerate(drawn_clips()[clip], first):
        assert cv2.imwrite(str(folder / name(number)), cv2.add(image, (brighter,) * 3 + (0,)))


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return path


def each(emotions: Sequence[str]) -> list[tuple[int, int, int, str]]:
    """Return number, subject from 1, place among its clips, and emotion of each clip."""
    return [(i, i // EACH + 1, i % EACH, emotions[i % EACH]) for i in range(SUBJECTS * EACH)]


def casme2(folder: Path) -> Tree:
    tree = Tree(folder / "CASME2-RAW")
    header = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
    rows: list[list[object]] = [[*header, "Action Units", "Estimated Emotion"]]
    for i, subject, place, emotion in each(["disgust", "happiness", "surprise"]):
        name, first = f"EP0{place + 1}_{i}f", 20 + i
        write_frames(tree.raw / f"sub{subject:02d}" / name, "casme2", i, first, "img{}.jpg".format)
        apex = "/" if i == 0 else first + APEX
        rows.append([subject, name, None, first, apex, first + FRAMES - 1, None, 4, emotion])
        tree.clips.append((f"sub{subject:02d}", name))
    tree.spotted = {tree.clips[0]}
    tree.notes = ["row 2 (sub01/EP01_0f): no apex"]
    tree.coding = write_table(folder / "CASME2-coding.xlsx", rows)
    return tree


def casme(folder: Path) -> Tree:
    """One name twice for a subject, numbers padded in a part of the clips, no offsets."""
    tree = Tree(folder / "CASME_raw_selected")
    header = ["Subject", "Filename", "OnsetF", "ApexF1", "ApexF2", "AU", "Emotion"]
    rows: list[list[object]] = [header]
    for i, subject, place, emotion in each(["Repression", "Amusement", "surprise"]):
        name, first = f"EP01_{min(place, 1)}", 40 * place + 10
        pattern = f"{name}-{{:03d}}.jpg" if subject == 3 else f"{name}-{{}}.jpg"
        write_frames(tree.raw / f"sub{subject:02d}" / name, "casme", i, first, pattern.format)
        rows.append([subject, name, first, first + APEX, first + 1, "12+14", emotion])
        tree.clips.append((f"sub{subject:02d}", f"{name}_{first}"))
    tree.coding = write_table(folder / "CASME.xlsx", rows)
    return tree


def samm(folder: Path) -> Tree:
    """Prose above the header, a formula without a value, numbers of subjects without zeros."""
    tree = Tree(folder / "SAMM")
    header = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame"]
    header += ["Offset Frame", "Duration", "Micro", "Action Units", "Estimated Emotion"]
    rows: list[list[object]] = [["Symbol key", "/ = or"]] * 13
    rows.append([*header, "Objective Classes", "Notes"])
    units = ["4B+R7", "12A or 14", "1+2 "]
    for i, subject, place, emotion in each(["Anger", "Happiness", "Surprise"]):
        code = subject + 5
        name, first = f"{code:03d}_{place + 1}_2", 990 + 4 * i
        pattern = f"{code:03d}_{{:05d}}.jpg" if place == 0 else f"{code:03d}_{{:04d}}.jpg"
        write_frames(tree.raw / f"{code:03d}" / name, "samm", i, first, pattern.format)
        last = first + FRAMES - 1
        apex = {1: last + 9, 3: first - 30}.get(i, first + APEX)
        formula = f"=F{i + 15}-D{i + 15}+1"
        row = [code, name, place + 1, first, apex, last, formula, "Micro - 1/2", units[place]]
        emotion = "Other" if i == 6 else emotion
        rows.append([*row, emotion, i % 7 + 1, "soft focus" if i == 2 else None])
        tree.clips.append((f"{code:03d}", name))
    tree.spotted = {tree.clips[1], tree.clips[3]}
    tree.notes = [
        "row 16 (006/006_2_2): apex outside of onset to offset (apex 1008, 994 to 999): not used",
        "row 18 (007/007_1_2): apex outside of onset to offset (apex 972, 1002 to 1007): not used",
        "row 16 (006/006_2_2): unclear action units '12A or 14'",
    ]
    tree.coding = write_table(folder / "SAMM_Micro_FACS_Codes_v2.xlsx", rows)
    return tree


def smic(folder: Path, part: str) -> Tree:
    """No table; a folder that disagrees with the clip's name, and clips that are none."""
    tree = Tree(folder / "SMIC_all_raw" / part.upper())
    folders = {"ne": "negative", "po": "positive", "sur": "surprise"}
    pattern = {"hs": "image{:06d}.bmp", "vis": "image{}.bmp", "nir": "{:05d}.bmp"}[part]
    for i, subject, _, code in each(list(folders)):
        name = f"s{subject}_{code}_01"
        place = "negative" if i == 8 else folders[code]
        clip = tree.raw / f"s{subject}" / "micro" / place / name
        write_frames(clip, part, i, 55000 + 10 * i, pattern.format)
        tree.clips.append((f"s{subject:02d}", name))
    write_frames(tree.raw / "s1" / "non_micro" / "s1_non_01", part, 0, 1, pattern.format)
    tree.spotted = set(tree.clips)
    tree.notes = ["s3_sur_01: surprise by its name, in the folder"]
    return tree


def casme3_a(folder: Path) -> Tree:
    """Several clips a video, text in every cell, an apex that is the onset, offset 0, gaps."""
    tree = Tree(folder / "part_A")
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
    rows: list[list[object]] = [header]
    for i, subject, place, emotion in each(["sad", "happy", "surprise"]):
        letter, first = "ab"[place // 2], 100 * place + 5
        person = f"spNo.{subject}" if subject == 2 else f"spNO.{subject}"
        clip = tree.raw / person / letter / "color"
        write_frames(clip, "casme3_a", i, first, "{}.jpg".format)
        apex = first if i == 4 else first + APEX
        last = 0 if i == 5 else first + FRAMES - 1
        emotion = "Others" if i == 8 else emotion
        cells = [f"spNO.{subject}", letter, first, apex, last, "L2+1", "VII", emotion]
        rows.append([str(cell) for cell in cells])
        tree.clips.append((f"spNO.{subject}", f"{letter}_{first}"))
        if i == 0:
            (clip / f"{first + 2}.jpg").unlink()
    tree.spotted = {tree.clips[4]}
    tree.notes = [
        "row 6 (spNO.2/a_105): apex equals onset (apex 105, 105 to 110): not used",
        "row 7 (spNO.2/b_205): offset 0 before the onset 205: taken as unknown",
        "1 frame between onset and offset missing in 1 clip: spNO.1/a_5 (1)",
    ]
    tree.coding = write_table(folder / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", rows)
    return tree


def casme3_c(folder: Path) -> Tree:
    """No apex, and action units with commas, one of them full-width."""
    tree = Tree(folder / "part_C")
    rows: list[list[object]] = [["sub", "count", "onset", "offset", "au", "emotion"]]
    for i, subject, place, emotion in each(["negative", "positive", "surprise"]):
        first = 30 * place + 1
        write_frames(
            tree.raw / f"{subject:02d}" / "a" / "color", "casme3_c", i, first, "{}.jpg".format
        )
        units = ["R4,5", "6\uff0c12", "1,2,"][place]
        rows.append([subject, place + 1, first, first + FRAMES - 1, units, emotion])
        tree.clips.append((f"{subject:02d}", str(place + 1)))
    tree.spotted = set(tree.clips)
    tree.coding = write_table(folder / "CAS(ME)3_part_C_ME.xlsx", rows)
    return tree


def mmew(folder: Path) -> Tree:
    """Folders by emotion, one of them `others` in the table and `repression` on disk."""
    tree = Tree(folder / "Micro_Expression")
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
    rows: list[list[object]] = [[*header, "Estimated Emotion", "remarks"]]
    for i, subject, place, emotion in each(["others", "happiness", "surprise"]):
        name = f"S{subject:02d}-0{place + 1}-00{i}"
        place_on_disk = "repression" if emotion == "others" else emotion
        write_frames(tree.raw / place_on_disk / name, "mmew", i, 1, "{}.jpg".format)
        apex = FRAMES + 20 if i == 2 else 1 + APEX
        rows.append([f"S{subject:02d}", name, 1, apex, FRAMES, "4?+R15", emotion, None])
        tree.clips.append((f"S{subject:02d}", name))
    tree.spotted = {tree.clips[2]}
    tree.notes = ["(S01/S01-03-002): apex outside of onset to offset (apex 26, 1 to 6): not used"]
    tree.coding = write_table(folder / "MMEW_Micro_Exp.xlsx", rows)
    return tree


def fourdme(folder: Path) -> Tree:
    """Clips with more than one emotion, one-hot columns after the text."""
    tree = Tree(folder / "micro_short_gray_video")
    header = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "fold"]
    rows: list[list[object]] = [[*header, "Positive", "Negative", "AU1", "AU4"]]
    for i, subject, place, emotion in each(["Negative", "Positive", "Surprise"]):
        name, first = f"S{subject:02d}_1st_00{i}_01_{place}", 1800 + 10 * i
        emotion = "Surprise+Positive" if i == 7 else emotion
        clip = tree.raw / f"S{subject:02d}" / name
        write_frames(clip, "fourdme", i, first, "Frame_{:09d}.jpg".format)
        row = [subject, name, emotion, first, first + APEX, first + FRAMES - 1, "4"]
        rows.append([*row, i, 0, 1, 0, 1])
        tree.clips.append((f"S{subject:02d}", name))
    tree.notes = ["(S03/S03_1st_007_01_1): several emotions: Surprise+Positive"]
    tree.coding = write_table(folder / "4DME_Labelling_Micro_release v1.xlsx", rows)
    return tree


def dfme(folder: Path) -> Tree:
    """Frames a second by clip, a first frame of 0, folders of clips without subjects."""
    tree = Tree(folder / "DFME_train")
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion"]
    rows: list[list[object]] = [[*header, "EmotionId", "Fps", "AU"]]
    for i, subject, place, emotion in each(["contempt", "happiness", "surprise"]):
        name, first = f"sub{subject:04d}_{place + 1:02d}", 0 if place == 0 else 100
        write_frames(tree.raw / name, "dfme", i, first, "{:05d}.png".format)
        row = [f"sub{subject:04d}", name, first, first + APEX, first + FRAMES - 1, emotion]
        rows.append([*row, place, (200, 300, 500)[place], "AD19+M57"])
        tree.clips.append((f"sub{subject:04d}", name))
    tree.coding = write_table(folder / "training_full_with_AU.xlsx", rows)
    return tree


TREES: dict[str, Callable[[Path], Tree]] = {
    "casme2": casme2,
    "casme": casme,
    "samm": samm,
    "smic/hs": lambda folder: smic(folder, "hs"),
    "smic/vis": lambda folder: smic(folder, "vis"),
    "smic/nir": lambda folder: smic(folder, "nir"),
    "casme3/a": casme3_a,
    "casme3/c": casme3_c,
    "mmew": mmew,
    "fourdme": fourdme,
    "dfme": dfme,
}
"""What writes the tree of each database."""
