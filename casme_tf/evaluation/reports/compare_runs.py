"""Two runs on the same clips: their differences, tests, and conclusions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.errors import UserError
from casme_tf.evaluation.comparison import Difference, McNemar, compare, discordant_clips, mcnemar
from casme_tf.evaluation.reports.figures import comparison_figure
from casme_tf.evaluation.results import RunResults, of_database
from casme_tf.formatting import FEWEST_SUBJECTS, FIGURE_NAMES
from casme_tf.plotting import save_png
from casme_tf.runs import RUNS, run_folder

__all__ = ["compare_runs"]

COMPARISONS = "comparisons"
"""Folder of comparisons, in the folder of all runs."""

LEVEL = 0.05
"""A p-value from here on is taken for chance."""


@dataclass(frozen=True)
class RunComparison:
    """What comparing two runs gave."""

    first: RunResults
    second: RunResults
    joined: pd.DataFrame
    differences: dict[str, Difference]
    clips: McNemar
    databases: dict[str, Difference]

    @property
    def subjects(self) -> pd.DataFrame:
        """Columns subject, clips, first and second (accuracy); the first's best gain on top."""
        right = self.joined[["first", "second"]].eq(self.joined["y_true"], axis=0)
        grouped = right.groupby(self.joined["subject"])
        table = grouped.mean().assign(clips=grouped.size()).reset_index()
        order = (table["second"] - table["first"]).argsort(kind="stable")
        return table.loc[order, ["subject", "clips", "first", "second"]].reset_index(drop=True)

    @property
    def discordant(self) -> pd.DataFrame:
        """The clips that one run alone answered right, with `right` naming it."""
        table = discordant_clips(self.joined)
        names = {"first": self.first.name, "second": self.second.name}
        return table.assign(right=table["right"].map(names))

    def conclude(self) -> list[str]:
        """Return in sentences what follows, and what does not."""
        return _conclude(self)

    def describe(self, *, clips: bool = False) -> str:
        """Return all of it for the terminal."""
        names = self.first.name, self.second.name
        rows = {
            FIGURE_NAMES.get(key, key): self._row(found) for key, found in self.differences.items()
        }
        subjects = formatting.count(len(self.subjects), "subject")
        head = f"{formatting.count(len(self.joined), 'clip')} of {subjects}; difference: "
        head += f"{names[0]} minus {names[1]}; intervals and p by subject"
        for name, found in self.databases.items():
            rows[f"UF1, {name}"] = self._row(found)
        test = self.clips
        counts = (
            f"clips: both right {test.both_right}, {names[0]} alone {test.first_only}, "
            f"{names[1]} alone {test.second_only}, both wrong {test.both_wrong}; McNemar's exact "
            f"test: p = {formatting.p_value(test.p_value)}"
        ).replace("p = <", "p <")
        lines = [head, pd.DataFrame.from_dict(rows, orient="index").to_string(), counts, ""]
        lines += self.conclude()
        if clips:
            table = self.discordant.rename(columns={"first": names[0], "second": names[1]})
            listed = table.to_string(index=False) if len(table) else "none"
            lines += ["", "clips that one run alone answered right:", listed]
        return "\n".join(lines)

    def _row(self, found: Difference) -> dict[str, str]:
        return {
            self.first.name: formatting.number(found.first),
            self.second.name: formatting.number(found.second),
            "difference": formatting.number(found.difference, "+.3f"),
            "95% interval": formatting.interval(found.interval, "+.3f"),
            "p": formatting.p_value(found.p_value),
        }

    def to_json(self, *, clips: bool = False) -> dict[str, Any]:
        """Return all of it as JSON takes it; what cannot be computed is None."""
        content = {
            "first": self.first.name,
            "second": self.second.name,
            "clips": len(self.joined),
            "subjects": len(self.subjects),
            "figures": {key: _finite(asdict(found)) for key, found in self.differences.items()},
            "by_database": {name: _finite(asdict(d)) for name, d in self.databases.items()},
            "mcnemar": asdict(self.clips),
            "by_subject": self.subjects.to_dict("records"),
            "conclusion": self.conclude(),
        }
        if clips:
            content["discordant"] = self.discordant.to_dict("records")
        return content


def compare_runs(
    run_a: str, run_b: str, *, runs: Path = RUNS, resamples: int = 2000, seed: int = 0
) -> RunComparison:
    """Compare two runs clip by clip.

    Args:
        run_a: Name of the first run.
        run_b: Name of the second run; differences are the first's figures minus these.
        runs: Folder of all runs.
        resamples: Draws of subjects for each interval and each p-value, at least 100.
        seed: Seed of these draws.

    Returns:
        The comparison.

    Raises:
        UserError: If one is no evaluated run, or they did not answer the same clips.
    """
    if run_a == run_b:
        raise UserError(f"Two different runs must be named. Received: {run_a} twice.")
    if resamples < 100:
        raise UserError(f"--resamples must be at least 100. Received: {resamples}.")
    first, second = (RunResults.load(run_folder(runs, name)) for name in (run_a, run_b))
    joined = first.join(second)
    classes = np.unique(joined[["y_true", "first", "second"]].to_numpy(dtype=str))
    y_true, ours, theirs = (
        np.searchsorted(classes, joined[name].to_numpy(dtype=str))
        for name in ("y_true", "first", "second")
    )
    subjects = joined["subject"].to_numpy()

    def differences(of: np.ndarray) -> dict[str, Difference]:
        arrays = (y_true[of], ours[of], theirs[of], subjects[of])
        return compare(*arrays, len(classes), resamples=resamples, seed=seed)

    clips = mcnemar(y_true, ours, theirs)
    databases = first.databases if len(first.databases) > 1 else []
    by_database = {
        name: differences(of_database(joined["subject"], name).to_numpy())["uf1"]
        for name in databases
    }
    everything = differences(np.ones(len(joined), bool))
    return RunComparison(first, second, joined, everything, clips, by_database)


def draw_comparison(comparison: RunComparison, path: Path) -> Path:
    """Draw the differences with their intervals, and the change of each subject."""
    rows = {
        FIGURE_NAMES.get(key, key): [found.difference, *found.interval]
        for key, found in comparison.differences.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["difference", "low", "high"])
    names = comparison.first.name, comparison.second.name
    leaks = [run.name for run in (comparison.first, comparison.second) if run.metrics["leak"]]
    mark = f" (LEAKS SUBJECTS: {', '.join(leaks)})" if leaks else ""
    if "stand-in" in _corpora(comparison):
        mark += " (stand-in data)"
    save_png(comparison_figure(table, comparison.subjects, names, mark), path)
    return path


def default_picture(run_a: str, run_b: str, runs: Path) -> Path:
    """Return the default path of the picture of a comparison."""
    return runs / COMPARISONS / f"{run_a}-vs-{run_b}.png"


def _conclude(done: RunComparison) -> list[str]:
    first, second = done.first.name, done.second.name
    sentences = []
    leaks = [run for run in (done.first, done.second) if run.metrics["leak"]]
    for run in leaks:
        sentences.append(f"{run.name} leaks: {run.metrics['leak']}. Its figures are too good.")
    if "stand-in" in _corpora(done):
        sentences.append("Measured on stand-in data: nothing follows for CASME II.")
    protocols = {run.name: run.metrics["protocol"] for run in (done.first, done.second)}
    if len(set(protocols.values())) > 1:
        sentences.append(
            f"The protocols differ ({first}: {protocols[first]}, {second}: {protocols[second]}), "
            "so that the models may have been fitted on different amounts of data."
        )
    editions = {run.name: run.record.split.get("coding_sheet") for run in (done.first, done.second)}
    if len(set(editions.values())) > 1:
        listed = ", ".join(f"{name}: {sheet or 'unknown'}" for name, sheet in editions.items())
        sentences.append(
            f"The coding sheets differ ({listed}): clips may have other classes in one of them."
        )
    if len(leaks) == 1:
        sentences.append("Leaking figures next to others do not show which run is better.")
    else:
        sentences.append(_verdict(done.differences["uf1"], first, second))
    subjects = len(done.subjects)
    # The least p-value that swapping can give: all one way, or all the other.
    least = 2.0 ** (1 - subjects)
    if subjects > 1 and least >= LEVEL:
        sentences.append(
            f"{subjects} subjects are too few for the test: were one run better for each of them, "
            f"p would still be {formatting.number(least)}."
        )
    elif subjects < 20:
        sentences.append(f"Intervals over {subjects} subjects are rough.")
    by_clip, by_subject = done.clips.p_value, done.differences["accuracy"].p_value
    if by_clip < LEVEL <= by_subject:
        sentences.append(
            "McNemar's test finds a difference and the test by subject does not: it takes clips "
            "of one subject as independent, so trust the test by subject."
        )
    sentences.append(
        "What is compared are two trained models, not two methods: training again with another "
        "seed gives another difference. The figures are views of the same answers."
    )
    return sentences


def _verdict(found: Difference, first: str, second: str) -> str:
    if any(math.isnan(bound) for bound in (*found.interval, found.p_value)):
        return (
            f"Fewer than {FEWEST_SUBJECTS} subjects show nothing about other subjects: there is "
            "no interval."
        )
    by = (
        f"{formatting.number(abs(found.difference))}; difference "
        f"{formatting.interval(found.interval, '+.3f')}, "
        f"p {'' if found.p_value < 0.001 else '= '}{formatting.p_value(found.p_value)}"
    )
    low, high = found.interval
    excluded, rejected = low > 0 or high < 0, found.p_value < LEVEL
    ahead = first if found.difference > 0 else second
    if excluded and rejected:
        return f"{ahead} is better on these subjects: its UF1 is higher by {by}."
    if excluded or rejected:
        which = (
            "the interval leaves out zero and the test does not reject it"
            if excluded
            else ("the test rejects zero and the interval holds it")
        )
        return f"Undecided: {which} (UF1 of {ahead} higher by {by}). Test more subjects."
    return (
        f"No difference is shown (UF1 of {ahead} higher by {by}). That does not show that they "
        "are equal: any difference in the interval is possible."
    )


def _corpora(done: RunComparison) -> set[str]:
    return {done.first.corpus, done.second.corpus}


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not know, by None, at any depth."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
