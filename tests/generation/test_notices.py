"""What TensorFlow says on standard error does not stand between the words of an answer."""

import os
import subprocess
import sys

import pytest

from tfllm.layers import onednn

NOTICE = "E0000 00:00 util.cc:131] oneDNN supports DT_INT32 only on platforms with AVX-512. Falling back …\n"


@pytest.mark.skipif(not onednn.IsMklEnabled(), reason="TensorFlow runs without oneDNN here")
def test_the_notice_is_hidden_and_all_else_is_passed_on(capfd, monkeypatch):
    def saying(x):
        os.write(2, f"something else\n{NOTICE}and more\n".encode())
        return x

    monkeypatch.setattr(onednn.tf, "transpose", saying)
    onednn.tf.zeros([])  # TensorFlow begins
    capfd.readouterr()
    onednn.hide_integer_notice.__wrapped__()
    os.write(2, b"heard again\n")
    assert capfd.readouterr().err == "something else\nand more\nheard again\n"


STREAMING = """
import sys
import tfllm
tokenizer = tfllm.tokenizers.ByteTokenizer()
model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size, num_layers=1))
print("the answer:", end="", flush=True)
for piece in tfllm.stream(model, tokenizer, "a", max_new_tokens=12, logit_bias={70: 99.0}):
    print(piece, end="", flush=True)
"""


@pytest.mark.slow
def test_a_streamed_text_is_not_cut_in_two():
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
    told = [sys.executable, "-c", STREAMING]
    said = subprocess.run(told, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    assert said.stdout.endswith("the answer:" + 12 * chr(70 - 3)), "byte b is token b + 3"
