"""The error that means: the user can put this right."""

from __future__ import annotations

import shlex

__all__ = ["LeakError", "UserError", "UserErrors", "command"]


def command(*words: object) -> str:
    """Return a command of a message as it can be pasted into a shell.

    Example:
        >>> command("casme-tf", "export", "--run", "my run")
        "casme-tf export --run 'my run'"
    """
    return shlex.join(map(str, words))


class UserError(ValueError):
    """A mistake in an input: a path, a file's content, an argument.

    The message says in one line what was required, what was received and what to do. Commands
    print it without a traceback and exit with status 1.
    """


class UserErrors(UserError):
    """Several mistakes found in one pass, reported together.

    Args:
        summary: One line that names the thing at fault and what to do.
        problems: One line for each mistake.
    """

    def __init__(self, summary: str, problems: list[str]) -> None:
        self.summary = summary
        self.problems = list(problems)
        super().__init__("\n  ".join([summary, *self.problems]))


class LeakError(UserError):
    """Something of the test clips would reach the training side: figures would be too good."""
