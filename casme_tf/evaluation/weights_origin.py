"""Whose clips a weights file was trained on, as far as the run that it lies in tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from casme_tf.errors import LeakError
from casme_tf.runs import CONFIG, SPLIT, RunRecord, read_split

PUBLISHED = ("imagenet", "drawn", "none")
"""Weights that no clip of a corpus of micro-expressions has trained."""


def require_unseen(weights: str, tested: Iterable[str], corpus: str) -> None:
    """Refuse a backbone that was trained on people who are to be tested.

    A frozen backbone carries what it learnt of them into every fold, where no division of the
    clips can keep it out. Asked is the run in whose folder the file lies, and the runs whose
    weights that one began with; a file outside a run cannot be asked.

    Args:
        weights: "imagenet", "drawn", "none" or the path of a weights file.
        tested: Subjects to be tested.
        corpus: Corpus that they are of, one of `corpora.CORPORA`.

    Raises:
        LeakError: If the run trained on a tested subject of the same corpus, or chose its epoch on
            one.
        UserError: If the run's record is broken.
    """
    people = {str(subject) for subject in tested}
    for run, record in _runs(weights):
        if record.split.get("corpus", corpus) != corpus:
            continue
        shared = sorted(people & _seen(run, record))
        if shared:
            raise LeakError(
                "The frozen backbone must not have seen anybody who is tested. Received: "
                f"{weights}, of the run {run.name}, trained on {len(shared)} of {len(people)} of "
                f"them, the first {shared[0]}. Use --weights imagenet or none, or weights of "
                "another corpus."
            )


def _runs(weights: str) -> Iterator[tuple[Path, RunRecord]]:
    """Yield the run of a weights file, the run of the weights that it began with, and so on."""
    known: set[Path] = set()
    while weights not in PUBLISHED:
        run = Path(weights).expanduser().resolve().parent
        if run in known or not (run / CONFIG).is_file():
            return
        known.add(run)
        record = RunRecord.load(run / CONFIG)
        yield run, record
        weights = str(record.train.get("weights", "none"))


def _seen(run: Path, record: RunRecord) -> set[str]:
    """Return the subjects who decided a run's weights."""
    if not (run / SPLIT).is_file():
        parts = [record.split.get(name) or {} for name in ("train", "validation")]
        return {subject for part in parts for subject in part.get("subjects", [])}
    split = read_split(run)
    # Where the split leaks, test clips chose the epoch.
    decided = split if record.split.get("leak") else split[split["part"] != "test"]
    return set(decided["subject"])
