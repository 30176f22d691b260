"""What is known of a finished run: all that its model card says, as plain values.

facts = RunFacts(name="quickstart", model_path="model", prompts=(Answer("pizza", (("🍕", 0.9),)),))
"""

from dataclasses import dataclass, field

METRICS = {"hit_at_1": "hit@1", "hit_at_5": "hit@5", "mrr": "MRR", "loss": "nats per token"}
"""What is measured on held-out texts: its name in the logs, and in the card."""


@dataclass(frozen=True)
class Answer:
    """What the model makes of a text.

    Attributes:
        text: As it was given.
        ranked: The best emoji with their probabilities, best first.
        generated: The emoji that it answers with; empty where it was not asked to.
        wanted: The right emoji; none where nobody says.
    """

    text: str
    ranked: tuple[tuple[str, float], ...]
    generated: str = ""
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """All that the card says. What is empty or None is left out.

    Attributes:
        name: What to call the model.
        model_path: Repository id or folder by which the snippets load it.
        prompts: Texts that no one held out, with what the model answers; at least one.
        held_out: Validation texts, likewise.
        base_model: Hub id or folder name of the weights that training began with.
        base_is_on_hub: Whether ``base_model`` is a Hub id.
        license: Of the weights; None if it is not known.
        language: Of the training texts, such as en; None if it is not known.
        builtin_data: Whether the data were the emoji table's own names and keywords.
        has_synthetic_texts: Whether texts made of names and keywords were among them.
        dataset: Hub id of the data.
        source: What else the data are called.
        report: Lines that say what was read, kept and held out.
        hyperparameters: By name, in words.
        metrics: Of the exported weights on the validation texts, by ``METRICS``' keys.
        baselines: The same of each baseline, by its name.
        validation_texts: How many texts the metrics are over.
        baseline_texts: How many of these the baselines are over.
        step: Optimizer steps of the exported weights.
        has_curves: Whether there is a picture.
        versions: By package.
        hardware: Where it was trained.
        seconds: How long.
        first_step: The step from which this session went on.
        date: When it ended: 2026-11-22.
    """

    name: str
    model_path: str
    prompts: tuple[Answer, ...]
    held_out: tuple[Answer, ...] = ()
    base_model: str | None = None
    base_is_on_hub: bool = False
    license: str | None = "apache-2.0"
    language: str | None = None
    builtin_data: bool = False
    has_synthetic_texts: bool = False
    dataset: str | None = None
    source: str | None = None
    report: tuple[str, ...] = ()
    hyperparameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    validation_texts: int = 0
    baseline_texts: int = 0
    step: int = 0
    has_curves: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""
    seconds: float = 0.0
    first_step: int = 0
    date: str = ""
