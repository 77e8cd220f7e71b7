"""The advice of every message about Hugging Face folders, followed as a user would.

`hf` and `git lfs`, which need a network, are small scripts in their place: what is run is the message's own command.
"""

# ruff: noqa: B023 - each function is called in its own turn of the loop

import json
import os
import pickle
import re
import shutil
import subprocess

import numpy as np
import pytest
from advice import follow
from safetensors.numpy import load_file, save_file
from small import BERT, ROBERTA, strong, tokenizer_for
from test_torch_files import zipped

import tfllm
from tfllm.interop import from_huggingface, to_huggingface
from tfllm.interop.configs import family_of, read_config, write_config
from tfllm.interop.heads import found_task, head_of, labels_of, read_settings
from tfllm.interop.huggingface import _vocab_size
from tfllm.interop.tensor_names import canonical
from tfllm.interop.tokenizer_files import check_writable
from tfllm.interop.weight_files import read_weights
from tfllm.tokenizers import ByteTokenizer

CONFIG = write_config(BERT, "bert")
HEAD = {"classifier.weight": np.ones([3, 2])}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A BERT with both heads of its pretraining."""
    folder = tmp_path_factory.mktemp("written") / "model"
    return to_huggingface(strong("BertForPreTraining"), tokenizer_for(BERT, tmp_path_factory.mktemp("words")), folder)


@pytest.fixture
def folder(written, tmp_path, monkeypatch):
    """A copy of it, beside which is the current folder's `bin`, first in the PATH."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return shutil.copytree(written, tmp_path / "model")


def command(tmp_path, name, script):
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / name).chmod(0o755)


def change(path, **values):
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | values))
    return True


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        (" is not read here; accepted: ", dict(model_type="t5"), dict(model_type="bert")),
        (" is not supported; accepted: ", dict(is_decoder=True), dict(is_decoder=False)),
        (" is unknown; accepted: ", dict(hidden_act="mish"), dict(hidden_act="gelu")),
        (": add what the model was trained with", None, {}),
    ],
)
def test_configs(words, wrong, right):
    follow(
        words,
        lambda: read_config(CONFIG | wrong if wrong else {"model_type": "bert"}),
        lambda: read_config(CONFIG | right) == BERT,
    )


def test_architectures():
    llama = write_config(tfllm.preset("llama-tiny"), "llama")
    kinds = [dict(rope_parameters=dict(rope_type=kind, rope_theta=1e4)) for kind in ("yarn", "default")]
    follow(
        " are not supported; accepted: 'default', 'llama3'",
        lambda: read_config(llama | kinds[0]),
        lambda: read_config(llama | kinds[1]),
    )
    other = BERT.replace(norm_place="pre")
    follow(
        ". Export it with tfllm.export, or train one of such a preset",
        lambda: family_of(other),
        lambda: family_of(tfllm.preset("bert-tiny")) == "bert",
    )


def test_heads(tmp_path):
    def task(asked=None, *architectures):
        return found_task(HEAD, values={"architectures": list(architectures)}, asked=asked)

    words = "Name one in config.json, or leave the head behind with task=…"
    follow(words, lambda: task(None, "BertForChoice"), lambda: task(None, "BertForTokenClassification") == "token_classifier")
    follow(words, lambda: task(None, "BertForChoice"), lambda: task("text_embedder", "BertForChoice") is None)

    def settings(**values):
        return read_settings("text_classifier", dict(id2label={"0": "a", "1": "b", "2": "c"}) | values, HEAD, tmp_path)

    follow(
        "; accepted: 0, 1, 2, …",
        lambda: labels_of({"id2label": {"1": "a"}}),
        lambda: labels_of({"id2label": {"0": "a"}}) == ["a"],
    )
    follow(
        " labels of config.json: mend id2label",
        lambda: settings(id2label={"0": "a"}),
        lambda: settings()["labels"] == ["a", "b", "c"],
    )
    single = "single_label_classification"
    follow(
        " is not supported: mend config.json",
        lambda: settings(problem_type="regression"),
        lambda: settings(problem_type=single),
    )
    for task_, words, wrong, right in (
        ("text_classifier", ": Hugging Face's classifiers read the pooled first token ('pooler')", "mean", "pooler"),
        ("text_embedder", "; give TextEmbedder one of those", "pooler", "mean"),
        ("text_embedder", "; give TextEmbedder one of those", "pooler", "first"),
    ):
        check = lambda pooling: head_of(task_).check({"pooling": pooling}, BERT, "bert") is None  # noqa: E731
        follow(words, lambda: check(wrong), lambda: check(right))
    pairs = tfllm.MaskedLM(ROBERTA.replace(pooler=True), next_sentence=True)
    own = {"transform_activation": "gelu"}
    behind = "; leave it behind with MaskedLM.from_pretrained"
    follow(
        behind,
        lambda: head_of("masked_lm").check(pairs.settings() | own, ROBERTA, "roberta"),
        lambda: head_of("masked_lm").check(tfllm.MaskedLM.from_pretrained(pairs).settings() | own, ROBERTA, "roberta") is None,
    )
    words = "has no form in Hugging Face; those of "
    follow(words, lambda: check_writable(ByteTokenizer()), lambda: check_writable(tokenizer_for(BERT, tmp_path)) is None)


def test_sentence_transformers(tmp_path):
    def read(*kinds, pooling="mean_tokens", **files):
        modules = [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in kinds]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "Pooling").mkdir(exist_ok=True)
        change(
            tmp_path / "Pooling/config.json", **dict.fromkeys(("pooling_mode_max_tokens", "pooling_mode_mean_tokens"), False)
        )
        change(tmp_path / "Pooling/config.json", **{f"pooling_mode_{pooling}": True})
        for name, values in files.items():
            change(tmp_path / f"{name}.json", **values)
        return read_settings("text_embedder", {}, {}, tmp_path)["pooling"] == ("mean" if pooling == "mean_tokens" else "first")

    both = ("Transformer", "Pooling")
    follow("; accepted: Transformer, Pooling, Normalize", lambda: read(*both, "Dense"), lambda: read(*both, "Normalize"))
    for right in ("mean_tokens", "cls_token"):
        (tmp_path / "Pooling/config.json").unlink()
        follow(
            "; accepted: mean_tokens, or cls_token",
            lambda: read(*both, pooling="max_tokens"),
            lambda: read(*both, pooling=right),
        )
    (tmp_path / "Pooling/config.json").unlink()
    lower, prompt = "sentence_bert_config", "config_sentence_transformers"
    follow(
        ": set it to false, and give small letters",
        lambda: read(*both, **{lower: {"do_lower_case": True}}),
        lambda: read(*both, **{lower: {"do_lower_case": False}}),
    )
    named = {prompt: {"default_prompt_name": "query"}}
    follow(
        ": set it to null, and give it",
        lambda: read(*both, **named),
        lambda: read(*both, **{prompt: {"default_prompt_name": None}}),
    )


def test_weights(folder, tmp_path):
    path, tensors = folder / "model.safetensors", load_file(folder / "model.safetensors")
    whole = path.read_bytes()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "whole").write_bytes(whole)
    command(tmp_path, "git-lfs", f'[ "$1" = pull ] && cp {tmp_path}/whole model.safetensors')

    def read():
        return read_weights(folder).keys() == tensors.keys()

    with pytest.raises(ValueError, match="run `git lfs pull` in ") as error:
        read()
    run, place = re.search(r"run `(.*)` in (.*)$", str(error.value)).groups()
    subprocess.run(run, shell=True, check=True, cwd=place)
    assert read()
    for damaged in (whole[:99], b""):
        path.write_bytes(damaged)
        follow("): get it again", read, lambda: path.write_bytes(whole) and read())
    path.unlink()
    follow(" holds no weights that are read here (", read, lambda: path.write_bytes(whole) and read())
    index = folder / "model.safetensors.index.json"
    path.rename(folder / "part.safetensors")
    index.write_text("{")
    weight_map = dict.fromkeys(tensors, "part.safetensors")
    follow("): get it again", read, lambda: index.write_text(json.dumps({"weight_map": weight_map})) and read())
    for words, wrong in (
        (", which is not a file of its own folder: put it there", dict.fromkeys(tensors, "../part.safetensors")),
        (": get the whole folder", weight_map | {"more": "part.safetensors"}),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        follow(words, read, lambda: index.write_text(json.dumps({"weight_map": weight_map})) and read())
    (folder / "part.safetensors").unlink()
    follow(" names it: get the whole folder", read, lambda: (folder / "part.safetensors").write_bytes(whole) and read())
    index.unlink()
    bin_file = folder / "pytorch_model.bin"
    bin_file.write_bytes(b"PK\x03\x04")
    (folder / "part.safetensors").unlink()
    follow("): get it again", read, lambda: bin_file.unlink() or (path.write_bytes(whole) and read()))
    path.unlink()
    zipped(bin_file, pickle.dumps([1], 2))
    follow(". Have its owner save it as model.safetensors", read, lambda: save_file(tensors, path) or read())


def test_names():
    table = {"embeddings.word_embeddings.weight": np.ones([4, 2])}
    two = table | {f"teacher.{name}": value for name, value in table.items()}
    read = lambda weights, family="bert": canonical(dict(weights), family=family, config=BERT)  # noqa: E731
    follow(
        "; save one of them alone", lambda: read(two), lambda: read(table).keys() == {"bert.embeddings.word_embeddings.weight"}
    )
    follow(", …. Does config.json belong to it?", lambda: read(table, "gpt2"), lambda: read(table, "bert"))


def test_folders(folder, tmp_path):
    model, tokenizer = from_huggingface(folder)
    command(tmp_path, "hf", f'[ "$1 $2 $3" = "download some/bert --local-dir" ] && cp -r {folder} "$4"')
    with pytest.raises(FileNotFoundError, match="download it first: ") as error:
        from_huggingface("some/bert")
    subprocess.run(str(error.value).partition("download it first: ")[2], shell=True, check=True)
    assert from_huggingface("bert")[0].config == model.config
    here = lambda: from_huggingface(folder)[0].config == model.config  # noqa: E731
    follow(
        ": give one with config.json, weights and tokenizer files", lambda: from_huggingface(tmp_path / "gone/away/far"), here
    )
    config = folder / "config.json"
    text = config.read_text()
    config.unlink()
    follow(": a Hugging Face folder holds the architecture in config.json", here, lambda: config.write_text(text) and here())
    tfllm.save(model, tokenizer, "ours")
    follow(": open it with tfllm.load", lambda: from_huggingface("ours"), lambda: tfllm.load("ours")[0].config == model.config)
    write = lambda place: from_huggingface(to_huggingface(model, tokenizer, place))[0].config == model.config  # noqa: E731
    follow(": choose another folder, or remove it first", lambda: write(folder), lambda: write("other"))
    follow(
        ": choose another folder, or remove it first", lambda: write("other"), lambda: shutil.rmtree("other") or write("other")
    )
    theirs = tokenizer_for(ROBERTA, tmp_path)
    follow(
        ": give the one of this model",
        lambda: to_huggingface(model, theirs, "third"),
        lambda: to_huggingface(model, tokenizer, "third"),
    )
    sizes = "model.resize_token_embeddings(len(tokenizer))"
    size = lambda config: _vocab_size(config, theirs, folder, {}) == theirs.vocab_size  # noqa: E731
    follow(sizes, lambda: size(BERT), lambda: size(BERT.replace(vocab_size=theirs.vocab_size)))
    follow(
        " is invalid: expected one of ",
        lambda: from_huggingface(folder, task="chat"),
        lambda: from_huggingface(folder, task="masked_lm"),
    )


def test_heads_and_tables_of_folders(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if "predictions.transform.dense.bias" not in name}, path)
    left = "Is config.json theirs? A head that is not wanted is left behind with task=…"
    follow(left, lambda: from_huggingface(folder), lambda: from_huggingface(folder, task="text_embedder"))
    name, table = "cls.predictions.decoder.weight", tensors["bert.embeddings.word_embeddings.weight"]
    save_file(tensors | {name: table + 1}, path)

    def untied():
        change(folder / "config.json", tie_word_embeddings=False)
        model, _ = from_huggingface(folder)
        return not model.config.tied_embeddings and any(
            np.array_equal(each.numpy().T, table + 1) or np.array_equal(each.numpy(), table + 1)
            for each in model.variables
            if each.shape in (table.shape, table.T.shape)
        )

    follow('Put "tie_word_embeddings": false into config.json', lambda: from_huggingface(folder), untied)
    change(folder / "config.json", tie_word_embeddings=True)
    save_file(tensors | {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"] + 1}, path)
    follow(
        "Save the model again", lambda: from_huggingface(folder), lambda: save_file(tensors, path) or from_huggingface(folder)
    )
