"""Gather the facts of a finished run for its model card.

    facts, pictures = collect(trainer, weights, session, folder, step)

It runs on one rank and waits for no other.
"""

import contextlib
import math
import os
import platform
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import torch
from huggingface_hub import ModelCard
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from emoji_gpt2 import __version__
from emoji_gpt2.card.card import CURVES, METRICS, Answer, RunFacts
from emoji_gpt2.card.curves import curves_png, read_metrics
from emoji_gpt2.card.held_out import baselines, evenly, validation_texts
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.emoji.languages import language_code
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.optim import WarmupCosine

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = (
    "happy birthday", "i love pizza", "good night", "it is raining", "broken heart", "what is up?",
)  # fmt: skip
HELD_OUT_SHOWN = 8
PACKAGES = ("torch", "lightning", "transformers", "huggingface_hub")


@dataclass
class Session:
    """The start of a fit, and the metrics of each validation by optimizer step.

    ``session = Session(trainer.global_step)`` when training starts, ``session.remember(trainer)``
    after each validation.
    """

    first_step: int = 0
    start: float = field(default_factory=time.monotonic)
    measured: dict[int, dict[str, float]] = field(default_factory=dict)

    def remember(self, trainer: Trainer) -> None:
        """Keep the newest validation's metrics."""
        if not trainer.sanity_checking:
            found = {name: trainer.callback_metrics.get(f"val/{name}") for name in METRICS}
            known = {name: float(value) for name, value in found.items() if value is not None}
            self.measured[trainer.global_step] = known


def collect(
    trainer: Trainer, weights: EmojiGPT2, session: Session, folder: Path, step: int
) -> tuple[RunFacts, dict[str, bytes]]:
    """Return the facts of a run, and its pictures by file name.

    Args:
        trainer: After fit.
        weights: The trainer's module, with the weights that are exported.
        session: Of this fit.
        folder: Where the model is exported to; the card names it and its parent.
        step: Optimizer steps of the weights.
    """
    data = getattr(trainer, "datamodule", None)
    data = data if isinstance(data, EmojiDataModule) else None
    repo_id = next(filter(None, _of_callbacks(trainer, "repo_id")), None)
    metrics, pictures = session.measured.get(step, {}), {}
    if (logged := _logged(trainer)) is not None:
        metrics = metrics or _metrics_at(step, logged)
        if find_spec("matplotlib"):
            pictures[CURVES] = curves_png(logged, step)
    facts = RunFacts(
        name=(repo_id or folder.resolve().parent.name).rpartition("/")[2],
        model_path=repo_id or folder.name,
        hyperparameters=hyperparameters(trainer, weights, data),
        metrics=metrics,
        step=step,
        first_step=session.first_step,
        has_curves=bool(pictures),
        versions={"emoji_gpt2": __version__, "Python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        hardware=hardware(trainer),
        seconds=time.monotonic() - session.start,
        date=datetime.now(timezone.utc).date().isoformat(),
        **origin(weights.base_model),
        **(data_facts(data) if data else {}),
        **_answers(weights, data, show_texts=any(_of_callbacks(trainer, "card_examples"))),
    )
    return facts, pictures


def _of_callbacks(trainer: Trainer, attribute: str) -> list[Any]:
    """Return an attribute of each callback or None; PushToHub has both that are asked for."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [getattr(callback, attribute, None) for callback in callbacks]


def _answers(
    weights: EmojiGPT2, data: EmojiDataModule | None, *, show_texts: bool
) -> dict[str, Any]:
    """Return the answers to fixed prompts and to validation texts, and the baselines' metrics."""
    texts, n_texts = validation_texts(data.store, data.tokenizer) if data else ([], 0)
    indices = evenly(np.arange(len(texts)), HELD_OUT_SHOWN) if show_texts else []
    shown = [texts[index] for index in indices]
    generator = EmojiGenerator(weights.model, weights.tokenizer, str(weights.device))
    ranked = [tuple(best) for best in generator.rank([*PROMPTS, *(t.text for t in shown)], top_k=3)]
    emoji = list(EmojiTable.builtin())
    generated = generator.generate(PROMPTS)
    found: dict[str, Any] = {
        "prompts": tuple(map(Answer, PROMPTS, ranked, generated)),
        "held_out": tuple(
            Answer(one.text, best, wanted=tuple(emoji[index] for index in one.right))
            for one, best in zip(shown, ranked[len(PROMPTS) :], strict=True)
        ),
        "validation_texts": n_texts,
        "baseline_texts": len(texts),
    }
    if data and texts:
        toned = data.config.skin_tones == "keep"
        found["baselines"] = baselines(data.store, data.tokenizer, texts, toned=toned)
    return found


def data_facts(data: EmojiDataModule) -> dict[str, Any]:
    """Return the facts of the texts; the language of a user's own texts is not known."""
    config = data.config
    path = config.path[0] if isinstance(config.path, list) else config.path
    on_hub = re.match(r"hf://datasets/([^/]+/[^/@]+)", path or "")
    return {
        "builtin_data": config.path is None,
        "languages": () if config.path else tuple(map(language_code, config.languages)),
        "has_synthetic_texts": config.made_up_texts > 0,
        "dataset": on_hub[1] if on_hub else None,
        "source": public_name(config.path) if config.path else None,
        "validation_source": public_name(config.val_path) if config.val_path else None,
        "report": tuple(data.report),
    }


def public_name(path: str | list[str]) -> str:
    """Return an address without user, password and query; of a local path the last part."""
    if isinstance(path, list):
        return ", ".join(map(public_name, path))
    address = urlsplit(path)
    if address.scheme not in ("http", "https", "hf"):
        return Path(path).name
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def origin(base_model: str | None) -> dict[str, Any]:
    """Return the name of the weights before training, and the licence that their card states."""
    if base_model is None:
        return {}
    folder = Path(base_model).expanduser()
    if not folder.exists() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base_model):
        return {"base_model": base_model, "base_is_on_hub": True}
    licence = None
    with contextlib.suppress(Exception):  # no card, or no metadata in it
        licence = ModelCard.load(folder / "README.md").data.license
    return {"base_model": folder.name, "license": licence}


def _logged(trainer: Trainer) -> "pd.DataFrame | None":
    """Return the metrics that the run's CSV logger wrote; None if it has none."""
    logger = next((one for one in trainer.loggers if isinstance(one, CSVLogger)), None)
    if logger is None:
        return None
    logger.save()
    path = Path(logger.experiment.metrics_file_path)
    return read_metrics(path) if path.is_file() else None


def _metrics_at(step: int, logged: "pd.DataFrame") -> dict[str, float]:
    """Return the logged metrics of the validation after ``step`` steps."""
    row: dict[Any, float] = logged.loc[step].to_dict() if step in logged.index else {}
    values = {name: row.get(f"val/{name}", math.nan) for name in METRICS}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def hyperparameters(
    trainer: Trainer, weights: EmojiGPT2, data: EmojiDataModule | None
) -> dict[str, str]:
    """Return the hyper-parameters by name, with the values that training ended with."""
    config = weights.model.config
    found = {
        "layers, width, heads": f"{config.n_layer}, {config.n_embd}, {config.n_head}",
        "parameters": f"{sum(p.numel() for p in weights.model.parameters()):,}",
        "dropout": f"{config.resid_pdrop:g}",
        **optimization(trainer),
        "epochs": str(trainer.current_epoch),
        "optimizer steps": f"{trainer.global_step:,}",
    }
    if data:
        found["rows of an optimizer step"] = str(trainer.accumulate_grad_batches * data.batch_size)
        found["longest row"] = f"{data.config.max_length} tokens"
        found["skin tones"] = data.config.skin_tones
    found["precision"] = str(trainer.precision)
    if trainer.gradient_clip_val:
        found["gradient clipping"] = f"{trainer.gradient_clip_val:g}"
    if "PL_GLOBAL_SEED" in os.environ:
        found["seed"] = os.environ["PL_GLOBAL_SEED"]
    return found


def optimization(trainer: Trainer) -> dict[str, str]:
    """Return the optimizer and its schedule, as flags may have replaced them."""
    found = {}
    for optimizer in trainer.optimizers[:1]:  # a model of one's own may have others, or none
        groups = optimizer.param_groups
        decay = max(group.get("weight_decay", 0.0) for group in groups)
        found["optimizer"] = type(optimizer).__name__
        found["highest learning rate"] = f"{groups[0].get('initial_lr', groups[0]['lr']):g}"
        found["weight decay"] = f"{decay:g}" + ", on matrices" * (len(groups) > 1)
    for config in trainer.lr_scheduler_configs:
        schedule = config.scheduler
        found["learning rate schedule"] = (
            f"linear warm-up to step {schedule.warmup_steps}, then a cosine to 0"
            if isinstance(schedule, WarmupCosine)
            else type(schedule).__name__
        )
    return found


def hardware(trainer: Trainer) -> str:
    """Return the number and kind of devices."""
    device = trainer.strategy.root_device
    if device.type == "cpu":
        return f"{trainer.world_size} x CPU ({platform.machine()}, {os.cpu_count()} cores)"
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.world_size} x {kind}"
