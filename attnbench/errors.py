"""What can go wrong by a user's hand, as exceptions that say what would be right."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A request that cannot be met; its message says what was wrong, where, and what would be right."""


class Unwritable(UserError):
    """A folder or disk that takes no more: nothing that follows could be kept either."""


class Overdue(Exception):
    """A cell took longer than it may; its checkpoint is kept."""


class Interrupted(Exception):
    """A process that a cell depends on died; its checkpoint is kept, and it goes on from there."""


class Impossible(Exception):
    """A combination without meaning (a 7x7 window on a 1x1 map); recorded as skipped, never a crash."""


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names of `known` most like `name`, best first."""
    return difflib.get_close_matches(name.lower(), sorted(known), n=count, cutoff=0.6)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with near names, or else all names, offered."""
    known = sorted(known)
    close = near(name, known)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
    return UserError(f"unknown {kind} '{name}': {hint}")
