"""The model card of a run: ``card.md.jinja`` filled in with the run's facts.

    facts = RunFacts("quickstart", "model", prompts=(Answer("pizza", (("🍕", 0.9),)),))
    text = card(facts)                         # collect() gives the facts of a trainer

Metadata: https://huggingface.co/docs/hub/model-cards.
"""

import json
import math
import re
import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from emoji_gpt2.emoji.languages import ENGLISH
from emoji_gpt2.emoji.table import EmojiTable

CURVES = "curves.png"
"""The picture's name beside the card."""
WIDGETS = 4
TEXT_WIDTH = 60
METRICS = {"hit_at_1": "hit@1", "hit_at_5": "hit@5", "mrr": "MRR", "loss": "nats per token"}
"""The validation metrics: their names in the logs and on the card."""


@dataclass(frozen=True)
class Answer:
    """The model's answer to a text."""

    text: str
    ranked: tuple[tuple[str, float], ...]  # the best emoji and their probabilities, best first
    generated: str = ""  # the answer; empty for validation texts
    wanted: tuple[str, ...] = ()  # the right emoji; none for fixed prompts


@dataclass(frozen=True)
class RunFacts:
    """All facts of a card. The card leaves out what is empty, None or 0."""

    name: str
    model_path: str  # the repository id or folder that the snippets load
    prompts: tuple[Answer, ...]  # to fixed prompts; at least one
    held_out: tuple[Answer, ...] = ()  # to validation texts
    base_model: str | None = None  # Hub id, or folder name, of the weights before training
    base_is_on_hub: bool = False
    license: str | None = None
    builtin_data: bool = False  # trained on the emoji table's names and keywords
    languages: tuple[str, ...] = ()  # of these names and keywords; none for other texts
    has_synthetic_texts: bool = False
    dataset: str | None = None  # Hub id
    source: str | None = None  # any other name of the training texts
    validation_source: str | None = None  # None if the validation texts were held out
    report: tuple[str, ...] = ()  # lines of the data module: rows read, kept and held out
    hyperparameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # of the exported weights
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)  # the same, by name
    validation_texts: int = 0
    baseline_texts: int = 0  # how many of these the baselines ranked
    step: int = 0  # optimizer steps of the exported weights
    first_step: int = 0  # where this session resumed
    has_curves: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""
    seconds: float = 0.0
    date: str = ""  # such as 2026-11-22


def card(facts: RunFacts) -> str:
    """Return the README.md of a model repository."""
    ours = facts.metrics.get("hit_at_1", math.inf)
    first = facts.prompts[0]
    written = ModelCard.from_template(
        metadata(facts),
        template_path=str(Path(__file__).with_name("card.md.jinja")),
        facts=facts,
        first=first,
        ranked=[(emoji, round(p, 3)) for emoji, p in first.ranked],
        n_emoji=f"{len(EmojiTable.builtin()):,}",
        metrics={name: METRICS[name] for name in METRICS if name in facts.metrics},
        systems={"**this model**": facts.metrics, **facts.baselines},
        better=[name for name, found in facts.baselines.items() if found["hit_at_1"] >= ours],
        curves=CURVES,
        duration=str(timedelta(seconds=round(facts.seconds))),
        escaped=escaped,
        quoted=lambda text: json.dumps(text, ensure_ascii=False),
        shell=shlex.quote,
        code=lambda text: f"`{text.replace('`', chr(39))}`",
    )
    return f"{written}\n"


def metadata(facts: RunFacts) -> ModelCardData:
    """Return the card's metadata for the Hub."""
    trained_on = "Unicode emoji names and keywords" if facts.builtin_data else facts.source
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Text to emoji",
            dataset_type="emoji" if facts.validation_source else facts.dataset or "emoji",
            dataset_name=f"{facts.validation_source or trained_on or 'emoji'}, validation texts",
            dataset_split="validation",
            metric_type=name,
            metric_name=METRICS[name],
            metric_value=round(facts.metrics[name], 4),
        )
        for name in METRICS
        if math.isfinite(facts.metrics.get(name, math.nan))
    ]
    synthetic = [ENGLISH] if facts.languages and facts.has_synthetic_texts else []
    languages = dict.fromkeys([*facts.languages, *synthetic])
    return ModelCardData(
        language=[code for code in languages if re.fullmatch("[a-z]{2,3}", code)] or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=facts.base_model if facts.base_is_on_hub else None,
        datasets=[facts.dataset] if facts.dataset else None,
        tags=["emoji", "gpt2", "text-to-emoji", "emoji_gpt2"],
        widget=[{"text": a.text, "output": {"text": a.generated}} for a in facts.prompts[:WIDGETS]],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )


def escaped(text: str, width: int | None = TEXT_WIDTH) -> str:
    """Return a text, cut to ``width`` characters, with Markdown's special characters escaped."""
    if width and len(text) > width:
        text = text[: width - 1] + "…"
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", text)
