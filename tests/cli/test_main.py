"""The command line refuses what cannot be meant: at once, in the user's words, with exit status 2."""

import json
import resource
import subprocess
import sys

import pytest

from attnbench import records
from attnbench.cli.main import main
from attnbench.config.files import names
from attnbench.sweeping.experiment import cell

REFUSED = [
    (["attn=ecca"], "did you mean eca"),
    (["task=clss"], "did you mean cls"),
    (["backbone=resnet21"], "did you mean resnet"),
    (["data=cifar11"], "did you mean cifar10"),
    (["recipe=shrt"], "did you mean short"),
    (["recipe.epoch=3"], "did you mean recipe.epochs"),
    (["recip=short"], "did you mean recipe"),
    (["attn=se", "attn.reductin=8"], "did you mean reduction"),
    (["attn=se", "attn.reduction=eight"], "must be a whole number, such as 16"),
    (["attn=se", "attn.bias=3"], "must be true or false"),
    (["seed=one"], "seed=one: must be a whole number"),
    (["seed=-1"], "seed=-1: must be 0 or more"),
    (["recipe.epochs=0"], "trains nothing"),
    (["recipe.batch_size=0"], "recipe.batch_size=0: must be 1 or more"),
    (["recipe.optimizer.name=sgdd"], "did you mean sgd"),
    (["recipe.augment.mixup=0.2", "recipe.batch_size=33"], "need an even one"),
    (["site=residul"], "did you mean residual"),
    (["attn=se,eca"], "several values need -m"),
    (["data=cifar10"], "data.root=FOLDER"),
    (["data=cifar10", "data.root=nowhere"], "no such folder"),
    (["data=cifar10", "data.root=a:b{"], "special characters need quotes"),
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["swep"], "did you mean sweep"),
    (["--dryrun"], "did you mean --dry-run"),
    (["sweep", "experiment=quik"], "did you mean quick"),
    (["list", "mechanism"], "did you mean mechanisms"),
    (["list", "mechanisms", "ecca"], "did you mean eca"),
    (["report", "publishd"], "did you mean published"),
    (["report", "seed=1"], "unknown key of report 'seed': known: difference, results"),
    (["bench", "lop"], "did you mean loop"),
    (["list", "mechanisms", "se", "eca"], "list takes a kind and a name"),
    (["report", "--dry-run"], "report does not take --dry-run"),
    (["list", "--cfg"], "list does not take --cfg"),
    (["bench", "loop", "-m"], "bench does not take -m"),
    (["cost", "--dry-run"], "cost does not take --dry-run; it takes --cfg"),
    (["sweep", "-m", "experiment=quick"], "sweep does not take -m; it takes --dry-run and --cfg"),
    (["--info"], "a flag of Hydra's that attnbench does not have: --cfg"),
    (["--config-name=x"], "experiment=NAME names a file of cells"),
    (["hydra.run.dir=x"], "results=FOLDER and runs=FOLDER"),
    (["hydra/launcher=joblib"], "launch=processes"),
    (["--config-dir", "nowhere", "attn=se"], "--config-dir nowhere: no such folder"),
    (["hydra.searchpath=[file://nowhere]"], "no such folder"),
    (["attn=gc", "attn.fuse=xxx", "--dry-run"], "unknown fuse of attn=gc (attn.fuse) 'xxx': known: add, mul"),
    (["attn=gsop", "attn.dim=x"], "must be a whole number or null"),
    (["attn=se", "attn.reduction=99999999"], "must be at most 1,000,000"),
    (
        ["attn=ram"],
        "attn=ram stands at site 'network', which backbone=resnet8 does not have; choose backbone=whole",
    ),
    (["cost", "attn=ram"], "choose backbone=whole"),
    (["cost", "attn=soft_attention"], "choose task=sequence"),
    (
        ["cost", "attn=dcn", "backbone=vit_tiny_patch16_224"],
        "which backbone=vit_tiny_patch16_224 does not have",
    ),
    (["experiment=quick"], "attnbench sweep experiment=quick"),
    (["sweep", "experiment="], "which one? known: camvid"),
    (["completion", "fish"], "unknown shell 'fish'"),
    (["~attn"], "write attn=none"),
    (["recipe.optimizer.lr=inf"], "recipe.optimizer.lr=inf: must be at most 1,000"),
    (["recipe.schedule.step_epochs=0"], "must be above 0"),
    (["recipe.schedule.gamma=-3"], "must be above 0"),
    (["recipe.schedule.milestones=[5,1,-3]"], "every number must be above 0"),
    (["data.size=100000"], "must be at most 8,192"),
    (["data.train=1000000000000"], "must be at most 1,000,000,000"),
    (["data.train=900000000"], "of memory, and this machine has"),
    (["hardware.threads=100000"], "must be at most 1,024"),
    (["seed=99999999999999999999999"], "must be at most 4,294,967,295"),
    (["cost.mode=cuda_graph", "hardware.device=cpu"], "needs a GPU"),
    (["recipe.augment.padding=1000"], "padding=1000: at most data.size"),
    (["recipe.schedule.min_lr=9"], "min_lr=9.0: at most recipe.optimizer.lr"),
    (["recipe.schedule.name=multistep", "recipe.schedule.milestones=[5,1]"], "must rise"),
    (["recipe.batch_size=200", "data.train=100"], "more than the 100 training images"),
    (["data.name=../../../tmp/x"], "letters, digits"),
    (["backbone.name=foo"], "unknown backbone (backbone.name) 'foo'"),
    (["backbone.source=x"], "unknown source of a backbone"),
    (["backbone.args.depth=7"], "depth=7: must be 8, 14, 20, ..."),
    (["backbone.args.blocks=[1,2]"], "blocks=[1, 2]: must be 3 numbers"),
    (["backbone=patch8", "+backbone.args.kernel=4"], "kernel=4: must be 1, 3, 5, ..."),
    (["backbone=attention56", "backbone.args.modules=[1,0,1]"], "modules=[1, 0, 1]: must be 1 or more"),
    (["backbone=whole", "backbone.args.kind=deep"], "known: convolutional, mlp"),
    (["recipe.batch_size=4001"], "4001 is more than the 4000 training images of data=scenes"),
    (["task=retrieval", "recipe.batch_size=2001"], "2001 is more than the 2000 training images"),
    (["attn=gc", "attn.fuse=xxx", "--dry-run"], "known: add, mul"),
    (["--package", "x"], "--cfg prints the whole configuration"),
    (["-cn", "foo"], "experiment=NAME names a file of cells"),
    (["--cfg", "hydra"], "unknown command 'hydra'"),
    (["++foo.bar=3"], "unknown setting 'foo.bar'"),
    (["data.root=${nope}"], "'nope' not found"),
    (["seed=${oc.env:HOME}"], "could not be converted to Integer"),
    (["results="], "results='': must be a path"),
    (["status", "--multirun"], "status does not take --multirun"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_wrong_request_is_refused_with_the_right_one_offered(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_what_can_be_known_without_torch_is_refused_without_it():
    code = "import sys, json; from attnbench.__main__ import main"
    code += "; print([words for words in json.load(sys.stdin) if main(words) != 2], 'torch' in sys.modules)"
    given = json.dumps([words for words, _ in REFUSED])
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True)
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize("words", [["--cfg"], ["-c"], ["--cfg", "job"], ["attn=se", "-c", "all"]])
def test_the_configuration_is_printed_by_hydras_flag_too(words, capsys):
    assert main(words) == 0
    assert "backbone:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["attn=ecca"], ["recipe.epoch=3"], ["--help"], ["list"]])
def test_answers_that_need_no_torch_do_not_import_it(arguments):
    code = f"import sys; from attnbench.__main__ import main; main({arguments})"
    code += "; sys.exit('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2  # seconds of a processor


def test_help_names_every_choice(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for word in ("resnet20", "cifar10", "short", "se", "quick", "experiment"):
        assert word in printed


def test_list_shows_cards_sites_and_options(capsys):
    main(["list", "mechanisms", "se"])
    printed = capsys.readouterr().out
    assert "Squeeze-and-Excitation Networks" in printed
    assert "attn.reduction=16" in printed
    main(["list", "backbones", "resnet20"])
    assert "residual" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "seen", "unseen"),
    [
        (["attn=channel"], "eca", "cbam"),
        (["channel"], "eca", "cbam"),
        (["soft,2020"], "eca", "no attention"),
        (["mechanisms", "cvpr"], "eca", "dia "),
        (["se"], "attn.reduction=16", "eca"),
        (["resnet20"], "residual", "resnet18"),
        (["cifar10"], "photographs", "mnist"),
    ],
)
def test_list_knows_the_words_that_sweeps_know(words, seen, unseen, capsys):
    assert main(["list", *words]) == 0
    printed = capsys.readouterr().out
    assert seen in printed and unseen not in printed


def test_configuration_can_be_printed_without_running(capsys):
    assert main(["attn=se", "attn.reduction=4", "--cfg"]) == 0
    assert "reduction: 4" in capsys.readouterr().out


KINDS = {
    "mechanisms": ["none", "se", "ram"],  # of these, cards of one form, a few say enough
    "backbones": names("backbone"),
    "tasks": names("task"),
    "data": names("data"),
    "recipes": names("recipe"),
    "experiments": ["cifar10", "seg_scenes"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_each_name_of_each_kind(kind, capsys):
    for name in KINDS[kind]:
        assert main(["list", kind, name]) == 0
        assert name in capsys.readouterr().out


def test_list_shows_what_a_task_shares_with_others_and_the_recipe_it_chooses(capsys):
    main(["list", "tasks", "seg_unet"])
    printed = capsys.readouterr().out
    assert "recipe: seg_quick" in printed and "ohem_kept: 100000" in printed and "decoder: unet" in printed


def test_the_configuration_that_costs_are_told_of_can_be_printed(capsys):
    assert main(["cost", "task=seg", "--cfg"]) == 0
    assert "epochs: 0" in capsys.readouterr().out


def test_a_dry_sweep_prints_its_cells_and_runs_none(tmp_path, capsys):
    assert main(["-m", "attn=none,se", "seed=0,1", "--dry-run", f"results={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "4 cells: 0 done, 4 to run" in printed
    assert printed.count("resnet8") == 4
    assert not list(tmp_path.iterdir())


def test_a_dry_cell_says_what_would_be_run_and_runs_nothing(tmp_path, capsys):
    words = ["attn=se", f"results={tmp_path}"]
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "1 cell: 0 done, 1 to run" in printed and "cls scenes resnet8 se" in printed
    assert not list(tmp_path.iterdir())
    asked = cell(words)
    for status, plan in (("failed", "1 to run"), ("done", "1 done, nothing to run")):
        records.write(tmp_path, asked.record(status, "x"))
        assert main([*words, "--dry-run"]) == 0
        assert plan in capsys.readouterr().out
        assert records.find(tmp_path, asked.key)["status"] == status


def test_what_failed_before_and_is_not_run_again_is_no_success(tmp_path, capsys):
    words = ["-m", "attn=none", f"results={tmp_path}"]
    for status, code in (("failed", 1), ("out_of_memory", 1), ("diverged", 0), ("done", 0)):
        asked = cell(words[1:])
        records.write(tmp_path, asked.record(status, "x", metrics={"test": {"top1": 1.0}}))
        assert main(words) == code, status
        assert "1 cell: 1 done" in capsys.readouterr().out


def test_what_only_building_shows_to_be_impossible_is_refused_by_hand_and_leaves_no_record(tmp_path, capsys):
    words = ["attn=sasa", "attn.heads=7", "site=conv"]
    for way in (["run", f"results={tmp_path}/results", f"runs={tmp_path}/runs"], ["cost"]):
        assert main([*way, *words]) == 2
        assert "attn=sasa: layer3.0.conv2: 64 channels do not divide into 7" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_an_installed_package_without_benchmarks_says_where_they_are(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", "planning"]) == 2
    assert "in a checkout of the sources alone" in capsys.readouterr().err
