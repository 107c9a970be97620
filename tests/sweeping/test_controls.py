"""`controls=[none, wide]`: which cells stand beside each row of a sweep."""

import pytest

from attnbench.errors import UserError
from attnbench.sweeping import controls, experiment


def rows(*words: str) -> list[tuple[str, str, int]]:
    return [(c.attn, c.site, c.config.seed) for c in experiment.grid(words)]


def test_each_row_has_its_controls_at_its_own_site():
    found = rows("attn=non_local,se", "controls=[none,wide,static]", "seed=0,1")
    expected = {("none", "residual", s) for s in (0, 1)}
    for name, site in (("non_local", "late"), ("se", "residual")):
        expected |= {(a, site, s) for a in (name, f"wide(of={name})", "static") for s in (0, 1)}
    assert set(found) == expected and len(found) == len(expected)
    assert [attn for attn, _, _ in found[:2]] == ["none", "none"]


def test_a_control_is_compared_with_the_mechanism_as_it_is_set():
    found = rows("attn=se", "attn.reduction=8", "controls=deep")
    assert [attn for attn, _, _ in found] == ["se(reduction=8)", "deep(of=se(reduction=8))"]


def test_controls_have_no_controls():
    assert [attn for attn, _, _ in rows("attn=none,static", "controls=[wide,mlp]")] == ["none", "static"]


def test_an_experiment_s_part_names_its_controls(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("title: t\ncontrols: [none, pointwise]\ngrid: {attn: [cbam, {name: se, reduction: 8}]}\n")
    found = [c.attn for c in experiment.load(str(file)).cells()]
    assert found == ["none", "cbam", "pointwise", "se(reduction=8)"]
    asked = [c.attn for c in experiment.load(str(file)).cells(["controls=[wide]"])]
    assert asked == ["cbam", "wide(of=cbam)", "se(reduction=8)", "wide(of=se(reduction=8))"]


def test_unknown_controls_are_refused_with_near_names(tmp_path):
    with pytest.raises(UserError, match="unknown control 'wid': did you mean wide"):
        controls.taken(["controls=[none,wid]"])
    file = tmp_path / "mine.yaml"
    file.write_text("controls: none\ngrid: {attn: [se]}\n")
    with pytest.raises(UserError, match="controls is a list of names"):
        experiment.load(str(file))
