"""Callbacks where the command line's own tests do not reach."""

import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.training.checkpoints import BestCheckpoint, LastCheckpoint
from emoji_gpt2.training.restart import SaveRandomState, random_state, set_random_state
from emoji_gpt2.training.signals import StopOnSignal
from tests.tiny import quiet_trainer


def handlers_after_start(*, notebook: bool = False) -> tuple[Any, Any]:
    """Return whether SIGINT and SIGTERM are the callback's while it is on; give them back."""
    callback = StopOnSignal("nowhere", notebook=notebook)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trainer: Any = SimpleNamespace(world_size=1)
    callback.on_train_start(trainer, None)  # type: ignore[arg-type]
    during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    callback.teardown(trainer, None, "fit")  # type: ignore[arg-type]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return tuple(now != then for now, then in zip(during, before, strict=True))


@pytest.mark.parametrize(
    ("notebook", "slurm", "taken"),
    [(False, False, (True, True)), (True, False, (True, False)), (False, True, (True, False))],
)
def test_signals_are_taken_over_and_given_back(
    monkeypatch: pytest.MonkeyPatch, notebook: bool, slurm: bool, taken: tuple[bool, bool]
) -> None:
    """A notebook and SLURM keep SIGTERM."""
    if slurm:
        monkeypatch.setenv("SLURM_NTASKS", "1")
        monkeypatch.setenv("SLURM_JOB_NAME", "emoji")
    assert handlers_after_start(notebook=notebook) == taken


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(handlers_after_start()))
    thread.start()
    thread.join()
    assert found == [(False, False)]


class TheirIO(TorchCheckpointIO):
    """A user's choice."""


@pytest.mark.parametrize(("given", "used"), [([], AtomicCheckpointIO), ([TheirIO()], TheirIO)])
def test_checkpoints_are_written_atomically_unless_the_user_chose(
    given: list[TorchCheckpointIO], used: type, tmp_path: Path
) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, plugins=list(given), max_epochs=1)
    LastCheckpoint(tmp_path).setup(trainer, LightningModule(), "fit")
    assert type(trainer.strategy.checkpoint_io) is used


def test_a_best_checkpoint_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """On an empty disk the best of what follows would otherwise never be kept."""
    before = BestCheckpoint(str(tmp_path))
    before.best_model_path = str(tmp_path / "best.ckpt")
    before.best_k_models = {before.best_model_path: 0.9}  # type: ignore[dict-item]
    state = before.state_dict()
    after = BestCheckpoint(str(tmp_path))
    after.load_state_dict(state)
    assert (after.best_model_path, after.best_k_models) == ("", {})
    (tmp_path / "best.ckpt").touch()
    after.load_state_dict(state)
    assert after.best_model_path == before.best_model_path
    assert after.best_k_models == before.best_k_models


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/loss", "min"),
        ("train/loss", "min"),
        ("val/mrr", "max"),
        ("val/hit_at_5", "max"),
        ("val/macro_f1", "max"),
        ("val_accuracy", "max"),
        (None, "max"),
    ],
)
def test_what_is_best_follows_the_metric(monitor: str | None, mode: str) -> None:
    assert BestCheckpoint(monitor=monitor).mode == mode
    assert BestCheckpoint(monitor=monitor, mode="min").mode == "min"


def test_a_metric_whose_name_does_not_say_what_is_best_needs_a_mode() -> None:
    with pytest.raises(UserError, match=r"^mode: got none, with 'val/perplexity'"):
        BestCheckpoint(monitor="val/perplexity")
    assert BestCheckpoint(monitor="val/perplexity", mode="min").mode == "min"


class Scored(BoringModel):
    """A model whose val/mrr is this after each epoch."""

    def __init__(self, *mrr: float) -> None:
        super().__init__()
        self.mrr = mrr

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/mrr", self.mrr[self.current_epoch])


@pytest.mark.parametrize(
    ("second", "max_steps", "kept"), [(0.9, 4, 0), (1.0, 4, 1), (1.1, 4, 1), (1.0, 3, 0)]
)
def test_of_equal_checkpoints_the_newest_is_best(
    tmp_path: Path, second: float, max_steps: int, kept: int
) -> None:
    """A table of few texts is soon ranked perfectly, by the first emoji of each answer.

    Weights that were not validated, at the end of a run of three steps, are not taken.
    """
    best = BestCheckpoint(str(tmp_path), filename="{epoch}", monitor="val/mrr")
    limits = {
        "max_steps": max_steps,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
    }
    trainer = quiet_trainer(
        tmp_path, callbacks=[best], enable_checkpointing=True, max_epochs=-1, **limits
    )
    trainer.fit(Scored(1.0, second))
    assert [path.stem for path in tmp_path.glob("*.ckpt")] == [f"epoch={kept}"]
    assert Path(best.best_model_path).stem == f"epoch={kept}"


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        (None, "epoch=2-step=10.ckpt"),
        ("best-{epoch}-{step}", "best-epoch=2-step=10.ckpt"),
        ("{epoch:02d}-{val/mrr:.3f}", "epoch=02-val_mrr=0.118.ckpt"),
        ("mrr={val/mrr:.2f}", "mrr=0.12.ckpt"),
    ],
)
def test_names_of_checkpoints_are_of_files(filename: str | None, name: str, tmp_path: Path) -> None:
    metrics = {"epoch": torch.tensor(2), "step": torch.tensor(10), "val/mrr": torch.tensor(0.1181)}
    callback = BestCheckpoint(str(tmp_path), filename)
    assert callback.format_checkpoint_name(metrics) == str(tmp_path / name)


def test_only_a_fit_goes_on_with_random_states() -> None:
    """Lightning restores callbacks for validate, too, and the trainer may fit later."""
    callback = SaveRandomState()
    torch.manual_seed(1)
    checkpoint = {"random_states": [random_state(torch.device("cpu"))]}
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(world_size=1, global_rank=0, strategy=strategy)
    module: Any = None
    for fn, seed in (("validate", 2), ("fit", 1)):
        torch.manual_seed(2)
        trainer.state = SimpleNamespace(fn=fn)
        callback.on_load_checkpoint(trainer, module, checkpoint)
        callback.on_train_batch_start(trainer, module, None, 0)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.manual_seed(seed)))


def test_a_rank_keeps_the_random_state_of_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: torch.tensor([gpu.index]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *given: applied.append(given))
    state = random_state(torch.device("cuda:3"))
    for device in ("cuda:0", "cpu"):
        set_random_state(state, torch.device(device))
    assert applied == [(torch.tensor([3]), torch.device("cuda:0"))]
