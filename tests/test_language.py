"""Words that the glossary replaces do not come back where a reader or user sees them."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REPLACED = {
    "told": "reported, given",
    "twin": "paired baseline, copy",
    "zoo": "mechanisms",
    "perceptron": "MLP",
    "lacks": "has no, is missing",
    "costs alone": "cost-only",
    "brought to": "resized to, resampled to",
    "processor time": "CPU time",
}
PATTERN = re.compile(rf"\b({'|'.join(map(re.escape, REPLACED))})\b", re.IGNORECASE)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
YAML = sorted(p for folder in ("conf", "experiments") for p in (ROOT / folder).rglob("*.yaml"))
CODE = sorted(p for folder in ("attnbench", "benchmarks") for p in (ROOT / folder).rglob("*.py"))


def of_code(path: Path) -> str:
    """The comments and strings of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
    return "\n".join(token.string for token in tokens if token.type in kinds)


def found(text: str) -> list[str]:
    return [match[0].lower() for match in PATTERN.finditer(text)]


@pytest.mark.parametrize("path", [*TEXTS, *YAML, *CODE], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_text_uses_the_words_of_the_glossary(path):
    text = of_code(path) if path.suffix == ".py" else path.read_text(encoding="utf-8")
    assert {word: REPLACED[word] for word in found(text)} == {}


def test_a_replaced_word_is_found_and_a_part_of_another_is_not():
    assert found("Is told what the Zoo lacks") == ["told", "zoo", "lacks"]
    assert found("zoom, untold, blacks") == []
