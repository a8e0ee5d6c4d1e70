import csv
import datetime
from pathlib import Path

import openpyxl
import pytest

from casme_tf.datasets.coding_sheet import (
    SHIPPED_CORRECTIONS,
    Clip,
    read_coding_sheet,
    read_corrections,
)
from casme_tf.datasets.spreadsheet import read_tables
from casme_tf.errors import UserError, UserErrors
from casme_tf.labels import EMOTIONS

# As in the published workbook: two columns without a name, blanks around some names.
HEADER = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame ",
    "OffsetFrame",
    None,
    " Action Units",
    "Estimated Emotion",
]
INDEX_HEADER = ["", "subject", "folder", "onset_frame", "apex_frame", "emotion"]
CORRECTIONS_HEADER = ["subject", "clip", "field", "sheet_value", "value", "reason"]

COUNTS_OF_2014 = {
    "others": 99,
    "disgust": 63,
    "happiness": 32,
    "repression": 27,
    "surprise": 25,
    "sadness": 7,
    "fear": 2,
}


def sheet_row(
    subject="01", clip="EP02_01f", onset=46, apex=59, offset=86, units=4, emotion="happiness"
):
    return [subject, clip, None, onset, apex, offset, None, units, emotion]


def write_sheet(path: Path, rows, header=HEADER) -> Path:
    table = ([] if header is None else [header]) + list(rows)
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in table:
            book.active.append(row)
        book.save(path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return path


def sheet_of_2014(extra=()):
    """255 rows with the published sheet's counts and its known irregular clips."""
    emotions = [emotion for emotion, count in COUNTS_OF_2014.items() for _ in range(count)]
    rows = [
        sheet_row(f"{1 + i % 26:02d}", f"EP90_{i}", emotion=emotion)
        for i, emotion in enumerate(emotions)
    ]
    rows[0] = sheet_row("04", "EP12_01f", apex="/", emotion=emotions[0])
    rows[1] = sheet_row("05", "EP09_05f", onset=60, apex=60, emotion=emotions[1])
    rows[2] = sheet_row("20", "EP16_01", apex=86, emotion=emotions[2])
    return rows + list(extra)


def problems_of(path, **options) -> list[str]:
    with pytest.raises(UserErrors) as caught:
        read_coding_sheet(path, **options)
    return caught.value.problems


@pytest.mark.parametrize("suffix", [".xlsx", ".csv"])
def test_rows_become_clips(tmp_path, suffix):
    rows = [
        sheet_row("01", "EP02_01f", 46, 59, 86, 4, "Happiness"),
        sheet_row(2, "EP01_2", 10, 20, 30, "4+7", "OTHERS"),
        [None] * 9,
        sheet_row("sub26", " EP06_02_01 ", 1, "/", 40, "L12+R4", " disgust"),
        sheet_row("03", "EP09f", 7, None, None, "?", "fear"),
        sheet_row(4.0, "EP08_1", 7.0, 9.0, 12.0, 4.0, "sadness"),
        sheet_row("05", "EP01_01", 7, 9, 12, None, "surprise"),
    ]
    sheet = read_coding_sheet(write_sheet(tmp_path / f"sheet{suffix}", rows))
    assert sheet.clips == (
        Clip("sub01", "EP02_01f", 46, 59, 86, "4", "happiness"),
        Clip("sub02", "EP01_2", 10, 20, 30, "4+7", "others"),
        Clip("sub26", "EP06_02_01", 1, None, 40, "L12+R4", "disgust"),
        Clip("sub03", "EP09f", 7, None, None, "?", "fear"),
        Clip("sub04", "EP08_1", 7, 9, 12, "4", "sadness"),
        Clip("sub05", "EP01_01", 7, 9, 12, "", "surprise"),
    )
    assert sheet.version == "coding sheet"
    assert sheet.notes == (
        "row 5 (sub26/EP06_02_01): no apex",
        "row 6 (sub03/EP09f): no apex",
        "row 6 (sub03/EP09f): no offset",
    )


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_of_other_locales(tmp_path, delimiter):
    path = tmp_path / "sheet.csv"
    lines = [["" if cell is None else str(cell) for cell in row] for row in (HEADER, sheet_row())]
    text = "\r\n".join(delimiter.join(cells) for cells in lines)
    path.write_text(text, encoding="utf-8-sig")
    assert read_coding_sheet(path).clips == (
        Clip("sub01", "EP02_01f", 46, 59, 86, "4", "happiness"),
    )


def test_source_index(tmp_path):
    rows = [
        [0, "sub01", "EP02_01f", "reg_img46.jpg", "reg_img59.jpg", "happiness"],
        [1, "1", "EP03_02", "img9.jpg", "/", "Others"],
        [2, 17, "EP01_06", 5, 11, "fear"],
    ]
    sheet = read_coding_sheet(write_sheet(tmp_path / "index.csv", rows, INDEX_HEADER))
    assert sheet.version == "source index"
    assert sheet.clips == (
        Clip("sub01", "EP02_01f", 46, 59, None, "", "happiness"),
        Clip("sub01", "EP03_02", 9, None, None, "", "others"),
        Clip("sub17", "EP01_06", 5, 11, None, "", "fear"),
    )
    assert sheet.notes == ("row 3 (sub01/EP03_02): no apex",)


def test_versions_are_told_apart_by_content(tmp_path):
    def version(rows, name="any.xlsx"):
        return read_coding_sheet(write_sheet(tmp_path / name, rows)).version

    added = sheet_row("24", "EP02_07", emotion="disgust")
    assert version(sheet_of_2014()) == "edition of 2014 (255 rows)"
    assert version(sheet_of_2014([added])) == "later edition (256 rows)"
    assert version(sheet_of_2014()[:-1], "CASME2-coding-20140508.xlsx") == "coding sheet"
    filled = sheet_of_2014()
    filled[0][4] = "300"  # a copy that goes round has it
    assert version(filled) == "edition of 2014 (255 rows)"
    of_2019 = sheet_of_2014()
    sad = [row for row in of_2019 if row[-1] == "sadness"][:3]
    for row in sad:
        row[-1] = "surprise"
    assert version(of_2019) == "edition of 2019 (255 rows)"
    notes = read_coding_sheet(tmp_path / "any.xlsx").notes
    assert "Compare figures of the same edition only" in notes[-1]


def test_shipped_correction_needs_the_mistake(tmp_path):
    sheet = read_coding_sheet(write_sheet(tmp_path / "2014.xlsx", sheet_of_2014()))
    apex = {(clip.subject, clip.clip): clip.apex for clip in sheet.clips}
    assert apex["sub05", "EP09_05f"] is None
    assert apex["sub20", "EP16_01"] == 86
    assert sum(value is None for value in apex.values()) == 2
    applied = [note for note in sheet.notes if "corrections.csv" in note]
    assert len(applied) == 1
    assert applied[0].startswith("row 3 (sub05/EP09_05f): apex read as '/' instead of '60' (")

    as_it_is = read_coding_sheet(tmp_path / "2014.xlsx", corrections=())
    assert as_it_is.clips[1].apex == 60
    assert (
        "row 3 (sub05/EP09_05f): apex equals onset (frame 60): the pair shows no motion"
        in as_it_is.notes
    )

    right = [sheet_row("05", "EP09_05f", onset=60, apex=71)]
    sheet = read_coding_sheet(write_sheet(tmp_path / "right.xlsx", right))
    assert sheet.clips[0].apex == 71
    assert sheet.notes == ()


def test_shipped_corrections_file():
    assert [
        (fix.subject, fix.clip, fix.field) for fix in read_corrections(SHIPPED_CORRECTIONS)
    ] == [("sub05", "EP09_05f", "apex")]


def test_oddities_are_notes(tmp_path):
    rows = [
        sheet_row("01", "EP1", 10, 10, 20),
        sheet_row("01", "EP2", 10, 20, 20),
        sheet_row("06", "EP3", 10, 20, 15),
        sheet_row("06", "EP4", 10, "/", 5),
        sheet_row("06", "EP5", 10, 20, 30),
    ]
    assert read_coding_sheet(write_sheet(tmp_path / "sheet.csv", rows)).notes == (
        "row 2 (sub01/EP1): apex equals onset (frame 10): the pair shows no motion",
        "row 3 (sub01/EP2): apex equals offset (frame 20)",
        "row 4 (sub06/EP3): offset (frame 15) before apex (frame 20)",
        "row 5 (sub06/EP4): no apex",
        "row 5 (sub06/EP4): offset (frame 5) before onset (frame 10)",
    )


@pytest.mark.parametrize("suffix", [".xlsx", ".csv"])
def test_all_problems_are_reported_at_once(tmp_path, suffix):
    rows = [
        sheet_row("01", "EP1"),
        sheet_row("01", "EP1"),
        sheet_row(None, "EP2"),
        sheet_row("x1", "EP3"),
        sheet_row("01", "../EP4"),
        sheet_row("01", "a/b"),
        sheet_row("01", "a\\b"),
        sheet_row("01", None),
        sheet_row("01", "EP9", emotion="anger"),
        sheet_row("01", "EP10", onset=60, apex=59),
        sheet_row("01", "EP11", onset="first", apex=-3, offset=8.5),
        sheet_row("01", "EP12", onset=None, emotion=None),
        sheet_row("01", "..", onset=datetime.date(2014, 5, 8)),
        sheet_row("01", "EP14", onset="9" * 5000),
    ]
    problems = problems_of(write_sheet(tmp_path / f"sheet{suffix}", rows))
    expected = [
        ("row 3 (sub01/EP1):", "listed once", "row 2"),
        ("row 4:", "Subject must be", "Received: nothing"),
        ("row 5:", "Subject must be", "'x1'"),
        ("row 6:", "Filename must be", "'../EP4'"),
        ("row 7:", "Filename must be", "'a/b'"),
        ("row 8:", "Filename must be", "a\\\\b"),
        ("row 9:", "Filename must be", "Received: nothing"),
        ("row 14:", "Filename must be", "'..'"),
        ("row 10 (sub01/EP9):", f"one of {', '.join(EMOTIONS)}", "'anger'"),
        ("row 11 (sub01/EP10):", "onset must not come after the apex", "onset 60, apex 59"),
        ("row 12 (sub01/EP11):", "OnsetFrame must be", "'first'"),
        ("row 12 (sub01/EP11):", "ApexFrame must be", "'-3'"),
        ("row 12 (sub01/EP11):", "OffsetFrame must be", "'8.5'"),
        ("row 13 (sub01/EP12):", "OnsetFrame must be", "Received: nothing"),
        ("row 13 (sub01/EP12):", "Estimated Emotion must be", "Received: nothing"),
        ("row 14:", "OnsetFrame must be", "2014-05-08"),
        ("row 15 (sub01/EP14):", "OnsetFrame must be", "999"),
    ]
    for start, required, received in expected:
        found = [line for line in problems if line.startswith(start) and required in line]
        assert len(found) == 1, (start, required, problems)
        assert received in found[0]
    assert len(problems) == len(expected)


def test_a_correction_mends_an_error(tmp_path):
    sheet = write_sheet(
        tmp_path / "sheet.xlsx",
        [sheet_row("01", "EP1", onset=60, emotion="hapiness"), sheet_row("02", "EP1")],
    )
    fixes = write_sheet(
        tmp_path / "mine.csv",
        [
            [1, "EP1", "onset", 60, 46, "Typing mistake."],
            ["01", "EP1", "emotion", "", "happiness", "Typing mistake."],
            ["sub02", "EP1", "apex", 58, 57, "Only in another sheet."],
        ],
        CORRECTIONS_HEADER,
    )
    read = read_coding_sheet(sheet, corrections=[fixes])
    assert read.clips[0] == Clip("sub01", "EP1", 46, 59, 86, "4", "happiness")
    assert read.clips[1].apex == 59
    assert len(read.notes) == 3
    assert read.notes[2] == (
        "row 3 (sub02/EP1): mine.csv row 4 was not applied, since the apex is '59' and not '58'"
    )


def test_own_corrections_must_be_about_the_sheet(tmp_path):
    sheet = write_sheet(tmp_path / "sheet.csv", [sheet_row()])
    fixes = write_sheet(
        tmp_path / "mine.csv", [["01", "EP7", "apex", "", 5, "Why not."]], CORRECTIONS_HEADER
    )
    assert problems_of(sheet, corrections=[fixes]) == [
        "mine.csv row 2: a correction must be about a clip of the sheet. Received: sub01/EP7."
    ]
    write_sheet(
        fixes,
        [
            ["01", "EP02_01f", "apexframe", "", 5, "Why not."],
            ["01", "EP02_01f", "apex", "", "five", "Why not."],
            ["01", "EP02_01f", "emotion", "", "anger", "Why not."],
            ["01", "EP02_01f", "apex", "", 5, ""],
        ],
        CORRECTIONS_HEADER,
    )
    problems = problems_of(sheet, corrections=[fixes])
    assert [line.split(":")[0] for line in problems] == ["row 2", "row 3", "row 4", "row 5"]
    assert "field must be one of clip, onset, apex, offset, action_units, emotion" in problems[0]
    write_sheet(fixes, [["01", "EP02_01f"]], ["subject", "clip"])
    with pytest.raises(UserError, match="not there once: field, sheet_value, value, reason"):
        read_coding_sheet(sheet, corrections=[fixes])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_tables_as_excel_saves_them(tmp_path, encoding, separator):
    path = tmp_path / "sheet.csv"
    lines = [HEADER, sheet_row("01", "EP1"), sheet_row("02", "EP2")]
    text = "\n".join(separator.join("" if c is None else str(c) for c in row) for row in lines)
    path.write_bytes(text.encode(encoding))
    assert [clip.clip for clip in read_coding_sheet(path).clips] == ["EP1", "EP2"]


def test_headers_of_copies_are_taken(tmp_path):
    short = ["Subject", "Filename", "", "Onset", "Apex Frame", "Offset", "", "AU", "Emotion"]
    path = write_sheet(tmp_path / "sheet.csv", [["Coding of 2014"], short, sheet_row()], [""])
    (clip,) = read_coding_sheet(path).clips
    assert clip == Clip("sub01", "EP02_01f", 46, 59, 86, "4", "happiness")


@pytest.mark.parametrize(
    ("column", "database"),
    [("Inducement Code", "SAMM"), ("TotalMF1", "SMIC"), ("EmotionId", "DFME")],
)
def test_tables_of_other_databases_are_named_in_one_line(tmp_path, column, database):
    prose = [["Symbol key"]] * 13
    rows = [[*HEADER, column], [*sheet_row("006", "006_1_2", emotion="Contempt"), 1]]
    path = write_sheet(tmp_path / "table.xlsx", [*prose, *rows], ["Codes"])
    with pytest.raises(UserError, match=f"so is that of .*{database}") as caught:
        read_coding_sheet(path)
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_be_read_are_left_out_on_demand(tmp_path):
    rows = [
        sheet_row("01", "EP1"),
        sheet_row("x", "../EP2"),  # wrong twice
        sheet_row("02", "EP3", emotion="anger"),
        sheet_row("02", "EP4", onset=60, apex=50),
    ]
    path = write_sheet(tmp_path / "sheet.csv", rows)
    assert len(problems_of(path)) == 4
    sheet = read_coding_sheet(path, leave_out=True)
    assert [clip.clip for clip in sheet.clips] == ["EP1"]
    assert list(sheet.left_out) == problems_of(path)
    write_sheet(path, rows[1:])
    assert len(problems_of(path, leave_out=True)) == 4  # nothing would be left


def test_a_name_of_a_clip_can_be_corrected(tmp_path):
    rows = [sheet_row("01", "../EP2", apex=59), sheet_row("02", "../EP2")]
    sheet = write_sheet(tmp_path / "sheet.csv", rows)
    fixes = write_sheet(
        tmp_path / "mine.csv",
        [
            ["01", "../EP2", "clip", "", "EP2", "Typing mistake."],
            ["01", "EP2", "apex", "59", "58", "Another."],
            ["02", "../EP2", "clip", "", "EP3", "Typing mistake."],
        ],
        CORRECTIONS_HEADER,
    )
    clips = read_coding_sheet(sheet, corrections=[SHIPPED_CORRECTIONS, fixes]).clips
    assert [(clip.subject, clip.clip, clip.apex) for clip in clips] == [
        ("sub01", "EP2", 58),
        ("sub02", "EP3", 59),
    ]


def test_many_clips_that_are_unusual_alike_take_one_line(tmp_path):
    rows = [sheet_row("01", f"EP{i}", apex="/") for i in range(48)]
    assert read_coding_sheet(write_sheet(tmp_path / "sheet.csv", rows)).notes == (
        "48 clips: no apex (sub01/EP0, sub01/EP1, sub01/EP2, sub01/EP3, sub01/EP4, …)",
    )


def test_wrong_columns_are_named(tmp_path):
    path = write_sheet(
        tmp_path / "sheet.xlsx", [["01", "EP1", 3]], ["Subject", "Filename", "Begin"]
    )
    with pytest.raises(UserError) as caught:
        read_coding_sheet(path)
    assert "with Subject, Filename, Begin;" in str(caught.value)
    assert str(caught.value).endswith(
        "not there once: OnsetFrame, ApexFrame, OffsetFrame, Action Units, Estimated Emotion."
    )
    twice = [*HEADER, "Subject"]
    with pytest.raises(UserError, match="not there once: Subject"):
        read_coding_sheet(write_sheet(tmp_path / "twice.xlsx", [sheet_row()], twice))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.xlsx", None, "does not exist"),
        ("sheet.xlsx", b"Subject,Filename\n01,EP1\n", "must be an Excel workbook"),
        ("sheet.xlsx", b"PK\x03\x04 cut short", "must be an Excel workbook"),
        ("sheet.csv", b"PK\x03\x04\x00\x00\xff\xfe", "must be a table as text"),
        ("sheet.csv", b"\xff\xd8\xff\xe0 a picture", "must be a table as text"),
        ("sheet.xls", b"\xd0\xcf\x11\xe0", "must be an Excel workbook"),
        ("sheet.ods", b"PK", "must be an .xlsx, .xls or .csv file"),
        ("sheet.xlsx", b"", "which is empty"),
        ("sheet.csv", b"", "which is empty"),
        ("sheet.csv", b"\n,,\n", "which is empty"),
    ],
)
def test_files_that_are_no_sheet(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_coding_sheet(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_header_alone_are_no_sheet(tmp_path):
    with pytest.raises(UserError, match="which is a folder"):
        read_coding_sheet(tmp_path)
    with pytest.raises(UserError, match="a header without rows"):
        read_coding_sheet(write_sheet(tmp_path / "sheet.xlsx", []))


def test_the_worksheet_with_the_columns_is_found(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Notes on this workbook"])
    clips = book.create_sheet("clips")
    clips.append(HEADER)
    clips.append(sheet_row())
    book.save(tmp_path / "book.xlsx")
    assert [clip.clip for clip in read_coding_sheet(tmp_path / "book.xlsx").clips] == ["EP02_01f"]
    assert len(read_tables(tmp_path / "book.xlsx")) == 2
