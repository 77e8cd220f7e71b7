"""A setting is defined once: one field more in `GenerationConfig`, and vectors, exports, `check` and command line have it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm

TOY = """    toy_penalty: float = setting(0.25, real(0, 2), "A toy.", sample_rows=(0.25, 1.5))

    def __post_init__"""

# Runs with a copy of the package whose config.py has the toy. Prints, as JSON, what it finds of it.
SCRIPT = """
import contextlib, io, json, sys
import tensorflow as tf
import tfllm
from tfllm.__main__ import main
from tfllm.exporting import warm_up
from tfllm.generation.row_settings import rows_of

found = {"package": tfllm.__file__}
configs = [tfllm.GenerationConfig(), tfllm.GenerationConfig(toy_penalty=0.5)]
found["vector"] = rows_of(configs).toy_penalty.numpy().tolist()

tokenizer = tfllm.tokenizers.ByteTokenizer()
tiny = dict(num_layers=1, hidden_size=8, num_heads=1, num_kv_heads=1, ffn_size=8, max_length=8)
model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size, **tiny))
folder = tfllm.export(model, tokenizer, "exports", configs[1])
found["problems"] = tfllm.check(folder).problems
generate = tf.saved_model.load(str(folder)).signatures["generate"]
spec = generate.structured_input_signature[1]["toy_penalty"]
found["signature"] = [spec.dtype.name, spec.shape.as_list()]

warm_ups = [each.inputs for each in warm_up.read(folder / "assets.extra" / "tf_serving_warmup_requests")
            if each.signature == "generate"]
found["sample rows"] = [each["toy_penalty"].tolist() for each in warm_ups]
try:
    generate(**{name: tf.constant(values) for name, values in warm_ups[0].items()} | {"toy_penalty": tf.constant([3.0])})
except tf.errors.InvalidArgumentError as error:
    found["refused"] = str(error)

tfllm.save(model, tokenizer, "model")
for name, words in (("help", ["--help"]), ("option", ["model", "--toy-penalty", "7"])):
    sys.argv = ["tfllm", "generate", *words]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main()
    found[name] = said.getvalue()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(tfllm.__file__).parent, folder / "tfllm")  # with its byte code, which saves time
    config = folder / "tfllm" / "generation" / "config.py"
    source = config.read_text(encoding="utf-8")
    assert source.count("    def __post_init__") == 1
    config.write_text(source.replace("    def __post_init__", TOY), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["package"].startswith(str(folder))
    return answer


def test_it_is_a_vector_of_the_batch(found):
    assert found["vector"] == [0.25, 0.5]


def test_it_is_an_input_of_an_export(found):
    """In the signature, in the sample request, in what `check` wants and runs, and within its range."""
    assert found["signature"] == ["float32", [None]]
    assert found["sample rows"] == [[0.25], [0.25, 1.5]]
    assert found["problems"] == []
    assert "toy_penalty is invalid: expected a number from 0 to 2 in each row" in found["refused"]


def test_it_is_an_option_of_the_command_line(found):
    assert "--toy-penalty {None}|FLOAT" in found["help"] and "A toy." in found["help"]
    assert found["option"].splitlines()[-1] == (
        "tfllm: --toy-penalty 7.0 is invalid: expected a number from 0 to 2. Leave --toy-penalty out for the default, 0.25."
    )
