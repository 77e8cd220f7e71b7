"""What TensorBoard reads of a run: each tag has each step once, with the value of a run that nobody killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from events import points
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from test_run import CONFIG, TOKENIZER, fit, make

from tfllm.train.callbacks.evaluation import Evaluation
from tfllm.train.callbacks.samples import Samples
from tfllm.train.runs.async_writer import WRITER


def test_tensorboard_shows_what_it_promises(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = make(folder)
    flops = 3 * CONFIG.forward_flops_per_token(16)
    fit(run, 3, sample=lambda: ["once"], flops_per_token=flops, log_every=2, hparams={"rows": "few", "warmup": None})
    shown = points(folder / "logs")
    scalars = {"loss", "perplexity", "accuracy", "bits_per_byte", "gradient_norm", "learning_rate"}
    scalars |= {"tokens_per_second", "flops_utilisation"}
    assert shown.keys() >= {f"train/{tag}" for tag in scalars | {"sample_0", "attention_block_0"}} | {"config"}
    assert list(shown["train/sample_0"]) == [12], "after the last epoch; before it the run has no 500 steps"
    newest = {step: value for step, value in shown["train/loss"].items() if step > 8}
    assert list(newest) == [10, 12]
    assert np.mean(list(newest.values())) == pytest.approx(run.history[-1]["loss"], rel=1e-6)
    names = (folder / "logs/train/tokens.tsv").read_text().splitlines()
    table = np.loadtxt(folder / "logs/train/embeddings.tsv")
    assert len(names) == len(table) == TOKENIZER.vocab_size
    train = EventAccumulator(str(folder / "logs/train")).Reload()
    for tag in scalars:
        said = train.SummaryMetadata(tag)
        assert said.display_name == tag.replace("_", " ") and said.summary_description.endswith("."), tag
    written = EventAccumulator(str(folder / "logs")).Reload().PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hparams = HParamsPluginData.FromString(written).session_start_info.hparams
    assert hparams["rows"].string_value == "few" and hparams["warmup"].string_value == "None"
    assert hparams["num_layers"].number_value == 1 and hparams["optimizer"].string_value == "AdamW"


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of four epochs that nobody disturbed, and what its folder was at some moments of the third."""
    folders = tmp_path_factory.mktemp("moments")
    run = make(folders / "run")
    found = {"undisturbed": run.folder}

    def keep(moment: str) -> None:
        if 8 < run.step <= 12 and moment not in found:
            WRITER.wait()
            found[moment] = Path(shutil.copytree(run.folder, folders / moment))

    class Moments(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 2:
                run._stateful_callbacks["tensorboard"].flush()
                keep("points behind the checkpoint")

        def on_test_begin(self, logs: object = None) -> None:
            keep("in the validation")

    record, show = run.record, Samples._show

    def recorded(logs: dict[str, float]) -> None:
        keep("before the record")
        record(logs)

    def shown(self: Samples, step: int) -> None:
        keep("before the pictures")
        show(self, step)
        keep("after the pictures")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "record", recorded)
        patch.setattr(Samples, "_show", shown)
        fit(run, 4, Moments(), **BOARD)
    return found


def evaluate() -> Evaluation:
    return Evaluation({"macro_f1": 0.5}, {"confusion": lambda: np.zeros([4, 4, 4], np.uint8)})


BOARD = dict(sample=lambda: ["once", "twice"], evaluate=evaluate, log_every=3, samples_every=3)


def test_every_point_is_there_once_in_a_run_that_nobody_disturbed(moments: dict[str, Path]) -> None:
    shown = points(moments["undisturbed"] / "logs")
    assert list(shown["train/loss"]) == [3, 4, 6, 8, 9, 12, 15, 16]
    assert list(shown["validation/macro_f1"]) == list(shown["validation/loss"]) == [4, 8, 12, 16]
    for tag in ("train/sample_0", "train/sample_1", "train/attention_block_0", "validation/confusion"):
        assert list(shown[tag]) == [12, 16], tag


@pytest.mark.parametrize(
    "moment",
    [
        "points behind the checkpoint",
        "in the validation",
        pytest.param("before the record", marks=pytest.mark.slow),
        "before the pictures",
        pytest.param("after the pictures", marks=pytest.mark.slow),
    ],
)
def test_event_files_are_those_of_a_run_left_alone(moments: dict[str, Path], tmp_path: Path, moment: str) -> None:
    folder = Path(shutil.copytree(moments[moment], tmp_path / "run"))
    fit(make(folder), 4, **BOARD)
    assert points(folder / "logs") == points(moments["undisturbed"] / "logs")


def test_pictures_that_are_missing_after_the_last_epoch_are_drawn(moments: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(moments["before the pictures"], tmp_path / "run"))
    fit(make(folder), 3, **BOARD)  # which is done, but for its pictures
    shown = points(folder / "logs")
    assert list(shown["train/sample_1"]) == list(shown["validation/confusion"]) == [12]
    fit(make(folder), 3, **BOARD | {"sample": None, "evaluate": None})
    assert points(folder / "logs") == shown


def test_damaged_event_files_are_made_right_from_the_history(moments: dict[str, Path], tmp_path: Path) -> None:
    """Points twice, a record half written, and curves with holes, as an earlier version left them."""
    folder = Path(shutil.copytree(moments["after the pictures"], tmp_path / "run"))
    (train,), (validation,) = (list((folder / "logs" / name).glob("events*")) for name in ("train", "validation"))
    shutil.copy(train, f"{train}.again")
    records = list(tf.data.TFRecordDataset(str(validation)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(validation)) as file:
        for record in records:
            event = tf.compat.v1.Event.FromString(record)
            if not (event.step == 4 and event.summary.value[0].tag == "loss"):
                file.write(record)
    validation.write_bytes(validation.read_bytes()[:-7])
    fit(make(folder), 4, **BOARD)
    assert points(folder / "logs") == points(moments["undisturbed"] / "logs")
