"""What each verb does: call one function, print where the results are."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress

from casme_tf import config as configs


def synthesize(config: configs.SynthesizeConfig) -> None:
    """Draw a stand-in corpus."""
    from casme_tf.synthetic import synthesize

    corpus = synthesize(
        config.out,
        subjects=config.subjects,
        clips=config.clips,
        frames=config.frames,
        seed=config.seed,
        apexes=config.apexes,
        workers=config.workers,
    )
    print(f"raw clips     {corpus.raw}")
    print(f"coding sheet  {corpus.coding}")
    print(f"truth         {corpus.truth}")


def prepare_dataset(config: configs.PrepareConfig) -> int:
    """Prepare the pairs of a corpus; 1 if some could not be and that is not allowed."""
    from casme_tf.datasets.corrections import SHIPPED_CORRECTIONS
    from casme_tf.datasets.prepare import prepare_dataset
    from casme_tf.formatting import count

    corrections = [SHIPPED_CORRECTIONS] if config.shipped_corrections else []
    corrections += [config.corrections] if config.corrections else []
    done = prepare_dataset(
        config.raw,
        config.coding,
        config.out,
        corrections=corrections,
        leave_out=config.allow_missing,
        face_model=config.face_model,
        face_detector=config.face_detector,
        spot=None if config.spot == "none" else config.spot,
        workers=config.workers,
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in done.left_out:
        print(f"left out: {problem}", file=sys.stderr)
    for reason, clips in _by_reason(done.failures).items():
        print(f"not prepared: {clips}: {reason}", file=sys.stderr)
    print(f"coding sheet: {done.sheet}")
    print(
        f"{config.out}: {done.prepared} clips prepared, {done.reused} kept, "
        f"{len(done.failures)} not prepared"
        + (f", {count(len(done.left_out), 'row')} left out" if done.left_out else "")
    )
    if done.failures and not config.allow_missing:
        print(
            f"error: {len(done.failures)} clips could not be prepared; the others are there. "
            "Pass --allow-missing to go on without them.",
            file=sys.stderr,
        )
        return 1
    return 0


def _by_reason(failures: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Name the clips of each reason; where they are many, their number and the first."""
    names: dict[str, list[str]] = {}
    for subject, clip, reason in failures:
        names.setdefault(reason, []).append(f"{subject}/{clip}")
    return {
        reason: ", ".join(clips) if len(clips) <= 5 else f"{len(clips)} clips, {clips[0]} the first"
        for reason, clips in names.items()
    }


def train(config: configs.TrainConfig) -> None:
    """Train one fold."""
    from casme_tf.runs import CONFIG, RunRecord
    from casme_tf.training.train import train

    run = train(config)
    leak = RunRecord.load(run / CONFIG).split["leak"]
    if leak:
        print(f"warning: figures of this split leak: {leak}", file=sys.stderr)
    print(run)


def crossval(config: configs.CrossvalConfig) -> None:
    """Cross-validate architectures."""
    import tensorflow as tf

    from casme_tf.evaluation.crossval import crossval

    # Sums depend on how many threads share an operation. With one, figures do not depend on the
    # number of cores, and the cores have folds of their own, which is faster for small networks.
    with suppress(RuntimeError):  # in a process that has used TensorFlow before
        tf.config.threading.set_intra_op_parallelism_threads(1)

    done = crossval(config)
    print(done.describe())
    for run in done.runs:
        print(run)
    if done.leak:
        print(f"warning: these figures leak: {done.leak}", file=sys.stderr)


def evaluate(config: configs.EvaluateConfig) -> None:
    """Measure a run or an artifact, or a run and all its artifacts."""
    from casme_tf.evaluation.evaluate import evaluate, evaluate_artifacts
    from casme_tf.evaluation.reports.pictures import draw_pictures
    from casme_tf.export.model_card import refresh_model_card

    if config.artifacts:
        table = evaluate_artifacts(config)
        print("figures, and points above model.keras (_change)")
        print(table.to_string(float_format="%.3f"))
        return
    done = evaluate(config)
    draw_pictures(done.metrics, done.predictions, done.frames, done.run, done.folder)
    refresh_model_card(done.run)
    print(done.describe())
    print(done.folder)


def export(config: configs.ExportConfig) -> int:
    """Export a run's model; 1 if an artifact that must hold answers too differently."""
    from casme_tf.export.export import export_run

    done = export_run(config)
    print(done.describe())
    print(done.run)
    for reason in done.left_out:
        print(f"note: left out: {reason}", file=sys.stderr)
    for reason in done.refused:
        print(f"not published: {reason}", file=sys.stderr)
    if done.refused:
        print(
            f"error: {len(done.refused)} artifacts do not answer as the model does; the others are "
            "there. Name other number formats with --formats, or pass --accept with these.",
            file=sys.stderr,
        )
        return 1
    return 0


def inspect_tflite(config: configs.InspectTfliteConfig) -> None:
    """Print what a TFLite file holds."""
    from casme_tf.export.tflite_inspect import inspect_tflite

    print(inspect_tflite(config.model).to_string())


def report(config: configs.ReportConfig) -> None:
    """Write the report of a run."""
    from casme_tf.evaluation.crossval_record import comparable_runs, missing_baselines
    from casme_tf.evaluation.reports.html import write_report
    from casme_tf.runs import run_folder

    run = run_folder(config.runs, config.run)
    others = comparable_runs(run)
    named = [run_folder(config.runs, name) for name in config.beside]
    beside = dict.fromkeys([*named, *(other.folder for other in others)])
    print(write_report(run, list(beside), data_dir=config.data_dir, frames=config.frames))
    if advice := missing_baselines(run, others):
        print(f"note: {advice}", file=sys.stderr)


def compare(config: configs.CompareConfig) -> None:
    """Compare two runs on the same clips."""
    from casme_tf.evaluation.reports.compare_runs import (
        compare_runs,
        default_picture,
        draw_comparison,
    )
    from casme_tf.plotting import require_png

    if config.out is not None:
        require_png(config.out)
    done = compare_runs(config)
    picture = draw_comparison(done, config.out or default_picture(config))
    if config.json:
        told = done.to_json(clips=config.clips) | {"picture": str(picture)}
        print(json.dumps(told, indent=2))
        return
    print(done.describe(clips=config.clips))
    print(picture)


def predict(config: configs.PredictConfig) -> None:
    """Answer for a pair of frames or a clip."""
    from casme_tf.recognition.predict import predict

    made = predict(config)
    if config.json:
        print(json.dumps(made.to_json()))
        return
    if not made.answers:
        print("no movement stands out")
    for answer in made.answers:
        print(answer.describe())
        for doubt in answer.doubts:
            print(f"note: {doubt}", file=sys.stderr)
    for reason in made.reasons:
        print(f"note: {reason}", file=sys.stderr)
    if made.figure is not None:
        print(made.figure)
    elif config.figure is not None:
        print(f"note: {config.figure} is not written, since there is no answer.", file=sys.stderr)


def stream(config: configs.StreamConfig) -> None:
    """Answer for a camera or a clip as it plays."""
    from casme_tf.recognition.stream import stream

    stream(config)


def app(config: configs.AppConfig) -> None:
    """Serve the app until it is interrupted."""
    from casme_tf.recognition.app.app import run_app

    run_app(config)


def spot_apex(config: configs.SpotApexConfig) -> None:
    """Find the apex of a clip."""
    from casme_tf.recognition.spot import spot_clip

    found = spot_clip(config)
    if config.json:
        print(json.dumps(found.to_json()))
        return
    print(found.describe())
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if found.figure is not None:
        print(found.figure)


def demo(config: configs.DemoConfig) -> None:
    """Run the whole chain on a small stand-in corpus."""
    from casme_tf.cli.demo import run_demo

    run_demo(config)
