"""Recipes are what their sources say: steps from the images that train, and the settings of the papers."""

import pytest

from attnbench.config import files, load


def steps(images: int, *words: str) -> tuple[int, float]:
    """Steps of an epoch and of the whole run."""
    recipe = load.configure(["data.root=x", *words]).recipe
    each = images // recipe.batch_size
    return each, each * recipe.epochs


def test_cifar_has_the_64000_steps_of_he_et_al():
    each, total = steps(45_000, "data=cifar10", "recipe=cifar")
    recipe = load.configure(["data=cifar10", "data.root=x", "recipe=cifar"]).recipe
    assert total == pytest.approx(64_000, rel=0.002)
    assert [each * m for m in recipe.schedule.milestones] == pytest.approx([32_000, 48_000], rel=0.002)
    assert (recipe.optimizer.name, recipe.optimizer.momentum) == ("momentum", 0.9)
    assert (recipe.optimizer.weight_decay, recipe.schedule.warmup_epochs) == (1e-4, 0)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (2_678, ["data=cityscapes", "recipe.epochs=120", "recipe.batch_size=8"]),
        (9_524, ["data=voc_aug", "recipe.epochs=67", "recipe.batch_size=16"]),
    ],
)
def test_segmentation_has_the_40000_steps_of_mmsegmentation(images, words):
    _, total = steps(images, "task=seg", "recipe=seg", *words)
    assert total == pytest.approx(40_000, rel=0.005)
    with open(files.folder("conf") / "recipe" / "seg.yaml") as file:
        text = file.read()
    assert f"({total:,} steps)" in text and words[1] in text  # what the file tells its reader


def test_imagenets_optimizer_is_torchs_sgd_without_nesterov():
    recipe = load.configure(["data=imagenet", "data.root=x", "recipe=imagenet"]).recipe
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.batch_size) == ("momentum", 0.1, 256)
    assert (recipe.epochs, recipe.schedule.name, recipe.schedule.warmup_epochs) == (100, "cosine", 5)
