"""Runs: what is restored, what is refused, and that a refusal loses nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from events import points

import tfllm
from tfllm.tokenizers import ByteTokenizer
from tfllm.train.runs import weights as train_weights
from tfllm.train.runs.async_writer import WRITER
from tfllm.train.runs.checkpoints import checkpoints, latest_checkpoint, lock_run_folder, state_text
from tfllm.train.runs.run import Run

TOKENIZER = ByteTokenizer()
CONFIG = tfllm.preset("llama-tiny", vocab_size=TOKENIZER.vocab_size, num_layers=1, dropout=0.1)


def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
    ids = tf.random.stateless_uniform([2, 17], [7, tf.cast(step, tf.int32)], 3, 259, tf.int32)
    return {"token_ids": ids[:, :-1], "target_ids": ids[:, 1:], "target_weights": tf.ones([2, 16])}


def make(folder: Path, config: tfllm.ModelConfig = CONFIG, **options: object) -> Run:
    model = tfllm.CausalLM(config)
    model.compile(tfllm.train.adamw(1e-2), token_bytes=TOKENIZER.token_bytes())
    return Run(folder, model, **({"tokenizer": TOKENIZER, "steps_per_epoch": 4} | options))


def fit(run: Run, epochs: int, *more: keras.callbacks.Callback, **options: object) -> None:
    batches = tf.data.Dataset.range(run.step, 10_000).map(batch)
    run.model.fit(
        batches,
        validation_data=tf.data.Dataset.range(2).map(batch),
        epochs=epochs,
        initial_epoch=run.epoch,
        steps_per_epoch=run.steps_per_epoch,
        callbacks=[*more, *run.callbacks(**options)],
        verbose=0,
    )


def values(run: Run) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in [*run.model.variables, *run.model.optimizer.variables]]


def assert_same(left: Run, right: Run) -> None:
    for a, b in zip(values(left), values(right), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, to copy."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    fit(make(folder), 2)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


class Ask(keras.callbacks.Callback):
    """Asks the process to end after a step of the first epoch, or of its validation."""

    def __init__(self, moment: int, where: str):
        super().__init__()
        setattr(self, f"on_{where}_batch_end", lambda step, logs: step == moment and os.kill(os.getpid(), signal.SIGTERM))


@pytest.fixture(scope="module")
def undisturbed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make(Path(shutil.copytree(trained, tmp_path_factory.mktemp("undisturbed") / "run")))
    fit(run, 4)
    return run


@pytest.mark.parametrize(
    ("where", "moment", "step", "epoch"),
    [
        pytest.param("train", 1, 11, 2, id="inside an epoch"),
        pytest.param("train", 2, 12, 2, id="before its last step", marks=pytest.mark.slow),
        pytest.param("train", 3, 12, 2, id="at its last step"),
        pytest.param("test", 0, 12, 2, id="in its validation"),
        pytest.param("test", 1, 13, 3, id="at the validation's end", marks=pytest.mark.slow),
    ],
)
def test_sigterm_saves_and_the_next_start_goes_on(
    folder: Path, undisturbed: Run, where: str, moment: int, step: int, epoch: int
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        fit(make(folder), 4, Ask(moment, where))
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = make(folder)
    assert (resumed.step, resumed.epoch) == (step, epoch)
    fit(resumed, 4)
    assert_same(resumed, undisturbed)
    kept = ("step", "loss", "perplexity", "accuracy", "bits_per_byte", "gradient_norm", "val_loss")
    curves = [[[record[name] for name in kept] for record in run.history] for run in (resumed, undisturbed)]
    assert curves[0] == curves[1]
    assert points(folder / "logs") == points(undisturbed.folder / "logs")


def test_load_takes_a_run_a_checkpoint_and_a_model_folder(folder: Path, tmp_path: Path) -> None:
    run = make(folder)
    saved = tfllm.save(run.model, TOKENIZER, tmp_path / "model")
    ids = {"token_ids": tf.constant([[1, 70, 71, 72]])}
    for place in (folder, latest_checkpoint(folder), saved):
        model, tokenizer = tfllm.load(place)
        np.testing.assert_array_equal(model(ids), run.model(ids))
        assert tokenizer.fingerprint() == TOKENIZER.fingerprint()
    with pytest.raises(FileExistsError, match="not empty"):
        tfllm.save(run.model, TOKENIZER, saved)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        tfllm.load(tmp_path / "nowhere")


def test_start_order_is_own_run_then_given_weights(folder: Path, tmp_path: Path) -> None:
    given = make(tmp_path / "new", weights_from=folder)
    assert given.step == 0
    np.testing.assert_array_equal(values(given)[0], values(make(folder))[0])
    own = make(folder, weights_from=tmp_path / "ignored, for the run has its own")
    assert own.step == 8


def test_another_model_tokenizer_or_data_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another model: ffn_size was 128, is 96"):
        make(folder, CONFIG.replace(ffn_size=96))
    with pytest.raises(ValueError, match="another data"):
        make(folder, data="other text")

    class Other(ByteTokenizer):
        def fingerprint(self) -> str:
            return "0" * 64

    with pytest.raises(ValueError, match="another tokenizer"):
        make(folder, tokenizer=Other())
    assert make(folder).step == 8


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer/tokenizer.json"])
def test_a_missing_part_is_named_and_the_checkpoint_before_still_serves(folder: Path, part: str) -> None:
    newest = latest_checkpoint(folder)
    (newest / part).unlink()
    with pytest.raises(FileNotFoundError, match=part):
        make(folder)
    shutil.rmtree(newest)
    assert make(folder).step == 4


def test_a_damaged_part_is_named(folder: Path) -> None:
    weights = latest_checkpoint(folder) / "optimizer.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"optimizer\.safetensors is damaged"):
        make(folder)


def test_a_damaged_model_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    for place in (latest_checkpoint(folder), tfllm.save(make(folder).model, TOKENIZER, tmp_path / "saved")):
        weights = place / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged \(its values are not those that were written\)"):
            tfllm.load(place)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"step": 8}'])
def test_a_damaged_state_is_named(folder: Path, text: str) -> None:
    (latest_checkpoint(folder) / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        make(folder)


def test_a_full_disk_leaves_earlier_checkpoints(folder: Path) -> None:
    run = make(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="step-00000009; earlier ones are untouched"):
            run.model.optimizer.iterations.assign(9)
            run.save()
            run.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in checkpoints(folder)] == ["step-00000004", "step-00000008"]
    assert not list((folder / "checkpoints").glob(".*"))


def test_a_copy_under_another_name_is_no_checkpoint(folder: Path) -> None:
    newest = latest_checkpoint(folder)
    shutil.copytree(newest, newest.with_name(newest.name + "-best"))
    assert latest_checkpoint(folder) == newest
    fit(make(folder, keep=1), 3)
    assert newest.with_name(newest.name + "-best").is_dir()


def test_another_optimizer_is_refused_and_another_rate_is_taken(folder: Path) -> None:
    model = tfllm.CausalLM(CONFIG)
    model.compile(tfllm.train.lion(1e-2))
    with pytest.raises(ValueError, match="another optimizer"):
        Run(folder, model, tokenizer=TOKENIZER, steps_per_epoch=4)
    model.compile(tfllm.train.adamw(5e-5))
    with pytest.warns(UserWarning, match="learning_rate"):
        run = Run(folder, model, tokenizer=TOKENIZER, steps_per_epoch=4)
    assert float(run.model.optimizer.learning_rate) == pytest.approx(5e-5)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another model: activation was silu, is relu"):
        make(tmp_path / "new", CONFIG.replace(activation="relu"), weights_from=folder)


def test_fit_and_run_must_agree(folder: Path) -> None:
    run = make(folder)
    batches = tf.data.Dataset.range(run.step, 10_000).map(batch)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match=r"initial_epoch=run\.epoch"):
        run.model.fit(batches, epochs=3, steps_per_epoch=4, callbacks=run.callbacks(), verbose=0)
    with pytest.raises(ValueError, match="steps_per_epoch=5, the run 4"):
        run.model.fit(batches, epochs=3, initial_epoch=2, steps_per_epoch=5, callbacks=run.callbacks(), verbose=0)
    assert signal.getsignal(signal.SIGTERM) is before
    assert run.step == 8


def test_an_error_in_a_sample_costs_no_epoch(folder: Path) -> None:
    def broken() -> list[str]:
        raise RuntimeError("a sample failed")

    with pytest.raises(RuntimeError, match="a sample failed"):
        fit(make(folder), 3, sample=broken)
    assert make(folder).step == 12


def test_two_processes_in_one_folder_are_refused(folder: Path) -> None:
    make(folder)
    held = make(folder)  # again, as in a notebook
    child = os.fork()
    if child == 0:
        try:
            lock_run_folder(folder)
        except BlockingIOError as error:
            os._exit(17 if "another process trains" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    assert held.step == 8


@pytest.mark.parametrize(("steps_per_epoch", "fits"), [(8, True), (2, True), (3, False)])
def test_another_distance_between_checkpoints_must_fit(folder: Path, steps_per_epoch: int, fits: bool) -> None:
    if fits:
        assert make(folder, steps_per_epoch=steps_per_epoch).epoch == 8 // steps_per_epoch
    else:
        change_cores(latest_checkpoint(folder) / "state.json")
        message = "would stand inside an epoch. Give steps_per_epoch=4, as before, or another divisor of 8"
        with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
            warnings.simplefilter("error")  # a run that is refused must not say that it goes on
            make(folder, steps_per_epoch=steps_per_epoch)


def change_cores(state: Path) -> None:
    """Writes that a checkpoint was trained with 999 cores."""
    content = json.loads(state.read_text())
    content["settings"]["cores"] = 999
    del content["checksum"]
    state.write_text(state_text(content))


def test_other_settings_go_on_with_a_warning(folder: Path) -> None:
    state = latest_checkpoint(folder) / "state.json"
    content = json.loads(state.read_text())
    content["settings"]["cores"] = 999
    del content["settings"]["onednn"]  # an older version recorded less
    with pytest.raises(ValueError, match=r"state\.json is damaged \(it was changed since it was written\)"):
        state.write_text(json.dumps(content))
        make(folder)
    del content["checksum"]
    state.write_text(state_text(content))
    with pytest.warns(UserWarning, match=r"another cores \(999") as said:
        assert make(folder).step == 8
    assert not any("onednn" in str(each.message) for each in said)


def test_a_fit_that_was_left_inside_an_epoch_wants_a_new_run(folder: Path) -> None:
    class Leave(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 1:
                raise KeyboardInterrupt

    run = make(folder)
    with pytest.raises(KeyboardInterrupt):
        fit(run, 4, Leave())
    with pytest.raises(ValueError, match="stands 2 steps inside an epoch, where an earlier fit was left"):
        fit(run, 4)


def test_an_epoch_that_a_callback_ends_is_no_record_and_goes_on(folder: Path, undisturbed: Run) -> None:
    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.model.stop_training = batch == 1

    fit(make(folder), 4, Enough())
    resumed = make(folder)
    assert (resumed.step, resumed.epoch, len(resumed.history)) == (10, 2, 2)
    fit(resumed, 4)
    assert_same(resumed, undisturbed)
    assert [record["loss"] for record in resumed.history] == [record["loss"] for record in undisturbed.history]


def test_data_that_ends_inside_an_epoch_is_named(folder: Path) -> None:
    run = make(folder)
    batches = tf.data.Dataset.range(8, 10).map(batch)
    with pytest.raises(
        ValueError, match=r"the data ended at step 10, inside an epoch of 4 steps; .* Give a dataset that repeats"
    ):
        run.model.fit(batches, epochs=3, initial_epoch=2, steps_per_epoch=4, callbacks=run.callbacks(), verbose=0)
    assert make(folder).step == 10


def test_a_checkpoint_that_fails_ends_the_run_at_the_next_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    class Drain(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if run.step == 12:
                WRITER._thread.submit(lambda: None).result()

    run = make(folder)
    monkeypatch.setattr(train_weights, "write", full)
    with pytest.raises(OSError, match="no space left"):
        fit(run, 5, Drain())
    assert run.step == 13
    assert latest_checkpoint(folder).name == "step-00000008"


def test_training_waits_for_a_disk_only_before_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, may_write = train_weights.write, threading.Event()

    def slow(*arguments: object) -> None:
        assert may_write.wait(20), "the epoch's end waited for the disk"
        whole(*arguments)

    class NextStep(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if batch == 1 and run.step == 5:
                may_write.set()

    run = make(tmp_path, best="val_loss")
    monkeypatch.setattr(train_weights, "write", slow)
    fit(run, 2, NextStep())
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000004", "step-00000008"]


def test_old_checkpoints_go(folder: Path) -> None:
    fit(make(folder, keep=2), 4)
    assert [path.name for path in checkpoints(folder)] == ["step-00000012", "step-00000016"]


def test_what_may_pass_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, whole = [2], train_weights.write

    def flaky(*arguments: object) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "stale file handle")
        whole(*arguments)

    monkeypatch.setattr("tfllm.files.time.sleep", lambda seconds: None)
    monkeypatch.setattr(train_weights, "write", flaky)
    with pytest.warns(UserWarning, match=r"stale file handle: tried again in 2 s \(2 of 3\)"):
        fit(make(folder), 3)
    assert latest_checkpoint(folder).name == "step-00000012"


def test_a_run_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ram://` is TensorFlow's file system in memory: what goes through `tf.io.gfile` works there."""

    def copy(here: str, there: str, overwrite: bool) -> None:
        if tf.io.gfile.exists(there):
            tf.io.gfile.remove(there)  # ram:// would write behind what is there
        plain_copy(here, there, overwrite=overwrite)

    plain_copy = tf.io.gfile.copy
    monkeypatch.setattr(tf.io.gfile, "copy", copy)
    address = f"ram://{tmp_path.name}/run"
    fit(make(address, keep=2, keep_every=3, best="val_loss"), 2)
    for name in ("step-00000003", "step-00000099"):  # half sent; the second may be another worker's that is being sent
        tf.io.gfile.makedirs(f"{address}/checkpoints/{name}")
        tf.io.gfile.GFile(f"{address}/checkpoints/{name}/model.safetensors", "w").write("half")
    fit(make(address, keep=2, keep_every=3, best="val_loss"), 5)
    undisturbed = make(tmp_path / "here")
    fit(undisturbed, 5)
    resumed = make(address, keep=2, keep_every=3, best="val_loss")
    assert_same(resumed, undisturbed)
    assert [record["loss"] for record in resumed.history] == [record["loss"] for record in undisturbed.history]
    assert sorted(tf.io.gfile.listdir(f"{address}/checkpoints")) == [
        *("step-00000012", "step-00000016", "step-00000020"),
        "step-00000099",
    ]
    assert tf.io.gfile.exists(f"{address}/logs/train/tokens.tsv")
    assert points(f"{address}/logs") == points(tmp_path / "here/logs")
    model, _ = tfllm.load(address)
    np.testing.assert_array_equal(np.asarray(model.variables[0]), np.asarray(undisturbed.model.variables[0]))
    assert tfllm.load(f"{address}/best")[0].config == CONFIG
    started = make(tmp_path / "other", weights_from=address)
    np.testing.assert_array_equal(np.asarray(started.model.variables[0]), np.asarray(undisturbed.model.variables[0]))
    tf.io.gfile.remove(f"{address}/checkpoints/step-00000020/state.json")
    assert make(address, best="val_loss").step == 16, "without its state a checkpoint is none"
    with pytest.raises(ValueError, match="give it as a string"):
        make(Path("gs://bucket/run"))


STUCK = """
import sys, time
from pathlib import Path
sys.path.append("..")
from tfllm import train  # first: it brings TensorFlow sooner
import tensorflow as tf
from test_run import batch, make

def steps():
    yield from range(8, 10)
    time.sleep(100)

run = make(Path(sys.argv[1]))
batches = tf.data.Dataset.from_generator(steps, output_signature=tf.TensorSpec([], tf.int64)).map(batch)
run.model.fit(batches, epochs=3, initial_epoch=2, steps_per_epoch=4, callbacks=run.callbacks(stall_after=5), verbose=0)
"""


def test_a_pipeline_that_stands_still_is_named(folder: Path) -> None:
    told = [sys.executable, "-c", STUCK, folder]
    stuck = subprocess.run(told, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=90)
    assert stuck.returncode == 1
    assert "no step ended for 5 s: the input pipeline gives no batch" in stuck.stderr
    assert "Thread 0x" in stuck.stderr
    assert make(folder).step == 8


def test_every_so_manieth_checkpoint_stays(folder: Path) -> None:
    fit(make(folder, keep=1, keep_every=2), 5)
    assert [path.name for path in checkpoints(folder)] == ["step-00000008", "step-00000016", "step-00000020"]


def test_a_non_finite_loss_keeps_the_last_good_checkpoint(folder: Path) -> None:
    run = make(folder)

    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, step: int, logs: object = None) -> None:
            if step == 1:
                table = run.model.stack.token_embedding.embeddings
                table.assign(tf.fill(table.shape, float("nan")))

    with pytest.raises(tfllm.train.NonFiniteError, match=r"step 10: .*start_step=10"):
        fit(run, 4, Poison())
    again = make(folder)
    assert again.step == 8
    assert all(np.isfinite(value).all() for value in values(again))


def test_speed_counts_training_tokens_and_no_validation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("tfllm.train.callbacks.throughput.time.perf_counter", lambda: float(next(ticks)))
    run = make(folder)
    batches = tf.data.Dataset.range(run.step, 10_000).map(batch)
    options = dict(epochs=3, initial_epoch=run.epoch, steps_per_epoch=4, callbacks=run.callbacks(), verbose=0)
    run.model.fit(batches, validation_data=batches.take(1), **options)
    # 32 tokens a step, a step a tick; the first step is not counted.
    assert run.history[-1]["tokens_per_second"] == 32
    assert "val_loss" in run.history[-1]


@pytest.mark.parametrize("options", [{"steps_per_epoch": 0}, {"keep": 0}])
def test_bad_settings_are_refused(tmp_path: Path, options: dict) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_uncompiled_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not compiled"):
        Run(tmp_path, tfllm.CausalLM(CONFIG), tokenizer=TOKENIZER, steps_per_epoch=1)
