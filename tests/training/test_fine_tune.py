"""The real command line, end to end: what a run writes, how it goes on, how it refuses."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import re
import signal
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from transformers import GPT2LMHeadModel

from emoji_gpt2 import fine_tune_gpt2
from emoji_gpt2.errors import UserError
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.training import fine_tune as fit
from emoji_gpt2.training.early_checks import LOGGED
from emoji_gpt2.training.export import ExportBest
from emoji_gpt2.training.samples import ShowSamples
from tests.cli_runs import (
    NO_VALIDATION,
    UPSTREAM,
    Cli,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    contents,
    load,
    load_weights,
    read_csv,
    train_losses,
    trained_run,  # noqa: F401 -- a fixture
    write_table,
)
from tests.distributed.forked import Forked
from tests.distributed.runs import free_port
from tests.hub.server import HubServer

pytestmark = UPSTREAM


# What a run writes


def test_a_run_leaves_config_metrics_checkpoints_and_model(cli: Cli) -> None:
    run = cli("--trainer.max_epochs=2")
    assert run.status == 0, run.stderr
    best, *others = sorted(path.name for path in run.folder.iterdir())
    assert best.startswith("best-epoch=")
    assert {*others} >= {"config.yaml", "last.ckpt", "metrics.csv", "model"}
    assert len(list(run.folder.glob("*.ckpt"))) == 2
    header = list(run.metrics[0])
    assert {"epoch", "step", *LOGGED} <= {*header}
    assert sorted(train_losses(run.folder / "metrics.csv")) == list(range(8))  # 26 rows, 8 a batch
    assert [row["step"] for row in run.metrics if row["val/loss"]] == ["3", "7"]
    assert load(run.folder / "last.ckpt")["global_step"] == 8
    config = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["trainer"]["max_epochs"] == 2
    assert config["model"]["config"] == {"n_layer": 1, "n_embd": 16, "n_head": 2}
    assert "ckpt_path" not in config
    assert not [name for name in contents(run.folder) if Path(name).name.startswith(".")]
    shown = re.findall(r"^epoch (\d), step (\d+) +predicted +wanted$", run.stderr, re.MULTILINE)
    assert shown == [("0", "4"), ("1", "8")]
    assert len(re.findall(r"^  thing number \d+ ", run.stderr, re.MULTILINE)) == 4


def test_model_holds_the_best_weights(cli: Cli) -> None:
    """A learning rate this high makes epoch 1 or 2 the best, hardly ever the last of 4."""
    run = cli("--trainer.max_epochs=4", "--model.learning_rate=0.3", "--model.warmup_steps=0")
    best = next(run.folder.glob("best-*.ckpt"))
    scores = {int(r["epoch"]): float(r["val/mrr"]) for r in run.metrics if r["val/mrr"]}
    assert scores[load(best)["epoch"]] == max(scores.values())
    exported = GPT2LMHeadModel.from_pretrained(run.folder / "model").state_dict()
    for name, tensor in load_weights(best).items():
        assert torch.equal(exported[name.removeprefix("model.")], tensor), name
    assert f"The weights of {best.name} are in" in run.stderr


def test_config_yaml_starts_an_equal_run(cli: Cli, tmp_path: Path) -> None:
    first = cli("--model.learning_rate=0.01", "--model.dropout=0.2", "--data.max_length=9")
    folder = tmp_path / "again"
    again = cli.raw(
        "fit",
        f"--config={first.folder / 'config.yaml'}",
        f"--output_dir={folder}",
        folder=folder,
    )
    assert again.status == 0, again.stderr
    assert again.metrics == first.metrics
    configs = [(run / "config.yaml").read_text(encoding="utf-8") for run in (first.folder, folder)]
    assert configs[0].replace(str(first.folder), "X") == configs[1].replace(str(folder), "X")


# A folder belongs to one run


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_run_into_the_folder_is_refused(
    cli: Cli, begun: Path, trained_run: Path, elsewhere: bool
) -> None:
    """Also one that goes on from a checkpoint of another folder."""
    before = contents(begun)
    error = cli(*([f"--ckpt_path={trained_run / 'last.ckpt'}"] * elsewhere)).error()
    assert f"'{begun}', which holds a run" in error
    assert "go on by --ckpt_path last" in error
    assert contents(begun) == before


def test_a_file_in_the_way_of_output_dir(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert str(folder) in cli(f"--output_dir={folder}").error()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


# Going on


def last_lr(folder: Path) -> float:
    """The highest learning rate that the run's optimizer is scheduled from."""
    content = load(folder / "last.ckpt")
    base = {*content["lr_schedulers"][0]["base_lrs"]}
    initial = {group["initial_lr"] for group in content["optimizer_states"][0]["param_groups"]}
    assert base == initial, (base, initial)
    (rate,) = base
    return float(rate)


def test_a_learning_rate_flag_wins_over_the_checkpoint(cli: Cli, begun: Path) -> None:
    assert last_lr(begun) == pytest.approx(0.02)
    run = cli("--ckpt_path=last", "--trainer.max_epochs=3", "--model.learning_rate", "0.01")
    assert run.status == 0, run.stderr
    assert "model.learning_rate: 0.01, as the flag says (0.02 was stored)" in run.stderr
    assert last_lr(begun) == pytest.approx(0.01)
    stored = load(begun / "last.ckpt")["hyper_parameters"]
    assert stored["learning_rate"] == 0.01
    assert stored["warmup_steps"] == 1, "kept from the checkpoint"


def test_the_checkpoint_wins_over_a_config(cli: Cli, begun: Path, tmp_path: Path) -> None:
    config = tmp_path / "other.yaml"
    config.write_text("model:\n  learning_rate: 0.5\n  dropout: 0.3\n", encoding="utf-8")
    run = cli(f"--config={config}", "--ckpt_path=last", "--trainer.max_epochs=3")
    assert run.status == 0, run.stderr
    assert "model.learning_rate: 0.02, from the checkpoint (a flag would win)" in run.stderr
    assert "model.dropout: 0.1, from the checkpoint (a flag would win)" in run.stderr
    assert last_lr(cli.folder) == pytest.approx(0.02)
    stored = load(cli.folder / "last.ckpt")["hyper_parameters"]
    assert stored["dropout"] == 0.1


# Mistakes


MISTAKES: dict[str, tuple[list[str], str]] = {
    "a misspelt flag": (["--data.pth=x"], "data.pth"),
    "no prefix is guessed": (["--trainer.max_epoch=1"], "trainer.max_epoch"),
    "a wrong type": (["--data.batch_size=many"], "batch_size"),
    "a batch of nothing": (["--data.batch_size=0"], "--data.batch_size: got 0"),
    "an unknown GPT-2 field": (["--model.config.n_layers=2"], "did you mean n_layer?"),
    "a missing table": (["--data.path=nowhere.csv"], "nowhere.csv"),
    "a column that is not there": (["--data.text_column=txt"], "txt"),
    "no such model": (["--model.pretrained=./nowhere"], "./nowhere"),
    "no network for a model": (["--model.pretrained=gpt2"], "HF_HUB_OFFLINE"),
    "no checkpoint in the folder": (["--ckpt_path=last"], "last*.ckpt"),
    "no such checkpoint": (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
    "a learning rate below 0": (["--model.learning_rate=-1"], "learning_rate"),
    "neither min nor max": (["--checkpoint.mode=highest"], "checkpoint.mode"),
    "an unknown callback": (["--trainer.callbacks+=EarlyStoping"], "EarlyStoping"),
    "a strategy of GPUs": (["--trainer.strategy=fsdp"], "fsdp"),
    "a way to clip": (
        ["--trainer.gradient_clip_val=1", "--trainer.gradient_clip_algorithm=l2"],
        "l2",
    ),
    "an unknown optimizer": (["--optimizer=Wishful"], "optimizer"),
    "devices that are not there": (["--trainer.accelerator=gpu"], "gpu"),
    "a share of everything": (["--data.val_fraction=0.9"], "--data.val_fraction"),
    "a key of a config": (["--config=wrong.yaml"], "batchsize"),
    "a config that is not there": (["--config=nowhere.yaml"], "nowhere.yaml"),
    "a config that is no YAML": (["--config=broken.yaml"], "error: "),
    "a table that is none": (["--data.path=binary.csv"], "binary.csv"),
    "nonsense of the trainer": (["--trainer.accumulate_grad_batches=0"], "accumulate_grad_batches"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    cli: Cli, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text("data:\n  batchsize: 3\n", encoding="utf-8")
    Path("broken.yaml").write_text("data: [1,\n  batch\n", encoding="utf-8")
    Path("binary.csv").write_bytes(bytes(range(256)) * 20)
    words, said = MISTAKES[mistake]
    assert said in cli(*words).error()
    assert not cli.folder.exists(), "the corrected command could not use the folder"


@pytest.mark.parametrize("kind", ["truncated", "foreign"])
def test_a_broken_checkpoint(cli: Cli, trained_run: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "broken.ckpt"
    if kind == "foreign":
        torch.save({"state_dict": {}, "epoch": 0}, path)
    else:
        path.write_bytes((trained_run / "last.ckpt").read_bytes()[:-999])
    assert str(path) in cli(f"--ckpt_path={path}").error()
    assert not cli.folder.exists()
    assert str(path) in cli(f"--ckpt_path={path}", command="test").error()


def test_a_checkpoint_of_another_architecture_takes_the_checkpoints(cli: Cli, begun: Path) -> None:
    """Nothing else could go on; the flags for it are not even needed."""
    run = cli("--ckpt_path=last", "--trainer.max_epochs=3", tiny=False)
    assert run.status == 0, run.stderr
    assert load(cli.folder / "last.ckpt")["hyper_parameters"]["config"]["n_embd"] == 16


# --optimizer and --lr_scheduler


def test_optimizer_and_scheduler_also_when_going_on(cli: Cli) -> None:
    words = ["--optimizer=SGD", "--optimizer.lr=0.5", "--optimizer.momentum=0.25"]
    words += ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.1"]
    for epochs, more in ((2, []), (3, ["--ckpt_path=last"])):
        assert cli(*words, f"--trainer.max_epochs={epochs}", *more).status == 0
        content = load(cli.folder / "last.ckpt")
        (group,) = content["optimizer_states"][0]["param_groups"]
        assert content["global_step"] == 4 * epochs
        assert group["momentum"] == 0.25
        assert group["initial_lr"] == 0.5
        assert content["lr_schedulers"][0]["step_size"] == 1
        assert group["lr"] == pytest.approx(0.5 * 0.1**epochs)


def test_scheduler_only_keeps_our_adamw(cli: Cli) -> None:
    words = ["--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.5", "--trainer.max_epochs=2"]
    assert cli(*words, "--model.learning_rate=0.08", "--model.weight_decay=0.3").status == 0
    content = load(cli.folder / "last.ckpt")
    groups = content["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert [group["lr"] for group in groups] == pytest.approx([0.02, 0.02])
    assert content["lr_schedulers"][0]["gamma"] == 0.5


# Other ways to train


def test_last_ckpt_by_steps_and_at_the_end(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    save = Trainer.save_checkpoint

    def remember(self: Trainer, path: str | Path, *args: Any, **kwargs: Any) -> None:
        if Path(path).name == "last.ckpt":
            written.append(self.global_step)
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(Trainer, "save_checkpoint", remember)
    words = ["--checkpoint.every_n_train_steps=2", "--trainer.max_steps=5"]
    assert cli(*words, "--trainer.max_epochs=9").status == 0
    assert written == [2, 4, 5]
    assert load(cli.folder / "last.ckpt")["global_step"] == 5


def test_a_metric_is_monitored_also_if_the_first_epoch_does_not_validate(cli: Cli) -> None:
    words = ["--trainer.check_val_every_n_epoch=2", "--trainer.num_sanity_val_steps=0"]
    run = cli(*words, "--trainer.max_epochs=2")
    assert run.status == 0, run.stderr
    assert "no validation rows" not in run.stderr
    (state,) = [s for k, s in load(run.folder / "last.ckpt")["callbacks"].items() if "Best" in k]
    assert state["best_model_score"] is not None


@NO_VALIDATION
def test_without_validation_the_newest_is_exported(cli: Cli) -> None:
    run = cli("--data.val_fraction=0", "--data.test_fraction=0", "--trainer.max_epochs=2")
    assert run.status == 0, run.stderr
    assert "no validation rows" in run.stderr
    assert not [row for row in run.metrics if row.get("val/loss")]
    exported = GPT2LMHeadModel.from_pretrained(run.folder / "model").state_dict()
    newest = load(run.folder / "last.ckpt")["state_dict"]
    assert torch.equal(exported["transformer.wte.weight"], newest["model.transformer.wte.weight"])
    assert len(list(run.folder.glob("best-*.ckpt"))) == 1


def test_without_checkpointing(cli: Cli) -> None:
    run = cli("--trainer.enable_checkpointing=false")
    assert run.status == 0, run.stderr
    assert not list(run.folder.rglob("*.ckpt"))
    assert len(train_losses(run.folder / "metrics.csv")) == 4


# validate, test, predict


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluation(cli: Cli, trained_run: Path, command: str) -> None:
    before = contents(trained_run)
    run = cli(f"--ckpt_path={trained_run / 'last.ckpt'}", command=command, tiny=False)
    assert run.status == 0, run.stderr
    prefix = {"validate": "val", "test": "test"}[command]
    found = dict(re.findall(rf"{prefix}/(\w+)\W+([\d.]+)", run.stdout))
    assert {"loss", "mrr", "hit_at_1", "hit_at_5"} <= found.keys(), run.stdout
    if command == "validate":
        last = [row for row in read_csv(trained_run / "metrics.csv") if row["val/loss"]][-1]
        assert float(found["loss"]) == pytest.approx(float(last["val/loss"]), rel=1e-5)
    assert contents(trained_run) == before
    assert not cli.folder.exists(), "evaluation writes nothing"


def test_evaluation_needs_a_model(cli: Cli) -> None:
    assert "--ckpt_path" in cli(command="validate").error()


def write_texts(path: Path, n: int) -> list[str]:
    """Texts whose lengths go up and down: sorting by length would change their order."""
    texts = [f"thing {'and more ' * (i * 7 % 5)}{i}" for i in range(n)]
    path.write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    return texts


def test_predictions_are_in_input_order(cli: Cli, trained_run: Path, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts.csv", 19)
    checkpoint = trained_run / "last.ckpt"
    words = [f"--ckpt_path={checkpoint}", f"--data.predict_path={tmp_path / 'texts.csv'}"]
    run = cli(*words, command="predict", tiny=False)
    assert run.status == 0, run.stderr
    rows = read_csv(cli.folder / "predictions.csv")
    assert [row["text"] for row in rows] == texts
    generator = EmojiGenerator.from_pretrained(checkpoint)
    for row, text in zip(rows, texts, strict=True):
        (best,) = generator.rank([text], top_k=5)
        assert [row[f"emoji_{n}"] for n in range(1, 6)] == [emoji for emoji, _ in best]
        probabilities = [float(row[f"prob_{n}"]) for n in range(1, 6)]
        assert probabilities == pytest.approx([p for _, p in best], abs=1e-4)


def test_predict_says_what_is_missing(cli: Cli, trained_run: Path) -> None:
    ckpt = f"--ckpt_path={trained_run / 'last.ckpt'}"
    assert "--data.predict_path" in cli(ckpt, command="predict", tiny=False).error()


TWO_PROCESSES = ["--trainer.devices=2", "--trainer.accelerator=cpu"]


@pytest.mark.slow
def test_two_processes_predict_in_order_and_validate_alike(
    cli: Cli, trained_run: Path, tmp_path: Path
) -> None:
    texts = write_texts(tmp_path / "texts.csv", 17)  # batches of 8: the last has one row
    flags = [*cli.base, f"--ckpt_path={trained_run / 'last.ckpt'}"]
    flags += [f"--data.predict_path={tmp_path / 'texts.csv'}"]
    one, two = (["predict", *flags, f"--output_dir={tmp_path / n}"] for n in ("one", "two"))
    assert cli.raw(*one).status == 0
    words = ["emoji_gpt2", *two, *TWO_PROCESSES, "--trainer.strategy=ddp_fork"]
    process = Forked(words, tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = [read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two")]
    assert [row["text"] for row in found[1]] == texts
    assert [list(row)[:3] for row in found[0]] == [list(row)[:3] for row in found[1]]
    assert [row["emoji_1"] for row in found[0]] == [row["emoji_1"] for row in found[1]]


# Real processes


def wait_for_training(process: Any, folder: Path) -> None:
    """Wait until an epoch is done: last.ckpt is there, whole."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if (folder / "last.ckpt").exists():
            return
        time.sleep(0.05)
    process.kill()
    pytest.fail("no last.ckpt after 60 s")


@pytest.mark.slow
def test_a_signal_writes_a_checkpoint_to_go_on_from(cli: Cli) -> None:
    """SIGTERM; a SIGINT, and that the end is the same, is in ``invariant/test_restart.py``."""
    process = cli.start("--trainer.max_epochs=1000", "--model.warmup_steps=1")
    wait_for_training(process, cli.folder)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "Stopped by SIGTERM after step" in err
    assert "--ckpt_path last" in err
    step = load(cli.folder / "last.ckpt")["global_step"]
    assert f"after step {step}:" in err
    assert not (cli.folder / "model").exists(), "an unfinished run exports nothing"
    epochs = step // 4 + 2
    run = cli("--ckpt_path=last", f"--trainer.max_epochs={epochs}")
    assert run.status == 0, run.stderr
    assert load(cli.folder / "last.ckpt")["global_step"] == 4 * epochs
    steps = [int(row["step"]) for row in run.metrics if row["train/loss"]]
    assert steps == list(range(4 * epochs)), "no step is lost or done twice"


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step(cli: Cli, tmp_path: Path) -> None:
    words = ["--trainer.max_epochs=1000", "--model.warmup_steps=1", *TWO_PROCESSES]
    command = ["emoji_gpt2.fit", *cli._flags((*words, "--trainer.strategy=ddp"), "fit", True)]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [Forked(command, tmp_path, LOCAL_RANK=rank, **place) for rank in ("0", "1")]
    try:
        wait_for_training(ranks[0], cli.folder)
        ranks[1].send_signal(signal.SIGTERM)
        errors = [rank.communicate(timeout=60)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [143, 143], errors
    step = load(cli.folder / "last.ckpt")["global_step"]
    assert f"Stopped by SIGTERM after step {step}:" in errors[0]


# fine_tune_gpt2

SMALL = pytest.mark.filterwarnings(  # Lightning's word for a table of 26 rows
    "ignore:The number of training batches .* is smaller than the logging interval"
)


@pytest.fixture(scope="module")
def tuned(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The arguments of a call that has come to its end, ``output_dir`` among them."""
    folder = tmp_path_factory.mktemp("tuned")
    table, out = write_table(folder / "emoji.csv"), folder / "out"
    given = {"data_path": str(table), "model_name": str(tiny_gpt2), "output_dir": str(out)}
    given |= {"max_epochs": 2, "batch_size": 5, "learning_rate": 0.001}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SMALL's
        assert fine_tune_gpt2(**given) == out / "model"
    return given


def test_fine_tune_gpt2(tuned: dict[str, Any]) -> None:
    out = Path(tuned["output_dir"])
    started, ended = (
        GPT2LMHeadModel.from_pretrained(folder).transformer.wte.weight[:50257]
        for folder in (tuned["model_name"], out / "model")
    )
    assert torch.nn.functional.cosine_similarity(started, ended).mean() > 0.9
    assert not torch.equal(started, ended)
    assert load(out / "last.ckpt")["global_step"] == 2 * 6  # 26 rows
    assert last_lr(out) == 0.001
    before = contents(out)
    with pytest.raises(UserError, match=r"^output_dir: .* holds a run .* go on by resume=True"):
        fine_tune_gpt2(**tuned)
    assert contents(out) == before


@SMALL
def test_fine_tune_gpt2_s_config_runs_the_same(
    cli: Cli, tuned: dict[str, Any], tmp_path: Path
) -> None:
    other, out = tmp_path / "other", Path(tuned["output_dir"])
    words = [f"--config={out / 'config.yaml'}", f"--output_dir={other}"]
    run = cli.raw("fit", *words, folder=other)
    assert run.status == 0, run.stderr
    assert len(run.metrics) > 1
    assert run.metrics == read_csv(out / "metrics.csv")


@pytest.mark.parametrize("presses", [1, 2])
@SMALL
def test_fine_tune_gpt2_is_interrupted_and_goes_on(
    tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    """Once: the best weights so far are returned. Twice: the notebook has its KeyboardInterrupt."""
    monkeypatch.setattr(ExportBest, "_card", lambda *_: (None, {}))  # it takes longer than the run
    given = tuned | {"output_dir": str(tmp_path / "out")}

    def press(self: ShowSamples, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(ShowSamples, "on_train_batch_end", press)
        with pytest.raises(KeyboardInterrupt) if presses == 2 else nullcontext():
            folder = fine_tune_gpt2(**given)
            assert GPT2LMHeadModel.from_pretrained(folder).config.n_embd == 16
    assert signal.getsignal(signal.SIGINT) == before
    if presses == 2:
        with pytest.raises(UserError, match=r"^resume: got 'last', wanted a last\*\.ckpt"):
            fine_tune_gpt2(**given, resume=True)
        return
    last = tmp_path / "out" / "last.ckpt"
    assert load(last)["global_step"] == 3
    fine_tune_gpt2(**given, resume=True)
    ours, wanted = (load_weights(p) for p in (last, Path(tuned["output_dir"]) / "last.ckpt"))
    assert all(torch.equal(ours[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize(
    ("gpu", "bf16", "precision"),
    [(False, False, "32-true"), (True, True, "bf16-mixed"), (True, False, "16-mixed")],
)
def test_fine_tune_gpt2_is_as_precise_as_the_machine_is_fast(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, bf16: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert fit._precision() == precision


def test_fine_tune_gpt2_refuses_in_one_line(tiny_gpt2: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        fine_tune_gpt2(str(tmp_path / "nowhere.csv"), str(tiny_gpt2), out)
    with pytest.raises(UserError, match="nowhere"):
        fine_tune_gpt2(None, str(tmp_path / "nowhere"), out)
    with pytest.raises(UserError, match="max_epochs"):
        fine_tune_gpt2(None, str(tiny_gpt2), out, max_epochs="many")  # type: ignore[arg-type]
    assert not Path(out).exists()


@pytest.mark.parametrize("name", ["#1.csv", "a: b.csv", "[x].csv", "😀.csv"])
def test_fine_tune_gpt2_never_takes_the_built_in_table_for_a_name(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(repr(name))):
        fine_tune_gpt2(name, model_name=None, output_dir=str(tmp_path / "results"))


@SMALL
def test_fine_tune_gpt2_pushes(
    hub: HubServer, tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    table = write_table(tmp_path / "emoji.csv")
    folder = fine_tune_gpt2(
        str(table), str(tiny_gpt2), str(tmp_path / "out"), "tester/emoji", max_epochs=1
    )
    pushed = hub.repos["models/tester/emoji"].files
    assert contents(folder).items() <= pushed.items()
    assert {*pushed} - {*contents(folder)} <= {".gitattributes"}


def test_a_token_that_cannot_push_is_refused_before_training(
    hub: HubServer, tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    table = write_table(tmp_path / "emoji.csv")
    with pytest.raises(UserError, match=r"^hub_model_name: got 'tester/emoji'") as caught:
        fine_tune_gpt2(str(table), str(tiny_gpt2), str(tmp_path / "out"), "tester/emoji")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert "models/tester/emoji" not in hub.repos


def test_output_dir_may_begin_with_a_tilde(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = cli("--trainer.max_epochs=1", "--output_dir=~/run")
    assert run.status == 0, run.stderr
    assert (tmp_path / "home" / "run" / "config.yaml").is_file()
    words = ["--output_dir=~/run", "--ckpt_path=last"]
    run = cli(*words, command="test", tiny=False)
    assert run.status == 0, run.stderr
