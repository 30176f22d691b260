"""Several processes encode a source as one does; errors stay one line, large sources get help."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emoji_gpt2.data import encode
from emoji_gpt2.data.encode import RowEncoder, encoded_chunks, processes_for, text_hash
from emoji_gpt2.data.examples import Report
from emoji_gpt2.data.sources import Source, open_source
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer

TOKENIZER = add_emoji_tokens(builtin_gpt2_tokenizer())[0]
MORE_THAN_CORES = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def source_of(tmp_path: Path, lines: list[str]) -> Source:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,emoji", *lines]) + "\n", encoding="utf-8")
    return open_source(path, cache_dir=tmp_path)


def encoder(**options: int) -> RowEncoder:
    return RowEncoder(TOKENIZER, "keep", **{"max_length": 32, **options})


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "CHUNK", 10)


@MORE_THAN_CORES
@pytest.mark.parametrize("processes", [0, 3])
@pytest.mark.usefixtures("small_chunks")
def test_rows_come_in_the_order_of_the_source(tmp_path: Path, processes: int) -> None:
    lines = [f"thing {n},{'🍕🍔'[n % 2] * (n % 3)}" for n in range(77)]
    before = torch.random.get_rng_state()
    chunks = list(encoded_chunks(source_of(tmp_path, lines), encoder(), processes))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [len(chunk.report.source) for chunk in chunks] == [5] * 8
    report = Report("a.csv")
    rows: list[list[int]] = []
    for chunk in chunks:
        report.add(chunk.report)
        assert chunk.ids.dtype == np.dtype("<u2")
        ends = np.cumsum(chunk.lengths)
        rows += [part.tolist() for part in np.split(chunk.ids, ends[:-1])]
    assert report.rows_read == 77
    assert report.dropped == {"no emoji in the row": 26}
    texts = [TOKENIZER.decode(row).removesuffix("<|endoftext|>") for row in rows]
    wanted = [f" thing {n}<|emoji|>{'🍕🍔'[n % 2] * (n % 3)}" for n in range(77) if n % 3]
    assert texts == wanted
    hashes = np.concatenate([chunk.text_hashes for chunk in chunks]).tolist()
    assert hashes == [text_hash(f"thing {n}") for n in range(77) if n % 3]
    n_prompt = np.concatenate([chunk.n_prompt for chunk in chunks]).tolist()
    assert n_prompt == [row.index(54_201) + 1 for row in rows]


@MORE_THAN_CORES
@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.usefixtures("small_chunks")
def test_a_mistake_in_the_source_is_one_line_from_any_process(
    tmp_path: Path, processes: int
) -> None:
    source = source_of(tmp_path, [*(f"thing {n},🍕" for n in range(25)), "a,b,🍕", "c,🍕"])
    with pytest.raises(UserError) as caught:
        list(encoded_chunks(source, encoder(), processes))
    assert "3 cells in line 27" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_processes_are_for_large_sources_and_no_more_than_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path, ["pizza,🍕"])
    monkeypatch.setattr(encode.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert processes_for(source) == 0
    size = source.path.stat().st_size
    for share, wanted in ((1, 0), (2, 2), (3, 3), (9, 3)):
        monkeypatch.setattr(encode, "BYTES_PER_PROCESS", size // share)
        assert processes_for(source) == wanted


def test_progress_counts_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"thing {n},🍕" for n in range(25)]
    plain = source_of(tmp_path, lines)
    assert plain.n_lines() == 26
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(__import__("gzip").compress(plain.path.read_bytes()))
    assert open_source(packed, cache_dir=tmp_path).n_lines() is None
    records = tmp_path / "a.jsonl"
    records.write_text('{"text": "a", "emoji": "🍕"}\n' * 3, encoding="utf-8")
    assert open_source(records, cache_dir=tmp_path).n_lines() == 3
    listed = tmp_path / "a.json"
    listed.write_text('[{"text": "a", "emoji": "🍕"}]', encoding="utf-8")
    assert open_source(listed, cache_dir=tmp_path).n_lines() is None
    list(encoded_chunks(plain, encoder(), 0))
    assert capsys.readouterr().err == ""  # a moment's work, and no terminal
