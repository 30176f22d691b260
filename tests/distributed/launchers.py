"""Fit on two processes that are not started anew, then validate, fit on and save on one.

    python -m tests.distributed.launchers data.csv ddp_spawn

These are what Lightning takes in a notebook. The last line printed is JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from emoji_gpt2.model.module import EmojiGPT2
from tests.tiny import quiet_trainer, tiny_data, tiny_model


class FirstLoss(Callback):
    """Log the loss of the run's first step, so that it comes back from the processes."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 1:
            self.value = outputs["loss"]
        pl_module.log("first", self.value, sync_dist=True)


def main() -> None:
    table, strategy = Path(sys.argv[1]), sys.argv[2]
    folder = table.parent
    data = tiny_data(table, val_path=str(table))
    model = tiny_model(learning_rate=0.003)

    def fit() -> dict[str, float]:
        trainer = quiet_trainer(
            folder, devices=2, strategy=strategy, max_epochs=5, callbacks=[FirstLoss()]
        )
        trainer.fit(model, data)
        trainer.save_checkpoint(folder / "saved.ckpt")
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    def validate(one: EmojiGPT2) -> float:
        return quiet_trainer(folder).validate(one, data, verbose=False)[0]["val/loss"]

    found = {"before": validate(model)}
    first = fit()
    found |= {"after fit": first["val/loss"], "first loss": first["first"]}
    found["validated"] = validate(model)
    second = fit()
    found |= {"after a second fit": second["val/loss"]}
    found["first loss of the second fit"] = second["first"]
    found["saved"] = validate(EmojiGPT2.load_from_checkpoint(folder / "saved.ckpt"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
