"""A card says what the run's records say, and nothing where they say nothing."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

from casme_tf.errors import UserError
from casme_tf.export.model_card import render_model_card
from casme_tf.formatting import FIGURE_NAMES
from casme_tf.labels import CLASSES
from casme_tf.models import ARCHITECTURES
from casme_tf.runs import RunRecord
from casme_tf.training.learners import resolve
from casme_tf.training.settings import TrainConfig

LEAK = "5 subjects are in both parts"
PARITY = {"part": "validation", "pairs": 36, "reference": "model.keras"}


def part(clips: int, subjects: list[str]) -> dict[str, Any]:
    return {"clips": clips, "subjects": subjects, "classes": {"negative": clips - 1, "other": 1}}


def figure(model: float, low: float | None, high: float | None) -> dict[str, Any]:
    interval = [None, None] if low is None or high is None else [model + low, model + high]
    return {
        "model": model,
        "interval": interval,
        "largest_class": 0.25,
        "difference": [low, high],
    }


def metrics() -> dict[str, Any]:
    by_class = {"precision": 0.75, "recall": 0.125, "f1": 0.5}
    return {
        "part": "test",
        "protocol": "subject-holdout",
        "leak": None,
        "epoch_chosen_on": "validation subjects",
        "f1": "uf1: plain mean",
        "interval": "95%, percentile bootstrap over subjects, 2000 draws",
        "clips": 41,
        "subjects": 3,
        "largest_class": "other",
        "figures": {
            "accuracy": figure(0.4567, 0.01, 0.2),
            "uf1": figure(0.34561, -0.1, 0.1),
            "uar": figure(0.2, -0.2, -0.01),
        },
        "classes": {name: dict(by_class) for name in CLASSES},
        "confusion": [[7, 1, 0, 0], [2, 11, 0, 0], [3, 4, 5, 0], [0, 0, 6, 2]],
    }


def artifact(**changes: Any) -> dict[str, Any]:
    row = {"largest_difference": 1.234e-4, "mean_difference": 5.6e-6, "agreement": 0.975}
    row |= {"bytes": 24_660_000, "ms_per_pair": 12.34, "within_tolerance": True, "published": True}
    return row | changes


class Made:
    """A run's folder with records that a test may change before they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = {
            "arch": "siamese",
            "run": "siamese",
            "data_dir": "/data/tfds",
            "runs": "saved_models",
            "split": "subject-holdout",
            "weights": "imagenet",
            "frame_size": 224,
            "network_size": 128,
            "epochs": 120,
            "batch_size": 32,
            "backbone": "trained",
            "choose_epoch": True,
            "dropout": 0.25,
            "learning_rate": 1e-4,
            "augment": False,
            "seed": 7,
            "overwrite": True,
        }
        self.split: dict[str, Any] = {
            "corpus": "casme2",
            "protocol": "subject-holdout",
            "leak": None,
            "parts": {
                "train": part(30, ["sub01", "sub02"]),
                "validation": part(10, ["sub03"]),
                "test": part(41, ["sub04", "sub05", "sub06"]),
            },
        }
        self.history = "epoch,val_loss\n0,1.5\n1,0.5\n2,0.7\n"
        self.parts = ("train", "validation", "test")
        self.metrics: dict[str, Any] | None = metrics()
        self.parity: dict[str, Any] | None = {
            **PARITY,
            "artifacts": {"saved_model/1": artifact(), "model_int8.tflite": artifact()},
        }

    def card(self) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        record = RunRecord(self.train, list(CLASSES), self.split, {"casme_tf": "9.9"})
        record.save(self.folder / "config.json")
        (self.folder / "history.csv").write_text(self.history)
        rows = [f"sub0{i},EP0{i},{name}" for i, name in enumerate(self.parts)]
        (self.folder / "split.csv").write_text("\n".join(["subject,clip,part", *rows]))
        for name, content in (("metrics", self.metrics), ("parity", self.parity)):
            if content is not None:
                (self.folder / f"{name}.json").write_text(json.dumps(content))
        return render_model_card(self.folder)


@pytest.fixture
def made(tmp_path) -> Made:
    return Made(tmp_path / "runs" / "my run")


def row(card: str, first: str) -> list[str]:
    """The cells of the one table row that begins with `first`."""
    (line,) = [line for line in card.splitlines() if re.match(rf"\| {re.escape(first)} +\|", line)]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def section(card: str, title: str) -> str:
    return re.split(r"^## ", card.split(f"\n## {title}", 1)[1], flags=re.MULTILINE)[0]


def require_clean(card: str) -> None:
    """Nothing that Python or Jinja print in place of a value, and tables that are tables."""
    assert not re.findall(r"\b(?:None|nan|NaN|null|Undefined|inf|dict|True|False)\b|[{}]", card)
    assert "\n\n\n" not in card
    assert not [line for line in card.splitlines() if line != line.rstrip()]
    for table in re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_the_card_of_a_real_run_has_its_figures(run):
    card = render_model_card(run)
    require_clean(card)
    measured = json.loads((run / "metrics.json").read_text())
    for key, figure in measured["figures"].items():
        low, high = figure["interval"]
        cells = row(section(card, "Figures"), FIGURE_NAMES[key])
        assert cells[:3] == [
            f"{figure['model']:.3f}",
            "none: too few subjects" if low is None else f"{low:.3f} … {high:.3f}",
            f"{figure['largest_class']:.3f}",
        ]
    split = RunRecord.load(run / "config.json").split["parts"]
    for name in ("train", "validation", "test"):
        counts = [split[name]["clips"], len(split[name]["subjects"])]
        counts += [split[name]["classes"].get(label, 0) for label in CLASSES]
        assert row(section(card, "Data"), name) == list(map(str, counts))


def test_the_commands_make_the_run_again(run):
    card = render_model_card(run)
    script = section(card, "Made with").split("```sh\n")[1].split("```")[0].replace("\\\n", "")
    train, evaluate, export = (
        [str(Path(word).expanduser()) if word[0] == "~" else word for word in shlex.split(line)]
        for line in script.strip().splitlines()
    )
    again = tyro.cli(TrainConfig, args=train[2:], config=(tyro.conf.FlagCreatePairsOff,))
    given = RunRecord.load(run / "config.json").train
    found = {name: getattr(again, name) for name in given}
    expected = given | {"data": tuple(given["data"])}
    assert {name: str(x) for name, x in found.items()} == {k: str(x) for k, x in expected.items()}
    where = ["--run", run.name, "--runs", given["runs"]]
    assert evaluate == ["casme-tf", "evaluate", *where]
    assert export == ["casme-tf", "export", *where]


def test_figures_are_written_as_numbers_beside_the_largest_class(made):
    card = made.card()
    require_clean(card)
    figures = section(card, "Figures")
    assert row(figures, "Accuracy") == [
        "0.457",
        "0.467 … 0.657",
        "0.250",
        "+0.010 … +0.200",
        "yes",
    ]
    assert row(figures, "UF1")[-1] == "not shown"
    assert row(figures, "UAR")[-1] == "no, worse"
    of_class, of_confusion = figures.split("| true ↓")
    assert row(of_class, "positive") == ["12", "0.750", "0.125", "0.500"]
    assert row(of_confusion, "positive") == ["3", "4", "5", "0"]
    assert "41 test clips of 3 subjects" in figures


def test_what_cannot_be_computed_is_a_dash(made):
    assert made.metrics is not None
    made.metrics["classes"]["surprise"]["precision"] = None
    made.metrics["classes"]["other"]["f1"] = float("nan")
    made.metrics["figures"]["accuracy"] = figure(0.5, None, None)
    made.metrics["subjects"] = 1
    made.history = "epoch,val_loss\n0,\n"
    card = made.card()
    require_clean(card)
    of_class = section(card, "Figures").split("| true ↓")[0]
    assert row(of_class, "surprise")[1] == "–"
    assert row(of_class, "other")[3] == "–"
    assert row(of_class, "Accuracy") == [
        "0.500",
        "none: too few subjects",
        "0.250",
        "none: too few subjects",
        "not shown",
    ]
    assert "So few subjects give no interval" in card
    assert "epoch –" in " ".join(card.split())


def test_what_was_not_done_is_named_with_its_command(made):
    made.metrics = made.parity = None
    card = made.card()
    require_clean(card)
    assert section(card, "Figures").strip() == (
        "Not measured yet: `casme-tf evaluate --run 'my run'`"
    )
    assert section(card, "Exported files").strip() == (
        "Not compared yet: `casme-tf export --run 'my run'`"
    )
    assert "Nothing has been measured" in card
    assert not re.search(r"\d\.\d{3}\b", card)


def test_every_artifact_stands_beside_the_model(made):
    made.parity["artifacts"]["model_dynamic.tflite"] = artifact(published=False)
    card = made.card()
    require_clean(card)
    assert "on 36 validation pairs" in " ".join(card.split())
    cells = ["1.2e−04", "5.6e−06", "97.5%", "24.7 MB", "12.3"]
    assert row(card, "`model_int8.tflite`") == [*cells, "yes"]
    assert row(card, "`model_dynamic.tflite`")[:-1] == cells
    assert row(card, "`model_dynamic.tflite`")[-1].startswith("**no")
    made.parity["artifacts"]["model_int8.tflite"] = artifact(within_tolerance=False)
    assert row(made.card(), "`model_int8.tflite`")[-1] == "**yes, though its answers differ**"


def test_a_leaking_run_says_so_wherever_its_figures_are(made):
    made.split |= {"protocol": "random", "leak": LEAK}
    made.split["parts"]["validation"] = made.split["parts"]["test"]
    made.split["parts"]["train"] = part(30, ["sub04", "sub05"])
    made.parts = ("train", "test")
    card = made.card()
    require_clean(card)
    words = " ".join(card.split())
    assert f"> **Figures of this run leak:** {LEAK}." in words
    assert "\n## Figures (leaking)\n" in card
    assert "**2 subjects are in both the training and the test part.**" in words
    assert "had the lowest loss **on the test clips themselves**" in words
    made.split["leak"] = None
    made.split["parts"]["train"] = part(30, ["sub01"])
    assert "leak" not in made.card()


def test_stand_in_figures_are_never_those_of_casme_ii(made):
    made.split["corpus"] = "stand-in"
    card = made.card()
    require_clean(card)
    assert card.startswith("# Model card: my run (stand-in data)\n\n> **Trained and measured on")
    assert "\n## Figures (stand-in data)\n" in card
    assert "all of them drawn" in card
    claims = [line for line in card.splitlines() if "CASME II" in line]
    assert len(claims) == 2  # what the figures say nothing about, and whose layout the corpus has
    assert "The drawn stand-in corpus of `casme-tf synthesize`" in section(card, "Data")


def test_figures_of_casme_ii_are_named_so(made):
    card = made.card()
    data = section(card, "Data").strip()
    assert data.startswith("CASME II (https://doi.org/10.1371/journal.pone.0086041), as given to")
    assert "stand-in" not in card


def test_several_databases_are_named_and_make_the_run_again(made):
    made.train["data"] = ["casme2", "samm"]
    made.split["corpus"] = "composite"
    card = made.card()
    require_clean(card)
    assert "SAMM (https://doi.org/10.1109/TAFFC.2016.2573832), as given" in section(card, "Data")
    assert "of CASME II, SAMM, still" in " ".join(card.split())
    assert "--data casme2 samm" in section(card, "Made with")


def test_epoch_and_recipe_are_those_of_the_run(made):
    words = " ".join(made.card().split())
    assert "3 of at most 120 epochs were trained. Kept was epoch 2," in words
    assert "learning rate 0.0001, 32 clips a step, dropout 0.25" in words
    assert "not augmented" in words
    assert "Both frames through one shared ResNet50" in words
    assert "The ResNet50 is trained." in words
    assert "started from ImageNet weights" in words
    assert "--no-augment" in words


@pytest.mark.parametrize("arch", [name for name, arch in ARCHITECTURES.items() if arch.build])
def test_each_architecture_that_can_be_trained_has_a_card(made, arch):
    fitting = resolve(arch, TrainConfig(arch=arch), len(CLASSES))
    made.train = fitting.record(TrainConfig(arch=arch), "my run", split="subject-holdout")
    card = made.card()
    require_clean(card)
    assert ARCHITECTURES[arch].about in " ".join(card.split())


def test_without_validation_no_epoch_was_chosen(made):
    del made.split["parts"]["validation"]
    made.parts = ("train", "test")
    made.history = "epoch,loss\n0,1.5\n1,0.5\n"
    card = made.card()
    require_clean(card)
    words = " ".join(card.split())
    assert "2 epochs were trained, a number fixed beforehand, and the last was kept." in words
    assert "test clips themselves" not in words
    assert "| validation" not in card


def test_the_card_does_not_name_the_owner_of_a_home(made, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    made.train |= {"data_dir": "/home/ada/tfds", "weights": "/home/ada/w/net.weights.h5"}
    card = made.card()
    assert "ada" not in card
    assert "read from ~/tfds." in card
    assert "the weights file net.weights.h5" in " ".join(card.split())
    assert "--data-dir ~/tfds " in card  # not quoted, so that a shell expands it


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", r"metrics\.json must be a run's record"),
        ("metrics.json", "[]", r"metrics\.json must be a run's record"),
        ("metrics.json", '{"part": "test"}', "evaluate and export the run again"),
        ("parity.json", '{"part": "test", "artifacts": {}}', "evaluate and export the run again"),
        ("config.json", '{"train": {"arch": "flow"}, "classes": []}', "run again"),
        ("config.json", "{}", "must be a run's record"),
    ],
)
def test_records_of_other_versions_are_refused(made, file, content, message):
    made.card()
    (made.folder / file).write_text(content)
    with pytest.raises(UserError, match=message):
        render_model_card(made.folder)


@pytest.mark.parametrize("file", ["config.json", "history.csv", "split.csv"])
def test_a_folder_that_is_no_run_is_refused(made, file):
    made.card()
    (made.folder / file).unlink()
    with pytest.raises(UserError, match=re.escape(file)):
        render_model_card(made.folder)


def test_a_value_that_is_missing_stops_the_card(made):
    """Rather than being printed."""
    assert made.metrics is not None
    made.metrics["clips"] = None
    with pytest.raises(UserError, match="a value to be printed is None"):
        made.card()
