"""Callbacks where the command line's own tests do not reach."""

import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer

from emoji_gpt2.callbacks import StopOnSignal
from emoji_gpt2.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.checkpoints import BestCheckpoint, LastCheckpoint


def handlers_after_start() -> tuple[Any, Any]:
    """Return whether SIGINT and SIGTERM are the callback's while it is on; give them back."""
    callback = StopOnSignal("nowhere")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trainer: Any = None
    callback.on_train_start(trainer, None)  # type: ignore[arg-type]
    during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    callback.teardown(trainer, None, "fit")  # type: ignore[arg-type]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return tuple(now != then for now, then in zip(during, before, strict=True))


def test_both_signals_are_taken_over_and_given_back() -> None:
    assert handlers_after_start() == (True, True)


def test_slurm_keeps_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "emoji")
    assert handlers_after_start() == (True, False)


def test_slurm_s_requeue_signal_is_handed_to_lightning_after_a_whole_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "emoji")
    handled: list[int] = []
    callback = StopOnSignal("nowhere")
    strategy = SimpleNamespace(reduce=lambda value, **_: value, root_device="cpu")
    within_step, validated = [True], [False]
    epoch_loop = SimpleNamespace(
        _should_check_val_fx=lambda _: validated[0], _is_training_done=False
    )
    loop = SimpleNamespace(
        epoch_loop=epoch_loop, _data_fetcher=..., _should_accumulate=lambda: within_step[0]
    )
    trainer: Any = SimpleNamespace(
        strategy=strategy, is_last_batch=False, should_stop=False, fit_loop=loop
    )
    module: Any = None
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    try:
        callback.on_train_start(trainer, module)
        signal.raise_signal(signal.SIGUSR1)
        callback.on_train_batch_end(trainer, module, None, None, 0)
        within_step[0], validated[0] = False, True
        callback.on_train_batch_end(trainer, module, None, None, 1)
        assert handled == []
        validated[0] = False
        for number in (2, 3):
            callback.on_train_batch_end(trainer, module, None, None, number)
        assert handled == [signal.SIGUSR1]
        callback.teardown(trainer, module, "fit")
    finally:
        signal.signal(signal.SIGUSR1, before)


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
