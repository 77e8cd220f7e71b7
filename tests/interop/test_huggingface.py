"""Hugging Face folders: what is written is read again to the last bit, old names are known, and faults are named."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest
import small
from safetensors.numpy import load_file, save_file
from small import MODELS, features, strong, tokenizer_for

import tfllm
from tfllm.commands.inspecting import info
from tfllm.commands.using import convert
from tfllm.interop.huggingface import from_huggingface, to_huggingface
from tfllm.train.runs.weights import variables_by_name


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """By the class's name: the folder of a model as `to_huggingface` writes it. Copy it before you change it."""
    folders = {}
    for name in MODELS:
        folder = tmp_path_factory.mktemp("written") / "model"
        model = strong(name)
        to_huggingface(model, tokenizer_for(model.config, tmp_path_factory.mktemp("tokenizer")), folder)
        folders[name] = folder
    return folders


@pytest.fixture
def copy(written, tmp_path):
    """Copies a written folder, its tensors and fields changed by a function."""

    def make(name, *, weights=lambda tensors: tensors, config=lambda values: values):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(written[name], folder)
        save_file(weights(load_file(folder / "model.safetensors")), folder / "model.safetensors")
        values = config(json.loads((folder / "config.json").read_text()))
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return make


def assert_same(ours, name):
    expected = strong(name)
    assert type(ours) is type(expected) and ours.config == expected.config and ours.settings() == expected.settings()
    theirs = variables_by_name(expected.variables)
    for path, variable in variables_by_name(ours.variables).items():
        np.testing.assert_array_equal(variable.numpy(), theirs[path].numpy(), err_msg=path)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_read_again_bit_for_bit(written, name, tmp_path):
    model, tokenizer = from_huggingface(written[name])
    assert_same(model, name)
    assert tokenizer.fingerprint() == tokenizer_for(model.config, tmp_path).fingerprint()
    assert json.loads((written[name] / "config.json").read_text())["architectures"] == [name.partition(" ")[0]]


def test_a_folder_read_is_a_model_to_save_and_load(written, tmp_path):
    model, tokenizer = tfllm.from_huggingface(written["BertForSequenceClassification"])
    tfllm.save(model, tokenizer, tmp_path / "saved")
    assert_same(tfllm.load(tmp_path / "saved")[0], "BertForSequenceClassification")


def rename(pattern, by):
    return lambda tensors: {re.sub(pattern, by, name): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("BertForPreTraining", rename(r"^", "module.")),
        ("BertForPreTraining", rename(r"^", "model.")),
        ("BertForPreTraining", lambda t: rename(r"\.bias$", ".beta")(rename(r"LayerNorm\.weight$", "LayerNorm.gamma")(t))),
        ("BertModel", rename(r"^", "bert.")),
        ("BertModel", rename(r"^", "0.auto_model.")),
        ("RobertaModel", rename(r"^", "roberta.")),
        ("RobertaModel", rename(r"^", "encoder.roberta.")),
        ("GPT2LMHeadModel", rename(r"^transformer\.", "")),
    ],
)
def test_names_of_other_years_are_known(copy, name, change):
    assert_same(from_huggingface(copy(name, weights=change))[0], name)


def with_buffers(tensors):
    embeddings = tensors["bert.embeddings.word_embeddings.weight"]
    return tensors | {
        "bert.embeddings.position_ids": np.arange(19)[None],
        "bert.embeddings.token_type_ids": np.zeros([1, 19], np.int64),
        "cls.predictions.decoder.weight": embeddings.copy(),
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].copy(),
    }


def test_buffers_and_copies_of_tied_tensors_are_left_out(copy):
    assert_same(from_huggingface(copy("BertForPreTraining", weights=with_buffers))[0], "BertForPreTraining")


def test_a_tied_bias_under_its_other_name_alone_is_taken(copy):
    change = rename(r"^cls\.predictions\.bias$", "cls.predictions.decoder.bias")
    assert_same(from_huggingface(copy("BertForPreTraining", weights=change))[0], "BertForPreTraining")


def test_gpt2s_masks_and_copies_are_left_out(copy):
    def change(tensors):
        mask = np.tril(np.ones([1, 1, 19, 19], np.uint8))
        tensors |= {f"transformer.h.{i}.attn.bias": mask for i in range(2)} | {
            "transformer.h.0.attn.masked_bias": np.array(-1e4, np.float32)
        }
        return tensors | {"lm_head.weight": tensors["transformer.wte.weight"].copy()}

    assert_same(from_huggingface(copy("GPT2LMHeadModel", weights=change))[0], "GPT2LMHeadModel")


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        ("bert.embeddings.position_ids", "position_ids is invalid: expected the usual values"),
        ("bert.embeddings.token_type_ids", "token_type_ids is invalid: expected the usual values"),
        ("cls.predictions.decoder.weight", "expected a copy of bert.embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "expected a copy of cls.predictions.bias"),
    ],
)
def test_a_buffer_or_copy_that_differs_is_refused(copy, buffer, message):
    def change(tensors):
        tensors = with_buffers(tensors)
        return tensors | {buffer: tensors[buffer] + 1}

    with pytest.raises(ValueError, match=message):
        from_huggingface(copy("BertForPreTraining", weights=change))


def test_an_old_robertas_unused_pooler_gives_way_to_that_of_its_head(copy):
    name = "RobertaForSequenceClassification"
    pooler = {
        "roberta.pooler.dense.weight": np.ones([12, 12], np.float32),
        "roberta.pooler.dense.bias": np.ones(12, np.float32),
    }
    assert_same(from_huggingface(copy(name, weights=lambda tensors: tensors | pooler))[0], name)


def drop(*names):
    return lambda tensors: {name: value for name, value in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("BertModel", drop("encoder.layer.1.output.dense.bias"), "bert.encoder.layer.1.output.dense.bias is missing"),
        ("BertModel", lambda t: t | {"extra.weight": np.ones(3)}, "extra.weight is unexpected"),
        (
            "BertModel",
            drop("embeddings.word_embeddings.weight"),
            "expected …embeddings.word_embeddings.weight, the token embeddings",
        ),
        ("BertModel", lambda t: t | {"a.embeddings.word_embeddings.weight": np.ones(3)}, "the weights have several models"),
        (
            "BertModel",
            lambda t: t | {"embeddings.LayerNorm.bias": np.ones(3, np.float32)},
            r"embeddings.LayerNorm.bias has shape \[3\], not \[12\]",
        ),
        ("BertForSequenceClassification", drop("bert.pooler.dense.bias"), "bert.pooler.dense.bias is missing"),
        ("BertModel", lambda t: t | {"embeddings.LayerNorm.beta": np.ones(12)}, "have bert.embeddings.LayerNorm.bias twice"),
    ],
)
def test_tensors_that_do_not_fit_are_named(copy, name, change, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(copy(name, weights=change))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("BertModel", dict(model_type="t5"), "model_type='t5' is invalid: expected one of bert, roberta, gpt2"),
        ("BertModel", dict(hidden_act="mish"), "hidden_act='mish' is invalid: expected one of gelu, "),
        (
            "BertModel",
            dict(position_embedding_type="relative_key"),
            "position_embedding_type='relative_key' is invalid: expected 'absolute'",
        ),
        ("BertModel", dict(is_decoder=True), "is_decoder=True is invalid: expected False"),
        ("BertModel", dict(num_hidden_layers=None), "num_layers=None"),
        ("BertForSequenceClassification", dict(id2label={"0": "a", "1": "b"}), "id2label has 2 labels: expected 3, the rows"),
        ("BertForSequenceClassification", dict(id2label={"1": "a", "2": "b"}), r"has the numbers \[1, 2\]"),
        (
            "BertForSequenceClassification",
            dict(problem_type="regression"),
            "problem_type='regression' is invalid: .* with 3 labels",
        ),
        ("BertForTokenClassification", dict(architectures=["BertForMultipleChoice"]), "BertForMultipleChoice.*task="),
        ("LlamaForCausalLM", dict(rope_parameters=dict(rope_type="yarn")), "rope_type='yarn' is invalid"),
    ],
)
def test_a_config_that_is_not_carried_is_named(copy, name, fields, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(copy(name, config=lambda values: values | fields))


def test_ends_that_are_not_the_tokenizers_are_told(copy):
    folder = copy("GPT2LMHeadModel")
    with warnings.catch_warnings(action="error"):
        _, tokenizer = from_huggingface(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_id, 7]}))
    with pytest.warns(
        UserWarning, match=rf"eos_token_id names \[7\], which do not end a text .* ends at {tokenizer.eos_id} only"
    ) as told:
        from_huggingface(folder)
    assert told[0].filename == __file__


def test_a_missing_field_of_the_rotary_scaling_is_named(copy):
    scaling = dict(rope_scaling=dict(rope_type="llama3", factor=8.0, high_freq_factor=4.0), rope_parameters=None)
    with pytest.raises(
        ValueError, match=r"config\.json is incomplete: expected low_freq_factor, original_max_position_embeddings"
    ):
        from_huggingface(copy("LlamaForCausalLM", config=lambda values: values | scaling))


def test_a_missing_field_of_the_config_is_named(copy):
    with pytest.raises(ValueError, match="is incomplete: expected intermediate_size"):
        from_huggingface(copy("BertModel", config=lambda values: {k: v for k, v in values.items() if k != "intermediate_size"}))


@pytest.mark.parametrize(
    ("name", "task", "settings"),
    [
        ("BertForPreTraining", "text_classifier", dict(labels=["bad", "good"])),
        ("BertForSequenceClassification", "token_classifier", dict(labels=["a", "b"])),
        ("BertModel", "masked_lm", dict(next_sentence=True)),
        ("RobertaForMaskedLM", "question_answerer", {}),
        ("BertForMaskedLM", "text_embedder", dict(pooling="first")),
    ],
)
def test_another_task_gets_a_new_head_on_the_files_stack(written, name, task, settings):
    model, _ = from_huggingface(written[name], task=task, **settings)
    assert model.task == task and model.settings().items() >= settings.items()
    ours, theirs = variables_by_name(model.stack.variables), variables_by_name(strong(name).stack.variables)
    for path in ours:
        np.testing.assert_array_equal(ours[path].numpy(), theirs[path].numpy(), err_msg=path)


def test_other_labels_than_the_folders(written):
    """As many rename the head's; else the advice is followed to a new head on the same stack."""
    folder = written["BertForSequenceClassification"]
    assert from_huggingface(folder, labels=["x", "y", "z"])[0].labels == ("x", "y", "z")
    with pytest.raises(ValueError, match=r"labels=\['0', '1'\] is invalid: expected 3 .* Load it without labels=") as error:
        from_huggingface(folder, labels=["0", "1"])
    call = re.search(r"another head: (tfllm\..*\))$", str(error.value))[1].replace("[…]", "['0', '1']")
    model, _ = from_huggingface(folder)
    again = eval(call, {"tfllm": tfllm, "model": model})
    assert again.labels == ("0", "1")
    ours, theirs = variables_by_name(again.stack.variables), variables_by_name(model.stack.variables)
    for path in ours:
        np.testing.assert_array_equal(ours[path].numpy(), theirs[path].numpy(), err_msg=path)


def test_another_task_pools_as_the_folder_says_or_by_its_own_custom(written, copy):
    labels = ["bad", "good"]
    model, _ = from_huggingface(written["BertForPreTraining"], tfllm.TextClassifier, labels=labels)
    assert model.pooling == "pooler"
    model, _ = from_huggingface(written["BertModel"], task="text_classifier", labels=labels)  # pools by the first token
    assert model.pooling == "first"
    model, _ = from_huggingface(written["BertForPreTraining"], task="text_classifier", labels=labels, pooling="mean")
    assert model.pooling == "mean"


@pytest.mark.parametrize("name", ["BertForPreTraining", "GPT2LMHeadModel"])
def test_a_tokenizer_of_the_time_before_types_is_read(copy, name):
    folder = copy(name)
    parts = json.loads((folder / "tokenizer.json").read_text())
    expected = from_huggingface(folder)[1].fingerprint()
    del parts["model"]["type"]
    (folder / "tokenizer.json").write_text(json.dumps(parts))
    assert from_huggingface(folder)[1].fingerprint() == expected


@pytest.mark.parametrize("name", ["BertForMaskedLM untied", "BertForPreTraining", "GPT2LMHeadModel", "LlamaForCausalLM"])
def test_rows_that_only_pad_the_vocabulary_are_left_out(written, copy, name):
    size = json.loads((written[name] / "config.json").read_text())["vocab_size"]

    def padded(tensors):
        of_vocabulary = ("word_embeddings.weight", "wte.weight", "embed_tokens.weight", "lm_head.weight", "predictions.bias")
        of_vocabulary += ("predictions.decoder.weight", "predictions.decoder.bias")
        assert all(len(tensors[each]) == size for each in tensors if each.endswith(of_vocabulary))
        return {
            each: np.concatenate([value, np.ones([7, *value.shape[1:]], value.dtype)])
            if each.endswith(of_vocabulary)
            else value
            for each, value in tensors.items()
        }

    folder = copy(name, weights=padded, config=lambda values: values | dict(vocab_size=size + 7))
    assert_same(from_huggingface(folder)[0], name)


def test_a_tied_table_under_the_heads_name_alone_is_taken(copy):
    assert_same(
        from_huggingface(copy("GPT2LMHeadModel", weights=rename(r"^transformer\.wte", "lm_head")))[0], "GPT2LMHeadModel"
    )


@pytest.mark.parametrize(
    ("file", "said", "message"),
    [
        ("config.json", dict(tokenizer_class="BertJapaneseTokenizer"), "tokenizer_class': 'BertJapaneseTokenizer'"),
        ("tokenizer_config.json", dict(do_basic_tokenize=False), "do_basic_tokenize': False"),
        ("tokenizer_config.json", dict(word_tokenizer_type="mecab"), "word_tokenizer_type': 'mecab'"),
        ("tokenizer_config.json", "{", r"tokenizer_config\.json is not JSON"),
    ],
)
def test_words_that_are_cut_otherwise_are_refused(copy, file, said, message):
    folder = copy("BertModel")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    path = folder / file
    path.write_text(said if isinstance(said, str) else json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(ValueError, match=message):
        from_huggingface(folder)


def test_a_space_before_each_text_is_refused_in_old_files_too(copy):
    folder = copy("RobertaModel")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert from_huggingface(folder)[1].kind == "byte_bpe"
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="RobertaTokenizer", add_prefix_space=True)))
    with pytest.raises(ValueError, match="add_prefix_space"):
        from_huggingface(folder)


@pytest.mark.parametrize(
    ("file", "said", "message"),
    [
        (
            "sentence_bert_config.json",
            dict(max_seq_length=9, do_lower_case=True),
            "do_lower_case=True is invalid: expected False",
        ),
        (
            "config_sentence_transformers.json",
            dict(default_prompt_name="query"),
            "default_prompt_name='query' is invalid: expected null",
        ),
    ],
)
def test_what_sentence_transformers_does_to_texts_is_refused(copy, file, said, message):
    folder = copy("BertModel")
    (folder / file).write_text(json.dumps(said))
    with pytest.raises(ValueError, match=message):
        from_huggingface(folder)


def test_the_longest_text_stands_in_files_of_other_families_too(copy):
    folder = copy("RobertaModel")
    for path in folder.glob("sentence_*"):
        path.unlink()
    (folder / "sentence_roberta_config.json").write_text(json.dumps(dict(max_seq_length=9, do_lower_case=False)))
    assert from_huggingface(folder)[0].max_length == 9


def test_a_model_of_pairs_is_told_so(written, tmp_path):
    convert(str(written["BertForSequenceClassification"]), tmp_path / "pairs", pairs=True)
    assert tfllm.load(tmp_path / "pairs")[0].pairs
    with pytest.raises(ValueError, match=r"--pairs is invalid: .* for only Hugging Face folders need it"):
        convert(str(tmp_path / "pairs"), tmp_path / "again", pairs=True)


def test_info_says_what_a_folder_is(written, capsys):
    info(str(written["LlamaForCausalLM"]))
    assert '"num_kv_heads": 2' in capsys.readouterr().out


def test_a_head_of_another_kind_can_be_left_behind(copy):
    folder = copy("BertForTokenClassification", config=lambda values: values | dict(architectures=["BertForMultipleChoice"]))
    assert from_huggingface(folder, task="text_embedder")[0].task == "text_embedder"


def test_a_classifier_of_an_unsaid_kind_is_what_is_asked_for(copy):
    folder = copy("BertForTokenClassification", config=lambda values: values | dict(architectures=None))
    assert_same(from_huggingface(folder, task="token_classifier")[0], "BertForTokenClassification")
    with pytest.raises(ValueError, match="Write one of them into config"):
        from_huggingface(folder)


def test_shards_are_read_as_their_index_says(copy):
    folder = copy("BertModel")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in files if files[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    assert_same(from_huggingface(folder)[0], "BertModel")
    index.write_text(json.dumps({"weight_map": files | {"more": "part-0.safetensors"}}))
    with pytest.raises(ValueError, match=r"differs from .* in more: expected the same tensors"):
        from_huggingface(folder)
    index.write_text(json.dumps({"weight_map": files | {"more": "../part-2.safetensors"}}))
    with pytest.raises(ValueError, match=r"names '\.\./part-2\.safetensors': expected names of files in the same folder"):
        from_huggingface(folder)
    index.write_text(json.dumps({"weight_map": files}))
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"part-1\.safetensors is missing"):
        from_huggingface(folder)


def test_what_is_there_instead_of_weights_is_said(copy):
    folder = copy("BertModel")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        from_huggingface(folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        from_huggingface(folder)
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(FileNotFoundError, match=r"holds.*tf_model\.h5.*: expected model\.safetensors or pytorch_model\.bin"):
        from_huggingface(folder)


def test_a_name_of_the_hub_is_told_how_to_download():
    with pytest.raises(FileNotFoundError, match="hf download google-bert/bert-base-uncased --local-dir bert-base-uncased"):
        from_huggingface("google-bert/bert-base-uncased")


def test_a_model_folder_of_ours_is_told_apart(written, tmp_path):
    tfllm.save(*from_huggingface(written["BertModel"]), tmp_path / "ours")
    with pytest.raises(ValueError, match=r"Load it with tfllm\.load"):
        from_huggingface(tmp_path / "ours")


def test_tasks_that_cannot_be_are_refused(written):
    with pytest.raises(ValueError, match="task='chat' is invalid: expected one of causal_lm"):
        from_huggingface(written["BertModel"], task="chat")
    with pytest.raises(ValueError, match=r"task='causal_lm' is invalid: expected a task of an encoder"):
        from_huggingface(written["BertModel"], task="causal_lm")


def test_files_that_contradict_each_other_about_case_are_refused(copy):
    folder = copy("BertModel")
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(do_lower_case=False)))
    with pytest.raises(ValueError, match=r"do_lower_case=False, tokenizer\.json lowercase=True"):
        from_huggingface(folder)
    (folder / "tokenizer.json").unlink()
    assert from_huggingface(folder)[1].encode("The") != from_huggingface(folder)[1].encode("the")


def test_a_tokenizer_of_another_size_is_refused(written, tmp_path):
    with pytest.raises(ValueError, match=r"the tokenizer has 265 entries: expected 60, as the model has"):
        from_huggingface(written["BertModel"], tokenizer=tokenizer_for(small.ROBERTA, tmp_path))


@pytest.mark.parametrize(
    ("config", "task", "settings", "message"),
    [
        ("modern-encoder-mini", "masked_lm", {}, "The nearest, 'bert', differs in .*norm_place='pre' \\(expected 'post'\\)"),
        ("llama-tiny", "causal_lm", {}, "The nearest, .* differs in"),
        ("bert-tiny", "text_classifier", dict(labels=["a", "b"], pooling="mean"), "pooling='mean'"),
        ("bert-tiny", "text_embedder", dict(pooling="pooler"), "pooling='pooler'"),
        (
            "bert-tiny",
            "masked_lm",
            dict(transform_epsilon=1e-3),
            "transform_epsilon=0.001 is invalid: expected 'gelu' and 1e-12, as bert has",
        ),
        ("roberta-base", "masked_lm", dict(next_sentence=True), "has no roberta with a head for sentence pairs"),
    ],
)
def test_what_hugging_face_has_no_class_for_is_said(config, task, settings, message, tmp_path):
    sizes = dict(vocab_size=small.VOCAB["bert"], num_layers=1, hidden_size=12, num_heads=2, max_length=8)
    config = tfllm.preset(config).replace(**sizes)
    if config.causal:
        config = config.replace(qk_norm=True, sliding_window=3)
    if config.position_offset:
        config = config.replace(vocab_size=small.VOCAB["roberta"])
    model = tfllm.tasks.get(task).model_class(config, **settings)
    with pytest.raises(ValueError, match=message):
        to_huggingface(model, tokenizer_for(config, tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_folder_that_could_not_be_written(tmp_path, monkeypatch):
    model = strong("BertModel")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfllm.interop.huggingface.write_tokenizer", full)
    with pytest.raises(OSError, match="No space left"):
        to_huggingface(model, tokenizer_for(model.config, tmp_path), tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        to_huggingface(model, tokenizer_for(model.config, tmp_path), tmp_path / "taken")


def test_a_roberta_has_one_kind_of_text_for_both_of_a_pair(written):
    model, tokenizer = from_huggingface(written["RobertaForQuestionAnswering"])
    batch = features(model.config, tokenizer.pad_id)
    second = batch | {"type_ids": batch["segment_ids"]}
    np.testing.assert_array_equal(model(batch).numpy(), model(second).numpy())


def test_outputs_survive_the_round_trip_under_padding(written):
    model, tokenizer = from_huggingface(written["RobertaForSequenceClassification"])
    batch = features(model.config, tokenizer.pad_id)
    np.testing.assert_array_equal(model(batch).numpy(), strong("RobertaForSequenceClassification")(batch).numpy())
