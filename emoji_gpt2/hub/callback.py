"""Keep a run on the Hugging Face Hub while it trains.

    Trainer(callbacks=[..., PushToHub("user/emoji", strategy="checkpoint")])
    python -m emoji_gpt2.fit --config configs/quickstart.yaml --hub.repo_id user/emoji

The root of the repository is the Transformers folder, so that ``pipeline`` finds it; the
checkpoints lie beside its files. ``uploader.py`` pushes in the background.
"""

import logging
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from emoji_gpt2.errors import UserError, check
from emoji_gpt2.files import MODEL
from emoji_gpt2.hub.client import check_access, commit_files, files_of
from emoji_gpt2.hub.snapshots import add_checkpoints, save_best
from emoji_gpt2.hub.uploader import Snapshot, Uploader
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.module import EmojiGPT2

ASIDE = ".push-"
"""Prefix of the folder of snapshots in the run's folder."""
END_WAIT_S = 3600.0
"""Seconds that a finished run waits for its last push at most."""
EXIT_WAIT_S = 60.0
"""Seconds that a run which is stopped or fails waits for its last push at most."""
STRATEGIES = ("end", "every_save", "checkpoint", "all_checkpoints")
log = logging.getLogger(__name__)


class PushToHub(Callback):
    """Push the run to a Hub repository while it trains; training neither waits for it nor dies.

    What was saved during a step is pushed when the next batch starts, but not what a
    ModelCheckpoint with ``save_weights_only`` saves. The best weights are pushed at the end.

    Args:
        repo_id: USER/NAME of the repository, which is created if it does not exist; null pushes
            nothing.
        strategy: end pushes the best weights when training is done; every_save also the current
            weights whenever a checkpoint is saved; checkpoint also last.ckpt, from which training
            goes on; all_checkpoints also every other checkpoint that is kept.
        private: Whether a repository that is created is private; null is the account's default.
        revision: A branch to push to, which is created if it does not exist; null is main.
        min_interval: Seconds between two pushes; the Hub takes 128 an hour.
        strict: Stop training when a push has failed.
        card_examples: Whether the model card, also that in the run's folder, shows validation
            texts as they are, with the model's answers.

    Attributes:
        output_dir: The run's own folder, whose ``model/`` is pushed at the end if there is one;
            None where the run has none, as in a Trainer of one's own.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        repo_id: str | None = None,
        strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] = "every_save",
        private: bool | None = None,
        revision: str | None = None,
        min_interval: float = 30.0,
        strict: bool = False,
        card_examples: bool = False,
    ) -> None:
        check("hub.strategy", strategy, fine=strategy in STRATEGIES, wanted=str(STRATEGIES))
        check("hub.min_interval", min_interval, fine=min_interval >= 0, wanted="0 or more")
        self.repo_id = repo_id
        self.strategy = strategy
        self.private = private
        self.revision = revision
        self.min_interval = min_interval
        self.strict = strict
        self.card_examples = card_examples
        self.output_dir: Path | None = None
        self._checked = False
        self._uploader: Uploader | None = None
        self._aside = Path()
        self._numbers = count()
        self._failed = False
        self._noted = False
        self._saved = False

    def preflight(self) -> None:
        """Check, once, that the repository can be written, or raise a ``UserError``."""
        if self.repo_id is not None and not self._checked:
            self.repo_id = check_access(self.repo_id, self.private, self.revision)
            self._checked = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the repository on rank 0 before training; all ranks raise or none."""
        if not self._pushes(trainer) or stage != "fit":
            return
        if not isinstance(pl_module, EmojiGPT2):
            kind = type(pl_module).__name__
            raise UserError("PushToHub", f"a {kind}", "an EmojiGPT2", "leave PushToHub out")
        mistake = None
        if trainer.is_global_zero:
            try:
                self.preflight()
            except UserError as error:
                mistake = error.args
        mistake = trainer.strategy.broadcast(mistake)
        if mistake is not None:
            raise UserError(*mistake)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the background thread; what is saved by now was saved by an earlier run."""
        self._saved = False
        if not self._pushes(trainer) or not trainer.is_global_zero:
            return
        home = self._home(trainer)
        for left in home.glob(f"{ASIDE}*") if self.output_dir else ():  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        self._aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=home))
        self._uploader = Uploader(self._send, self.min_interval)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note that a checkpoint is about to be written, by any callback."""
        self._saved = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Push what was saved since the last batch; with ``strict``, stop after a failure."""
        if self.strict and self._pushes(trainer):
            mine = bool(self._uploader and self._uploader.failures)
            self._failed = trainer.strategy.reduce_boolean_decision(mine, all=False)
            if self._failed:
                raise self._failed_push()
        self._push_if_saved(trainer, pl_module)

    def _push_if_saved(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved and self._uploader is not None and self.strategy != "end":
            self._submit(trainer, pl_module, final=False)
        self._saved = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Push what was saved, waiting ``EXIT_WAIT_S`` seconds at most."""
        if self._uploader is not None:
            self._push_if_saved(trainer, pl_module)
            self._finish(trainer, EXIT_WAIT_S)
        together = isinstance(exception, SystemExit) or self._failed
        if self.repo_id is not None and together and trainer.world_size > 1:
            # All ranks stop for the same reason. Were others gone, Lightning would kill rank 0.
            trainer.strategy.barrier()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Push the best weights, waiting ``END_WAIT_S`` seconds at most, and report."""
        if self._uploader is None or stage != "fit":
            return
        self._submit(trainer, pl_module, final=True)
        failures = self._finish(trainer, END_WAIT_S)
        if failures and self.strict:
            raise self._failed_push(failures[-1])

    def _failed_push(self, failure: str = "the log says why") -> UserError:
        got = f"a push to {self.repo_id} that failed ({failure})"
        remedy = "go on with {ckpt_path} last, or without {hub.strict}"
        return UserError("hub.strict", got, "none to fail", remedy)

    def _submit(self, trainer: Trainer, pl_module: LightningModule, *, final: bool) -> None:
        """Queue a snapshot; one that cannot be taken is a failed push."""
        assert self._uploader is not None
        assert isinstance(pl_module, EmojiGPT2)
        title = f"{'Best weights' if final else 'Weights'} after step {trainer.global_step}"
        parent = self._aside / str(next(self._numbers))
        folder = parent / MODEL
        try:
            parent.mkdir()
            if final:
                save_best(trainer, pl_module, folder, self._exported())
            else:
                save_transformers_folder(pl_module.model, pl_module.tokenizer, folder)
            add_checkpoints(trainer, self.strategy, folder)
        except Exception as error:  # noqa: BLE001 - a full disk must not end the training
            shutil.rmtree(parent, ignore_errors=True)
            self._uploader.fail(title, error)
            return
        self._uploader.submit(Snapshot(folder, title))

    def _send(self, snapshot: Snapshot) -> None:
        assert self.repo_id is not None
        files = files_of(snapshot.folder)
        note = commit_files(files, self.repo_id, self.revision, snapshot.title).note
        if note and not self._noted:
            self._noted = True
            log.warning(note)

    def _finish(self, trainer: Trainer, at_most: float) -> list[str]:
        """Wait for the pushes, report, and return the failures."""
        uploader, self._uploader = self._uploader, None
        assert uploader is not None
        try:
            uploader.close(at_most)
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)
        rank_zero_info(f"Pushes to the Hub repository {self.repo_id}: {uploader.pushed} went well.")
        if uploader.failures:
            whole = self.strategy in ("checkpoint", "all_checkpoints")
            folder = self.output_dir if whole else self._exported() or self.output_dir
            branch = f" --revision {self.revision}" if self.revision else ""
            command = f"python -m emoji_gpt2.hub push {folder} --repo_id {self.repo_id}{branch}"
            lines = [f"{len(uploader.failures)} failed:", *uploader.failures]
            by_hand = f"\nPush by hand: {command}" if folder else ""
            log.warning("%s%s", "\n  ".join(lines), by_hand)
        return uploader.failures

    def _home(self, trainer: Trainer) -> Path:
        """Return the folder that the run writes into."""
        return self.output_dir or Path(trainer.default_root_dir)

    def _exported(self) -> Path | None:
        """Return the run's exported Transformers folder, if it has one."""
        folder = self.output_dir / MODEL if self.output_dir else None
        return folder if folder and folder.is_dir() else None

    def _pushes(self, trainer: Trainer) -> bool:
        return self.repo_id is not None and not getattr(trainer, "fast_dev_run", False)
