"""Words become the configuration that Hydra alone makes of them, and what cannot be meant is refused."""

import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from attnbench import data, mechanisms
from attnbench.config import compose, files, grammar, load, sources
from attnbench.config.files import folder, names
from attnbench.config.load import configure
from attnbench.config.schema import Config, choices
from attnbench.errors import UserError

WRITTEN = [
    ["attn=se", "seed=3"],
    ["attn=se", "attn.reduction=8", "backbone=resnet50", "data=imagenet", "task=profile", "recipe=none"],
    ["backbone=resnet20", "backbone.stem=imagenet", "recipe=short", "recipe.augment.mixup=0.2"],
    ["data=cifar10", "data.root=folder", "data.train=100", "cost.latency=false"],
    ["attn=eca", "site=stage", "seed=7", "hardware=cpu", "launch=inline", "results=here"],
    ["data.mean=[0.1,0.2,0.3]", "track=off"],
    ["++backbone.args.drop_rate=0.1", "attn=gc", "backbone=resnet18"],
    ["task=seg", "attn=afnb", "site=head", "seed=2"],
    ["recipe.epochs=4", "task=seg_unet", "attn=scse", "attn.reduction=4"],
    ["recipe.optimizer={lr: 0.3, momentum: 0.5}", "++launch.options={a: 1}"],
    ["results=${seed}/${attn.name}", "seed=3", "attn=se"],
    ["attn=se", "attn.reduction=${seed}", "seed=4"],
    ["recipe.epochs=${seed}", "seed=5", "site=residual"],
]
VALUES = {
    "recipe.epochs": ["1", "4"],
    "recipe.batch_size": ["2", "64"],
    "recipe.optimizer.lr": ["2e-3", "0.5"],
    "recipe.precision": ["bf16"],
    "recipe.schedule.milestones": ["[0.5,1]"],
    "recipe.augment.flip": ["false"],
    "data.size": ["16", "64"],
    "data.train": ["100", "null"],
    "cost.rounds": ["3"],
    "cost.latency": ["false"],
    "launch.jobs": ["2"],
    "hardware.threads": ["1"],
    "results": ["out", "'a b'"],
    "track.project": ["mine"],
}


def drawn(count: int) -> list[list[str]]:
    """Requests of a task, a backbone, a mechanism with an option, and settings, in any order."""
    source, found = random.Random(7), []
    for _ in range(count):
        words = [f"task={source.choice(names('task'))}", f"backbone={source.choice(names('backbone'))}"]
        if source.random() < 0.5:
            words.append(f"data={source.choice(names('data'))}")
        if source.random() < 0.5:
            words.append(f"recipe={source.choice(names('recipe'))}")
        if source.random() < 0.8:
            entry = source.choice(list(mechanisms.entries().values()))
            words.append(f"attn={entry.name}")
            counts = [name for name, value in entry.options.items() if type(value) is int]
            words += [f"attn.{name}={entry.options[name] + 1}" for name in counts[:1]]
        words += [f"seed={source.randrange(9)}"] * (source.random() < 0.5)
        words += [f"site={source.choice(['residual', 'stage', 'head'])}"] * (source.random() < 0.4)
        words += [f"{key}={source.choice(VALUES[key])}" for key in source.sample(list(VALUES), 3)]
        source.shuffle(words)
        found.append(words)
    return found


@pytest.fixture
def answer(monkeypatch):
    """Hydra's own answer to words: the schema, every mechanism a choice of the group attn, one compose."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {**store.repo})
    store.store(name="schema", node=Config)
    for name, entry in mechanisms.entries().items():
        store.store(group="attn", name=name, node={"name": name, **entry.options})

    def ask(words: list[str]) -> Config:
        found = cast(Config, OmegaConf.to_object(hydra.compose("config", words)))
        return replace(found, data=data.settle(found.data, found.task.name))

    with hydra.initialize_config_dir(str(folder("conf").resolve()), version_base="1.3"):
        yield ask


def same(words: list[str], answer) -> None:
    assert asdict(load.unchecked(*words)) == asdict(answer(words)), words


@pytest.mark.parametrize("words", WRITTEN, ids=" ".join)
def test_it_is_what_hydra_composes(words, answer):
    same(words, answer)
    with_order = [w for w in words if w.startswith("attn=")] + [w for w in words if not w.startswith("attn=")]
    assert configure(with_order, any_site=True) == load.unchecked(*words)


def test_drawn_requests_are_what_hydra_composes(answer):
    for words in drawn(12):
        same(words, answer)


@pytest.mark.slow
def test_two_hundred_drawn_requests_are_what_hydra_composes(answer):
    for words in drawn(212)[12:]:
        same(words, answer)


def test_every_choice_of_every_group_is_what_hydra_composes(answer):
    for group in ("hardware", "launch", "track", "recipe"):
        for choice in choices(group):
            same([f"{group}={choice}"], answer)


def test_words_that_differ_in_attention_site_and_seed_are_composed_once(monkeypatch):
    calls = []
    monkeypatch.setattr(compose, "hydra_compose", lambda *a: calls.append(a) or hydra.compose(*a))
    for name in mechanisms.entries():
        for seed in (1, 2):
            configure(["recipe.epochs=97", f"attn={name}", "site=residual", f"seed={seed}"], any_site=True)
    assert len(calls) == 1


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_arguments_of_a_builder_are_set_with_and_without_a_plus(prefix):
    assert configure([f"{prefix}backbone.args.depth=14"]).backbone.args == {"depth": 14}
    found = configure(["backbone=resnet18", f"{prefix}backbone.args.drop_rate=0.1"])
    assert found.backbone.args == {"drop_rate": 0.1}
    assert configure(["attn=se", f"{prefix}attn.reduction=4"]).attn["reduction"] == 4


REFUSED = [
    ("hydra.run.dir=x", "results=FOLDER and runs=FOLDER"),
    ("hydra.sweep.dir=x", "results=FOLDER and runs=FOLDER"),
    ("hydra/launcher=joblib", "launch=processes"),
    ("hydra.launcher.n_jobs=2", "launch=processes"),
    ("hydra/sweeper=optuna", "-m or an experiment"),
    ("hydra.searchpath=[x]", "--config-dir FOLDER"),
    ("hydra.job.chdir=true", "does not use Hydra's runner"),
    ("attn=glob(*)", "several values need -m"),
    ("attn@x=se", "no packages"),
    ("backbone@x=resnet8", "no packages"),
    ("~attn", "write attn=none"),
    ("~attn.reduction", "always has a value"),
    ("~recipe", "always has a value"),
    ("~recipe.epochs", "always has a value"),
    ("++foo.bar=3", "unknown setting 'foo.bar'"),
    ("+recipe.epoch=3", "did you mean recipe.epochs"),
    ("recipe.epochs.x=3", "takes no settings"),
    ("data={name: scenes}", "data.name="),
    ("attn={name: se}", "attn=se attn.reduction=8"),
    ("data.root=${nope}", "'nope' not found"),
    ("seed=${oc.env:NOWHERE_AT_ALL}", "NOWHERE_AT_ALL"),
    ("seed=one", "seed=one: must be a whole number"),
    ("seed=2.5", "must be a whole number"),
    ("site=null", "must be the name of a site"),
    ("attn=null", "unknown mechanism"),
    ("backbone.args.deph=20", "did you mean depth"),
    ("task.options.flip=true", "unknown option of task cls"),
    ("data.options.subsett=0.5", "did you mean subset"),
    ("data=null", "unknown data"),
    ("recipe=[a]", "unknown recipe"),
]


@pytest.mark.parametrize(("word", "said"), REFUSED, ids=[word for word, _ in REFUSED])
def test_what_cannot_be_meant_is_refused_in_one_line(word, said):
    with pytest.raises(UserError) as error:
        configure([word])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_glob_stands_for_the_choices_of_a_group():
    assert grammar.expand(["attn=glob(*)"]) == [[f"attn={name}"] for name in choices("attn")]
    assert grammar.expand(["backbone=glob(resnet18*)"]) == [["backbone=resnet18"]]
    for word, said in (("attn=glob(q*)", "matches none"), ("seed=glob(*)", "glob is for task")):
        with pytest.raises(UserError, match=said):
            grammar.expand([word])


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A user's folder with a recipe of its own on a part that it shares, a backbone and an experiment."""
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    for group in ("recipe", "backbone", "experiment"):
        (tmp_path / group).mkdir()
    (tmp_path / "recipe" / "_slow.yaml").write_text("optimizer: {lr: 0.01}\n")
    (tmp_path / "recipe" / "mine.yaml").write_text("defaults: [_slow, _self_]\nname: mine\nepochs: 7\n")
    text = "defaults: [_cifar_resnet, _self_]\nname: resnet26\nargs: {depth: 26}\n"
    (tmp_path / "backbone" / "resnet26.yaml").write_text(text)
    (tmp_path / "experiment" / "ours.yaml").write_text("grid: {recipe: mine, attn: [none, se]}\n")
    yield tmp_path
    monkeypatch.delenv(sources.VARIABLE, raising=False)


def test_a_users_folder_adds_choices(mine):
    with pytest.raises(UserError, match="unknown recipe 'mine'"):
        configure(["recipe=mine"])
    files.add(str(mine))
    found = configure(["recipe=mine", "backbone=resnet26"])
    assert (found.recipe.epochs, found.recipe.optimizer.lr) == (7, 0.01)
    assert found.backbone.args == {"depth": 26} and "residual" in found.backbone.sites
    assert "mine" in names("recipe") and "ours" in files.experiments()
    assert compose.read("backbone", "resnet26")["source"] == "cifar_resnet"
    assert compose.read("backbone", "resnet20")["args"] == {"depth": 20}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("recipe/mine.yaml", "name: mine\nepochs: 7\nepochs: 8\n", "line 3.*epochs is given twice"),
        ("recipe/mine.yaml", "name: mine\nepochs: 010\n", "line 2.*010 as an octal number"),
        ("recipe/mine.yaml", "name: mine\nepochs: 1:30\n", "line 2.*base 60"),
        ("recipe/mine.yaml", "name: [mine\n", "line 2: not valid YAML"),
        ("recipe/mine.yaml", "name: mine\nepoch: 3\n", "'epoch'"),
        ("recipe/quick.yaml", "name: quick\n", "attnbench has recipe=quick itself"),
    ],
)
def test_a_users_file_that_is_not_what_it_looks_like_is_refused(mine, file, text, said):
    (mine / file).write_text(text)
    with pytest.raises(UserError, match=said):
        files.add(str(mine))
        configure(["recipe=mine"])


def test_a_folder_without_groups_is_refused(tmp_path):
    (tmp_path / "recipes").mkdir()
    with pytest.raises(UserError, match=r"recipes \(did you mean recipe\?\)"):
        files.add(str(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        files.add(str(tmp_path / "nowhere"))


def test_our_own_files_are_strict_yaml():
    from attnbench.config import strict

    for place in (folder("conf"), folder("experiments")):
        for path in place.rglob("*.yaml"):
            assert isinstance(strict.load(path), dict), path
