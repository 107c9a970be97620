"""Every setting: its type, default and bounds. YAML in `conf/` gives values; nothing else defines names."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

from attnbench import mechanisms
from attnbench.config.fields import label, number, place, text, within, word
from attnbench.config.files import FILED, names

SEEDS = "[0, 4_294_967_295]"  # NumPy's generators take 32 bits
DEVICE = r"auto|cpu|mps|cuda(:\d{1,3})?"


class Anything:
    """Equal to every value: the neutral value of facts, which are never part of what a cell is."""

    __hash__ = None  # type: ignore[assignment]  # what equals everything has no hash

    def __eq__(self, other: object) -> bool:
        return True


class Layout(StrEnum):
    """How a site's module holds its map: as (b, c, h, w), as (b, h, w, c), or as (b, n, c) tokens.

    In a network for clips, frames are part of the batch there, but for BTCHW: (b, t, c, h, w). BTJC is a
    skeleton, not a map: (b, t, joints, coordinates).
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
    prefix: int = number(0, "[0, 1000]")  # leading tokens that are no positions (a class token); BNC only
    # Whether it follows norms that start at zero, behind which a mechanism may never receive a gradient.
    after_zero: bool = field(default=False, metadata={"neutral": False})

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!s}" for f in fields(self) if getattr(self, f.name))
        return f"Site({', '.join(text for text in given if text != 'layout=BCHW')})"

    def within(self, prefix: str) -> "Site":
        """The same site of a network that is a part, of that dotted prefix, of another."""
        names = ("after", "before", "instead", "head", "absorbs")
        inner: dict[str, Any] = {name: [prefix + p for p in getattr(self, name)] for name in names}
        return replace(self, **inner)


@dataclass
class Backbone:
    """A network without attention, and the places in it where attention can stand."""

    name: str = label()
    source: str = "???"  # timm, or the file under attnbench/backbones that builds it
    args: dict[str, Any] = field(default_factory=dict)  # for the builder
    # cifar: 3x3 convolution with stride 1 and no pooling, for small images
    stem: str = word("imagenet", "imagenet", "cifar")
    pretrained: bool = (
        False  # timm's weights, from its local cache or downloaded where they are missing there
    )
    # Weights at which the last norm of each block starts: default, zero or one. timm's ResNets start it at
    # zero; by default they start it at one where a mechanism's site follows it (`Config.starts_at_one`).
    last_norm: str = word("default", "default", "zero", "one", neutral="default")
    takes: str = word("images", "images", "skeletons", neutral="images")
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

    classes: int | None = number(None, "[1, 1_000_000]")
    frames: int | None = number(None, "[1, 4096]")
    joints: int | None = number(None, "[1, 4096]")
    length: int | None = number(None, "[1, 4096]")
    mirrors: bool = True  # false: the mirror image of an input has another target


@dataclass
class Data:
    """A data set: where it lies, how much of it, and what its images are like."""

    name: str = label()
    # What reads it: a file under attnbench/data/readers, FILE.py or MODULE:NAME; null: the file of that name.
    source: str | None = None
    origin: Origin = field(default=Origin.folder, metadata={"neutral": Anything()})
    # The tasks that it serves, each with what settings below have for it where they are null (classes: 0).
    tasks: dict[str, Served] = field(default_factory=dict, metadata={"neutral": Anything()})
    root: str | None = place(None)  # folder that holds the set
    download: bool = False  # let torchvision fetch what is missing
    size: int = number(32, "[1, 8192]")  # height of the images that the network sees, px
    width: int | None = number(None, "[1, 8192]", neutral=None)  # px; null: as high
    channels: int = number(3, "[1, 64]")
    classes: int = number(10, "[0, 1_000_000]")  # 0: as many as the set has for the task
    train: int | None = number(None, "[1, 1_000_000_000]")  # images to use of each split; null: all
    val: int | None = number(None, "[1, 1_000_000_000]")
    test: int | None = number(None, "[1, 1_000_000_000]")
    # Frames of clips and skeletons, joints of skeletons, labels of sequences at most; null: the set's usual.
    frames: int | None = number(None, "[1, 4096]", neutral=None)
    joints: int | None = number(None, "[1, 4096]", neutral=None)
    length: int | None = number(None, "[1, 4096]", neutral=None)
    # Names of the frame files of videos, such as img_*.jpg; null: all images, which must be of one kind.
    pattern: str | None = field(default=None, metadata={"neutral": None})
    split_seed: int = number(0, SEEDS)  # draws the validation images from the training split
    mean: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5], metadata=within("[-10_000, 10_000]"))
    std: list[float] = field(default_factory=lambda: [0.25, 0.25, 0.25], metadata=within("(0, 10_000]"))
    # Best test accuracy, %, of whatever sees too little of an input at a time to solve it; null: not known
    bound: float | None = number(None, "[0, 100]", neutral=Anything())
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


@dataclass
class Task:
    """What the network is asked to do."""

    name: str = label()
    # The code: a file under attnbench/tasks, FILE.py or MODULE:NAME; null: the file of that name.
    source: str | None = field(default=None, metadata={"neutral": None})
    options: dict[str, Any] = field(default_factory=dict)
    # Places in what the task builds around the backbone, such as its head: patterns from the network's top.
    sites: dict[str, Site] = field(default_factory=dict, metadata={"neutral": {}})
    encoder: str = field(default="", metadata={"neutral": ""})  # the backbone's name in that network


@dataclass
class Cost:
    """What is measured of a cell's network beside its accuracy."""

    input: int | None = number(None, "[1, 8192]")  # height, px; null: the data's
    width: int | None = number(None, "[1, 8192]", neutral=None)  # px; null: as high, or the data's
    counters: bool = True  # multiply-adds, element-wise work, activations
    memory: bool = field(default=True, metadata={"neutral": True})  # peaks of inference and of training
    latency: bool = True
    rounds: int = number(20, "[1, 1_000_000]")  # interleaved pairs of candidate and control
    batch: int = number(1, "[1, 1_000_000]")
    training: bool = False  # time a training step too
    throughput: bool = False  # find the best batch, and time at it too
    mode: str = word("eager", "eager", "compile", "cuda_graph")  # of timing
    precision: Precision = Precision.fp32  # of timing


@dataclass
class Hardware:
    """Where and how it runs; never part of what a cell is."""

    name: str = label("auto")
    device: str = text("auto", DEVICE, "auto, cpu, cuda, cuda:1 or mps")
    threads: int | None = number(None, "[1, 1024]")  # of torch on the CPU; null: as many as cores
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    workers: int = number(2, "[0, 1024]")  # processes that decode images of sets too large for memory
    checkpoint_s: float = number(
        60.0, "[0, 1_000_000_000]"
    )  # seconds between checkpoints, beside the one at each epoch's end
    micro_batch: int | None = number(
        None, "[1, 1_000_000]"
    )  # images at a time of a batch that memory has no room for; null: all


@dataclass
class Track:
    """Where a run is mirrored to."""

    name: str = word("off", "off", "wandb")
    mode: str = word("offline", "offline", "online")  # of wandb
    project: str = label("attnbench")


@dataclass
class Launch:
    """How a sweep's cells are handed out."""

    executor: str = word("processes", "inline", "processes", "slurm", "ray")
    jobs: int | None = number(
        None, "[1, 100_000]"
    )  # processes, or a cluster's jobs, at a time; null: one a core or GPU, 16 jobs
    retry: bool = False  # run cells again that failed or ran out of memory
    limit_min: float | None = number(
        None, "(0, 1_000_000_000]"
    )  # longest that a cell may take in all; null: for ever
    processes: int = number(1, "[1, 1024]")  # that train one cell together, by torchrun
    per_gpu: int = number(1, "[1, 1024]")  # cells at a time on each GPU
    per_job: int | None = number(
        None, "[1, 100_000]"
    )  # cells at a time in each of a cluster's jobs; null: one a GPU of it, or one
    chunk: int | None = number(
        None, "[1, 100_000]"
    )  # cells of a cluster's job; null: a fair share of them, 50 at most
    job_min: int = number(
        240, "[1, 1_000_000]"
    )  # longest that a job of Slurm's runs; its cells are saved, queued again and go on
    poll_s: float = number(5.0, "(0, 86_400]")  # seconds between looks at a cluster's queue
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
    seed: int = number(0, SEEDS)
    cost: Cost = field(default_factory=Cost)
    hardware: Hardware = field(default_factory=Hardware)
    track: Track = field(default_factory=Track)
    launch: Launch = field(default_factory=Launch)
    results: str = place("results")  # folder of the records and tables
    runs: str = place("runs")  # folder of checkpoints and logs
    keep: bool = False  # keep the weights of a trained cell, in runs/KEY/weights.safetensors
    request: list[str] = field(default_factory=list)  # the words that asked for it; filled in, never set

    def __post_init__(self) -> None:
        if self.backbone.last_norm in ("default", "one"):
            start = "one" if self.starts_at_one else "default"
            if start != self.backbone.last_norm:
                self.backbone = replace(self.backbone, last_norm=start)

    def __repr__(self) -> str:
        named = (f"{part}={getattr(self, part).name}" for part in ("task", "data", "backbone", "recipe"))
        return f"Config({', '.join(named)}, attn={self.attn['name']}, site={self.site}, seed={self.seed})"

    @property
    def starts_at_one(self) -> bool:
        """Whether the last norms of blocks start at one: where the site, or the control's, follows them.

        A norm that starts at zero keeps a mechanism that ends in ReLU from ever learning. At site `paper` it
        holds for the control and all candidates alike if one of the backbone's sites follows such a norm,
        unless the task has places of its own on maps, as segmentation has, where mechanisms stand then.
        """
        if self.site != "paper":
            site = self.backbone.sites.get(self.site) if self.site not in self.task.sites else None
            return site is not None and site.after_zero
        own = any(site.after for site in self.task.sites.values())
        return not own and any(site.after_zero for site in self.backbone.sites.values())

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

        merged = OmegaConf.merge(OmegaConf.structured(cls), plain)
        return cast(Config, OmegaConf.to_object(merged))


GROUPS = (*FILED[:3], "attn", *FILED[3:])


def choices(group: str) -> list[str]:
    """What can be chosen for one of `GROUPS`: files of `conf/`, and the mechanisms and controls."""
    return list(mechanisms.known()) if group == "attn" else names(group)
