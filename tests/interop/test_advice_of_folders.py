"""The advice of every message about Hugging Face folders, followed as a user would.

`hf` and `git lfs`, which need a network, are small scripts in their place: what is run is the message's own command.
"""

# ruff: noqa: B023 - each function is called in its own turn of the loop

import dataclasses
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
        ("model_type='t5' is invalid: expected one of ", dict(model_type="t5"), dict(model_type="bert")),
        ("is_decoder=True is invalid: expected False. ", dict(is_decoder=True), dict(is_decoder=False)),
        ("hidden_act='mish' is invalid: expected one of ", dict(hidden_act="mish"), dict(hidden_act="gelu")),
        (". Add the values that the model was trained with.", None, {}),
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
        " is invalid: expected 'default' or 'llama3'. ",
        lambda: read_config(llama | kinds[0]),
        lambda: read_config(llama | kinds[1]),
    )
    other = BERT.replace(norm_place="pre")
    follow(
        ". Export the model with tfllm.export, or train a model with the expected values.",
        lambda: family_of(other),
        lambda: family_of(tfllm.preset("bert-tiny")) == "bert",
    )


def test_heads(tmp_path):
    def task(asked=None, *architectures):
        return found_task(HEAD, values={"architectures": list(architectures)}, asked=asked)

    words = ". Write one of them into config.json, or load the model without its head: give task='text_embedder'."
    follow(words, lambda: task(None, "BertForChoice"), lambda: task(None, "BertForTokenClassification") == "token_classifier")
    follow(words, lambda: task(None, "BertForChoice"), lambda: task("text_embedder", "BertForChoice") is None)

    def settings(**values):
        return read_settings("text_classifier", dict(id2label={"0": "a", "1": "b", "2": "c"}) | values, HEAD, tmp_path)

    follow(
        ": expected 0, 1, 2, …. Correct config.json.",
        lambda: labels_of({"id2label": {"1": "a"}}),
        lambda: labels_of({"id2label": {"0": "a"}}) == ["a"],
    )
    follow(
        "id2label has 1 labels: expected 3, the rows of classifier.weight. Correct config.json.",
        lambda: settings(id2label={"0": "a"}),
        lambda: settings()["labels"] == ["a", "b", "c"],
    )
    single = "single_label_classification"
    follow(
        " with 3 labels. Correct config.json.",
        lambda: settings(problem_type="regression"),
        lambda: settings(problem_type=single),
    )
    for task_, words, wrong, right in (
        (
            "text_classifier",
            ", the pooling of Hugging Face's classifiers. Train the model with pooling='pooler'.",
            "mean",
            "pooler",
        ),
        ("text_embedder", ". Make a TextEmbedder with one of them.", "pooler", "mean"),
        ("text_embedder", ". Make a TextEmbedder with one of them.", "pooler", "first"),
    ):
        check = lambda pooling: head_of(task_).check({"pooling": pooling}, BERT, "bert") is None  # noqa: E731
        follow(words, lambda: check(wrong), lambda: check(right))
    pairs = tfllm.MaskedLM(ROBERTA.replace(pooler=True), next_sentence=True)
    own = {"transform_activation": "gelu"}
    behind = " with a head for sentence pairs. Make a model without that head with tfllm.MaskedLM.from_pretrained(model)."
    follow(
        behind,
        lambda: head_of("masked_lm").check(pairs.settings() | own, ROBERTA, "roberta"),
        lambda: head_of("masked_lm").check(tfllm.MaskedLM.from_pretrained(pairs).settings() | own, ROBERTA, "roberta") is None,
    )
    words = ", the kinds that can be written for Hugging Face. Give a tokenizer of such a kind."
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
    follow(": expected only Transformer, Pooling, Normalize. ", lambda: read(*both, "Dense"), lambda: read(*both, "Normalize"))
    for right in ("mean_tokens", "cls_token"):
        (tmp_path / "Pooling/config.json").unlink()
        follow(
            ": expected mean_tokens or cls_token. ",
            lambda: read(*both, pooling="max_tokens"),
            lambda: read(*both, pooling=right),
        )
    (tmp_path / "Pooling/config.json").unlink()
    lower, prompt = "sentence_bert_config", "config_sentence_transformers"
    follow(
        ": expected False. Write false, and give texts in lower case.",
        lambda: read(*both, **{lower: {"do_lower_case": True}}),
        lambda: read(*both, **{lower: {"do_lower_case": False}}),
    )
    named = {prompt: {"default_prompt_name": "query"}}
    follow(
        " is invalid: expected null. Write null, and put the prompt before your texts.",
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

    with pytest.raises(ValueError, match="Run `git lfs pull` in ") as error:
        read()
    run, place = re.search(r"Run `(.*)` in (.*)$", str(error.value)).groups()
    subprocess.run(run, shell=True, check=True, cwd=place)
    assert read()
    for damaged in (whole[:99], b""):
        path.write_bytes(damaged)
        follow("): expected a safetensors file. Download it again.", read, lambda: path.write_bytes(whole) and read())
    path.unlink()
    follow(", the weights. Copy one of them into it.", read, lambda: path.write_bytes(whole) and read())
    index = folder / "model.safetensors.index.json"
    path.rename(folder / "part.safetensors")
    index.write_text("{")
    weight_map = dict.fromkeys(tensors, "part.safetensors")
    follow(
        "): expected JSON with a weight_map. Download it again.",
        read,
        lambda: index.write_text(json.dumps({"weight_map": weight_map})) and read(),
    )
    for words, wrong in (
        (
            ": expected names of files in the same folder. Move the file there, and write its name alone.",
            dict.fromkeys(tensors, "../part.safetensors"),
        ),
        (": expected the same tensors in both. Download the whole folder again.", weight_map | {"more": "part.safetensors"}),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        follow(words, read, lambda: index.write_text(json.dumps({"weight_map": weight_map})) and read())
    (folder / "part.safetensors").unlink()
    follow(
        " names. Download the whole folder again.", read, lambda: (folder / "part.safetensors").write_bytes(whole) and read()
    )
    index.unlink()
    bin_file = folder / "pytorch_model.bin"
    bin_file.write_bytes(b"PK\x03\x04")
    (folder / "part.safetensors").unlink()
    follow(
        "): expected a file that torch.save wrote. Download it again.",
        read,
        lambda: bin_file.unlink() or (path.write_bytes(whole) and read()),
    )
    path.unlink()
    zipped(bin_file, pickle.dumps([1], 2))
    follow(". Ask its owner to save the weights as model.safetensors.", read, lambda: save_file(tensors, path) or read())


def test_names():
    table = {"embeddings.word_embeddings.weight": np.ones([4, 2])}
    two = table | {f"teacher.{name}": value for name, value in table.items()}
    read = lambda weights, family="bert": canonical(dict(weights), family=family, config=BERT)  # noqa: E731
    follow(
        ": expected one. Save one of them alone.",
        lambda: read(two),
        lambda: read(table).keys() == {"bert.embeddings.word_embeddings.weight"},
    )
    follow(
        ", the token embeddings. Take weights and config.json from the same model.",
        lambda: read(table, "gpt2"),
        lambda: read(table, "bert"),
    )


def test_folders(folder, tmp_path):
    model, tokenizer = from_huggingface(folder)
    command(tmp_path, "hf", f'[ "$1 $2 $3" = "download some/bert --local-dir" ] && cp -r {folder} "$4"')
    with pytest.raises(FileNotFoundError, match="download it first: ") as error:
        from_huggingface("some/bert")
    subprocess.run(str(error.value).partition("download it first: ")[2], shell=True, check=True)
    assert from_huggingface("bert")[0].config == model.config
    here = lambda: from_huggingface(folder)[0].config == model.config  # noqa: E731
    follow(
        ": expected one with config.json, weights and tokenizer files. Give the path of such a folder.",
        lambda: from_huggingface(tmp_path / "gone/away/far"),
        here,
    )
    config = folder / "config.json"
    text = config.read_text()
    config.unlink()
    follow(
        " does not exist: expected a Hugging Face folder. Copy config.json into it.",
        here,
        lambda: config.write_text(text) and here(),
    )
    tfllm.save(model, tokenizer, "ours")
    follow(
        ": expected one of Hugging Face. Load it with tfllm.load.",
        lambda: from_huggingface("ours"),
        lambda: tfllm.load("ours")[0].config == model.config,
    )
    write = lambda place: from_huggingface(to_huggingface(model, tokenizer, place))[0].config == model.config  # noqa: E731
    follow(
        ": expected a new or empty folder. Choose another folder, or remove it first.",
        lambda: write(folder),
        lambda: write("other"),
    )
    follow(
        ": expected a new or empty folder. Choose another folder, or remove it first.",
        lambda: write("other"),
        lambda: shutil.rmtree("other") or write("other"),
    )
    theirs = tokenizer_for(ROBERTA, tmp_path)
    follow(
        ", as the model has. Give the tokenizer of this model.",
        lambda: to_huggingface(model, theirs, "third"),
        lambda: to_huggingface(model, tokenizer, "third"),
    )
    sizes = "model.resize_token_embeddings(len(tokenizer))"
    size = lambda config: _vocab_size(config, theirs, folder, {}) == theirs.vocab_size  # noqa: E731
    follow(sizes, lambda: size(BERT), lambda: size(BERT.replace(vocab_size=theirs.vocab_size)))
    follow(
        " is invalid: expected None with model_class=MaskedLM. Give one of them.",
        lambda: from_huggingface(folder, tfllm.MaskedLM, task="masked_lm"),
        lambda: isinstance(from_huggingface(folder, tfllm.MaskedLM)[0], tfllm.MaskedLM),
    )
    follow(
        " is invalid: expected one of ",
        lambda: from_huggingface(folder, task="chat"),
        lambda: from_huggingface(folder, task="masked_lm"),
    )


def test_heads_and_tables_of_folders(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if "predictions.transform.dense.bias" not in name}, path)
    left = ". Take both from the same model. To load an encoder without its head, give task='text_embedder'."
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

    follow('Write "tie_word_embeddings": false into config.json.', lambda: from_huggingface(folder), untied)
    change(folder / "config.json", tie_word_embeddings=True)
    save_file(tensors | {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"] + 1}, path)
    follow(
        "Save the model again.", lambda: from_huggingface(folder), lambda: save_file(tensors, path) or from_huggingface(folder)
    )


def test_tasks_and_model_classes(monkeypatch, tmp_path):
    to_huggingface(tfllm.MaskedLM(BERT, seed=0), tokenizer_for(BERT, tmp_path), tmp_path / "folder")
    follow(
        " is invalid: expected None with model_class=",
        lambda: from_huggingface(tmp_path / "folder", task="masked_lm", model_class=tfllm.MaskedLM),
        lambda: isinstance(from_huggingface(tmp_path / "folder", model_class=tfllm.MaskedLM)[0], tfllm.MaskedLM),
    )
    follow(
        ", for the folder holds ",
        lambda: from_huggingface(tmp_path / "folder", task="causal_lm"),
        lambda: from_huggingface(tmp_path / "folder", task="text_embedder"),
    )
    masked = tfllm.tasks.get("masked_lm")
    specs = {spec.name: spec for spec in (*tfllm.tasks.all_tasks(), dataclasses.replace(masked, name="own", huggingface=None))}
    monkeypatch.setattr(tfllm.tasks, "get", specs.__getitem__)
    words = " is invalid: expected a task that Hugging Face has a class for: "
    follow(words, lambda: head_of("own"), lambda: head_of("masked_lm") is not None)
