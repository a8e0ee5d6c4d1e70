"""The app: a page on this machine that answers for pairs, clips and the camera."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from casme_tf.clips.detector import FaceRuntime
from casme_tf.errors import UserError
from casme_tf.recognition.app.answers import AppAnswers, Examples, Limits
from casme_tf.runs import RUNS

_LONGEST_WAIT = 20.0  # s between two looks for files that are old


@contextmanager
def deleted_when_old(folder: Path, seconds: float) -> Iterator[None]:
    """Delete the files in a folder that are old, in a thread of its own, until the context ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(min(seconds, _LONGEST_WAIT)):
            delete_old(folder, seconds)

    thread = threading.Thread(target=look, name="uploads", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def delete_old(folder: Path, seconds: float) -> None:
    """Delete the files in a folder that have been there for so long."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):  # it is gone already, or in use: then the next time
                if time.time() - path.lstat().st_ctime >= seconds:
                    path.unlink()


HOST = "127.0.0.1"
"""Nobody on another machine can reach the app."""

# What a browser may load: nothing from elsewhere, whatever Gradio's page may ask for.
_POLICY = (
    b"default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; form-action 'self'; frame-ancestors 'self'"
)


def run_app(*, browser: bool = False, **options: Any) -> None:
    """Serve the app until it is interrupted."""
    with serve_app(**options) as address:
        print(f"{address}   (Ctrl-C ends it)", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(address)
        _wait()


@contextmanager
def serve_app(
    *,
    runs: Path = RUNS,
    port: int = 7860,
    limits: Limits | None = None,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
) -> Iterator[str]:
    """Serve the app in threads of this process."""
    limits = limits or Limits()
    _check(port, limits)
    with tempfile.TemporaryDirectory(prefix="casme_tf_app_", ignore_cleanup_errors=True) as folder:
        uploads = Path(folder, "uploads")
        _keep_to_ourselves(uploads)
        page = _page()
        from starlette.middleware import Middleware  # comes with Gradio

        with (
            deleted_when_old(uploads, 60 * limits.keep_minutes),
            AppAnswers(
                runs,
                most_frames=limits.max_frames,
                face_model=face_model,
                face_detector=face_detector,
            ) as answers,
        ):
            answers.load(page.FIRST_MODEL)
            blocks = page.build_page(answers, Examples(Path(folder, "examples")), limits)
            try:
                _, address, _ = blocks.launch(
                    server_name=HOST,
                    server_port=port or None,
                    share=False,
                    inbrowser=False,
                    prevent_thread_lock=True,
                    quiet=True,
                    max_file_size=f"{limits.max_megabytes}mb",
                    footer_links=[],
                    run_history=False,
                    enable_monitoring=False,
                    ssr_mode=False,
                    pwa=False,
                    mcp_server=False,
                    app_kwargs={
                        "docs_url": None,
                        "redoc_url": None,
                        "middleware": [Middleware(_NothingFromElsewhere)],
                    },
                    theme=page.theme(),
                    css=page.style(),
                    head=page.ALWAYS_LIGHT,
                )
            except OSError:
                raise UserError(
                    f"The port must be free. Received: {port or 'any'}, which is not. Pass "
                    "another with --port, or 0 for any."
                ) from None
            try:
                yield address
            finally:
                blocks.close(verbose=False)


class _NothingFromElsewhere:
    """An ASGI middleware that forbids browsers to load anything from other hosts."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", _POLICY),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _keep_to_ourselves(uploads: Path) -> None:
    """Keep uploads in one folder, and Gradio from asking other machines."""
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Gradio checks whether its own server runs, which must not go through a proxy.
    passed_by = [os.environ.get("NO_PROXY", ""), HOST]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, passed_by))


def _page() -> Any:
    try:
        from casme_tf.recognition.app import page
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "gradio":
            raise
        raise UserError(
            "The app needs Gradio, which is not installed. Install it with: "
            "pip install 'casme-tf[app]'"
        ) from None
    return page


def _check(port: int, limits: Limits) -> None:
    for name, value, least in (
        ("port", port, 0),
        ("max-megabytes", limits.max_megabytes, 1),
        ("max-frames", limits.max_frames, 2),
        ("queue", limits.queue, 1),
    ):
        if value < least:
            raise UserError(f"--{name} must be at least {least}. Received: {value}.")
    if not limits.keep_minutes > 0:
        raise UserError(f"--keep-minutes must be above 0. Received: {limits.keep_minutes:g}.")


def _wait() -> None:
    """Wait until the process is interrupted or terminated; both clean up."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    finally:
        signal.signal(signal.SIGTERM, previous)
