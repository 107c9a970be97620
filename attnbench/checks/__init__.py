"""What must hold of every mechanism: `attnbench.checks.run(MyMechanism)` runs it on your own."""

from attnbench.checks.assertions import Broken, Meaningless
from attnbench.checks.case import Case
from attnbench.checks.suite import parametrize, run

__all__ = ["Broken", "Case", "Meaningless", "parametrize", "run"]
