"""`python -m attnbench`."""

import sys
from pathlib import Path

if not Path(__file__).is_file():
    print(
        f"attnbench: it reads files of its own and cannot run inside {Path(__file__).parents[1]}: "
        "install that with pip",
        file=sys.stderr,
    )
    sys.exit(2)

from attnbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
