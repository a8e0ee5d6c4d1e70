"""A page of static files that answers in the browser: LiteRT.js, BlazeFace and a TFLite file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from casme_tf import __version__
from casme_tf.clips.blazeface import find_model
from casme_tf.errors import UserError
from casme_tf.export.artifacts import RECOGNIZER, ShippedArtifact, load_artifact
from casme_tf.files import atomic_file, atomic_folder, locked
from casme_tf.labels import ACTION_UNITS
from casme_tf.progress import progress
from casme_tf.runs import RUNS, command, run_folder, tflite_name

__all__ = ["WebPage", "export_web"]

FACTS = "model.json"
"""What the page reads about its models."""

FILES = "files.js"
"""The list of the page's files."""

_SOURCES = Path(__file__).with_name("web")
_CHOICE = ("dynamic", "float16", "float32")  # the first that was exported is taken
_REGISTRY = "https://registry.npmjs.org/@litertjs"
_TIMEOUT = 60  # s
_CHUNK = 1 << 20


class _Archive(NamedTuple):
    """An archive of npm, and what of it goes into the page's folder."""

    name: str  # as `npm pack` calls it
    address: str
    integrity: str  # SHA-512 in base64, as npm publishes it
    members: dict[str, str]  # by path in the page's folder, its path in the archive


_PACK = "npm pack @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.0"  # writes both archives
_WASM = "litert_wasm_compat_internal"
# Of the four builds the one that every browser runs. The one with relaxed SIMD would add 9 MB; it
# halves the time of eight-bit weights, asked once a pair, not of what each frame is asked.
_ARCHIVES = (
    _Archive(
        "litertjs-core-2.5.3.tgz",
        f"{_REGISTRY}/core/-/core-2.5.3.tgz",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {
            "litert/index.js": "package/dist/index.js",
            "litert/litert.js": f"package/wasm/{_WASM}.js",
            f"litert/{_WASM}.wasm": f"package/wasm/{_WASM}.wasm",
        },
    ),
    _Archive(
        "litertjs-wasm-utils-2.5.0.tgz",
        f"{_REGISTRY}/wasm-utils/-/wasm-utils-2.5.0.tgz",
        "zhMAqJRJ3ROi48flZxYx+K2MiMllJVuH7oeumpSIfQMBeOb6JyLV/7ltLbY6E+nERUAfNwzIBqjslWAeXcO6iQ==",
        {"litert/wasm-utils.js": "package/dist/index.js"},
    ),
)


@dataclass(frozen=True)
class WebPage:
    """A page that was written.

    Attributes:
        folder: Its folder.
        model: Name of the TFLite file that answers.
        sizes: Bytes by file.
    """

    folder: Path
    model: str
    sizes: dict[str, int]

    def describe(self) -> str:
        """Return for the terminal what was written, and how to see it."""
        models = sum(size for name, size in self.sizes.items() if name.endswith(".tflite"))
        runtime = sum(size for name, size in self.sizes.items() if name.startswith("litert/"))
        answers, total = self.sizes[self.model], sum(self.sizes.values())
        rest = total - models - runtime
        serve = command("python", "-m", "http.server", "--bind", "127.0.0.1")
        serve += " " + command("--directory", self.folder)
        return (
            f"{total / 1e6:.1f} MB in {len(self.sizes)} files: {self.model} {answers / 1e6:.1f}, "
            f"other models {(models - answers) / 1e6:.1f}, LiteRT.js {runtime / 1e6:.1f}, "
            f"the page {rest / 1e6:.2f}\n"
            f"see it at http://127.0.0.1:8000 with: {serve}"
        )


def export_web(
    name: str | None = None,
    *,
    runs: Path = RUNS,
    out: Path | None = None,
    litert: Path | None = None,
) -> WebPage:
    """Write a page that answers in the browser, from static files alone.

    The recognizer of this package goes along with a run's model: the page finds onset and apex,
    action units and the motion that it draws with it.

    Args:
        name: Name of an exported run; None (default) for the recognizer of this package.
        runs: Folder of all runs.
        out: The page's folder. Default: `web` in the run's folder, or here if there is no run.
        litert: Folder with the archives of LiteRT.js. Default: they are taken from npm once, and
            kept in the user's cache.

    Returns:
        What was written.

    Raises:
        UserError: If the run has no TFLite file, LiteRT.js cannot be had, or the folder holds
            something else.
    """
    model = RECOGNIZER if name is None else _published(run_folder(runs, name))
    folder = out or (Path("web") if name is None else run_folder(runs, name) / "web")
    _require_own(folder)
    folder = folder.resolve()  # a link stays one
    models = {
        RECOGNIZER.name: RECOGNIZER,
        model.name: model,
        "face_short.tflite": find_model("short"),
        "face_full.tflite": find_model("full"),
    }
    facts = _facts(name, model)
    runtime = _litert(litert)
    with locked(folder), atomic_folder(folder, overwrite=True) as work:
        shutil.copytree(_SOURCES, work, dirs_exist_ok=True)
        for target, path in models.items():
            shutil.copyfile(path, work / target)
        for target, content in runtime.items():
            (work / target).write_bytes(content)
        facts["files"] = {
            target: hashlib.sha256((work / target).read_bytes()).hexdigest() for target in models
        }
        (work / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        _list_files(work)
        sizes = {
            path.relative_to(work).as_posix(): path.stat().st_size
            for path in sorted(work.rglob("*"))
            if path.is_file()
        }
    return WebPage(folder, model.name, sizes)


def _published(run: Path) -> Path:
    for form in _CHOICE:
        if (run / tflite_name(form)).is_file():
            return run / tflite_name(form)
    if not run.is_dir():
        raise UserError(
            f"--run must name an exported run in {run.parent}. Received: {run.name}, which is not "
            "there. Leave --run out for the recognizer of this package."
        )
    export = command("casme-tf", "export", "--run", run.name, "--runs", run.parent)
    raise UserError(
        f"The page needs a TFLite file of the run ({', '.join(map(tflite_name, _CHOICE))}). "
        f"Received: {run}, without one. Run first: {export}"
    )


def _require_own(folder: Path) -> None:
    """Require a folder that is new, empty or a page, with nothing else in it."""
    if folder.is_dir():
        here = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        others = sorted(name for name in here - _written(folder) if not (folder / name).is_dir())
        at_home = folder.resolve() in (Path.cwd(), *Path.cwd().parents)
        received = "which you are in" if at_home else others and f"which holds {others[0]}"
    else:
        received = "which is a file" if folder.exists() else ""
    if received:
        raise UserError(
            f"The page must have a folder of its own. Received: {folder}, {received}. Choose "
            "another one with --out."
        )


def _written(folder: Path) -> set[str]:
    """Return the files of the page in a folder; none if it is no page."""
    try:
        listed = (folder / FILES).read_text(encoding="utf-8").partition("self.FILES = ")[2]
        return {FILES, *json.loads(listed.rstrip(";\n"))}
    except (OSError, ValueError):
        return set()


def _facts(name: str | None, model: Path) -> dict[str, object]:
    shipped = ShippedArtifact()
    artifact = shipped if name is None else load_artifact(model)
    run = f"run {name} ({model.name})"
    return {
        "name": "motion_net, learned from drawings" if name is None else run,
        "made_by": f"casme_tf {__version__}",
        "model": model.name,
        "output": shipped.scheme if name is None else "probabilities",
        "frame_size": artifact.frame_size,
        "classes": list(artifact.classes),
        # A run's likeliest class is its answer; the recognizer knows when nothing is expressed.
        "threshold": shipped.threshold if name is None else 0,
        "recognizer": RECOGNIZER.name,
        "recognizer_frame_size": shipped.frame_size,
        "action_units": list(ACTION_UNITS),
    }


def _list_files(work: Path) -> None:
    """Write the list of what the service worker keeps for use without a network."""
    names = sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join((work / name).read_bytes() for name in names)).hexdigest()
    listed = json.dumps(["./", *names], indent=2)
    (work / FILES).write_text(
        f'self.VERSION = "{digest[:16]}";\nself.FILES = {listed};\n', encoding="utf-8"
    )


def _litert(folder: Path | None) -> dict[str, bytes]:
    """Return the files of LiteRT.js by their path in the page's folder."""
    contents = {}
    for archive in _ARCHIVES:
        data = _cached(archive) if folder is None else _read(folder / archive.name)
        if not _is_whole(data, archive):
            received = "a damaged or another file" if data else "which does not hold it"
            raise UserError(
                f"LiteRT.js must come as {archive.name}, as npm publishes it. Received: {folder}, "
                f"{received}. Where there is a network: {_PACK}"
            )
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for target, member in archive.members.items():
                file = tar.extractfile(member)
                assert file is not None  # the digest is right
                contents[target] = file.read()
    # Bundlers would resolve the name of the other package; a browser cannot.
    source = contents["litert/index.js"].decode()
    bare = 'from "@litertjs/wasm-utils"'
    assert source.count(bare) == 1
    source = source.replace(bare, 'from "./wasm-utils.js"').replace("//# sourceMappingURL=", "// ")
    contents["litert/index.js"] = source.encode()
    return contents


def _cached(archive: _Archive) -> bytes:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "casme_tf" / archive.name
    data = _read(path)
    if not _is_whole(data, archive):
        data = _download(archive)
        with suppress(UserError), atomic_file(path) as temporary:  # it works without a cache
            temporary.write_bytes(data)
    return data


def _download(archive: _Archive) -> bytes:
    advice = (
        "Try again, or give a folder with the archives with --litert; where there is a network: "
        + _PACK
    )
    need = f"LiteRT.js must be had from {archive.address} once."
    parts = []
    try:
        with urllib.request.urlopen(archive.address, timeout=_TIMEOUT) as response:
            total = int(response.headers.get("Content-Length", 0)) or None
            with progress(total=total, desc=archive.name, unit="B", unit_scale=True) as bar:
                while part := response.read(_CHUNK):
                    parts.append(part)
                    bar.update(len(part))
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{need} Received: {reason}. {advice}") from None
    data = b"".join(parts)
    if not _is_whole(data, archive):
        raise UserError(f"{need} Received: {len(data)} bytes with another digest. {advice}")
    return data


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _is_whole(data: bytes, archive: _Archive) -> bool:
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == archive.integrity
