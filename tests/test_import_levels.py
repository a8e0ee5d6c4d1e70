"""Who may import whom: downwards only, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import casme_tf

PACKAGE = Path(casme_tf.__file__).parent

LEVELS = [
    {
        "errors",
        "network",
        "files",
        "labels",
        "annotations",
        "corrections",
        "spreadsheet",
        "sheet_cells",
    }
    | {"protocols", "metrics", "config", "split", "stratification", "comparison", "calibration"}
    | {"leaks", "provenance", "isolation"}
    | {"figure_text", "precision_recall", "consistency"}
    | {"fold_files", "motion_svm", "progress"},
    {"images", "jpeg", "jpeg_fidelity", "blazeface", "face_crop", "raw_frames", "manifest"}
    | {
        "mediapipe_face",
        "crop_clip",
        "prepare",
        "synthetic",
        "corpus_check",
        "datasets",
        "layers",
        "augmentation",
    }
    | {"tflite_join", "tflite_metadata", "tflite_pack", "tflite_inspect", "run", "precision"}
    | {"run_results", "report_figures", "weights_origin"}
    | {"clip_frames", "video_frames", "similarity", "face_layout", "face_align", "face_track"}
    | {"apex", "apex_location", "missing_apex", "spot_intervals", "spotting_figure"}
    | {"disturbances", "sensitivity_figure"},
    {"input_pipeline", "models", "training_state", "artifacts"}
    | {"drawn_batches", "pretrained"}
    | {"learners", "keras_learner", "fused_adam", "fold_task", "crossval_inputs", "scheme_clips"},
    {"pretraining", "training", "export", "saved_model", "tflite", "parity", "model_card"}
    | {"cross_validation", "engines", "cross_validated_models", "crossval_plan"}
    | {"zero_shot", "drawn_card"},
    {"evaluation", "report", "predict"}
    | {"report_html", "report_facts", "wrong_clips", "compare_runs"}
    | {"crossval", "crossval_record"}
    | {"answer", "answer_figure", "doubts", "grad_cam", "recognizer"}
    | {"measure_pretrained", "measure_apex", "spot_apex"}
    | {
        "live_frames",
        "realtime",
        "stream",
        "app",
        "app_answers",
        "app_example",
        "app_look",
        "app_page",
        "app_uploads",
    },
    {"__main__", "cli", "commands", "demo"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

# Level 0 has no TensorFlow; MediaPipe is the reference alone.
FORBIDDEN = {
    **{name: {"tensorflow", "keras", "mediapipe", "tensorflow_datasets"} for name in LEVELS[0]},
    **{name: {"mediapipe"} for names in LEVELS[1:] for name in names - {"mediapipe_face"}},
}


def modules() -> list[tuple[str, Path]]:
    paths = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    return [(path.relative_to(PACKAGE).with_suffix("").parts[0], path) for path in sorted(paths)]


def imports(path: Path) -> set[str]:
    """Absolute names of everything imported anywhere in a file."""
    names = set()
    parent = ("casme_tf", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parent[: len(parent) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            if module == "casme_tf":
                names |= {f"casme_tf.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_a_level_and_every_level_its_modules():
    assert {name for name, _ in modules()} == set(LEVEL)


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: getattr(value, "stem", ""))
def test_imports_go_downwards(name, path):
    for imported in imports(path):
        top, *rest = imported.split(".")
        assert top not in FORBIDDEN.get(name, set()), f"{path} imports {imported}"
        if top == "casme_tf" and rest and rest[0] in LEVEL and rest[0] != name:
            assert LEVEL[rest[0]] <= LEVEL[name], f"{path} imports {imported}"
        assert top != "scripts"


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: getattr(value, "stem", ""))
def test_models_layers_and_data_do_not_know_each_other(name, path):
    strangers = {"models": {"datasets", "input_pipeline"}, "layers": {"models", "datasets"}}
    known = {imported.split(".")[1] for imported in imports(path) if imported.count(".")}
    assert not known & strangers.get(name, set())


def test_importing_the_package_is_cheap():
    code = (
        "import sys, casme_tf, casme_tf.cli\n"
        "heavy = {'tensorflow', 'keras', 'mediapipe', 'cv2', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scripts_and_verbs_are_the_same():
    from casme_tf import commands
    from casme_tf.cli import VERBS

    scripts = {path.stem for path in (PACKAGE.parent / "scripts").glob("*.py")}
    measuring = {name for name in scripts if name.startswith("benchmark")}
    assert {name.replace("_", "-") for name in scripts - measuring} == set(VERBS)
    assert all(callable(getattr(commands, verb.replace("-", "_"))) for verb in VERBS)
