"""Which built-in keywords are held out is a fact of the table, whoever builds what when."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.emoji.descriptions import describe, held_out_keywords, trained_descriptions
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer, decode_text
from tests.tiny import NO_VALIDATION, quiet_trainer, ready, tiny_data, tiny_model

pytestmark = NO_VALIDATION
PINNED = "2ff880737c5effee"
"""Of all held-out keywords and their splits: another hash is another validation set."""


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> EmojiDataModule:
    cache = tmp_path_factory.getbasetemp() / "rows"  # that of all tests
    return ready(EmojiDataModule(cache_dir=str(cache), batch_size=256))


def texts(data: EmojiDataModule, split: str) -> set[str]:
    """The texts of a split's rows."""
    rows = [data.store.row(int(number)) for number in data.store.splits[split].rows]
    return {decode_text(data.tokenizer, ids[: n - 1].tolist()) for ids, n in rows}


def test_the_held_out_keywords_are_these() -> None:
    table, held_out = EmojiTable.builtin(), held_out_keywords()
    lines = "\n".join(f"{split} {keyword}" for keyword, split in sorted(held_out.items()))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == PINNED
    keywords = {normalize_text(keyword) for one in table for keyword in table.keywords(one)}
    keywords -= {normalize_text(table.name(one)) for one in table}
    for split in ("val", "test"):
        share = sum(one == split for one in held_out.values()) / len(keywords)
        assert 0.04 < share < 0.06


def test_nothing_learns_from_a_held_out_keyword(builtin: EmojiDataModule) -> None:
    table, held_out = EmojiTable.builtin(), held_out_keywords()
    assert not trained_descriptions() & held_out.keys()
    assert len({text for one in table for text in describe(table, one)}) > 5_000
    train = texts(builtin, "train")
    assert len(train) > 6_000
    assert not train & held_out.keys()
    for split in ("val", "test"):
        assert texts(builtin, split) <= {text for text, one in held_out.items() if one == split}
        assert len(texts(builtin, split)) > 100
    ranks = word_ranks(builtin_gpt2_tokenizer().get_vocab())
    maker = PhraseMaker(table, [e for e in table if not table.tones(e)], ranks)
    assert not {example.text for example in maker.examples(5_000, seed=1)} & held_out.keys()


def test_an_embedding_does_not_depend_on_held_out_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its held-out keywords in the table, the model begins with the same weights."""
    wanted = tiny_model().model.transformer.wte.weight
    held_out = held_out_keywords()
    keywords = EmojiTable.keywords

    def known(table: EmojiTable, emoji: str) -> tuple[str, ...]:
        return tuple(k for k in keywords(table, emoji) if normalize_text(k) not in held_out)

    monkeypatch.setattr(EmojiTable, "keywords", known)
    assert tiny_model().model.transformer.wte.weight.equal(wanted)


@pytest.fixture(scope="module")
def measured(builtin: EmojiDataModule, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What the plain way measures."""
    trainer = quiet_trainer(tmp_path_factory.mktemp("plain"), max_epochs=1, limit_train_batches=3)
    trainer.fit(tiny_model(), builtin)
    return float(trainer.callback_metrics["val/mrr"])


@pytest.mark.parametrize("way", ["loaders", "after predict"])
def test_the_measure_is_the_same_whoever_builds_what_when(
    way: str, builtin: EmojiDataModule, measured: float, tmp_path: Path
) -> None:
    model = tiny_model()
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=3)
    given: Any = (builtin,)
    if way == "loaders":
        given = (builtin.train_dataloader(), builtin.val_dataloader())
    else:
        path = tmp_path / "texts.csv"
        path.write_text("text\npizza\n", encoding="utf-8")
        quiet_trainer(tmp_path).predict(
            model, EmojiDataModule(predict_path=str(path), cache_dir=str(tmp_path))
        )
    trainer.fit(model, *given)
    assert float(trainer.callback_metrics["val/mrr"]) == pytest.approx(measured, rel=1e-6)


def test_tokenizers_of_data_and_model_are_compared(
    small_csv: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    """A GPT-2 with a token more gives other ids to every emoji."""
    tokenizer = builtin_gpt2_tokenizer()
    tokenizer.add_tokens(["<more>"])
    folder = shutil.copytree(tiny_gpt2, tmp_path / "gpt2")
    tokenizer.save_pretrained(folder)
    other = EmojiGPT2(str(folder))
    data = ready(tiny_data(small_csv, val_path=str(small_csv)))
    path = tmp_path / "other.ckpt"
    trainer = quiet_trainer(tmp_path, max_steps=1)
    trainer.fit(other, tiny_data(small_csv, tokenizer=str(folder)))
    trainer.save_checkpoint(path)
    loaded = EmojiGPT2.load_from_checkpoint(path)
    ways: list[Callable[[Trainer], Any]] = [
        lambda trainer: trainer.fit(other, data.train_dataloader()),
        lambda trainer: trainer.fit(other, data),
        lambda trainer: trainer.validate(other, data),
        lambda trainer: trainer.validate(loaded, data),
    ]
    for way in ways:
        with pytest.raises(UserError, match="got another tokenizer than the model's") as caught:
            way(quiet_trainer(tmp_path, max_steps=2))
        assert "\n" not in str(caught.value)
