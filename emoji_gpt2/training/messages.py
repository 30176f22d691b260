"""What Lightning prints during a run: no advertisements, and no red boxes in a notebook.

with messages(notebook=True):
    Trainer().fit(model, data)
"""

import logging
import sys
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
