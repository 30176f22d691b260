"""The model card: Markdown with the Hub's metadata, written from the facts of a run.

    text = card(facts)                              # RunFacts; collect() of a trainer gives them
    ModelCard(text).data.eval_results               # huggingface_hub reads the metadata back

Metadata: https://huggingface.co/docs/hub/model-cards; ``ModelCardData`` writes what the Hub checks.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence

from huggingface_hub import EvalResult, ModelCardData

from emoji_gpt2.card.facts import METRICS, RunFacts

CURVES = "curves.png"
"""The picture's name beside the card."""
WIDGETS = 4
TEXT_WIDTH = 60


def card(facts: RunFacts) -> str:
    """Return the whole README.md of a model repository."""
    sections = (_head, _examples, _use, _data, _results, _training, _limits)
    body = "\n\n".join(text for section in sections if (text := section(facts)))
    return f"---\n{metadata(facts).to_yaml()}\n---\n\n{body}\n"


def metadata(facts: RunFacts) -> ModelCardData:
    """Return what the Hub reads of the card."""
    widget = [
        {"text": answer.text, "output": {"text": answer.generated}}
        for answer in facts.prompts[:WIDGETS]
    ]
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Text to emoji",
            dataset_type=facts.dataset or "emoji",
            dataset_name=f"{_data_name(facts)}, held-out texts",
            dataset_split="validation",
            metric_type=name,
            metric_name=METRICS[name],
            metric_value=round(facts.metrics[name], 4),
        )
        for name in METRICS
        if math.isfinite(facts.metrics.get(name, math.nan))
    ]
    return ModelCardData(
        language=facts.language,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=facts.base_model if facts.base_is_on_hub else None,
        datasets=[facts.dataset] if facts.dataset else None,
        tags=["emoji", "gpt2", "text-to-emoji", "emoji_gpt2"],
        widget=widget,
        model_name=facts.name if results else None,
        eval_results=results or None,
    )


def _data_name(facts: RunFacts) -> str:
    return "Unicode emoji names and keywords" if facts.builtin_data else facts.source or "emoji"


def _head(facts: RunFacts) -> str:
    origin = "trained from random weights"
    if facts.base_model:
        linked = f"[{facts.base_model}](https://huggingface.co/{facts.base_model})"
        origin = f"fine-tuned from {linked if facts.base_is_on_hub else _code(facts.base_model)}"
    return (
        f"# {facts.name}: text to emoji\n\n"
        "Give it a text, and it answers with emoji. It is a GPT-2 in which each of the 3,944 emoji "
        f"of Unicode Emoji 17.0 is one token, {origin}. Every answer is a sequence of whole emoji, "
        "because `suppress_tokens` in `generation_config.json` forbids all other tokens. "
        "Transformers obeys it; some other engines ignore it and may answer with words."
    )


def _examples(facts: RunFacts) -> str:
    rows = [
        (_escaped(a.text), " ".join(f"{e} {p:.2f}" for e, p in a.ranked), a.generated)
        for a in facts.prompts
    ]
    text = (
        "## What it answers\n\nOutputs of these weights, not chosen for being good. The number is "
        "the probability among all emoji.\n\n"
    ) + _table(("text", "three likeliest emoji", "answer"), rows)
    if not facts.held_out:
        return text
    held_out = [
        (_escaped(a.text), " ".join(e for e, _ in a.ranked), " ".join(a.wanted[:8]))
        for a in facts.held_out
    ]
    header = ("held-out text", "three likeliest emoji", "wanted")
    return f"{text}\n\nTexts that it was not trained on:\n\n{_table(header, held_out)}"


def _use(facts: RunFacts) -> str:
    first = facts.prompts[0]
    ranked = [(emoji, round(p, 3)) for emoji, p in first.ranked]
    answer = [{"generated_text": first.generated}]
    path = _quoted(facts.model_path)
    where = "" if "/" in facts.model_path else f", beside the folder {_code(facts.model_path)}"
    return f"""## How to use it

With Transformers alone{where}; `truncation` cuts long texts:

```python
from transformers import pipeline

pipe = pipeline("text-generation", {path})
pipe({_quoted(first.text)}, return_full_text=False, truncation=True)  # {answer}
```

With `emoji_gpt2`, which ranks all emoji too:

```python
from emoji_gpt2 import EmojiGenerator

generator = EmojiGenerator.from_pretrained({path})
generator.rank([{_quoted(first.text.capitalize())}], top_k={len(ranked)})  # {[ranked]}
generator.generate([{_quoted(first.text.capitalize())}], max_emoji=8)  # {[first.generated]}
```"""


def _data(facts: RunFacts) -> str:
    if not facts.report:
        return ""
    if facts.builtin_data:
        source = "Unicode's English name of each emoji and CLDR's English keywords, as texts"
    elif facts.dataset:
        source = f"[{facts.dataset}](https://huggingface.co/datasets/{facts.dataset})"
    else:
        source = _code(facts.source or "a table of texts and emoji")
    lines = "\n".join(f"- {_escaped(line, None)}" for line in facts.report)
    return (
        f"## Data\n\nTrained on {source}. No held-out text is a training text, whatever its "
        f"spelling.\n\n{lines}"
    )


def _results(facts: RunFacts) -> str:
    if not facts.metrics:
        return ""
    names = [name for name in METRICS if name in facts.metrics]
    rows = [
        (system, *(f"{found[name]:.3f}" if name in found else "" for name in names))
        for system, found in [("**this model**", facts.metrics), *facts.baselines.items()]
    ]
    text = (
        f"## Results\n\nOn the {facts.validation_texts:,} validation texts. hit@k: share of texts "
        "with a right emoji among the k best of all 3,944; MRR: mean of 1 / rank of the best right "
        "one, ties counted against; nats per token: cross-entropy of the emoji and the end of "
        "text, lower is better.\n\n"
    ) + _table(("", *(METRICS[name] for name in names)), rows)
    if facts.baselines:
        share = "the same texts"
        if facts.baseline_texts < facts.validation_texts:
            share = f"{facts.baseline_texts:,} of these texts, spread evenly"
        text += (
            f"\n\nThe baselines, on {share}: the most frequent emoji of the training rows, "
            "whatever the text; and the emoji whose name and keywords share the rarest words with "
            "the text, by the sum of their idf or by the cosine of tf-idf vectors. Like the model, "
            "that matcher is not told the names and keywords that are held-out texts themselves."
        )
    return text


def _training(facts: RunFacts) -> str:
    rows = [(name, _escaped(value)) for name, value in facts.hyperparameters.items()]
    text = "## Training\n\n" + _table(("hyper-parameter", "value"), rows)
    if facts.has_curves:
        text += (
            f"\n\n![Loss and validation metrics over optimizer steps; the exported weights are of "
            f"step {facts.step:,}]({CURVES})"
        )
    since = f" from step {facts.first_step:,} on, where it was resumed" * bool(facts.first_step)
    text += (
        f"\n\nTrained on {facts.hardware} in {in_words(facts.seconds)}{since}, validation "
        f"included; finished on {facts.date}. The weights here are those of step {facts.step:,}."
    )
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return f"{text} Versions: {versions}."


def _limits(facts: RunFacts) -> str:
    lines = []
    ours = facts.metrics.get("hit_at_1", math.inf)
    better = [name for name, found in facts.baselines.items() if found["hit_at_1"] >= ours]
    if better:
        lines.append(
            "On the validation texts it finds a right emoji first no more often than what takes no "
            f"training: {'; '.join(better)}."
        )
    if facts.builtin_data:
        synthetic = " and on synthetic texts of these" * facts.has_synthetic_texts
        lines.append(
            f"It was trained on names and keywords{synthetic}, not on sentences that people wrote: "
            "what a text means beyond its words, such as mood, irony or a negation, it has never "
            "seen."
        )
    else:
        lines.append("It knows the kind of text that it was trained on, and little beyond.")
    if not facts.base_model:
        lines.append("It read nothing but these texts: other words mean nothing to it.")
    gpt2 = ", and GPT-2's are English too" if facts.base_model else ""
    lines.append(
        f"Emoji tokens began as the English names and keywords of the emoji{gpt2}: expect no other "
        "language to work."
    )
    lines.append(
        "It repeats the associations of its data, with genders, skin tones, nations and religions "
        "too. Do not take its answer for what a person feels, nor decide about people by it."
    )
    lines.append("It always answers: a low probability is the only sign that it has no idea.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def in_words(seconds: float) -> str:
    """Return a duration as a person would say it: 4.2 s, 9 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str, width: int | None = TEXT_WIDTH) -> str:
    """Return a text, cut to ``width`` characters, that Markdown shows as it is."""
    if width and len(text) > width:
        text = text[: width - 1] + "…"
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", text)


def _quoted(text: str) -> str:
    """Return a Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
