"""How much time and memory questions to a large store take.

`python -m benchmarks.store [RECORDS ...]` writes `results/store-speed.md`. A store is made of copies of one
record under other names, 250 a table; every question is a process of its own.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnbench import mechanisms, records
from attnbench.records.index import FILE

SIZES = (1_000, 10_000, 50_000, 100_000)
REPORTED = 10_000  # records at most of a store that whole reports are written of
SEEDS, ROWS = 5, 50  # of a table
QUESTIONS = {
    "status": ["status"],
    "compare": ["compare", "attn=se,eca", "backbone=net1"],
    "recommend": ["recommend", "backbone=net1", "max_latency=+20%"],
}


def fill(results: Path, count: int) -> None:
    """Write so many records, whole tables but for the last."""
    pattern = next(r for r in records.read(Path("results"))[0] if r["cell"]["data"] == "cifar10")
    names = ["none", *(name for name in mechanisms.entries() if name != "none")][:ROWS]
    records.folder(results).mkdir(parents=True)
    for number in range(count):
        table, rest = divmod(number, SEEDS * ROWS)
        row, seed = divmod(rest, SEEDS)
        made = _renamed(pattern, f"{number:012x}", table, names[row % len(names)], seed)
        records.path(results, made["key"]).write_text(json.dumps(made))


def _renamed(pattern: records.Record, key: str, table: int, attn: str, seed: int) -> dict[str, Any]:
    cell = {**pattern["cell"], "attn": attn, "mechanism": attn, "seed": seed, "backbone": f"net{table}"}
    cell |= {"category": mechanisms.entry(attn).category, "site": "" if attn == "none" else "residual"}
    score = {**pattern["metrics"]["test"], "top1": 75 + (hash((key, seed)) % 100) / 100}
    metrics = {**pattern["metrics"], "test": score}
    return {**pattern, "key": key, "table": f"{table:012x}", "cell": cell, "metrics": metrics}


def measure(count: int) -> Iterator[dict[str, Any]]:
    """CPU seconds and peak memory of each question, without the index and with it, and of reports."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        fill(results, count)
        for name, words in QUESTIONS.items():
            for state in ("index is built", "index is there"):
                if state == "index is built":
                    (results / FILE).unlink(missing_ok=True)
                yield {"records": count, "question": name, "state": state, **_asked(words, results)}
        if count <= REPORTED:
            yield from ({"records": count, **line} for line in _reports(results))


def _reports(results: Path) -> Iterator[dict[str, Any]]:
    """A report of everything, one of nothing new, and one of one record that changed."""
    for state in ("first", "nothing new", "one record changed"):
        if state == "one record changed":
            file = min(records.folder(results).iterdir())
            file.write_text(json.dumps({**json.loads(file.read_text()), "reason": "changed"}))
        yield {"question": "report", "state": state, **_asked(["report"], results)}


def _asked(words: Sequence[str], results: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "attnbench", *words, f"results={results}"]
    code = f"import resource, subprocess; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL)"
    peak = "print(resource.getrusage(resource.RUSAGE_CHILDREN))"
    stated = subprocess.run(
        [sys.executable, "-c", f"{code}; {peak}"], capture_output=True, text=True, check=True
    ).stdout
    used = {key: float(value) for key, value in re.findall(r"ru_(utime|stime|maxrss)=([\d.]+)", stated)}
    return {"cpu_seconds": round(used["utime"] + used["stime"], 1), "peak_mb": round(used["maxrss"] / 1024)}


def main(words: Sequence[str] = ()) -> int:
    """Measure stores of these sizes and write the table."""
    import pandas as pd

    from attnbench import provenance

    lines = [line for count in map(int, words or SIZES) for line in measure(count)]
    table = pd.DataFrame(lines).rename(columns=lambda name: name.replace("_", " "))
    text = f"{INTRODUCTION}\n{provenance.processor()}.\n\n{table.to_markdown(index=False)}\n"
    records.write_whole(Path("results") / "store-speed.md", text.encode())
    print(text)
    return 0


INTRODUCTION = """# Questions to a large store

CPU seconds and peak memory of a question, imports included, where the index over the records has to be built
first and where it is there; and of reports, with their pictures (`python -m benchmarks.store`).
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
