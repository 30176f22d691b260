"""Gather the facts of a finished run for its model card: what was asked, measured and answered.

    session = Session(trainer.global_step)          # when training starts
    session.remember(trainer)                       # after each validation
    session.stop()
    facts, pictures = collect(trainer, weights, session, folder)

Nothing here waits for another rank.
"""

import contextlib
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import ModelCard
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from emoji_gpt2.card.card import CURVES
from emoji_gpt2.card.conditions import hardware, hyperparameters, versions
from emoji_gpt2.card.curves import Metrics, curves_png, read_metrics
from emoji_gpt2.card.facts import METRICS, Answer, RunFacts
from emoji_gpt2.card.held_out import baselines, evenly, validation_texts
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.emoji.languages import ENGLISH
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.evaluation.picture import can_plot
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.model.export import MAX_NEW_TOKENS
from emoji_gpt2.model.module import EmojiGPT2

PROMPTS = (
    "happy birthday", "i love pizza", "good night", "it is raining", "broken heart", "what is up?",
)  # fmt: skip
HELD_OUT_SHOWN = 8


class Session:
    """What only someone who is there can know of a run: its time, and each validation's outcome.

    Args:
        first_step: Optimizer steps that were done before.
    """

    def __init__(self, first_step: int = 0) -> None:
        self.first_step = first_step
        self.seconds = 0.0
        self.measured: dict[int, dict[str, float]] = {}
        self._start = time.monotonic()

    def remember(self, trainer: Trainer) -> None:
        """Keep the newest validation's metrics."""
        found = {n: trainer.callback_metrics.get(f"val/{n}") for n in METRICS}
        values = {n: float(value) for n, value in found.items() if value is not None}
        if not trainer.sanity_checking:
            self.measured[trainer.global_step] = values

    def stop(self) -> None:
        """Look at the clock again."""
        self.seconds = time.monotonic() - self._start


def collect(
    trainer: Trainer, weights: EmojiGPT2, session: Session, folder: Path, step: int
) -> tuple[RunFacts, dict[str, bytes]]:
    """Return the facts of a run, and its pictures by file name.

    Args:
        trainer: After fit.
        weights: The trainer's module, with the weights that are exported.
        session: Of this fit.
        folder: Where the model goes; its name and its parent's are in the card.
        step: Optimizer steps of the weights.
    """
    data = getattr(trainer, "datamodule", None)
    data = data if isinstance(data, EmojiDataModule) else None
    logged = _logged(trainer)
    repo_id = _repo_id(trainer)
    pictures = {CURVES: curves_png(logged, step)} if logged and can_plot() else {}
    facts = RunFacts(
        name=(repo_id or folder.resolve().parent.name).rpartition("/")[2],
        model_path=repo_id or folder.name,
        hyperparameters=hyperparameters(trainer, weights, data),
        metrics=session.measured.get(step) or _metrics_at(step, logged),
        step=step,
        has_curves=bool(pictures),
        versions=versions(),
        hardware=hardware(trainer),
        seconds=session.seconds,
        first_step=session.first_step,
        date=datetime.now(timezone.utc).date().isoformat(),
        **_origin(weights.base_model),
        **(_data(data) if data else {}),
        **_answers(weights, data, HELD_OUT_SHOWN if _may_show_texts(trainer) else 0),
    )
    return facts, pictures


def _answers(weights: EmojiGPT2, data: EmojiDataModule | None, n_shown: int) -> dict[str, Any]:
    """Return what the model makes of fixed prompts and of validation texts, and the baselines.

    Args:
        weights: What is exported.
        data: Of the run.
        n_shown: How many validation texts may be shown.
    """
    texts, wanted, n_texts = validation_texts(data.store, data.tokenizer) if data else ([], [], 0)
    shown = evenly(len(texts), n_shown).tolist()
    generator = EmojiGenerator(weights.model, weights.tokenizer, str(weights.device))
    asked = [*PROMPTS, *(texts[i] for i in shown)]
    ranked = [tuple(best) for best in generator.rank(asked, top_k=3)]
    generated = generator.generate(PROMPTS, max_emoji=MAX_NEW_TOKENS)
    emoji = list(EmojiTable.builtin())
    found: dict[str, Any] = {
        "prompts": tuple(map(Answer, PROMPTS, ranked, generated)),
        "held_out": tuple(
            Answer(texts[i], best, wanted=tuple(emoji[number] for number in wanted[i]))
            for i, best in zip(shown, ranked[len(PROMPTS) :], strict=True)
        ),
        "validation_texts": n_texts,
        "baseline_texts": len(texts),
    }
    if data and texts:
        toned = data.recipe.skin_tones == "keep"
        found["baselines"] = baselines(data.store, data.tokenizer, texts, wanted, toned)
    return found


def _data(data: EmojiDataModule) -> dict[str, Any]:
    path = data.recipe.path
    if isinstance(path, list):
        path = path[0]
    on_hub = re.match(r"hf://datasets/([^/]+/[^/@]+)", path or "")
    return {
        "builtin_data": path is None,
        "language": "en" if path is None and list(data.recipe.languages) == [ENGLISH] else None,
        "has_synthetic_texts": data.recipe.made_up_texts > 0,
        "dataset": on_hub[1] if on_hub else None,
        "source": public_name(path) if path else None,
        "report": tuple(data.report),
    }


def public_name(path: str) -> str:
    """Return an address without what may be secret in it, and of a local path the last part."""
    address = urlsplit(path)
    if address.scheme in ("http", "https", "hf"):
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    return Path(path).name


def _origin(base_model: str | None) -> dict[str, Any]:
    """Return what the weights began as, and under which licence that is."""
    if base_model is None:
        return {}
    folder = Path(base_model).expanduser()
    on_hub = not folder.exists() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base_model) is not None
    return {
        "base_model": base_model if on_hub else folder.name,
        "base_is_on_hub": on_hub,
        "license": None if on_hub else _license(folder),
    }


def _license(folder: Path) -> str | None:
    """Return the licence that the base model's own card names; None if there is no such card."""
    with contextlib.suppress(Exception):  # no card, or no metadata in it
        found = ModelCard.load(folder / "README.md").data.license
        return str(found) if found else None
    return None


def _repo_id(trainer: Trainer) -> str | None:
    """Return where the run is pushed to, if any callback pushes it."""
    found = (getattr(callback, "repo_id", None) for callback in _callbacks(trainer))
    return next((name for name in found if isinstance(name, str)), None)


def _may_show_texts(trainer: Trainer) -> bool:
    """Tell whether any callback that pushes was allowed to show validation texts."""
    return any(getattr(callback, "card_examples", False) for callback in _callbacks(trainer))


def _callbacks(trainer: Trainer) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def _logged(trainer: Trainer) -> Metrics:
    """Return what the run's CSV logger wrote; nothing if it has none."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.experiment.metrics_file_path)
            return read_metrics(path) if path.is_file() else {}
    return {}


def _metrics_at(step: int, logged: Metrics) -> dict[str, float]:
    """Return what was logged of the validation after ``step`` steps."""
    at_step = {name: dict(logged.get(f"val/{name}", [])) for name in METRICS}
    return {name: values[step] for name, values in at_step.items() if step in values}
