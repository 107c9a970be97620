"""Clips: one label for several frames in order."""

from torch import nn

from attnbench import tasks
from attnbench.config.schema import Config
from attnbench.tasks import cls
from attnbench.tasks._card import CLASSIFICATION, Card
from attnbench.tasks._clips import Clips


class Task(cls.Task):
    """Cross-entropy on a head over the frames' maps; `options.head` is the control: mean or lstm."""

    card = Card(
        metrics=CLASSIFICATION,
        reads="clips",
        chance="classes",
        choices={"head": ("mean", "lstm")},
        stated=("head",),
    )
    retrieves = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.head = config.task.options.get("head", "mean")
        tasks.check_options(config, {**config.task.options, "head": self.head})
        frames = config.data.frames or 1
        self.shape = (frames, *config.data.image)
        self.cost_shape = (frames, *config.cost_image)

    def network(self) -> nn.Module:
        data = self.config.data
        return Clips(self.config.backbone, data.image, self.head, data.classes, self.retrieves)
