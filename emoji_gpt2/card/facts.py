"""The facts of a finished run that its model card states, as plain values.

facts = RunFacts(name="quickstart", model_path="model", prompts=(Answer("pizza", (("🍕", 0.9),)),))
"""

from dataclasses import dataclass, field

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
