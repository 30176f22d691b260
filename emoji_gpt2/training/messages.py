"""What Lightning prints in a run: no advertisements, no warnings of what is meant.

with messages(notebook=True):
    Trainer().fit(model, data)
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

RANK_ZERO = "lightning.pytorch.utilities.rank_zero"
"""The logger of ``rank_zero_info``."""


@contextmanager
def messages(*, notebook: bool) -> Iterator[None]:
    """Drop Lightning's tips, and in a notebook print its messages on standard output.

    Lightning logs to standard error, which a notebook shows on red as if it were a warning. What
    ``warnings`` prints stays there.
    """
    with ExitStack() as undo:
        logger = logging.getLogger(RANK_ZERO)
        logger.addFilter(_is_no_tip)
        undo.callback(logger.removeFilter, _is_no_tip)
        for name in ("lightning.pytorch", "lightning.fabric") if notebook else ():
            for handler in logging.getLogger(name).handlers:
                if type(handler) is logging.StreamHandler:  # not a file's
                    undo.callback(handler.setStream, handler.stream)
                    handler.setStream(sys.stdout)
        yield


def _is_no_tip(record: logging.LogRecord) -> bool:
    """Return whether a message is something else than "💡 Tip: ... try installing ..."."""
    return not str(record.msg).startswith("💡 Tip:")


def ignore_warnings() -> None:
    """Ignore Lightning's warnings of what is meant, or what a user can do nothing about."""
    # The folder is claimed already, and nothing of another run is in it.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # validate, test and predict need no checkpoint callbacks.
    warnings.filterwarnings("ignore", message=r"Be aware that when using `ckpt_path`")
    # A run may go on in another folder, or on another disk.
    warnings.filterwarnings("ignore", message=r"The dirpath has changed from")
    # --data.val_fraction 0 is meant.
    warnings.filterwarnings("ignore", message=r"Total length of `list` across ranks is zero")
    # The first epoch may not be validated.
    warnings.filterwarnings("ignore", message=r"`ModelCheckpoint\(monitor=.* could not find the")
    # Lightning 2.6 with torch 2.13; nothing that a user can do about it.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
