"""Shutting the network to code of others that reports its use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

# A port of this machine on which nothing listens (RFC 863, "discard").
_NOWHERE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
}
_LOCK = Lock()
_open_blocks: list[None] = []
_before: dict[str, str | None] = {}


@contextmanager
def network_shut() -> Iterator[None]:
    """Name an unreachable proxy to code of others that sends over HTTP, until the block ends.

    The environment is that of the whole process: other code that uses HTTP in the meantime is
    refused as well. Blocks may overlap in any order; what was set before the first of them comes
    back with the end of the last.
    """
    with _LOCK:
        if not _open_blocks:
            _before.update({name: os.environ.get(name) for name in _NOWHERE})
            os.environ.update(_NOWHERE)
        _open_blocks.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _open_blocks.pop()
            if not _open_blocks:
                for name, value in _before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
