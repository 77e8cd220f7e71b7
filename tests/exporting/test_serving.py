"""The export without the package: in a process that cannot import tfllm or Keras, and in C on TensorFlow's own libraries."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf
from c_program import serve
from prompts import PROMPTS

import tfllm
from tfllm.exporting.probe import text_op_libraries

TIMEOUT = 300

LOADER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tfllm", "keras", "tf_keras", "keras_hub", "sentencepiece"):
            raise ModuleNotFoundError(name)

import importlib.util, json
# TensorFlow only asks whether Keras is there, and is told that it is not.
sys.modules["keras"] = None
import tensorflow as tf
sys.meta_path.insert(0, Refuse())
for name in ("tfllm", "keras"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " could be imported")

folder, *libraries = sys.argv[1:]
for library in libraries:
    tf.load_op_library(library)
serve = tf.saved_model.load(folder).signatures["serving_default"]
text = serve(prompt=tf.constant(json.load(sys.stdin)))["text"]
sys.stdout.buffer.write(b"".join(b"%d\\n%s" % (len(each), each) for each in text.numpy()))
"""


def framed(texts: list[str]) -> bytes:
    """["é", ""] -> b"2\\n\\xc3\\xa90\\n": sizes, line breaks, bytes, as both programs write."""
    return b"".join(b"%d\n%s" % (len(text.encode()), text.encode()) for text in texts)


@pytest.fixture(scope="module")
def expected(greedy):
    return framed([record.text for record in tfllm.generate(greedy.model, greedy.tokenizer, PROMPTS, greedy.config)])


def test_a_process_without_tfllm_and_keras_gives_the_same_bytes(greedy, expected):
    command = [sys.executable, "-I", "-c", LOADER, str(greedy.folder), *text_op_libraries()]
    found = subprocess.run(command, input=json.dumps(PROMPTS).encode(), capture_output=True, timeout=TIMEOUT)
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    assert found.stdout == expected


def test_a_c_program_gives_the_same_bytes(program, greedy, expected):
    found = serve(program, greedy.folder, {"prompt": PROMPTS}, "text")
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    assert found.stdout == expected


def test_the_c_program_would_notice_xla(program, tmp_path):
    """What `check` refuses does fail there, with XLA off as in the server: the proof above means something."""

    @tf.function(jit_compile=True)
    def doubled(length):
        return length * 2

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="prompt")])
    def answer(prompt):
        return {"text": tf.strings.as_string(doubled(tf.strings.length(prompt)))}

    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": answer})
    found = serve(program, tmp_path / "1", {"prompt": ["abc"]}, "text")
    assert found.returncode != 0 and b"XLA" in found.stderr, found.stderr.decode()[-2000:]
