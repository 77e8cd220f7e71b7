"""Messages of the Python API in the command line's words; other backends than TensorFlow; `--version`."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm
from tfllm import train
from tfllm.__main__ import COMMANDS, _warned, main
from tfllm.commands import corpus, generating, training, using
from tfllm.commands.generating import translated_options
from tfllm.commands.wording import ALSO, as_options, options_of
from tfllm.settings import Pretraining


@pytest.mark.parametrize(
    ("command", "message", "said"),
    [
        (corpus.prepare, "invalid_utf8='skip' leaves it out", "--invalid-utf8 skip leaves it out"),
        (corpus.prepare, "Give field=….", "Give --field ….", ),
        (corpus.prepare, "a larger validation=…, or", "a larger --validation …, or"),
        (corpus.tokenizer, "lower character_coverage (now 0.9995)", "lower --character-coverage (now 0.9995)"),
        (corpus.tokenizer, "vocab_size is 9: use kind='bytes'", "--vocab-size is 9: use --kind bytes"),
        (generating.generate, "max_new_tokens=…, the tokens", "--max-new-tokens …, the tokens"),
        (generating.generate, "top_k=0 must be 2 with penalty_alpha", "--top-k 0 must be 2 with --penalty-alpha"),
        (generating.generate, "bad_words=['a b', 'c'] is", "--bad-words 'a b' c is"),
        (generating.generate, "logit_bias={id: -1e9}", "--logit-bias id -1e9"),
        (generating.generate, "prepack=True, prepack=False", "--prepack, --no-prepack"),
        (generating.generate, "choices=None, or early_stopping=True.", "no --choices, or --early-stopping True."),
        (generating.generate, "tfllm.predict asks it", "tfllm predict asks it"),
        (using.export, "tfllm.export(model, tokenizer, folder) writes one", "tfllm export writes one"),
        (training.pretrain, "peak=0.0: the peak learning rate", "--learning-rate 0.0: the peak learning rate"),
        (training.finetune, "column=3 is", "--label 3 is"),
        (training.finetune, "Fill it, or pass skip_empty=True.", "Fill it, or pass --skip-empty."),
        # What is no option of the command, or only looks like one, stays.
        (generating.generate, "max_length=64, where", "max_length=64, where"),
        (corpus.prepare, "a text; a/field=b; tokenizer.vocab_size", "a text; a/field=b; tokenizer.vocab_size"),
        # Keras says around an error where it came from.
        (
            training.evaluate,
            "Exception encountered when calling T.call().\n\n\x1b[1ma row of 9: batch_size=1\x1b[0m\n\nArguments",
            "a row of 9: --batch-size 1",
        ),
    ],
)  # fmt: skip
def test_messages_in_options(command: object, message: str, said: str) -> None:
    assert as_options(message, command) == said


def test_options_are_those_of_the_commands() -> None:
    found = options_of(training.pretrain)
    assert {"preset", "learning_rate", "beta_2"} <= set(found) and "store" not in found
    assert options_of(generating.generate)["prepack"] and not options_of(generating.generate)["early_stopping"]
    by_name = {command.__name__: command for command in COMMANDS}
    for name, also in ALSO.items():
        assert set(also.values()) - {"model"} <= set(options_of(by_name[name]))


def test_what_python_takes_the_command_line_takes() -> None:
    """Every setting of the functions behind a command is one of the command, but those of Python only."""
    taken = set(inspect.signature(tfllm.tokenizers.train).parameters) - {"texts", "progress"}
    assert taken - {"paths"} <= set(options_of(corpus.tokenizer))
    taken = set(inspect.signature(tfllm.data.prepare).parameters) - {"paths", "texts", "progress"}
    assert taken <= set(options_of(corpus.prepare))
    # Of one variable among others, of the matrices' iteration, or with another name there.
    apart = {"self", "learning_rate", "layer_decay", "ema", "decay_embeddings", "name", "adamw", "adam_paths"}
    apart |= {"newton_schulz_steps", "newton_schulz_dtype", "shape", "peak", "steps"}
    for function in (train.adamw, train.muon, train.lion, train.schedule):
        assert set(inspect.signature(function.__init__).parameters) - apart <= set(vars(Pretraining()))


def test_options_of_other_libraries() -> None:
    words = ["generate", "run", "--num-return-sequences", "2", "--do-sample", "--stop-strings=a", "--top-k", "3"]
    ours = ["generate", "run", "--num-sequences", "2", "--do-sample=True", "--stop=a", "--top-k", "3"]
    assert translated_options(words) == ours
    assert translated_options(["generate", "--no-do-sample"]) == ["generate", "--do-sample=False"]
    assert translated_options(["generate", "--do-sample", "False"]) == ["generate", "--do-sample", "False"]
    assert translated_options(["predict", "run", "--max-length"]) == ["predict", "run", "--max-length"]
    with pytest.raises(ValueError, match=r"--max-length is invalid: .* Give max_new_tokens=…, which"):
        translated_options(["generate", "run", "--max-length", "20"])


def said_by(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that fails."""
    monkeypatch.setattr(sys, "argv", ["tfllm", *words])
    monkeypatch.delenv("TFLLM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_the_advice_of_a_command_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": "to learn words from"}) for _ in range(9)))
    words = ["tokenizer", str(tmp_path / "a.jsonl"), "--kind", "byte_bpe", "--vocab-size", "270"]
    words += ["--out", str(tmp_path / "words")]
    assert "--field …" in said_by(monkeypatch, capsys, *words)
    assert "give --kind wordpiece" in said_by(monkeypatch, capsys, *words, "--field", "body", "--lowercase", "True")
    message = said_by(monkeypatch, capsys, "generate", "run", "--typical-p", "0.9")
    assert message == (
        "tfllm: --typical-p is invalid: expected an option that exists here. "
        "Give --top-p 0.9 or --min-p 0.05, which have a similar effect.\n"
    )
    monkeypatch.setattr(sys, "argv", ["tfllm", *words, "--field", "body"])
    main()
    assert tfllm.tokenizers.load(tmp_path / "words").vocab_size == 270


def test_warnings_are_said_in_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tfllm", "generate", "run", "--top-k", "5"])
    message = "greedy, where top_k=5 would change nothing: give temperature=1.0 to draw"
    said = "tfllm: greedy, where --top-k 5 would change nothing: give --temperature 1.0 to draw\n"
    assert _warned(message, UserWarning, generating.__file__, 9) == said
    assert _warned("top_k=5", UserWarning, "/else/where.py", 9) == "/else/where.py:9: UserWarning: top_k=5\n"


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tfllm", "--version"])
    main()
    assert capsys.readouterr().out == f"tfllm {tfllm.__version__}\n"


def imported(code: str = "import tfllm", **environment: str) -> str:
    """The last line of what a new process says."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    ended = subprocess.run([sys.executable, "-c", code], env=keep | environment, capture_output=True, text=True)
    return (ended.stdout + ended.stderr).strip().rpartition("\n")[2]


def test_a_user_without_a_home_imports_too() -> None:
    homeless = "import os, pwd; del os.environ['HOME']; pwd.getpwuid = {}.__getitem__; import tfllm; print('imported')"
    assert imported(homeless) == "imported"


def test_other_backends_are_refused_at_import(tmp_path: Path) -> None:
    asks = "import sys, tfllm; print('keras' in sys.modules, 'tensorflow' in sys.modules)"
    assert imported(asks, KERAS_HOME=str(tmp_path)) == "False False"
    remedy = "set the environment variable KERAS_BACKEND=tensorflow before Python starts"
    message = (
        f"ImportError: KERAS_BACKEND=torch: Keras runs on torch, and tfllm's models are TensorFlow's: {remedy}, or unset it"
    )
    assert imported(KERAS_BACKEND="torch") == message
    file = tmp_path / "keras.json"
    file.write_text('{"backend": "jax"}')
    message = imported(KERAS_HOME=str(tmp_path))
    assert message.startswith(f"ImportError: {file}: Keras runs on jax") and message.endswith(
        f'{remedy}, or write "backend": "tensorflow" in {file}'
    )
    assert imported(asks, KERAS_HOME=str(tmp_path), KERAS_BACKEND="tensorflow") == "False False", "as advised"
    file.write_text('{"backend": "tensorflow"}')
    assert imported(asks, KERAS_HOME=str(tmp_path)) == "False False", "as advised"
    file.write_text("{")  # Keras goes on without it
    assert imported(asks, KERAS_HOME=str(tmp_path)) == "False False"
    loaded = "import sys, types; keras = sys.modules['keras'] = types.ModuleType('keras'); "
    loaded += "keras.config = types.SimpleNamespace(backend=lambda: 'jax'); import tfllm"
    assert imported(loaded).startswith("ImportError: keras was imported before tfllm, and Keras runs on jax")
