"""Under which conditions a run was made, in words: hyper-parameters, machine and versions."""

import os
import platform
from importlib.metadata import version

import torch
from lightning.pytorch import Trainer

from emoji_gpt2 import __version__
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.optim import WarmupCosine

PACKAGES = ("torch", "lightning", "transformers", "huggingface_hub")


def hyperparameters(
    trainer: Trainer, weights: EmojiGPT2, data: EmojiDataModule | None
) -> dict[str, str]:
    """Return what decided the training, by name, as it was, not as it was asked for."""
    config = weights.model.config
    parameters = sum(p.numel() for p in weights.model.parameters())
    found = {
        "layers, width, heads": f"{config.n_layer}, {config.n_embd}, {config.n_head}",
        "parameters": f"{parameters:,}",
        "dropout": f"{config.resid_pdrop:g}",
        **_optimization(trainer),
        "epochs": str(trainer.current_epoch),
        "optimizer steps": f"{trainer.global_step:,}",
    }
    if data:
        window = trainer.accumulate_grad_batches
        micro_batches = f", in {window} micro-batches of {data.batch_size}" * (window > 1)
        found["rows of an optimizer step"] = f"{window * data.batch_size}{micro_batches}"
        found["longest row"] = f"{data.recipe.max_length} tokens"
        found["skin tones"] = data.recipe.skin_tones
    found["precision"] = str(trainer.precision)
    if trainer.gradient_clip_val:
        found["gradient clipping"] = f"{trainer.gradient_clip_val:g}"
    if "PL_GLOBAL_SEED" in os.environ:
        found["seed"] = os.environ["PL_GLOBAL_SEED"]
    return found


def _optimization(trainer: Trainer) -> dict[str, str]:
    """Return the optimizer and its schedule, which flags may have replaced."""
    found = {}
    for optimizer in trainer.optimizers[:1]:
        groups = optimizer.param_groups
        found["optimizer"] = type(optimizer).__name__
        found["highest learning rate"] = f"{groups[0].get('initial_lr', groups[0]['lr']):g}"
        decay = max(group.get("weight_decay", 0.0) for group in groups)
        found["weight decay"] = f"{decay:g}, on matrices" if len(groups) > 1 else f"{decay:g}"
    for config in trainer.lr_scheduler_configs[:1]:
        found["learning rate schedule"] = (
            f"linear warm-up to step {config.scheduler.warmup_steps}, then a cosine to 0"
            if isinstance(config.scheduler, WarmupCosine)
            else type(config.scheduler).__name__
        )
    return found


def versions() -> dict[str, str]:
    """Return what the run was made with."""
    ours = {"emoji_gpt2": __version__, "Python": platform.python_version()}
    return ours | {package: version(package) for package in PACKAGES}


def hardware(trainer: Trainer) -> str:
    """Return how many of which devices the run had."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return f"{trainer.world_size} x {device.type}"
    processes = "1 process" if trainer.world_size == 1 else f"{trainer.world_size} processes"
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores; {processes})"
