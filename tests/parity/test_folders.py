"""Folders between us and Transformers, live: what we write they load, what they write we load, with equal answers."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "interop"))
from minilm import minilm
from small import MODELS, features, strong, tokenizer_for

from tfllm.interop.huggingface import from_huggingface, to_huggingface

pytestmark = pytest.mark.parity
LIMIT = 1e-5
TEXTS = ["the other one", "Thé  end, then.\n", "你好 the", "", "on <mask> and [MASK] on", "🙂 the\tthe"]


@pytest.fixture(scope="module")
def torch():
    return importlib.import_module("torch")


@pytest.fixture(scope="module")
def transformers():
    return importlib.import_module("transformers")


def auto_class(transformers, name):
    """The Auto class a user would take: `AutoModelForMaskedLM` for `RobertaForMaskedLM`."""
    name = name.partition(" ")[0]
    if name == "GPT2LMHeadModel":
        return transformers.AutoModelForCausalLM
    for family in ("Bert", "Roberta", "Llama"):
        name = name.removeprefix(family)
    return getattr(transformers, "AutoModel" if name == "Model" else f"AutoModel{name}")


def theirs(torch, model, batch):
    """Every output of theirs that ours gives, on the tokens that are there."""
    tensors = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    inputs = dict(input_ids=tensors["token_ids"], attention_mask=tensors["segment_ids"])
    if model.config.model_type in ("bert", "roberta"):
        inputs["token_type_ids"] = tensors["type_ids"]
    with torch.no_grad():
        said = model.eval()(**inputs)
    keys = ("logits", "prediction_logits", "seq_relationship_logits", "start_logits", "end_logits", "last_hidden_state")
    return {key: said[key].numpy() for key in keys if key in said}


def ours(model, batch):
    """The same of ours."""
    if model.task == "text_embedder":
        return {"last_hidden_state": model.stack(batch).last_hidden_state.numpy()}
    logits = model(batch).numpy()
    if model.task == "question_answerer":
        return {"start_logits": logits[:, 0], "end_logits": logits[:, 1]}
    if model.task == "text_regressor":
        return {"logits": logits[:, None]}
    if getattr(model, "pair_head", None) is not None:
        return {"prediction_logits": logits, "seq_relationship_logits": model.pair_scores(batch).numpy()}
    return {"logits": logits}


def assert_equal(ours, theirs, there):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        by_token = value.shape[:2] == there.shape
        mask = there.reshape(*there.shape, *[1] * (value.ndim - 2)) if by_token else 1
        apart = np.abs((ours[key] - value) * mask).max()
        print(f"{key} {apart:.1e}")
        assert apart < LIMIT


@pytest.mark.parametrize("name", MODELS)
def test_what_we_write_transformers_loads(torch, transformers, name, tmp_path):
    model = strong(name)
    tokenizer = tokenizer_for(model.config, tmp_path)
    folder = to_huggingface(model, tokenizer, tmp_path / "out")
    peer, said = auto_class(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert type(peer).__name__ == name.partition(" ")[0]
    left = {key for key in said["missing_keys"] if model.config.pooler or not key.startswith("pooler.")}
    assert not left and not said["mismatched_keys"]
    batch = features(model.config, tokenizer.pad_id)
    assert_equal(ours(model, batch), theirs(torch, peer, batch), batch["segment_ids"])
    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert theirs_tokenizer(text, add_special_tokens=False).input_ids == tokenizer.encode(text), text
        framed = [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
        assert theirs_tokenizer(text).input_ids == (tokenizer.encode(text) if model.causal else framed), text
    if not model.causal:
        first, second = tokenizer.encode(TEXTS[0]), tokenizer.encode(TEXTS[1])
        between = [tokenizer.sep_id] * tokenizer.pair_separators
        pair = [tokenizer.cls_id, *first, *between, *second, tokenizer.sep_id]
        assert theirs_tokenizer(TEXTS[0], TEXTS[1]).input_ids == pair
        assert theirs_tokenizer.mask_token_id == tokenizer.mask_id


@pytest.mark.parametrize("form", ["safetensors", "shards", "zip", "legacy", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_what_transformers_writes_we_load(torch, transformers, name, form, tmp_path):
    tokenizer = tokenizer_for(strong(name).config, tmp_path)
    written = to_huggingface(strong(name), tokenizer, tmp_path / "ours")
    peer = auto_class(transformers, name).from_pretrained(written)
    if form == "bfloat16":
        peer = peer.bfloat16()
    folder = tmp_path / "theirs"
    peer.save_pretrained(folder, max_shard_size="4KB" if form == "shards" else "1GB")
    if form in ("zip", "legacy"):
        (folder / "model.safetensors").unlink()
        torch.save(peer.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (form == "shards")
    model, _ = from_huggingface(folder, tokenizer=tokenizer)
    assert model.task == strong(name).task
    batch = features(model.config, tokenizer.pad_id)
    assert_equal(ours(model, batch), theirs(torch, peer.float(), batch), batch["segment_ids"])


def test_the_recorded_files_are_what_torch_saves(tmp_path):
    torch_bins = importlib.import_module("torch_bins")
    torch_files = importlib.import_module("tfllm.interop.torch_files")
    torch_bins.record(tmp_path)
    for name in torch_bins.FORMS:
        found, recorded = torch_files.read_torch(tmp_path / name), torch_files.read_torch(torch_bins.GOLDEN / name)
        assert found.keys() == recorded.keys()
        for key, value in recorded.items():
            np.testing.assert_array_equal(found[key], value, strict=True)


def test_minilm_gives_what_transformers_gives(torch, transformers, tmp_path):
    """The published weights, on real sentences, from their own folder and from ours."""
    folder = minilm(tmp_path / "minilm")
    model, tokenizer = from_huggingface(folder)
    written = to_huggingface(model, tokenizer, tmp_path / "out")
    original = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [line for line in Path(importlib.import_module("this").__file__).read_text().splitlines() if line][1:20]
    said = original(texts, padding="longest", return_tensors="np")
    batch = {"token_ids": said.input_ids, "segment_ids": said.attention_mask, "type_ids": said.token_type_ids}
    batch = {key: value.astype(np.int32) for key, value in batch.items()}
    for source in (folder, written):
        peer = transformers.AutoModel.from_pretrained(source)
        assert_equal(ours(model, batch), theirs(torch, peer, batch), batch["segment_ids"])
        assert transformers.AutoTokenizer.from_pretrained(source)(texts).input_ids == original(texts).input_ids
    rows = [[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id] for text in texts]
    assert rows == original(texts).input_ids
