"""What must hold of every mechanism: `attnbench.checks.run(MyMechanism)` runs it on your own."""

from attnbench.checks.suite import run

__all__ = ["run"]
