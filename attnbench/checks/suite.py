"""What must hold of every mechanism, for you to run on your own as well.

    checks.run(MyAttention)                           # every check at default options
    checks.run(MyAttention, {"reduction": 8}, size=(9, 9))

    @checks.parametrize(checks.Case(MyAttention), checks.Case(MyAttention, {"reduction": 8}))
    def test_my_attention(check, case):               # in pytest, one test a check and case
        check(case)

A check raises `Broken` and says what was found, or `Meaningless` and says why it has nothing to check of that
mechanism, which pytest takes for a skipped test. None touches the global random state.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from attnbench.checks.assertions import Broken, Meaningless, alive, demand, finite, fits, same, unless_refused
from attnbench.checks.case import Case, draw, randomise, seeded
from attnbench.checks.conversions import channels_last, checkpointing, half, half_network, half_training
from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Mechanism

__all__ = ["CHECKS", "Broken", "Case", "Check", "Meaningless", "parametrize", "randomise", "run"]

WIDTHS = (16, 64, 256)
JOINTS = (15, 30, 50)
SIZES = ((5, 8), (8, 5), (6, 6), (13, 3), (1, 6))


Check = Callable[[Case], None]


def parameters(case: Case) -> None:
    """At default options the module has the parameters that its card states, at several widths."""
    tried = 0
    widths = tuple(3 * joints for joints in JOINTS) if case.cls.reads == "skeleton" else WIDTHS
    for channels in widths:
        try:
            module = case.with_(options={}, channels=channels).fresh()
        except Impossible:
            continue
        tried += 1
        has, says = sum(p.numel() for p in module.parameters()), case.cls.card.params(channels)
        demand(has == says, f"{has} parameters at {channels} channels, but the card says {says}")
    demand(tried > 0, f"it cannot be built at any of {widths} channels")


def weight_decay(case: Case) -> None:
    """What it excludes from weight decay, and what has a learning rate of its own, are its parameters."""
    module = case.fresh()
    own = {name for name, _ in module.named_parameters()}
    for hook in ("no_weight_decay", "lr_scale"):
        unknown = set(getattr(module, hook)()) - own
        demand(not unknown, f"{hook} names {sorted(unknown)}, which are not parameters")


def shape(case: Case) -> None:
    """The output has the input's shape, or the scores', and its dtype, in training and in evaluation."""
    for dtype in (torch.float32, torch.float64):
        for training in (True, False):
            module, x = case.fresh().to(dtype).train(training), case.x().to(dtype)
            y = module(x)
            demand(fits(case, x, y), f"{tuple(x.shape)} became {tuple(y.shape)}")
            demand(y.dtype == dtype, f"{dtype} became {y.dtype}")


def equation(case: Case) -> None:
    """`forward(x)` is `f(g(x), x)`, in values and in all gradients."""
    if case.cls.g is Mechanism.g:
        raise Meaningless("it attends anew at each step of a recurrence: no one map g(x)")
    for training in (True, False):
        fast = case.trained().train(training)
        plain = copy.deepcopy(fast)
        a, b = case.x(), case.x()
        with seeded(0):
            ours = fast(a)
        with seeded(0):
            theirs = plain.f(plain.g(b), b)
        same("f(g(x), x)", ours, theirs)
        weights = draw(tuple(ours.shape), 2)
        (ours * weights).sum().backward()
        (theirs * weights).sum().backward()
        same("the gradient of x", a.grad, b.grad)
        for (name, p), q in zip(fast.named_parameters(), plain.parameters()):
            same(f"the gradient of {name}", p.grad, q.grad)


def gate(case: Case) -> None:
    """At default options the entries of the map lie in the range that the card states."""
    if case.cls.card.range is None:
        raise Meaningless("its card states no range")
    if case.cls.g is Mechanism.g:
        raise Meaningless("it attends anew at each step of a recurrence: no one map g(x)")
    low, high = case.cls.card.range
    for scale in (1.0, 30.0):
        g = case.with_(options={}).trained().eval().g(case.x() * scale)
        demand(
            g.min() >= low and g.max() <= high, f"gate in [{g.min():.3g}, {g.max():.3g}], not [{low}, {high}]"
        )


def identity(case: Case) -> None:
    """At default options a fresh module returns its input, bit by bit, if and only if the card says so."""
    if case.logits:
        raise Meaningless("it ends in scores, which are never its input")
    for training in (True, False):
        module, x = case.with_(options={}).fresh().double().train(training), case.x()
        is_identity = torch.equal(module(x), x)
        demand(
            is_identity == case.cls.card.identity, f"identity at the start: {is_identity}, unlike the card"
        )


def gradient(case: Case) -> None:
    """The input and every parameter get a gradient, no matrix one of zeros; but see `untrained`.

    What ends in scores may have parameters that its own loss alone reaches: it is tried in training, with it.
    """
    for training in (True,) if case.logits else (True, False):
        module, x = case.trained().train(training), case.x()
        y = module(x)
        objective = (y * draw(tuple(y.shape), 2)).sum()
        term = module.loss(case.targets()) if case.logits else None
        (objective if term is None else objective + term).backward()
        demand(alive(x.grad), "no gradient reaches the input")
        for name, p in module.named_parameters():
            if name in module.untrained:
                demand(p.grad is None, f"a gradient reaches {name}, which is declared untrained")
            else:
                demand(p.grad is not None and bool(p.grad.isfinite().all()), f"no finite gradient at {name}")
                demand(alive(p.grad) or p.squeeze().dim() < 2, f"the gradient of {name} is zero")


def dead(case: Case) -> None:
    """A map of zeros, as a ReLU can leave it, gives finite values and gradients."""
    module, x = case.fresh(), torch.zeros_like(case.x(), dtype=torch.float32).requires_grad_()
    y = module(x)
    y.sum().backward()
    finite("the output on zeros", y)
    finite("the input's gradient on zeros", x.grad)
    for name, p in module.named_parameters():
        finite(f"the gradient of {name} on zeros", p.grad)


def images(case: Case) -> None:
    """In evaluation an image's output does not depend on its neighbours in the batch."""
    module, x = case.trained().eval(), case.x()
    alone = torch.cat([module(image) for image in x.split(1)])
    same("each image alone", module(x), alone)


def sizes(case: Case) -> None:
    """Odd and non-square maps keep their shape, built for them or not, or are refused clearly."""
    if case.cls.reads == "skeleton":
        raise Meaningless("a skeleton is not a map: it has no height and width")
    for size in SIZES:
        other = case.with_(size=size)
        for build in (other.trained, case.trained):
            y = unless_refused(lambda module, x: module(x), build, other)
            demand(y is None or fits(other, other.x(), y), f"a map of {size} became {y is None or y.shape}")
            finite(f"the output on {size}", y)


def point(case: Case) -> None:
    """A 1x1 map gives finite values and gradients, or is refused clearly."""
    if case.cls.reads == "skeleton":
        raise Meaningless("a skeleton is not a map: it has no height and width")

    def use(module: Mechanism, x: Tensor) -> Tensor:
        for training in (True, False):
            y = module.train(training)(x)
            finite("the output on 1x1", y)
            finite("the gradient on 1x1", torch.autograd.grad(y.sum(), x)[0])
        return y

    case = case.with_(size=(1, 1))
    unless_refused(use, case.trained, case)


def single(case: Case) -> None:
    """One image in training works, or fails with an error that says why."""
    case = case.with_(batch=1)
    try:
        y = case.fresh().double()(case.x())
    except (ValueError, UserError, Impossible) as error:
        demand(str(error) != "", "one image in training fails without a word")
    else:
        finite("the output on one image", y)


def state(case: Case) -> None:
    """A state dict and a deep copy carry all there is, and evaluation changes none of it."""
    module, other, x = case.trained(0).eval(), case.trained(1).eval(), case.x()
    other.load_state_dict(module.state_dict())
    expected = module(x)
    demand(torch.equal(other(x), expected), "a module with the same state dict gives another output")
    copied = copy.deepcopy(module)
    demand(torch.equal(copied(x), expected), "a deep copy gives another output")
    for name, value in other.state_dict().items():
        demand(torch.equal(value, module.state_dict()[name]), f"evaluation changed {name}")


def repeat(case: Case) -> None:
    """The same seed gives the same bits; in evaluation no seed is needed."""
    x = case.x()
    for training in (True, False):
        module = case.trained().train(training)
        copied = copy.deepcopy(module)
        with seeded(0):
            first = module(x)
        with seeded(0 if training else 1):
            demand(torch.equal(first, copied(x)), f"a repeat differs (training={training})")


def loss(case: Case) -> None:
    """Its own loss term, where it has one after a pass in training, is one finite number with a gradient."""
    module = case.trained().train()
    module(case.x())
    term = module.loss(case.targets())
    if term is not None:
        demand(term.numel() == 1 and term.requires_grad, "loss() is not a number with a gradient")
        finite("loss()", term)


CHECKS: tuple[Check, ...] = (
    *(parameters, weight_decay, shape, equation, gate, identity, gradient),
    *(dead, images, sizes, point, single, half, half_training, half_network),
    *(channels_last, checkpointing, state, repeat, loss),
)


def run(cls: type[Mechanism], options: Mapping[str, Any] | None = None, **case: Any) -> None:
    """Run every check on a mechanism; raises `Broken` with all that failed. `case`: fields of `Case`."""
    failed = []
    for check in CHECKS:
        try:
            check(Case(cls, options or {}, **case))
        except Meaningless:
            continue
        except Exception as error:  # a mechanism of anyone's may raise anything
            message = str(error) if isinstance(error, Broken) else repr(error)
            failed.append(f"{check.__name__}: {message}")
    if failed:
        raise Broken(f"{cls.__name__} fails {len(failed)} of {len(CHECKS)} checks\n" + "\n".join(failed))


def parametrize(*cases: Case) -> Any:
    """A pytest decorator that hands a test each `check` with each `case`."""
    import pytest

    pairs = [pytest.param(check, case, id=f"{case}-{check.__name__}") for case in cases for check in CHECKS]
    return pytest.mark.parametrize(("check", "case"), pairs)
