"""The command line of ``python -m emoji_gpt2.distill``: train the base and write its folder.

python -m emoji_gpt2.distill --config configs/base.yaml ...   # the file has the whole command
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.distill.data import DistillData
from emoji_gpt2.distill.student import DistilledGPT2
from emoji_gpt2.errors import check, flag, one_line_errors
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.training.cli import StrictParser
from emoji_gpt2.training.messages import ignore_warnings


class DistillCLI(LightningCLI):
    """Parses options; ``main`` runs."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add --output_dir and --ckpt_path."""
        parser.add_argument(
            "--output_dir",
            default="checkpoints/distilled",
            type=str,
            help="Folder for the trained model, in Transformers format with fp16 weights.",
        )
        help_text = "The last.ckpt of a run that was stopped, to go on after its last whole epoch."
        parser.add_argument("--ckpt_path", default=None, type=str | None, help=help_text)


def main(words: Sequence[str] | None = None) -> None:
    """Run; a user's mistake is one line on standard error and exit status 2."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    # Names and texts are all for training; the outcome is measured on other data afterwards.
    warnings.filterwarnings("ignore", message=r"You defined a `validation_step` but have no")
    # Collating a batch takes a few milliseconds.
    warnings.filterwarnings("ignore", message=r"The '\w+' does not have many workers")
    ignore_warnings()
    with one_line_errors(flag):
        cli = DistillCLI(
            DistilledGPT2,
            DistillData,
            parser_class=StrictParser,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            run=False,
            args=list(words) if words is not None else None,
        )
        ckpt_path = cli.config["ckpt_path"]
        there = ckpt_path is None or Path(ckpt_path).is_file()
        check("ckpt_path", ckpt_path, fine=there, wanted="a checkpoint file")
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path)
        folder = Path(cli.config["output_dir"]).expanduser()
        save_transformers_folder(cli.model.model.half(), cli.model.tokenizer, folder)
        config = folder / "config.json"  # small on disk, but Transformers too computes in float32
        text = config.read_text(encoding="utf-8").replace('"float16"', '"float32"')
        config.write_text(text, encoding="utf-8")
        print(f"written: {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
