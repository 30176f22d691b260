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

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.training.checkpoints import BestCheckpoint, LastCheckpoint
from emoji_gpt2.training.restart import SaveRandomState, random_state, set_random_state
from emoji_gpt2.training.signals import StopOnSignal


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


def test_both_signals_are_taken_over_and_given_back() -> None:
    assert handlers_after_start() == (True, True)


def test_a_notebook_keeps_sigterm() -> None:
    assert handlers_after_start(notebook=True) == (True, False)


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
    within_step, validated = [True], [False]
    epoch_loop = SimpleNamespace(_should_check_val_fx=lambda _: validated[0])
    loop = SimpleNamespace(
        epoch_loop=epoch_loop, _data_fetcher=..., _should_accumulate=lambda: within_step[0]
    )
    trainer: Any = SimpleNamespace(  # of one process: nothing is asked of a strategy or a device
        world_size=1, is_last_batch=False, should_stop=False, fit_loop=loop, max_steps=-1
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


def test_the_state_of_checkpoints_is_found_under_the_name_it_always_had() -> None:
    assert BestCheckpoint().state_key == (
        "BestCheckpoint{'monitor': 'val/mrr', 'mode': 'max', 'every_n_train_steps': 0, "
        "'every_n_epochs': 1, 'train_time_interval': None}"
    )


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


def state_on(device: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Any]]:
    """The random state of a GPU that is not there, and what was set there since."""
    applied: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: torch.tensor([gpu.index]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *given: applied.append(given))
    return random_state(torch.device(device)), applied


def test_a_rank_keeps_the_random_state_of_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    state, applied = state_on("cuda:3", monkeypatch)
    set_random_state(state, torch.device("cuda:0"))
    assert applied == [(torch.tensor([3]), torch.device("cuda:0"))]
    set_random_state(state, torch.device("cpu"))
    assert len(applied) == 1


def test_checkpoints_with_the_states_of_all_gpus_still_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, applied = state_on("cpu", monkeypatch)
    state["cuda"] = [torch.tensor([7]), torch.tensor([8])]
    for index in (1, 2):  # there is no third: its state stays
        set_random_state(state, torch.device("cuda", index))
    assert applied == [(torch.tensor([8]), torch.device("cuda:1"))]


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
