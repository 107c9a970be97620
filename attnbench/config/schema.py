"""Every setting, its type and its default. YAML under `conf/` gives values; nothing else defines names."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from attnbench import mechanisms
from attnbench.config import sources

PACKAGE = Path(__file__).parent.parent


def folder(name: str) -> Path:
    """Where `conf` or `experiments` lies: inside an installed package, else beside it in a checkout."""
    return next((p for p in (PACKAGE / name, PACKAGE.parent / name) if p.is_dir()), PACKAGE / name)


def roots() -> list[Path]:
    """Where groups of settings lie: the package's `conf` and the users' folders."""
    return [folder("conf"), *sources.folders()]


def names(group: str) -> list[str]:
    """What can be chosen in a group of `conf/`; files that start with an underscore are shared parts."""
    return sorted({p.stem for root in roots() for p in (root / group).glob("[!_]*.yaml")})


def file(group: str, name: str) -> Path:
    """The file of one choice of a group."""
    found = (root / group / f"{name}.yaml" for root in roots())
    return next((path for path in found if path.is_file()), folder("conf") / group / f"{name}.yaml")


class Anything:
    """Equal to every value: the neutral value of facts, which are never part of what a cell is."""

    __hash__ = None  # type: ignore[assignment]  # what equals everything has no hash

    def __eq__(self, other: object) -> bool:
        return True


class Layout(StrEnum):
    """How a site's module holds its map: as (b, c, h, w), as (b, h, w, c), or as (b, n, c) tokens.

    In a network for clips, frames are part of the batch there, but for BTCHW: (b, t, c, h, w). BTJC is no map
    but a skeleton: (b, t, joints, coordinates).
    """

    BCHW = "BCHW"
    BHWC = "BHWC"
    BNC = "BNC"
    BTCHW = "BTCHW"
    BTJC = "BTJC"


class Precision(StrEnum):
    """Of the multiplications in training: fp32, or autocast to a half."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class Site:
    """A kind of place: one of `after`, `before`, `instead`, each a list of patterns of module names."""

    after: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    instead: list[str] = field(default_factory=list)
    # Where a mechanism's own head stands (`Mechanism.head`), instead of these; those without one go as above.
    head: list[str] = field(default_factory=list, metadata={"neutral": []})
    # Norms and activations behind what is replaced, for what has its own: identities take their place.
    absorbs: list[str] = field(default_factory=list, metadata={"neutral": []})
    layout: Layout = Layout.BCHW
    prefix: int = 0  # leading tokens that are no positions (a class token); BNC only

    def within(self, prefix: str) -> "Site":
        """The same site of a network that is a part, of that dotted prefix, of another."""
        names = ("after", "before", "instead", "head", "absorbs")
        inner: dict[str, Any] = {name: [prefix + p for p in getattr(self, name)] for name in names}
        return replace(self, **inner)


@dataclass
class Backbone:
    """A network without attention, and the places in it where attention can stand."""

    name: str = "???"
    source: str = "???"  # timm, or the file under attnbench/backbones that builds it
    args: dict[str, Any] = field(default_factory=dict)  # for the builder
    stem: str = "imagenet"  # cifar: 3x3 convolution with stride 1 and no pooling, for small images
    pretrained: bool = False  # timm's weights, from its local cache or, if that lacks them, downloaded
    takes: str = field(default="images", metadata={"neutral": "images"})  # or skeletons
    contains: str | None = None  # attention that the backbone has of its own, even with attn=none
    # Where that, a mechanism, is put into the network; without patterns the network comes with it.
    contains_at: Site = field(default_factory=Site, metadata={"neutral": Site()})
    sites: dict[str, Site] = field(default_factory=dict)


class Origin(StrEnum):
    """How a data set comes to be there."""

    folder = "folder"  # in data.root
    fetched = "fetched"  # in data.root, where data.download=true can put it
    generated = "generated"  # made on the fly, without a folder


@dataclass
class Served:
    """What a data set has for one task."""

    classes: int | None = None
    frames: int | None = None
    joints: int | None = None
    length: int | None = None
    mirrors: bool = True  # false: the mirror image of an input has another target


@dataclass
class Data:
    """A data set: where it lies, how much of it, and what its images are like."""

    name: str = "???"
    # What reads it: a file under attnbench/data/readers, FILE.py or MODULE:NAME; null: the file of that name.
    source: str | None = None
    origin: Origin = field(default=Origin.folder, metadata={"neutral": Anything()})
    # The tasks that it serves, each with what settings below have for it where they are null (classes: 0).
    tasks: dict[str, Served] = field(default_factory=dict, metadata={"neutral": Anything()})
    root: str | None = None  # folder that holds the set
    download: bool = False  # let torchvision fetch what is missing
    size: int = 32  # height of the images that the network sees, px
    width: int | None = field(default=None, metadata={"neutral": None})  # px; null: as high
    channels: int = 3
    classes: int = 10  # 0: as many as the set has for the task
    train: int | None = None  # images to use of each split; null: all
    val: int | None = None
    test: int | None = None
    # Frames of clips and skeletons, joints of skeletons, labels of sequences at most; null: the set's usual.
    frames: int | None = field(default=None, metadata={"neutral": None})
    joints: int | None = field(default=None, metadata={"neutral": None})
    length: int | None = field(default=None, metadata={"neutral": None})
    # Names of the frame files of videos, such as img_*.jpg; null: all images, which must be of one kind.
    pattern: str | None = field(default=None, metadata={"neutral": None})
    split_seed: int = 0  # draws the validation images from the training split
    mean: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    std: list[float] = field(default_factory=lambda: [0.25, 0.25, 0.25])
    options: dict[str, Any] = field(default_factory=dict)  # what only this set knows

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the network sees."""
        return self.channels, self.size, self.width or self.size


@dataclass
class Augment:
    """Drawn anew for each image of each training batch."""

    # pad: random crop after zero padding; resized: random area and aspect; scaled: random crop of the image
    # at a random scale, for masks; none
    crop: str = "pad"
    padding: int = 4  # px, for crop=pad
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0])  # share of the area, for crop=resized
    # For crop=scaled: lowest and highest scale; height and width of what is cut out, px (empty: the data's)
    resize: list[float] = field(default_factory=lambda: [0.5, 2.0], metadata={"neutral": [0.5, 2.0]})
    crop_size: list[int] = field(default_factory=list, metadata={"neutral": []})
    # For crop=scaled: a crop is drawn again, up to ten times, while one class has at least this share of its
    # labelled pixels; 1: never
    max_class_share: float = field(default=1.0, metadata={"neutral": 1.0})
    # Of images with masks, each with probability 1/2: brightness moves by up to 64 times this of 255 levels,
    # contrast and saturation change by up to this share, the hue moves by up to a fifth of it (of the circle)
    jitter: float = field(default=0.0, metadata={"neutral": 0.0})
    flip: bool = True
    cutout: int = 0  # side of the square set to the mean, px; 0: off
    mixup: float = 0.0  # alpha; 0: off
    cutmix: float = 0.0


@dataclass
class Optimizer:
    """What turns gradients into steps."""

    name: str = "sgd"  # sgd (with Nesterov's momentum), momentum, adam, adamw, lamb, lion, rmsprop
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    # No weight decay for biases, norms and what timm's network excludes: position tables, class tokens
    filter_bias_and_bn: bool = False
    head_lr: float = field(default=1.0, metadata={"neutral": 1.0})  # factor on lr outside the task's encoder


@dataclass
class Schedule:
    """How the learning rate goes over the epochs."""

    name: str = "cosine"  # cosine, step, multistep, poly or constant
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0  # of all parameters, whatever their factors; for cosine and poly
    milestones: list[float] = field(default_factory=list)  # epochs, for multistep
    step_epochs: float = 30.0  # for step
    gamma: float = 0.1
    power: float = 0.9  # for poly


@dataclass
class Recipe:
    """How a network is trained; one for all mechanisms of a comparison."""

    name: str = "???"
    epochs: int = 3
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay of the averaged weights that are evaluated; 0: off
    # Let the decay rise as 1 - (1 + steps)^(-2/3) up to `ema`, so that short runs forget their first weights
    ema_warmup: bool = field(default=True, metadata={"neutral": False})
    precision: Precision = Precision.fp32
    clip_norm: float = 0.0  # largest norm of all gradients together; 0: off
    evaluate_every: int = 1  # epochs between evaluations on the validation split
    trains: bool = field(default=True, metadata={"neutral": True})  # false: costs are all that is measured


@dataclass
class Task:
    """What the network is asked to do."""

    name: str = "???"
    # The code: a file under attnbench/tasks, FILE.py or MODULE:NAME; null: the file of that name.
    source: str | None = field(default=None, metadata={"neutral": None})
    options: dict[str, Any] = field(default_factory=dict)
    # Places in what the task builds around the backbone, such as its head: patterns from the network's top.
    sites: dict[str, Site] = field(default_factory=dict, metadata={"neutral": {}})
    encoder: str = field(default="", metadata={"neutral": ""})  # the backbone's name in that network


@dataclass
class Cost:
    """What is measured of a cell's network beside its accuracy."""

    input: int | None = None  # height, px; null: the data's
    width: int | None = field(default=None, metadata={"neutral": None})  # px; null: as high, or the data's
    counters: bool = True  # multiply-adds, element-wise work, activations
    memory: bool = field(default=True, metadata={"neutral": True})  # peaks of inference and of training
    latency: bool = True
    rounds: int = 20  # interleaved pairs of candidate and control
    batch: int = 1
    training: bool = False  # time a training step too
    throughput: bool = False  # find the best batch, and time at it too
    mode: str = "eager"  # of timing: eager, compile or cuda_graph
    precision: Precision = Precision.fp32  # of timing


@dataclass
class Hardware:
    """Where and how it runs; never part of what a cell is."""

    name: str = "auto"
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    threads: int | None = None  # of torch on the CPU; null: as many as cores
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    workers: int = 2  # processes that decode images of sets too large for memory
    checkpoint_s: float = 60.0  # seconds between checkpoints, beside the one at each epoch's end
    micro_batch: int | None = None  # images at a time of a batch that memory has no room for; null: all


@dataclass
class Track:
    """Where a run is mirrored to."""

    name: str = "off"  # off or wandb
    mode: str = "offline"  # offline or online, for wandb
    project: str = "attnbench"


@dataclass
class Launch:
    """How a sweep's cells are handed out."""

    executor: str = "processes"  # inline, processes, slurm or ray
    jobs: int | None = None  # processes, or a cluster's jobs, at a time; null: one a core or GPU, 16 jobs
    retry: bool = False  # run cells again that failed or ran out of memory
    limit_min: float | None = None  # longest that a cell may take in all; null: for ever
    processes: int = 1  # that train one cell together, by torchrun
    per_gpu: int = 1  # cells at a time on each GPU
    per_job: int | None = None  # cells at a time in each of a cluster's jobs; null: one a GPU of it, or one
    chunk: int | None = None  # cells of a cluster's job; null: a fair share of them, 50 at most
    job_min: int = 240  # longest that a job of Slurm's runs; its cells are saved, queued again and go on
    poll_s: float = 5.0  # seconds between looks at a cluster's queue
    options: dict[str, Any] = field(default_factory=dict)  # what only this executor knows


@dataclass
class Config:
    """One cell, whole."""

    task: Task = field(default_factory=Task)
    data: Data = field(default_factory=Data)
    backbone: Backbone = field(default_factory=Backbone)
    attn: dict[str, Any] = field(default_factory=lambda: {"name": "none"})  # name and options
    site: str = "paper"  # a site of the backbone; paper: the one on the mechanism's card
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    cost: Cost = field(default_factory=Cost)
    hardware: Hardware = field(default_factory=Hardware)
    track: Track = field(default_factory=Track)
    launch: Launch = field(default_factory=Launch)
    results: str = "results"  # folder of the records and tables
    runs: str = "runs"  # folder of checkpoints and logs
    keep: bool = False  # keep the weights of a trained cell, in runs/KEY/weights.safetensors
    request: list[str] = field(default_factory=list)  # the words that asked for it; filled in, never set

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Where attention can stand: the task's own sites, and the backbone's within the task's network."""
        inner = self.backbone.sites
        if self.task.encoder:
            inner = {name: site.within(f"{self.task.encoder}.") for name, site in inner.items()}
        return {**inner, **self.task.sites}

    @property
    def cost_image(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that costs are measured on."""
        if self.cost.input is None:
            return self.data.image
        return self.data.channels, self.cost.input, self.cost.width or self.cost.input

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "Config":
        """The configuration that `dataclasses.asdict` took apart."""
        from omegaconf import OmegaConf

        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), plain))  # type: ignore[return-value]


GROUPS = ("task", "data", "backbone", "attn", "recipe", "hardware", "track", "launch")


def choices(group: str) -> list[str]:
    """What can be chosen for one of `GROUPS`: files of `conf/`, and the mechanisms and controls."""
    return list(mechanisms.known()) if group == "attn" else names(group)
