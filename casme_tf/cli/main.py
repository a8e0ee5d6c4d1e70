"""The command line: `casme-tf <verb>` and `python scripts/<verb>.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

from casme_tf.cli import (
    FACES,
    app,
    compare,
    crossval,
    demo,
    evaluate,
    export,
    predict,
    prepare_dataset,
    report,
    spot_apex,
    stream,
    synthesize,
    train,
)
from casme_tf.errors import UserError

Options = TypeVar("Options")

_SETTINGS = (tyro.conf.FlagCreatePairsOff,)

VERBS: dict[str, ModuleType] = {
    "synthesize": synthesize,
    "prepare-dataset": prepare_dataset,
    "train": train,
    "crossval": crossval,
    "evaluate": evaluate,
    "export": export,
    "report": report,
    "compare": compare,
    "predict": predict,
    "spot-apex": spot_apex,
    "stream": stream,
    "app": app,
    "demo": demo,
}
"""The module of each command: `run` takes its options, a dataclass, and does it."""


def main(verb: str | None = None, args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        verb: One of `VERBS`; None to take it from the arguments.
        args: Arguments; None for those of the process.

    Returns:
        0 if it succeeded, 1 for a mistake that the user can put right, 130 if interrupted.
        A command line that cannot be parsed exits with 2.
    """
    return _explained(lambda: _run(verb, args))


def run_command(kind: type[Options], function: Callable[[Options], int | None]) -> int:
    """Run a command that is none of `casme-tf`, with the arguments of the process.

    Args:
        kind: Dataclass of its options.
        function: What it does; it returns an exit status, or None for 0.

    Returns:
        As from `main`.
    """

    def run() -> int:
        _show_options_plainly(kind)
        options = tyro.cli(kind, config=_SETTINGS)
        _set_up_tensorflow()
        return function(options) or 0

    return _explained(run)


def _explained(run: Callable[[], int]) -> int:
    """Run something; a mistake of the user is one line and 1, an interruption 130."""
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(verb: str | None, args: Sequence[str] | None) -> int:
    """Parse the arguments, and call the function of the verb."""
    words = sys.argv[1:] if args is None else list(args)
    if verb is None and words == ["--version"]:
        print(f"casme-tf {version('casme-tf')}")
        return 0
    kinds = {name: options_of(module) for name, module in VERBS.items()}
    for kind in (*kinds.values(), type(FACES)):
        _show_options_plainly(kind)
    if verb is None:
        options: Any = tyro.extras.subcommand_cli_from_dict(
            kinds, prog="casme-tf", description=_description(), args=args, config=_SETTINGS
        )
        verb = next(name for name, kind in kinds.items() if type(options) is kind)
    else:
        options = tyro.cli(kinds[verb], prog=f"{verb}.py", args=args, config=_SETTINGS)
    _set_up_tensorflow()
    return VERBS[verb].run(options) or 0


def options_of(module: ModuleType) -> Callable[..., Any]:
    """Return the dataclass that the `run` of a command's module takes."""
    hints = get_type_hints(module.run)
    return next(kind for name, kind in hints.items() if name != "return")


def _description() -> str:
    return (
        "Facial micro-expressions: two frames in, four class probabilities out. "
        "Set TF_CPP_MIN_LOG_LEVEL to see TensorFlow's native log. "
        "casme-tf --version prints the version."
    )


def _show_options_plainly(config: Any) -> None:
    """Let help show an optional number as INT, not {None}|INT, and texts without their breaks."""
    names: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
    texts = _texts(config)
    for name, kind in get_type_hints(config, include_extras=True).items():
        plain = kind.__origin__ if get_origin(kind) is Annotated else kind
        options: dict[str, Any] = {}
        values = [part for part in get_args(plain) if part is not type(None)]
        if plain is bool or getattr(config, name, ...) == ():
            options = {"help_behavior_hint": ""}
        elif type(None) in get_args(plain):
            literals = get_args(values[0]) if get_origin(values[0]) is Literal else ()
            metavar = f"{{{','.join(literals)}}}" if literals else names[values[0]]
            options = {"help_behavior_hint": "", "metavar": metavar}
        if name in texts and not any(getattr(x, "help", None) for x in get_args(kind)[1:]):
            options["help"] = texts[name]
        if options:
            config.__annotations__[name] = Annotated[kind, tyro.conf.arg(**options)]


def _texts(config: Any) -> dict[str, str]:
    """Return what the docstrings of options say, each on one line."""
    kinds = [kind for kind in reversed(config.__mro__) if kind is not object]
    params = (param for kind in kinds for param in docstring_parser.parse_from_object(kind).params)
    return {param.arg_name: " ".join((param.description or "").split()) for param in params}


def _set_up_tensorflow() -> None:
    """Set what TensorFlow reads when it is imported, unless the user has set it."""
    # By itself it takes oneDNN on newer processors only; with AVX2 alone it is faster too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        _mute_native_log()


def _mute_native_log() -> None:
    """Let Python keep the terminal, and native code's file descriptor 2 lead nowhere.

    TensorFlow writes a dozen lines while it is imported, before it reads its own settings.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    )
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
