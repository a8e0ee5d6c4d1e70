import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import casme_tf.datasets.casme2 as casme2
from casme_tf.clips.frames import read_rgb
from casme_tf.datasets.built import VERSION, frame_decoders, open_dataset
from casme_tf.datasets.pairs import load_pairs
from casme_tf.datasets.prepared import read_prepared_folder
from casme_tf.errors import UserError, UserErrors
from casme_tf.labels import CLASSES, EMOTIONS

COLUMNS = "subject,clip,onset,apex,offset,action_units,emotion,apex_source,fps,box_x,corpus"

# Not in order of subject and clip, which the data set must be.
CLIPS = (
    "sub02,EP01_2,10,20,30,L12+R4,surprise,sheet,200,7,casme2",
    "sub01,EP09f,11,21,,4+7,repression,sheet,200,7,casme2",
    "sub01,EP02_01f,46,59,86,4,others,sheet,199.5,7,casme2",
    "sub03,EP03_02,13,23,33,,happiness,sheet,200,7,casme2",
)
SORTED = (("sub01", "EP02_01f"), ("sub01", "EP09f"), ("sub02", "EP01_2"), ("sub03", "EP03_02"))


def write_face(path: Path, size=(32, 40), seed=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def write_prepared(folder: Path) -> Path:
    for i, line in enumerate(CLIPS):
        subject, clip = line.split(",")[:2]
        for j, name in enumerate(("onset_frame.jpg", "apex_frame.jpg")):
            write_face(folder / subject / f"ROI_{clip}" / name, (32 + i, 40), seed=2 * i + j)
    (folder / "manifest.csv").write_text("\n".join((COLUMNS, *CLIPS)) + "\n")
    return folder


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def tfds_build(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("tfds"), "build", *arguments, cwd=cwd)


def from_anywhere(prepared: Path, data: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    imports = ("--imports", "casme_tf.datasets.casme2")
    return tfds_build("casme2", *imports, "--manual_dir", prepared, "--data_dir", data, cwd=cwd)


@pytest.fixture
def prepared(tmp_path) -> Path:
    return write_prepared(tmp_path / "prepared_dataset")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("casme2")
    prepared = write_prepared(root / "prepared_dataset")
    done = from_anywhere(Path("prepared_dataset"), root / "data", cwd=root)
    assert done.returncode == 0, done.stderr
    return prepared, root / "data"


class Casme2Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = casme2.Builder
    SPLITS = {"train": len(CLIPS)}  # noqa: RUF012  the base class reads a plain attribute

    @classmethod
    def setUpClass(cls):
        cls._examples = tempfile.TemporaryDirectory()
        cls.EXAMPLE_DIR = write_prepared(Path(cls._examples.name))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls._examples.cleanup()

    def test_metadata_is_found(self):
        metadata = self.builder.get_metadata()
        assert "10.1371/journal.pone.0086041" in metadata.citation
        assert "spontaneous facial micro-expressions" in metadata.description
        assert "ml.task.image-classification" in metadata.tags


def assert_is_whole(builder: tfds.core.DatasetBuilder, prepared: Path) -> None:
    assert list(builder.info.splits) == ["train"]
    assert builder.info.splits["train"].num_examples == len(CLIPS)
    assert builder.info.features["label"].names == list(CLASSES)
    assert builder.info.features["emotion"].names == list(EMOTIONS)
    frames = ("onset", "apex")
    stored = builder.as_dataset(
        split="train", decoders={name: tfds.decode.SkipDecoding() for name in frames}
    )
    examples = list(tfds.as_numpy(stored))
    assert [(e["subject"].decode(), e["clip"].decode()) for e in examples] == list(SORTED)
    for example, (subject, clip) in zip(examples, SORTED, strict=True):
        for name in frames:
            file = prepared / subject / f"ROI_{clip}" / f"{name}_frame.jpg"
            assert example[name] == file.read_bytes()
    assert [CLASSES[e["label"]] for e in examples] == ["other", "negative", "surprise", "positive"]
    assert [EMOTIONS[e["emotion"]] for e in examples] == [
        "others",
        "repression",
        "surprise",
        "happiness",
    ]
    assert [e["action_units"] for e in examples] == [b"4", b"4+7", b"L12+R4", b""]
    assert [e["apex_source"] for e in examples] == [b"sheet"] * 4
    assert [e["corpus"] for e in examples] == [b"casme2"] * 4
    assert [e["onset_index"] for e in examples] == [46, 11, 10, 13]
    assert [e["apex_index"] for e in examples] == [59, 21, 20, 23]
    assert [e["offset_index"] for e in examples] == [86, -1, 30, 33]
    assert [e["fps"] for e in examples] == [199.5, 200, 200, 200]


def test_build_from_anywhere(built):
    prepared, data = built
    assert_is_whole(open_dataset("casme2", data), prepared)


def test_pairs_of_casme2_are_named_so(built):
    assert load_pairs(built[1], 64).corpus == "casme2"


def test_frames_decode_as_pillow_decodes_them(built):
    prepared, data = built
    dataset = open_dataset("casme2", data).as_dataset(split="train", decoders=frame_decoders())
    for example, (subject, clip) in zip(tfds.as_numpy(dataset), SORTED, strict=True):
        for name in ("onset", "apex"):
            file = prepared / subject / f"ROI_{clip}" / f"{name}_frame.jpg"
            np.testing.assert_array_equal(example[name], read_rgb(file))


def test_build_in_its_folder(prepared, tmp_path):
    folder = Path(casme2.__file__).parent
    done = tfds_build("--manual_dir", prepared, "--data_dir", tmp_path / "data", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_is_whole(open_dataset("casme2", tmp_path / "data"), prepared)


def test_load_needs_no_import(built):
    prepared, data = built
    program = f"""
import sys
import tensorflow_datasets as tfds
dataset, info = tfds.load("casme2", split="train", data_dir={str(data)!r}, with_info=True)
examples = list(tfds.as_numpy(dataset))
assert len(examples) == info.splits["train"].num_examples == {len(CLIPS)}
assert set(examples[0]) == {{
    "onset", "apex", "label", "emotion", "objective", "subject", "clip", "action_units",
    "onset_index", "apex_index", "offset_index", "fps", "apex_source", "corpus",
}}
assert examples[0]["onset"].shape == (40, 34, 3), examples[0]["onset"].shape
pairs = tfds.load("casme2", split="train", data_dir={str(data)!r}, as_supervised=True)
for pair, label in pairs:
    assert set(pair) == {{"onset", "apex"}}
assert int(label) == info.features["label"].str2int("positive")
assert not any(name.split(".")[0] == "casme_tf" for name in sys.modules)
"""
    done = run(sys.executable, "-c", program, cwd=prepared.parent)
    assert done.returncode == 0, done.stderr


def test_build_lists_what_is_wrong(prepared, tmp_path):
    (prepared / "sub01/ROI_EP09f/apex_frame.jpg").write_bytes(b"")
    (prepared / "sub02/ROI_EP01_2/onset_frame.jpg").unlink()
    builder = casme2.Builder(data_dir=tmp_path / "data")
    config = tfds.download.DownloadConfig(manual_dir=prepared)
    with pytest.raises(UserErrors) as caught:
        builder.download_and_prepare(download_config=config)
    message = str(caught.value)
    assert "casme-tf prepare-dataset --raw" in message
    assert f"{prepared / 'sub01/ROI_EP09f/apex_frame.jpg'}, which is empty." in message
    assert f"{prepared / 'sub02/ROI_EP01_2/onset_frame.jpg'}, which does not exist." in message
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


def test_a_folder_that_is_not_there_takes_one_line(tmp_path, monkeypatch):
    """The first build in a home where TFDS has nothing yet, and a relative path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    imports = ("--imports", "casme_tf.datasets.casme2")
    done = tfds_build("casme2", *imports, "--manual_dir", "no/where", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("casme_tf.errors.UserError: --manual_dir must be a prepared folder")
    assert f"Received: {tmp_path / 'no/where'}, which does not exist" in last


def test_every_inconsistency_is_listed_at_once(prepared):
    folder = prepared
    write_face(folder / "sub03/ROI_EP03_02/apex_frame.jpg", size=(20, 40))
    for name in ("onset_frame.jpg", "apex_frame.jpg"):
        write_face(folder / "sub09/ROI_EP1" / name)
    whole = (folder / "sub02/ROI_EP01_2/apex_frame.jpg").read_bytes()
    (folder / "sub02/ROI_EP01_2/apex_frame.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (34, 40)).save(folder / "sub01/ROI_EP02_01f/onset_frame.jpg", format="PNG")
    with (folder / "manifest.csv").open("a") as manifest:
        manifest.write("sub01,EP09f,11,21,,4+7,repression,sheet,200,7,casme2\n")
        manifest.write("sub07,../EP1,/,x,3,4,anger,sheet,0,7,CASME3\n")
        manifest.write("sub08,EP2,1,2,3,4,fear,sheet,200,7,casme2\n")
    with pytest.raises(UserErrors) as caught:
        read_prepared_folder(folder)
    expected = [
        "manifest.csv row 6 (sub01/EP09f): a clip must be listed once.",
        "manifest.csv row 7 (sub07/../EP1): corpus must be one of casme2, stand-in. Received: CASM",
        "manifest.csv row 7 (sub07/../EP1): clip must be the name of a clip's folder",
        "manifest.csv row 7 (sub07/../EP1): onset must be a frame number. Received: /.",
        "manifest.csv row 7 (sub07/../EP1): apex must be a frame number such as",
        "manifest.csv row 7 (sub07/../EP1): emotion must be one of",
        "manifest.csv row 7 (sub07/../EP1): fps must be a number above 0. Received: 0.",
        f"{folder}/sub02/ROI_EP01_2/apex_frame.jpg must be a whole image file.",
        f"{folder}/sub01/ROI_EP02_01f/onset_frame.jpg must be a JPEG.",
        f"{folder}/sub03/ROI_EP03_02 must hold onset_frame.jpg and apex_frame.jpg of one size. "
        "Received: 35×40 px and 20×40 px.",
        f"A frame must be an image file. Received: {folder}/sub08/ROI_EP2/onset_frame.jpg, which",
        f"A frame must be an image file. Received: {folder}/sub08/ROI_EP2/apex_frame.jpg, which",
        f"{folder}/sub09/ROI_EP1 must have a row in manifest.csv.",
    ]
    problems = caught.value.problems
    for start in expected:
        assert sum(line.startswith(start) for line in problems) == 1, (start, problems)
    assert len(problems) == len(expected)


def test_manifest_must_be_there_with_its_columns(prepared):
    manifest = prepared / "manifest.csv"
    manifest.write_text("subject,clip,onset,apex,offset,emotion\n")
    with pytest.raises(UserError, match="Not there once: corpus, action_units, apex_source, fps"):
        read_prepared_folder(prepared)
    manifest.unlink()
    with pytest.raises(UserError, match=r"must hold manifest\.csv"):
        read_prepared_folder(prepared)


def test_a_folder_of_two_corpora_is_refused(prepared):
    manifest = prepared / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("casme2", "stand-in", 1))
    with pytest.raises(
        UserError, match=r"of one corpus\. .*, with 3 of casme2 and 1 of stand-in\."
    ):
        read_prepared_folder(prepared)


def test_a_manifest_without_clips_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text(COLUMNS + "\n")
    with pytest.raises(UserErrors, match="must list clips"):
        read_prepared_folder(tmp_path)


def test_open_says_what_is_missing(tmp_path, monkeypatch):
    command = (
        "tfds build casme2 --imports casme_tf.datasets.casme2 --manual_dir prepared_dataset "
        f"--data_dir {tmp_path}"
    )
    with pytest.raises(UserError, match="Received: nothing that is built") as caught:
        open_dataset("casme2", tmp_path)
    assert str(caught.value).endswith(command)
    for version in ("1.0.0", f"incomplete.ABC_{VERSION}"):
        (tmp_path / "casme2" / version).mkdir(parents=True)
        (tmp_path / "casme2" / version / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=rf"version {VERSION} in .* Received: version 1\.0\.0\."):
        open_dataset("casme2", tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "from_environment"))
    with pytest.raises(UserError, match=r"from_environment\. Received: nothing"):
        open_dataset()
