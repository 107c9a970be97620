"""Images per second of our training loop, of a bare loop on the same tensors, and of a DataLoader with PIL.

The three take turns, a short epoch each, in an order that alternates, so that whatever else the machine does
falls on all of them; the figures are medians over the rounds, the ratios medians of each round's ratio.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from attnbench import data, tasks
from attnbench.config.schema import Config
from attnbench.data.pipeline.split import Resident
from attnbench.errors import UserError
from attnbench.running import pick_device
from attnbench.sweeping.experiment import cell
from attnbench.training.distributed import Group
from attnbench.training.loop import Training, formatted

STEPS, ROUNDS = 10, 7
DEFAULTS = ("backbone=resnet20", "recipe=short", "data.val=100", "data.test=100")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; takes the settings of a cell (default: resnet20, recipe short, scenes)."""
    config = cell([*DEFAULTS, *arguments]).config
    torch.set_flush_denormal(True)
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
    device = pick_device(config.hardware)
    split = data.load(config.data, device).train
    if not isinstance(split, Resident):
        raise UserError(
            f"data={config.data.name} streams from its folder; bench loop takes sets that fit in memory"
        )
    takers = {
        "attnbench": ours(config, device, split),
        "bare loop": bare(config, device, split),
        "DataLoader and PIL": loader(config, device, split),
    }
    rates = _interleave(takers, config.recipe.batch_size)
    on_cpu = device.type == "cpu"
    where = f"{torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name(device)
    print(f"{config.backbone.name}, {config.data.name}, batch {config.recipe.batch_size}, {device}, {where}")
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["attnbench"], rate))
        low, _, high = statistics.quantiles(rate, n=4)
        print(
            f"  {name:<19} {statistics.median(rate):7.1f} images/s (quartiles {low:.1f} to {high:.1f})"
            f", attnbench / this = {ratio:.3f}"
        )
    return 0


def _interleave(takers: dict[str, Callable[[], None]], batch: int) -> dict[str, list[float]]:
    """Images per second of each taker in each round."""
    rates: dict[str, list[float]] = {name: [] for name in takers}
    order = list(takers)
    for turn in range(ROUNDS + 1):
        for name in order if turn % 2 else reversed(order):
            started = time.perf_counter()
            takers[name]()
            if turn:  # the first round warms up
                rates[name].append(STEPS * batch / (time.perf_counter() - started))
    return rates


def ours(config: Config, device: torch.device, split: Resident) -> Callable[[], None]:
    """Our loop with all that a cell does: augmentation, schedule, looks at the loss."""
    torch.manual_seed(config.seed)
    task = tasks.load(config)
    network = _placed(task.network(), config, device)
    training = Training(network, task, config, len(split) // config.recipe.batch_size, Group())
    epochs = cycle(range(1000))

    def take() -> None:
        training.start_epoch()
        batches = split.batches(
            config.recipe.batch_size,
            epoch=next(epochs),
            augment=config.recipe.augment,
            shuffle=True,
            drop_last=True,
        )
        for _, (images, targets) in zip(range(STEPS), formatted(batches, config)):
            training.take(images, targets)
        training.end_epoch()
        _wait(device)

    return take


def bare(config: Config, device: torch.device, split: Resident) -> Callable[[], None]:
    """The shortest loop that trains: normalise, forward, backward, step; no augmentation at all."""
    network, optimizer = _trained(config, device)
    images, targets = split.images, split.targets
    mean, std = _statistics(config, device)

    def take() -> None:
        network.train()
        for rows in torch.randperm(len(targets), device=device).split(config.recipe.batch_size)[:STEPS]:
            batch = images[rows].permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            _step(network, optimizer, batch, targets[rows])
        _wait(device)

    return take


def loader(config: Config, device: torch.device, split: Resident) -> Callable[[], None]:
    """What most CIFAR repositories do: PIL images, torchvision's transforms, two workers."""
    from torchvision import transforms

    network, optimizer = _trained(config, device)
    transform = transforms.Compose(
        [
            transforms.RandomCrop(config.data.size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(config.data.mean, config.data.std),
        ]
    )
    rows = STEPS * config.recipe.batch_size
    pictures = _Pictures(split.images[:rows].cpu(), split.targets[:rows].cpu(), transform)
    batches = DataLoader(
        pictures, config.recipe.batch_size, shuffle=True, num_workers=2, persistent_workers=True
    )

    def take() -> None:
        network.train()
        for images, targets in batches:
            batch = images.to(device).contiguous(memory_format=torch.channels_last)
            _step(network, optimizer, batch, targets.to(device))
        _wait(device)

    return take


class _Pictures(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: Tensor, targets: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.targets = images.numpy(), targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


def _trained(config: Config, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(config.seed)
    network = _placed(tasks.load(config).network(), config, device)
    return network, torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)


def _placed(network: nn.Module, config: Config, device: torch.device) -> nn.Module:
    layout = torch.channels_last if config.hardware.channels_last else torch.contiguous_format
    return network.to(device, memory_format=layout)  # type: ignore[call-overload]


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor) -> None:
    loss = F.cross_entropy(network(images), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _statistics(config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    shape = (1, -1, 1, 1)
    return (
        torch.tensor(config.data.mean, device=device).view(shape),
        torch.tensor(config.data.std, device=device).view(shape),
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
