"""The model card of a run: ``card.md.jinja`` filled in with the run's facts.

    text = card(facts)                              # RunFacts; collect() of a trainer gives them
    ModelCard(text).data.eval_results               # huggingface_hub reads the metadata back

Metadata: https://huggingface.co/docs/hub/model-cards.
"""

import json
import math
import re
import shlex
from datetime import timedelta
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from emoji_gpt2.card.facts import METRICS, RunFacts
from emoji_gpt2.emoji.languages import ENGLISH
from emoji_gpt2.emoji.table import EmojiTable

CURVES = "curves.png"
"""The picture's name beside the card."""
WIDGETS = 4
TEXT_WIDTH = 60


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
