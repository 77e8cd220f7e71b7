"""Where standard output is no terminal, long work says how far it is in lines: no bar, and no more than can be read."""

import io
import sys

import pytest
import tensorflow as tf
from test_run import CONFIG, batch

import tfllm
from tfllm import progress
from tfllm.train.callbacks import progress_lines
from tfllm.train.callbacks.progress_lines import ProgressLines


@pytest.fixture(scope="module")
def model():
    model = tfllm.CausalLM(CONFIG)
    model.compile(tfllm.train.adamw(1e-3))
    return model


BATCHES = tf.data.Dataset.range(10_000).map(batch)


def test_fit_prints_a_line_an_epoch_and_evaluate_none(model, capsys):
    model.fit(BATCHES, validation_data=BATCHES.take(1), epochs=3, steps_per_epoch=2)
    said = capsys.readouterr().out
    assert "\r" not in said and "\x1b" not in said and "\b" not in said
    lines = said.splitlines()
    assert [line.split(" - ")[:2] for line in lines] == [[f"Epoch {epoch}/3", "2/2"] for epoch in (1, 2, 3)]
    assert all(" - loss: 5." in line and " - val_loss: 5." in line and "ms/step" in line for line in lines)
    model.evaluate(BATCHES.take(2))
    model.predict(BATCHES.take(1))
    assert capsys.readouterr().out == ""
    model.fit(BATCHES, epochs=1, steps_per_epoch=1, verbose=2)
    assert "1/1 - " in capsys.readouterr().out, "what is asked for is done"


def test_on_a_terminal_the_bar_is_kerass(model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    model.fit(BATCHES, epochs=1, steps_per_epoch=2)
    assert "━" in capsys.readouterr().out


def test_an_hour_is_some_hundred_lines(capsys, monkeypatch):
    """Of one epoch of 36 000 steps, and of 18 000 epochs of one step."""
    for epochs, steps, least, most in ((1, 36_000, 115, 125), (18_000, 1, 200, 230)):
        now = 0.0
        monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now)  # noqa: B023
        lines = ProgressLines()
        lines.set_params({"epochs": epochs, "steps": steps})
        lines.on_train_begin()
        for epoch in range(epochs):
            lines.on_epoch_begin(epoch)
            for step in range(steps):
                now += 3600 / epochs / steps
                lines.on_train_batch_end(step, {"loss": 1.0})
            lines.on_epoch_end(epoch, {"loss": 1.0})
        said = capsys.readouterr().out.splitlines()
        assert least <= len(said) <= most
        assert said[-1].startswith(f"Epoch {epochs}/{epochs} - {steps}/{steps} - ")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_lines_where_it_is_no_terminal(monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.progress_bar(total=200, title="sharding", unit="shard") as bar:
        for _ in range(200):
            bar.update()
    said = stream.getvalue()
    if terminal:
        assert "\r" in said and "200/200" in said
    else:
        assert said.splitlines()[0] == "sharding: 0%, 0/200 shard, 00:00"
        assert said.splitlines()[-1] == "sharding: 100%, 200/200 shard, 00:00"
        assert len(said.splitlines()) == 2 and "\r" not in said
    with progress.progress_bar(total=1, title="nothing", unit="x", shown=False) as bar:
        bar.update()
    assert "nothing" not in stream.getvalue()
