"""The command line of ``python -m emoji_gpt2.evaluate``.

    python -m emoji_gpt2.evaluate --model DIR|CKPT|HUB_ID --data FILE [--output_dir DIR]
    python -m emoji_gpt2.evaluate --model DIR --data names

Prints a table; exits with 0, or with 2 and one line on standard error for a user's mistake.
"""

import argparse
from collections.abc import Sequence

from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.errors import OneLineParser, local_path, one_line_errors
from emoji_gpt2.evaluation.evaluate import evaluate
from emoji_gpt2.evaluation.report import output_files


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = OneLineParser(
        prog="python -m emoji_gpt2.evaluate",
        description="Score a model on texts with their emoji, beside baselines.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", required=True, help="folder, .ckpt or Hub id")
    add("--data", required=True, help="table of texts and emoji; 'names': the built-in names")
    add("--train_data", help="what the model was trained on, for the most frequent emoji")
    add(
        "--candidates",
        help="only these emoji may be answered: such as 😂❤️😍, or a file as for --label_names",
    )
    add(
        "--max_emoji",
        type=int,
        help="emoji of a generated answer at most (default: as the data, up to 5)",
    )
    add("--semantic_model", help="sentence-transformers model for a third baseline")
    add("--text_column", help="the column of texts, by name or number (default: found)")
    add("--emoji_column", help="the column of emoji, likewise")
    add("--encoding", help="of a text file (default: found)")
    add("--delimiter", help="what separates cells (default: found)")
    add("--labels_path", help="file of labels, one a line, of a --data of texts alone")
    add("--label_names", help="file with the emoji of each label: label, tab, emoji")
    add("--emoji_from_text", action="store_true", default=None, help="take them out of texts")
    add("--batch_size", type=int, default=64, help="texts of one forward pass (default: 64)")
    add("--resamples", type=int, default=1_000, help="of the bootstrap (default: 1000)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add("--output_dir", help="folder for evaluation.json and .md")
    add("--device", help="cpu, cuda, ... (default: the first GPU, or the CPU)")
    return parser.parse_args(words)


def run(options: argparse.Namespace) -> None:
    """Evaluate, print and save."""
    given = dict(vars(options))
    output_dir = given.pop("output_dir")
    folder = local_path("output_dir", output_dir) if output_dir else None
    if folder:
        output_files(folder)  # before anything is computed in vain
    evaluation = evaluate(given.pop("model"), given.pop("data"), **given)
    print(evaluation.to_markdown())
    if folder:
        files = evaluation.save(folder)
        print(f"Written: {', '.join(map(str, files))}")


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with one_line_errors():
        run(parse(words))
