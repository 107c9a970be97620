"""Every setting: its type, default and bounds. YAML in `conf/` gives values; nothing else defines names.

Training's are in `recipe`, those of where and how cells run in `launch`.
"""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

from attnbench import mechanisms
from attnbench.config.fields import label, number, place, within, word
from attnbench.config.files import FILED, names
from attnbench.config.launch import Hardware, Launch, Track
from attnbench.config.recipe import Precision, Recipe

SEEDS = "[0, 4_294_967_295]"  # NumPy's generators take 32 bits


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
    train: int | None = number(None, "[1, 1_000_000_000]")  # training images, those held out included
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
