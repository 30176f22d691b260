"""The model card: read back by huggingface_hub, its numbers compared with the run, its code run."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import ast
import inspect
import math
import re
import shlex
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from emoji_gpt2.card import collect
from emoji_gpt2.card.card import METRICS, Answer, RunFacts, card
from emoji_gpt2.card.held_out import validation_texts
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.generation.command import parse
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.export import ExportBest
from tests.cli_runs import (
    NO_VALIDATION,
    UPSTREAM,
    Cli,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    read_csv,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.tiny import quiet_trainer

pytestmark = UPSTREAM

FACTS = RunFacts(
    name="pie",
    model_path="anna/pie",
    prompts=(Answer("happy birthday", (("🎂", 0.5), ("👩🏽‍❤️‍💋‍👨🏿", 0.25)), "🎂❤️‍🔥"),),
    date="2026-11-22",
)


@pytest.fixture(scope="module")
def text(trained_run: Path) -> str:
    return (trained_run / "model" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(trained_run: Path) -> EmojiDataModule:
    """The run's own data, as its config.yaml names them."""
    options = yaml.safe_load((trained_run / "config.yaml").read_text(encoding="utf-8"))["data"]
    data = EmojiDataModule(**options)
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def measured(trained_run: Path) -> dict[str, float]:
    """What metrics.csv says of the exported checkpoint, which is not the last one."""
    (best,) = trained_run.glob("best-*.ckpt")
    step = int(best.stem.rpartition("=")[2])
    rows = read_csv(trained_run / "metrics.csv")
    assert step < int(rows[-1]["step"]) + 1, "the test needs a run whose best is not its last"
    (row,) = (row for row in rows if row["val/mrr"] and int(row["step"]) + 1 == step)
    return {name: float(row[f"val/{name}"]) for name in METRICS} | {"step": step}


def table_below(text: str, *header: str) -> list[list[str]]:
    """The cells of the table with this header."""
    lines = text.splitlines()
    start = lines.index(f"| {' | '.join(header)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def check_metadata(text: str) -> dict[str, Any]:
    """What the Hub's validator enforces and can be checked without it."""
    block = text.split("\n---\n", 1)[0].removeprefix("---\n")
    found: dict[str, Any] = yaml.safe_load(block)
    assert found == ModelCard(text).data.to_dict(), "read back and written again, it is the same"
    assert all(re.fullmatch("[a-z]{2,3}", code) for code in found.get("language", []))
    assert re.fullmatch("[a-z0-9.-]+", found.get("license", "mit"))
    assert (found["pipeline_tag"], found["library_name"]) == ("text-generation", "transformers")
    names = [*found.get("datasets", []), found.get("base_model", "gpt2")]
    assert all(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) for name in names)
    assert all(widget["text"] and widget["output"]["text"] for widget in found["widget"])
    for result in (entry for model in found.get("model-index", []) for entry in model["results"]):
        assert result["task"]["type"]
        assert result["dataset"]["type"]
        assert all(m["type"] and math.isfinite(m["value"]) for m in result["metrics"])
    return found


def test_the_hub_s_own_reader_finds_the_run_s_results(
    text: str, measured: dict[str, float]
) -> None:
    check_metadata(text)
    found = ModelCard(text).data.eval_results
    assert {r.metric_type: r.metric_value for r in found} == {
        name: round(measured[name], 4) for name in METRICS
    }
    assert {r.dataset_name for r in found} == {"emoji.csv, validation texts"}


def test_the_results_are_the_run_s_and_the_baselines_are_counted_anew(
    text: str, measured: dict[str, float], data: EmojiDataModule
) -> None:
    decode = data.tokenizer.decode
    counts = Counter(
        str(decode(token))
        for batch in data.train_dataloader()
        for token in batch.labels_N.tolist()
        if token != data.tokenizer.eos_token_id
    )
    emoji = list(EmojiTable.builtin())
    by_count = sorted(emoji, key=lambda e: -counts[e])
    ranks = [
        min(by_count.index(str(decode(a))) + 1 for a in answers if a >= 0)
        for batch in data.val_dataloader()
        for answers in batch.answers_BK.tolist()
    ]
    rows = table_below(text, "", "hit@1", "hit@5", "MRR", "nats per token")
    assert rows[0] == ["**this model**", *(f"{measured[name]:.3f}" for name in METRICS)]
    sums = sum(r <= 1 for r in ranks), sum(r <= 5 for r in ranks), sum(1 / r for r in ranks)
    assert rows[1] == ["most frequent emoji", *(f"{s / len(ranks):.3f}" for s in sums), ""]
    kinds = ["sum of idf", "cosine of tf-idf"]
    assert [row[0] for row in rows[2:]] == [f"lexical matcher, {kind}" for kind in kinds]
    table = EmojiTable.builtin()
    tied = sum(not table.tones(e) for e in emoji)  # nothing is described by thing, number and "4"
    assert [row[1:] for row in rows[2:]] == [["0.000", "0.000", f"{1 / tied:.3f}", ""]] * 2
    assert f"On the {len(ranks)} validation texts" in text


def test_no_validation_text_is_on_a_card_that_nobody_allowed_it(
    text: str, data: EmojiDataModule
) -> None:
    texts, _ = validation_texts(data.store, data.tokenizer)
    held_out = [text for text, _ in texts]
    assert held_out
    cells = {cell for line in text.splitlines() for cell in line.lower().split(" | ")}
    assert not {*held_out} & {cell.strip("| ") for cell in cells}
    assert "| validation text |" not in text
    assert f"On the {len(held_out)} validation texts" in text, "how good it is stays"


def test_the_examples_are_the_model_s_answers(cli: Cli, data: EmojiDataModule) -> None:
    cli.cards = True
    run = cli("--hub.card_examples=true")
    assert run.status == 0, run.stderr
    text = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    generator = EmojiGenerator.from_pretrained(run.folder / "model")
    rows = {row["name"]: row["emoji"] for row in read_csv(Path(str(data.config.path)))}
    held_out = table_below(text, "validation text", "three likeliest emoji", "wanted")
    assert len(held_out) == len(data.store.splits["val"])
    for name, ranked, wanted in held_out:
        assert ranked.split() == [e for e, _ in generator.rank([name], top_k=3)[0]]
        assert wanted == rows[name]
    prompts = table_below(text, "text", "three likeliest emoji", "answer")
    assert [prompt for prompt, _, _ in prompts] == list(collect.PROMPTS)
    for prompt, ranked, answer in prompts:
        best = generator.rank([prompt], top_k=3)[0]
        assert ranked == " ".join(f"{e} {p:.2f}" for e, p in best)
        assert answer == generator.generate([prompt])[0]


def test_the_snippets_give_what_they_say(
    text: str, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_run)
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 2
    said = 0
    for snippet in snippets:
        names: dict[str, Any] = {}
        for line in snippet.splitlines():
            expression, _, result = line.partition("  # ")
            if not result:
                exec(line, names)
                continue
            got, wanted = eval(expression, names), ast.literal_eval(result)
            if ".rank(" in expression:
                got = [[(e, round(p, 3)) for e, p in row] for row in got]
            assert got == wanted, line
            said += 1
    assert said == 3
    (command,) = re.findall(r"^python -m emoji_gpt2.generate (.*)", text, re.MULTILINE)
    asked = parse(shlex.split(command))
    assert (asked.texts, asked.model) == (["happy birthday"], "model")


def test_data_conditions_and_picture_are_the_run_s(
    text: str, trained_run: Path, data: EmojiDataModule, measured: dict[str, float]
) -> None:
    assert [line[2:] for line in text.splitlines() if line[2:] in data.report] == data.report
    said = dict(table_below(text, "hyper-parameter", "value"))
    wanted = {
        "optimizer steps": str(int(read_csv(trained_run / "metrics.csv")[-1]["step"]) + 1),
        "epochs": "2",
        "highest learning rate": "0.02",
        "learning rate schedule": "linear warm-up to step 1, then a cosine to 0",
        "rows of an optimizer step": str(data.batch_size),
        "layers, width, heads": "1, 16, 2",
    }
    assert said | wanted == said
    assert f"The weights here are those of step {measured['step']}." in text
    assert "](curves.png)" in text
    picture = (trained_run / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert (trained_run / "model" / "curves.png").read_bytes() == picture
    assert str(trained_run.parent) not in text, "no folder of the machine"


def test_a_base_model_and_a_dataset_on_the_hub_are_named() -> None:
    facts = replace(
        FACTS,
        base_model="openai-community/gpt2",
        base_is_on_hub=True,
        license="mit",
        dataset="anna/moods",
        source="hf://datasets/anna/moods/train.csv",
        report=("train.csv: 9 rows read",),
        metrics={"mrr": 0.5, "loss": math.nan},
        validation_texts=5000,
        baseline_texts=2000,
        baselines={"most frequent emoji": {"hit_at_1": 0.1, "mrr": 0.25}},
    )
    text = card(facts)
    found = check_metadata(text)
    assert (found["base_model"], found["license"]) == ("openai-community/gpt2", "mit")
    assert found["datasets"] == ["anna/moods"]
    assert [m["type"] for m in found["model-index"][0]["results"][0]["metrics"]] == ["mrr"]
    for words in ("co/datasets/anna/moods)", "co/openai-community/gpt2)", "2,000 of these texts"):
        assert words in text


def test_what_is_not_known_is_left_out() -> None:
    text = card(replace(FACTS, base_model="my gpt2"))
    unknown = {"language", "license", "base_model", "model-index", "datasets"}
    assert not unknown & check_metadata(text).keys()
    assert "fine-tuned from `my gpt2`" in text
    for words in ("## Data", "## Results", "![", "| validation text |", "None", "synthetic"):
        assert words not in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"builtin_data": True}, "on names and keywords, not on sentences that people wrote"),
        ({"builtin_data": True, "has_synthetic_texts": True}, "synthetic texts of these, not on"),
        ({"source": "a.csv", "has_synthetic_texts": True}, "Trained on `a.csv`, and on synthetic"),
        ({"builtin_data": True, "languages": ("de", "es")}, "Unicode's CLDR (de, es)."),
        ({"builtin_data": True, "languages": ("de", "es")}, "language:\n- de\n- es\n"),
        ({"languages": ("de", "EU"), "has_synthetic_texts": True}, "language:\n- de\n- en\n"),
        ({"validation_texts": 9}, "No validation text was trained on"),
        ({"validation_texts": 9, "validation_source": "v.csv"}, "Validated on `v.csv`; the lines"),
        (
            {
                "metrics": {"hit_at_1": 0.2},
                "baselines": {"x": {"hit_at_1": 0.19}, "y": {"hit_at_1": 0.2}},
            },
            "than what takes no training: y.",
        ),
        ({"first_step": 1200, "seconds": 4000}, "1:06:40 (h:mm:ss) from step 1,200 on, where it"),
    ],
)
def test_words_that_depend_on_the_run(facts: dict[str, Any], words: str) -> None:
    general = replace(FACTS, report=("9 rows read",))
    text = card(replace(general, **facts))
    assert words in text
    assert words not in card(general)
    assert ("No validation text" in text) == (facts.keys() == {"validation_texts"})


def test_the_template_names_no_fact_that_does_not_exist() -> None:
    template = Path(inspect.getfile(card)).with_name("card.md.jinja").read_text(encoding="utf-8")
    named = set(re.findall(r"facts\.(\w+)", template))
    assert named
    assert named <= {field.name for field in fields(RunFacts)}, "Jinja shows nothing for these"


def test_texts_cannot_break_the_card() -> None:
    evil = "a|b <img src=x> `c` *d* [e](f) " + "long " * 20
    text = card(replace(FACTS, held_out=(Answer(evil, (("🍕", 1.0),), wanted=("🍕",)),)))
    (row,) = (line for line in text.splitlines() if line.startswith("| a"))
    assert row.startswith(r"| a\|b \<img src=x\> \`c\` \*d\* \[e\](f) long")
    assert row.endswith("… | 🍕 | 🍕 |")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("https://me:pw@x.org/a/b.csv?token=1", "https://x.org/a/b.csv"),
        ("/home/me/emoji_df.csv", "emoji_df.csv"),
        ("hf://datasets/u/d/x.csv", "hf://datasets/u/d/x.csv"),
    ],
)
def test_addresses_lose_what_may_be_secret(path: str, shown: str) -> None:
    assert collect.public_name(path) == shown


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({}, {"builtin_data": True, "languages": ("en",), "has_synthetic_texts": False}),
        ({"languages": "de"}, {"languages": ("de",), "source": None, "validation_source": None}),
        ({"path": "/x/a.csv", "made_up_texts": 9}, {"languages": (), "has_synthetic_texts": True}),
        ({"path": "/x/a.csv"}, {"builtin_data": False, "source": "a.csv", "dataset": None}),
        (
            {"path": "hf://datasets/u/d/x.csv", "val_path": "/y/v.csv"},
            {"validation_source": "v.csv"},
        ),
        ({"path": "hf://datasets/u/d/x.csv"}, {"dataset": "u/d"}),
    ],
)
def test_only_what_is_known_of_the_texts_is_stated(
    options: dict[str, Any], known: dict[str, Any]
) -> None:
    data: Any = SimpleNamespace(config=EmojiDataModule(**options).config, report=[])
    found = collect.data_facts(data)
    assert found | known == found


def test_the_base_model_s_licence_is_its_card_s(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    assert collect.origin(str(base)) == {"base_model": "base", "license": None}
    (base / "README.md").write_text("---\nlicense: mit\n---\n# x\n", encoding="utf-8")
    assert collect.origin(str(base)) == {"base_model": "base", "license": "mit"}
    assert collect.origin("gpt2") == {"base_model": "gpt2", "base_is_on_hub": True}


@NO_VALIDATION
def test_a_plain_trainer_without_our_data_module(
    data: EmojiDataModule, tiny_gpt2: Path, tmp_path: Path
) -> None:
    export = ExportBest(tmp_path / "pizza" / "model")
    export.repo_id = "anna/pizza"  # type: ignore[attr-defined] # as a callback that pushes has
    model = EmojiGPT2(str(tiny_gpt2))
    trainer = quiet_trainer(tmp_path, max_steps=1, enable_checkpointing=True, callbacks=[export])
    trainer.fit(model, data.train_dataloader())
    text = (tmp_path / "pizza" / "model" / "README.md").read_text(encoding="utf-8")
    found = check_metadata(text)
    assert "model-index" not in found
    assert "# pizza: text to emoji" in text
    assert 'from_pretrained("anna/pizza")' in text
    assert "## Data" not in text
    assert f"fine-tuned from `{tiny_gpt2.name}`" in text
    assert "step 1." in text
    assert not (tmp_path / "pizza" / "model" / "curves.png").exists()
    assert model.training, "as it was"
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = EmojiGPT2.load_from_checkpoint(tmp_path / "a.ckpt")
    assert again.base_model == str(tiny_gpt2)


def test_a_resumed_run_reports_the_best_of_the_earlier_session(
    begun: Path, cli: Cli, measured: dict[str, float]
) -> None:
    cli.cards = True
    again = cli("--ckpt_path=last", "--trainer.max_epochs=3", "--model.learning_rate=1e-9")
    assert again.status == 0, again.stderr
    text = (begun / "model" / "README.md").read_text(encoding="utf-8")
    assert "from step 8 on, where it was resumed" in text
    (best,) = begun.glob("best-*.ckpt")
    assert best.stem.endswith(f"step={measured['step']}"), "the third epoch changed nothing"
    (row, *_) = table_below(text, "", "hit@1", "hit@5", "MRR", "nats per token")
    assert row == ["**this model**", *(f"{measured[name]:.3f}" for name in METRICS)]
    assert dict(table_below(text, "hyper-parameter", "value"))["epochs"] == "3"
