"""Distillation: the texts read, the teacher's scores, the loss, and a tiny run end to end."""

import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizer, GPT2LMHeadModel

from emoji_gpt2 import EmojiGenerator, EmojiTable
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.__main__ import main
from emoji_gpt2.distill.data import DistillData
from emoji_gpt2.distill.dataset import DistillBatch
from emoji_gpt2.distill.encoders import Encoder, Encoders
from emoji_gpt2.distill.mood import (
    EMOTIONS,
    NEUTRAL,
    USED,
    feelings,
    goemotions,
    sayings,
)
from emoji_gpt2.distill.student import DistilledGPT2, cross_entropy_to_teacher, principal_axes
from emoji_gpt2.distill.teacher import (
    LARGEST,
    LEXICAL,
    TEMPERATURE,
    USE,
    Teacher,
)
from emoji_gpt2.distill.texts import (
    composed,
    descriptions,
    evaluation_hashes,
    sample_texts,
    short_hash,
    things,
    wordnet_texts,
)
from emoji_gpt2.errors import UserError
from tests.cli_runs import ROOT, UPSTREAM, load

pytestmark = UPSTREAM
WORDNET = {
    "noun": "  1 the licence, indented\n"
    '00001740 03 n 02 ice_cream 0 Gelato 1 000 | frozen cream with sugar; "she ate ice cream"\n',
    "verb": '00001741 29 v 01 run 0 000 | (of people) move fast; "we ran"; "Run, run, run!"\n',
    "adj": "00001742 00 a 01 galore(ip) 0 000 | in great numbers\n",
    "adv": "00001743 02 r 01 fast 0 000 | quickly\n",
}


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordnet")
    for part, text in WORDNET.items():
        (folder / f"data.{part}").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights that knows letters."""
    folder = tmp_path_factory.mktemp("teacher")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_wordnet_is_read_into_sentences_and_definitions(wordnet: Path) -> None:
    examples, definitions = wordnet_texts(wordnet)
    assert examples == ["she ate ice cream", "run, run, run!"]  # "we ran" is too short
    assert definitions == ["frozen cream with sugar", "move fast", "in great numbers"]


@pytest.mark.parametrize("broken", [None, "not a line of WordNet\n"])
def test_other_files_than_wordnets_are_refused(broken: str | None, tmp_path: Path) -> None:
    if broken:
        (tmp_path / "data.noun").write_text(broken, encoding="utf-8")
    with pytest.raises(UserError, match=r"^wordnet: got .*, wanted"):
        wordnet_texts(tmp_path)


def test_samples_are_the_same_for_the_same_seed() -> None:
    texts = [str(number) for number in range(100)]
    assert sample_texts(texts, 5, 1) == sample_texts(texts, 5, 1) != sample_texts(texts, 5, 2)
    assert sorted(sample_texts(texts, 1000, 0)) == sorted(texts)


def test_further_keywords_count_beside_the_built_in(tmp_path: Path) -> None:
    path = tmp_path / "more.json"
    path.write_text('{"\\u2764": ["Red_heart", "adore"]}', encoding="utf-8")
    table = EmojiTable.builtin()
    place = [e for e in table if not table.tones(e)].index("❤️")
    without, with_more = descriptions(table)[place], descriptions(table, path)[place]
    assert with_more == [*without, "red heart", "adore"]
    assert with_more.count("red heart") == 2
    with pytest.raises(UserError, match=r"emojilib: got"):
        descriptions(table, tmp_path / "none.json")


def test_vectors_are_means_over_real_tokens_of_length_one(
    teacher_folder: Path, tmp_path: Path
) -> None:
    encode = Encoder(teacher_folder, tmp_path)
    vectors = encode(["abc", "a longer text here"])
    ids = encode.tokenizer("abc", return_tensors="pt")
    with torch.no_grad():
        alone = encode.model(**ids).last_hidden_state[0].mean(0)
    expected = (alone / alone.norm()).numpy()
    np.testing.assert_allclose(vectors[0], expected, atol=0.02)  # bfloat16
    (kept,) = tmp_path.iterdir()
    np.save(kept, np.zeros(3))
    assert encode(["abc", "a longer text here"]).tolist() == [0, 0, 0], "read from the cache"
    with pytest.raises(UserError, match=r"teachers: got"):
        Encoder(tmp_path, tmp_path)


@pytest.fixture
def teacher(teacher_folder: Path, tmp_path: Path) -> Teacher:
    """One that knows three emoji, by two encoders that are the same."""
    maker = PhraseMaker(EmojiTable.builtin(), ["🍕", "🚀", "🎉"], {"pizza": 900, "the": 0})
    encode = Encoders([teacher_folder, teacher_folder], tmp_path)
    return Teacher(encode, [["pizza", "slice"], ["rocket"], ["party"]], maker)


def test_scores_are_cosines_words_and_use(
    teacher: Teacher, teacher_folder: Path, tmp_path: Path
) -> None:
    encode, texts = Encoder(teacher_folder, tmp_path), ["pizza pizza rocket", "nothing"]
    both = Encoders([teacher_folder, teacher_folder], tmp_path)(texts)
    known = [teacher.known_words(text) for text in texts]
    found = teacher.scores(torch.from_numpy(both).float(), known)
    maker = PhraseMaker(EmojiTable.builtin(), ["🍕", "🚀", "🎉"], {"pizza": 900, "the": 0})
    use = {"🍕": 3 * USE, "🚀": 4 * USE, "🎉": 6 * USE}  # "🍕" was there 4 to 7 times
    for row, said in enumerate((["pizza", "rocket"], [])):
        vector = encode(texts[row : row + 1])[0].astype(np.float32)
        for place, group in enumerate((["pizza", "slice"], ["rocket"], ["party"])):
            each = encode(group).astype(np.float32)
            mean = each.mean(0) / math.sqrt(float(each.mean(0) @ each.mean(0)))
            cosines = float(mean @ vector) + LARGEST * float((each @ vector).max())
            words = sum(float(maker.evidence[word][place]) for word in said)
            expected = cosines / TEMPERATURE + LEXICAL * words
            expected += use[maker.emoji[place]]
            assert float(found[row, place]) == pytest.approx(expected, abs=0.1)  # vectors of fp16


def test_a_mood_takes_its_share_of_the_probability(teacher: Teacher) -> None:
    scores = torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    joy = list(EMOTIONS).index("joy")  # of the three emoji it has 🎉 alone
    mixed = teacher.with_mood(scores, [[joy], []], torch.tensor([0.5, 0.0])).softmax(1)
    alone = scores.softmax(1)
    torch.testing.assert_close(mixed[0], 0.5 * alone[0] + torch.tensor([0.0, 0.0, 0.5]))
    torch.testing.assert_close(mixed[1], alone[1])


def test_answers_go_on_to_what_is_not_yet_said_and_end(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher._alike_EE = torch.eye(3)
    scores = torch.tensor([[2.0, 1.9, 1.8]]).repeat(3, 1)
    things = torch.tensor([[[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]]).repeat(3, 1, 1)
    answers, targets = teacher.sequences(scores, things, torch.tensor([1, 2, 3]), greedy=True)
    assert answers[:, :3].tolist() == [[1, 0, 0], [1, 3, 0], [1, 3, 2]], "in the order of mention"
    assert not answers[:, 3:].any()
    torch.testing.assert_close(targets.sum(2), torch.ones(3, 5))
    assert targets[:, 0, 0].tolist() == [0, 0, 0], "an answer has one emoji at least"
    assert [float(targets[row, row + 1, 0]) for row in range(3)] == [1.0, 1.0, 1.0]
    assert float(targets[2, 1, 1]) == 0.0, "no emoji twice"
    monkeypatch.setattr("emoji_gpt2.distill.teacher.ENOUGH", 0.9)  # no second emoji is likelier
    nothing = -torch.ones(1, 1, 3)
    answers, targets = teacher.sequences(scores[:1], nothing, torch.tensor([3]), greedy=True)
    assert answers[0].tolist() == [1, 0, 0, 0, 0]
    assert float(targets[0, 1, 0]) > float(targets[0, 1, 1:].max()), "the end is the likeliest"
    assert float(targets[0, 1, 1:].max()) > 0, "others may follow all the same"


def test_composed_texts_and_moods_say_their_parts() -> None:
    parts = ["pizza", "beer", "red car"]
    for text, chosen in composed(parts, 50, 0):
        places = [text.index(part) for part in chosen]
        assert places == sorted(places)
        assert len(set(chosen)) == len(chosen) in (2, 3)
    assert list(composed(parts, 5, 0)) == list(composed(parts, 5, 0))
    said = list(sayings(parts, 50, 0))
    for text, chosen, emotion in said:
        assert " and ".join(chosen) in text
        assert 0 <= emotion < NEUTRAL
    assert {len(chosen) for _, chosen, _ in said} == {1, 2}
    moods = dict(feelings())
    names = list(EMOTIONS)
    assert names[moods["i am not happy"]] == "sadness"
    assert names[moods["i am happy"]] == "joy"
    assert things("I love my big dog and a dog", {"love", "big", "dog", "my"}) == (
        "love", "big", "dog",
    )  # fmt: skip
    table = EmojiTable.builtin()
    for emoji in (*EMOTIONS.values(), *USED.values()):
        assert "".join(table.split(emoji)) == emoji


def test_goemotions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text('So "happy\t17,0\tab\nok\t27\tcd\n', encoding="utf-8")
    assert goemotions(path) == [('so "happy', [17, 0]), ("ok", [27])]
    path.write_text("no numbers\n", encoding="utf-8")
    for wrong in (path, tmp_path / "none.tsv"):
        with pytest.raises(UserError, match=r"goemotions: got"):
            goemotions(wrong)


def test_cross_entropy_to_teacher_is_the_plain_sum() -> None:
    logits, targets = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[0.25, 0.75], [1.0, 0]])
    expected = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total = sum(math.exp(x) for x in row)
        expected -= sum(t * math.log(math.exp(x) / total) for x, t in zip(row, target, strict=True))
    assert float(cross_entropy_to_teacher(logits, targets)) == pytest.approx(expected)


def test_the_loss_is_over_every_place_of_an_answer() -> None:
    model = DistilledGPT2({"n_layer": 1, "n_embd": 8, "n_head": 1})
    logits, targets = torch.randn(4, 3), torch.rand(4, 3)
    nothing = torch.full((2, 1), -1)
    batch = DistillBatch(
        torch.zeros(2, 4, dtype=torch.long), torch.tensor([2, 3, 5, 6]), torch.tensor([2, 0, 1, 0]),
        torch.tensor([2, 5]), nothing, targets,
    )  # fmt: skip
    nats, count = model.loss(logits, batch)
    logs = torch.log(torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True))
    assert float(nats) == pytest.approx(-float((targets * logs).sum()), abs=1e-5)
    assert int(count) == 4


def test_principal_axes_are_the_eigenvectors_of_the_second_moment() -> None:
    vectors = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 6)
    _, columns = torch.linalg.eigh(vectors.T @ vectors)
    overlap = principal_axes(vectors, 2).T @ columns[:, [4, 3]]
    torch.testing.assert_close(overlap.abs(), torch.eye(2), atol=1e-4, rtol=0)


def test_evaluation_sentences_are_no_rows_and_batches_hold_the_answers(
    wordnet: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    comments = tmp_path / "train.tsv"
    lines = ["3D printing a new creation\t17\tab", "fresh bread today\t17\tcd"]
    comments.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = DistillData(
        [str(teacher_folder)], str(wordnet), goemotions=str(comments), made_up_texts=5,
        composed_texts=5, sayings=5, name_copies=1, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    data.setup()
    texts = [row.text for row in data.dataset.rows]
    assert "fresh bread today" in texts
    assert not {short_hash(text) for text in texts} & evaluation_hashes()
    assert short_hash("3d printing a new creation") in evaluation_hashes()
    n_taught = len(texts)
    batch = data.dataset[np.array([n_taught, 0, texts.index("fresh bread today")])]
    ends = [int(n) for n in (batch.labels_N == data.dataset.candidates[0]).nonzero()]
    assert ends[-1] == len(batch.labels_N) - 1
    assert len(ends) == 3, "each answer ends"
    torch.testing.assert_close(batch.targets_NV.sum(1), torch.ones(len(batch.labels_N)))
    name = batch.targets_NV[ends[1] + 1]  # the row of a name comes last
    assert (int(name.argmax()), float(name.max())) == (1, 1.0)
    for position, label in enumerate(batch.labels_N.tolist()):
        place = data.dataset.candidates.index(label)
        assert float(batch.targets_NV[position, place]) > 0, "what was drawn is possible"


def test_a_tiny_run_goes_on_and_writes_a_model_that_answers(
    wordnet: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    comments = tmp_path / "train.tsv"
    comments.write_text("good luck\t20\tab\nI am so happy today\t17\tcd\n", encoding="utf-8")
    config = ROOT / "configs/base.yaml"
    head = re.match(r"(#.*\n)+", config.read_text(encoding="utf-8"))
    assert head
    (command,) = re.findall(r"python -m .*", re.sub(r" *\\\n# *", " ", head.group()))
    words = shlex.split(command)
    assert words[2:5] == ["emoji_gpt2.distill", "--config", "configs/base.yaml"]
    monkeypatch.setattr("sys.argv", ["distill"])  # or Lightning warns of two command lines

    def run(*more: str) -> None:
        main(
            [
                "--config", str(config), f"--data.teachers=[{teacher_folder}]",
                f"--data.wordnet={wordnet}", f"--data.goemotions={comments}",
                "--data.composed_texts=30", "--data.sayings=30", "--data.made_up_texts=20",
                "--data.name_copies=1", "--data.batch_size=32", "--data.cache_dir=cache",
                "--model.config.n_layer=1", "--model.config.n_embd=16", "--model.config.n_head=1",
                "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false", *more,
            ]
        )  # fmt: skip

    run("--trainer.max_epochs=1")
    generator = EmojiGenerator.from_pretrained("checkpoints/distilled")
    ((best, *_),) = generator.rank(["i love pizza"])
    assert best[0] in EmojiTable.builtin()
    weights = load_file("checkpoints/distilled/model.safetensors")
    assert {one.dtype for one in weights.values()} == {torch.float16}
    stored = GPT2LMHeadModel.from_pretrained("checkpoints/distilled", dtype="auto")
    assert stored.dtype == generator.model.dtype == torch.float32
    last = Path("checkpoints/distilling/last.ckpt")
    run("--trainer.max_epochs=2", f"--ckpt_path={last}", "--output_dir=longer")
    assert load(last)["global_step"] == 4
    again = GPT2LMHeadModel.from_pretrained("longer", dtype="auto").state_dict()
    same = [again[name].equal(value) for name, value in stored.state_dict().items()]
    assert not all(same), "two steps more"


def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["distill"])
    with pytest.raises(SystemExit) as stopped:
        main([f"--data.teachers=[{tmp_path}]", f"--data.wordnet={tmp_path}"])
    assert stopped.value.code == 2
    assert re.fullmatch(r"error: --data.teachers: got .*\n", capsys.readouterr().err)
