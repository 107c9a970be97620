"""Settings of training: what a network is trained with, the same for all mechanisms of a comparison."""

from dataclasses import dataclass, field
from enum import StrEnum

from attnbench.config.fields import label, number, within, word


class Precision(StrEnum):
    """Of the multiplications in training: fp32, or autocast to a half."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class Augment:
    """Drawn anew for each image of each training batch."""

    # pad: random crop after zero padding; resized: random area and aspect; scaled: random crop of the image
    # at a random scale, for masks; none
    crop: str = word("pad", "pad", "resized", "scaled", "none")
    padding: int = number(4, "[0, 8192]")  # px, for crop=pad
    # share of the area, for crop=resized
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0], metadata=within("(0, 1]"))
    # For crop=scaled: lowest and highest scale; height and width of what is cut out, px (empty: the data's)
    resize: list[float] = field(
        default_factory=lambda: [0.5, 2.0], metadata=within("(0, 100]", neutral=[0.5, 2.0])
    )
    crop_size: list[int] = field(default_factory=list, metadata=within("[1, 8192]", neutral=[]))
    # For crop=scaled: a crop is drawn again, up to ten times, while one class has at least this share of its
    # labelled pixels; 1: never
    max_class_share: float = number(1.0, "(0, 1]", neutral=1.0)
    # Of images with masks, each with probability 1/2: brightness moves by up to 64 times this of 255 levels,
    # contrast and saturation change by up to this share, the hue moves by up to a fifth of it (of the circle)
    jitter: float = number(0.0, "[0, 1]", neutral=0.0)
    flip: bool = True
    cutout: int = number(0, "[0, 8192]")  # side of the square set to the mean, px; 0: off
    mixup: float = number(0.0, "[0, 1000]")  # alpha; 0: off
    cutmix: float = number(0.0, "[0, 1000]")


@dataclass
class Optimizer:
    """What turns gradients into steps."""

    # sgd: with Nesterov's momentum; momentum: without
    name: str = word("sgd", "sgd", "momentum", "adam", "adamw", "lamb", "lion", "rmsprop")
    lr: float = number(0.1, "(0, 1000]")
    momentum: float = number(0.9, "[0, 1)")
    weight_decay: float = number(5e-4, "[0, 1000]")
    # No weight decay for biases, norms and what timm's network excludes: position tables, class tokens
    filter_bias_and_bn: bool = False
    head_lr: float = number(1.0, "(0, 1000]", neutral=1.0)  # factor on lr outside the task's encoder


@dataclass
class Schedule:
    """How the learning rate goes over the epochs."""

    name: str = word("cosine", "cosine", "step", "multistep", "poly", "constant")
    warmup_epochs: float = number(0.0, "[0, 1_000_000]")
    warmup_lr: float = number(0.0, "[0, 1000]")
    min_lr: float = number(0.0, "[0, 1000]")  # of all parameters, whatever their factors; for cosine and poly
    # epochs, for multistep
    milestones: list[float] = field(default_factory=list, metadata=within("(0, 1_000_000]"))
    step_epochs: float = number(30.0, "(0, 1_000_000]")  # for step
    gamma: float = number(0.1, "(0, 10]")
    power: float = number(0.9, "(0, 100]")  # for poly


@dataclass
class Recipe:
    """How a network is trained; one for all mechanisms of a comparison."""

    name: str = label()
    epochs: int = number(3, "[0, 1_000_000]")
    batch_size: int = number(128, "[1, 1_000_000]")
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = number(0.0, "[0, 1)")
    ema: float = number(0.0, "[0, 1)")  # decay of the averaged weights that are evaluated; 0: off
    # Let the decay rise as 1 - (1 + steps)^(-2/3) up to `ema`, so that short runs forget their first weights
    ema_warmup: bool = field(default=True, metadata={"neutral": False})
    precision: Precision = Precision.fp32
    clip_norm: float = number(0.0, "[0, 1_000_000]")  # largest norm of all gradients together; 0: off
    evaluate_every: int = number(1, "[1, 1_000_000]")  # epochs between evaluations on the validation split
    trains: bool = field(default=True, metadata={"neutral": True})  # false: costs are all that is measured
