"""One way to judge a fit, and rows of tables that are judged so.

fits(__name__, {"max_steps": row(7, max_steps=7)})

Of each fit is expected: so many optimizer steps, each with the gradient of the mean over all of its
tokens, on all processes, and that mean in ``outputs`` and train/loss; warm-up and cosine to the end
of what was planned; no text twice in an epoch, none that is held out, all of them in a whole epoch,
in another order each time; validations when they should be, with the metrics of a plain GPT-2; and
afterwards the weights that training ended with.
"""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from itertools import islice, pairwise
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.harness import (
    add,
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    short,
)
from tests.invariant.uses.tiny import Fit, new_data, new_model, ready, rows, trained
from tests.invariant.uses.watch import Watch, plain_gradients, plain_scores, texts_in

ALL = -1
WTE = "model.transformer.wte.weight"


def flat(named: dict[str, Tensor]) -> Tensor:
    """Return all tensors as one vector, by name."""
    return torch.cat([named[name].flatten().double() for name in sorted(named)])


def norm(named: dict[str, Tensor]) -> float:
    """Return the norm of all tensors together."""
    return float(flat(named).norm())


def clipped(vector: Tensor, limit: float | None, by: str = "norm") -> Tensor:
    """Return gradients whose norm, or each of which, is ``limit`` at most."""
    if limit is None:
        return vector
    if by == "value":
        return vector.clamp(-limit, limit)
    return vector * min(1.0, limit / float(vector.norm()))


def expect_exact_steps(
    module: Any,
    watches: Watch | Sequence[Watch],
    clip: float | None = None,
    clip_by: str = "norm",
    tolerance: float = 1e-4,
    first: int = 0,
    most: int = 8,
) -> str:
    """Expect each optimizer step to use the gradients of the mean over all of its tokens.

    Args:
        module: That was trained.
        watches: Of all ranks.
        clip: ``gradient_clip_val``.
        clip_by: ``gradient_clip_algorithm``.
        tolerance: Share of the norm by which they may differ.
        first: The number of the first step that was watched.
        most: Steps to look at.
    """
    ranks = [watches] if isinstance(watches, Watch) else list(watches)
    worst, touched = 0.0, False
    for number, step in list(enumerate(ranks[0].steps, start=first))[:most]:
        batches = [batch for watch in ranks for batch in watch.window(number)]
        expect(bool(batches), f"step {number} has no batches")
        named, mean = plain_gradients(module, step.before, batches)
        whole = flat({name: named[name] for name in step.gradients})
        wanted, got = clipped(whole, clip, clip_by), flat(step.gradients)
        touched |= not torch.equal(wanted, whole)
        error = float((got - wanted).norm() / wanted.norm())
        expect(
            error < tolerance,
            f"step {number} of {len(batches)} batches: gradient norm {float(got.norm()):.4g}, "
            f"wanted {float(wanted.norm()):.4g}, relative difference {error:.2g}",
        )
        if clip_by == "norm" and touched:
            expect_close(got.norm(), wanted.norm(), f"norm of step {number}", 1e-2)
        expect_loss(ranks, number, mean, min(tolerance, 1e-2))
        worst = max(worst, error)
    expect(touched or clip is None, "the limit touched nothing")
    return f"{len(ranks[0].steps)} steps, gradients off by {worst:.0e} at most"


def expect_loss(ranks: Sequence[Watch], step: int, mean: float, tolerance: float) -> None:
    """Expect train/loss to be a step's mean on all ranks; batches' losses sum up to it on one."""
    for watch in ranks:
        expect_close(watch.micros(step)[-1].logged, mean, f"train/loss of step {step}", tolerance)
    if len(ranks) == 1:
        losses = sum(one.loss for one in ranks[0].micros(step))
        expect_close(losses, mean, f"losses of the batches of step {step}", tolerance)


def expected_rates(peak: float, warmup: int, total: int | None, steps: int) -> list[float]:
    """Return the learning rate of each step, by torch's own schedules."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    rise = LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=warmup)
    if total is None:
        schedule: Any = rise
    else:
        fall = CosineAnnealingLR(optimizer, T_max=max(1, total - warmup))
        schedule = SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def expect_rates(watch: Watch, peak: float, warmup: int, total: int | None, first: int = 0) -> None:
    """Expect warm-up and cosine to an end at step ``total``, or a constant rate without one."""
    wanted = expected_rates(peak, warmup, total, first + len(watch.steps))[first:]
    expect_close(watch.rates, wanted, "learning rates", 1e-5)


def reference_data(fit: Fit) -> EmojiDataModule:
    """Return data that no process shares with another."""
    if fit.trainer.world_size == 1:
        return fit.data
    return ready(EmojiDataModule(**fit.data.hparams))


def limited(count: int, limit: float) -> int:
    return min(count, limit) if isinstance(limit, int) else int(count * limit)


def expect_epochs(fit: Fit, data: EmojiDataModule, *, fixed: bool) -> list[int]:
    """Expect each epoch's texts to be right; return the steps at the ends of whole epochs."""
    tokenizer = data.tokenizer
    limit: int | float = fit.trainer.limit_train_batches
    whole = isinstance(limit, float) and limit == 1.0 and type(data) is EmojiDataModule
    held = [
        *texts_in(data.val_dataloader(), tokenizer),
        *texts_in(data.test_dataloader(), tokenizer),
    ]
    training = sorted({text for text, _ in rows()} - set(held))
    orders, ends = [], []
    for epoch in sorted({one.epoch for one in fit.watch.batches}):
        micros = [one for one in fit.watch.batches if one.epoch == epoch]
        texts = [text for watch in fit.watches for text in watch.texts(epoch)]
        if data.hparams["path"] == "table.csv":
            full = whole and len(micros) == fit.watch.epoch_length
            wanted = training if full else set(texts) & set(training)
            expect_equal(sorted(texts), sorted(wanted), f"texts of epoch {epoch}")
        orders.append(texts)
        if len(micros) == fit.watch.epoch_length:
            ends.append(micros[-1].step + 1)
    for one, other in pairwise(orders[: len(ends)]):
        expect((one == other) == fixed, f"epochs of {'different' if fixed else 'the same'} order")
    return ends


def expect_validations(
    fit: Fit, data: EmojiDataModule, taken: int, wanted: list[int] | None, tolerance: float
) -> None:
    """Expect validations after these steps, and the metrics of a plain GPT-2 in the end."""
    steps = [one["step"] for one in fit.watch.validations]
    expect_equal(steps, steps if wanted is None else wanted, "steps of validations")
    if not steps or steps[-1] != taken:
        return
    loader = data.val_dataloader()
    batches = islice(loader, limited(len(loader), fit.trainer.limit_val_batches))
    for name, value in plain_scores(fit.module, batches).items():
        if name == "loss":
            expect_close(fit.value("val/loss"), value, "val/loss", max(tolerance / 10, 1e-4))
        elif tolerance < 1e-2:  # roundings swap neighbours
            expect_close(fit.value(f"val/{name}"), value, f"val/{name}")


def has_dropout(module: torch.nn.Module) -> bool:
    return any(m.p > 0 for m in module.modules() if isinstance(m, torch.nn.Dropout))


def expect_right(
    fit: Fit,
    steps: int | None = 10,
    *,
    planned: int | None = ALL,
    validations: list[int] | str | None = "each epoch",
    fixed: bool = False,
    first: int = 0,
    tolerance: float = 1e-4,
    rate: tuple[float, int] = (0.01, 2),
    clip: float | None = None,
    clip_by: str = "norm",
    most: int = 8,
) -> str:
    """Judge a fit.

    Args:
        fit: The fit.
        steps: How many it ended after; None for any number.
        planned: Of so many, which the learning rate fell to 0 at; None for a constant rate.
        validations: After which steps; None for any.
        fixed: Each epoch has the same rows in the same order.
        first: The number of the first step that was watched.
        tolerance: Share of a gradient's norm that it may be off by.
        rate: Peak and steps of warm-up.
        clip: ``gradient_clip_val``.
        clip_by: ``gradient_clip_algorithm``.
        most: Steps whose gradients are looked at.
    """
    taken, data = first + len(fit.watch.steps), reference_data(fit)
    expect_equal(taken, taken if steps is None else steps, "steps")
    expect_rates(fit.watch, *rate, taken if planned == ALL else planned, first)
    ends = expect_epochs(fit, data, fixed=fixed)
    wanted = ends if isinstance(validations, str) else validations
    expect_validations(fit, data, taken, wanted, tolerance)
    end = {name: p.detach() for name, p in fit.module.named_parameters()}
    expect_same_weights(end, fit.watch.epoch_ends[-1])
    if has_dropout(fit.module):
        return f"{taken} steps"
    return expect_exact_steps(fit.module, fit.watches, clip, clip_by, tolerance, first, most)


EXPECTATIONS = signature(expect_right).parameters.keys() - {"fit", "steps"}


def row(
    steps: int | None = 10,
    *,
    model: dict[str, Any] | Callable[[], EmojiGPT2] | None = None,
    kind: type[EmojiGPT2] = EmojiGPT2,
    data: dict[str, Any] | Callable[[], EmojiDataModule] | None = None,
    loaders: Callable[[EmojiDataModule], Iterable[Any]] = lambda _data: (),
    ckpt: Callable[[], str] | None = None,
    callbacks: Callable[[], Iterable[Callback]] = list,
    same: Callable[[], Fit] | None = None,
    also: Callable[[Fit], object] | None = None,
    **options: Any,
) -> Callable[[], str]:
    """Return a use: a fit that is judged.

    Args:
        steps: It ends after so many.
        model: What ``new_model`` is given, or what makes the module.
        kind: The class of the module.
        data: What ``new_data`` is given, or what makes the data module.
        loaders: What is trained and validated on, of the data module.
        ckpt: Makes the checkpoint to go on from.
        callbacks: Makes them.
        same: Makes another fit, which must end with the same weights, bit for bit.
        also: Expects more, and returns a few words.
        options: Of ``expect_right``; all others are the trainer's.
    """
    expected = {name: options.pop(name) for name in EXPECTATIONS & options.keys()}

    def function() -> str:
        path = ckpt() if ckpt else None
        module = model() if callable(model) else new_model(kind, **model or {})
        rows = data() if callable(data) else new_data(**data or {})
        fit = trained(module, rows, callbacks(), path, loaders(rows), **options)
        seen = [expect_right(fit, steps, **expected)]
        if also:
            seen.append(str(also(fit) or ""))
        if same:
            expect_same_weights(fit.weights, same().weights)
            seen.append("bit for bit the same weights")
        return "; ".join(filter(None, seen))

    said = {"data": data, "model": model} | options
    words = [f"{kind.__doc__}"[:-1]] if kind is not EmojiGPT2 else []
    words += [
        f"{name}={short(value).partition(' object')[0]}"
        for name, value in said.items()
        if value is not None
    ]
    wanted = [f"{name} {value}" for name, value in ({"steps": steps} | expected).items()]
    words += ["the same weights as another fit"] if same else []
    function.__doc__ = f"{', '.join(words) or 'no option'}: {', '.join(wanted)}."
    return function


def fits(kind: str, table: dict[str, Callable[[], str]], **flags: Any) -> None:
    """Register a table of ``row`` as uses of a module."""
    for name, function in table.items():
        add(kind, name, function.__doc__ or "", function, **flags)
