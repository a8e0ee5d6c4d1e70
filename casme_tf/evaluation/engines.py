"""Where folds are computed: in this process, or in Ray's workers, here or on a cluster."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from queue import Queue
from typing import Any

from casme_tf.clips.mediapipe_face import network_shut
from casme_tf.datasets.splits import Split
from casme_tf.errors import UserError
from casme_tf.evaluation.fold_files import FoldResult

RunFold = Callable[[Split], FoldResult]
Start = Callable[[], RunFold]
"""Makes what computes folds, one at a time; each worker has one of its own."""

_NUMBERS_DEPEND_ON = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def run_locally(start: Start, splits: Sequence[Split], workers: int) -> Iterator[FoldResult]:
    """Compute folds in this process, in order; with several workers, in as many threads.

    Args:
        start: Makes what computes folds.
        splits: The folds.
        workers: Number of folds at a time, at least 1.

    Yields:
        Each fold's result, when it is finished.
    """
    if workers == 1:
        run_fold = start()
        for split in splits:
            yield run_fold(split)
        return
    workers = min(workers, len(splits))
    idle: Queue[RunFold] = Queue()
    for _ in range(workers):
        idle.put(start())

    def run(split: Split) -> FoldResult:
        run_fold = idle.get()
        try:
            return run_fold(split)
        finally:
            idle.put(run_fold)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, split) for split in splits]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def run_with_ray(start: Start, splits: Sequence[Split], workers: int) -> Iterator[FoldResult]:
    """Compute folds in Ray's workers; the results are those of `run_locally`, in any order.

    Without more, Ray is started on this machine and ended with the last fold; it sends no usage
    statistics. With the environment variable RAY_ADDRESS, or if this process is connected to Ray
    already, that cluster computes, and stays. Its machines must have the same environment, and
    figures are the same to the last bit if they have the same processors.

    Ray sends `start` along: what is defined inside a function or in the main script travels
    with it; what is defined in a module must be importable in the workers too. Workers get the
    thread settings of this process, which decide the order of sums.

    Args:
        start: Makes what computes folds.
        splits: The folds.
        workers: Number of processes, at least 1.

    Yields:
        Each fold's result, when it is finished.

    Raises:
        UserError: If Ray is not installed, does not start, or loses a worker.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        raise UserError(
            "The engine 'ray' needs Ray, which is not installed. Install it with: "
            "pip install 'casme-tf[ray]'"
        ) from None
    workers = min(workers, len(splits))
    with _cluster(ray, start, workers):
        actor = ray.remote(_Worker).options(runtime_env={"env_vars": _environment()})
        sent = ray.put(start)
        pool = ActorPool([actor.remote(sent) for _ in range(workers)])
        try:
            yield from pool.map_unordered(
                lambda worker, split: worker.run.remote(split), list(splits)
            )
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(
                f"Ray's workers must start, and live until the last fold. Received: {reason} What "
                "they are sent must be importable there; if memory ran out, take fewer workers. "
                "Run it again; finished folds that were kept in a folder are not repeated."
            ) from error


ENGINES: dict[str, Callable[[Start, Sequence[Split], int], Iterator[FoldResult]]] = {
    "local": run_locally,
    "ray": run_with_ray,
}
"""The engines by name."""


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class _Worker:
    """Computes one fold after the other in a process of Ray's."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._run_fold: RunFold | None = None

    def run(self, split: Split) -> FoldResult:
        # Not when it is made: Ray reports what fails there as the death of a worker.
        if self._run_fold is None:
            self._run_fold = self._start()
        return self._run_fold(split)


@contextmanager
def _cluster(ray: Any, start: Start, workers: int) -> Iterator[None]:
    """Connect to Ray, or start it; leave everything as it was found."""
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # As later versions of Ray do it: whether workers see a GPU is not changed.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            size = len(ray.cloudpickle.dumps(start))
            with network_shut():  # its processes ask whose cloud they are in
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    object_store_memory=2 * size + 128 * 2**20,
                    **quiet,
                )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        address = os.environ.get("RAY_ADDRESS")
        what = f"be running at RAY_ADDRESS={address}" if address else "start on this machine"
        raise UserError(f"Ray must {what}. Received: {error}.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _environment() -> dict[str, str]:
    """Return what workers must have in common with this process for the same numbers."""
    # Else Ray sets the number of BLAS threads to the number of CPUs that an actor asks for.
    found = {"OMP_NUM_THREADS": str(cores())}
    found |= {name: os.environ[name] for name in _NUMBERS_DEPEND_ON if name in os.environ}
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        threading = tensorflow.config.threading
        for name, threads in (
            ("TF_NUM_INTRAOP_THREADS", threading.get_intra_op_parallelism_threads()),
            ("TF_NUM_INTEROP_THREADS", threading.get_inter_op_parallelism_threads()),
        ):
            if threads:
                found[name] = str(threads)
    return found
