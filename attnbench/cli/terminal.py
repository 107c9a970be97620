"""The console that verbs print on."""

from typing import Any

from rich.console import Console

from attnbench.cli.show import visible


class Terminal(Console):
    """Rich's console for lines of any length; strings are printed as they read, never as markup."""

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=True)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does, without the characters that a terminal obeys."""
        shown = (visible(each) if isinstance(each, str) else each for each in objects)
        super().print(*shown, **{"markup": False, **options})
