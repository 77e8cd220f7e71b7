"""Names that other libraries give to settings of generation: translated where they mean the same, else answered.

Enters: settings by name, as `GenerationConfig` is given them. Leaves: settings of `GenerationConfig`.
Source: `transformers.GenerationConfig` (5.24), its `_get_default_generation_params`; OpenAI's completions.
Importing this imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

RENAMED = {
    "num_return_sequences": "num_sequences",
    "stop_strings": "stop",
    "prompt_lookup_num_tokens": "num_draft_tokens",
    "num_assistant_tokens": "num_draft_tokens",
    # OpenAI's
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "n": "num_sequences",
    "top_logprobs": "top_log_probs",
}
"""Other name -> the setting that means the same."""

DEFAULT_TOP_K = 50
"""Of Transformers, where `do_sample` is true and nothing else is said."""


class Answer(NamedTuple):
    """What is said of a setting that there is not."""

    advice: str
    off: tuple[Any, ...] = ()
    """Values with which it does nothing, so that it may stand there. None always does."""


_TOKENIZERS = Answer("the tokenizer knows its own ids: leave it out")
_LIKE_TOP_P = "there is no such cut: top_p=0.9 or min_p=0.05 are near it"
_RECORDS = "each Generation holds token_ids, log_probs and score: leave it out"
_CUT = "one process makes the graph, and its cache grows as it is needed: leave it out"
_DRAFTS = "drafts are checked token for token, and the text is the same for any: leave it out"

ANSWERS = {
    "max_length": Answer("it counts the prompt, too: give max_new_tokens=…, the tokens of the continuation"),
    "min_length": Answer("it counts the prompt, too: give min_new_tokens=…, the tokens of the continuation", (0,)),
    "eos_token_id": Answer("the tokenizer knows the token that ends a text: leave it out, or give stop=… to end earlier"),
    "stop_token_ids": Answer("texts are given here: stop=… with what these tokens say (tokenizer.decode)", ([], ())),
    "pad_token_id": _TOKENIZERS,
    "bos_token_id": _TOKENIZERS,
    "decoder_start_token_id": _TOKENIZERS,
    "forced_bos_token_id": Answer("give the text it says as the beginning of the prompt"),
    "forced_eos_token_id": Answer("a text that reaches max_new_tokens=… ends there, without the token: leave it out"),
    "bad_words_ids": Answer("texts are given here: bad_words=… with what these ids say (tokenizer.decode)", ([],)),
    "force_words_ids": Answer("say what the text may be: choices=…, regex=… or json_schema=…", ([],)),
    "constraints": Answer("say what the text may be: choices=…, regex=… or json_schema=…", ([],)),
    "suppress_tokens": Answer("forbid each by its score: logit_bias={id: -1e9}", ([],)),
    "begin_suppress_tokens": Answer("a token is forbidden at every step, by its score: logit_bias={id: -1e9}", ([],)),
    "sequence_bias": Answer("a bias is of one token: logit_bias={id: bias}; words are forbidden by bad_words=…", ({}, [])),
    "typical_p": Answer(_LIKE_TOP_P, (1.0,)),
    "epsilon_cutoff": Answer(_LIKE_TOP_P, (0.0,)),
    "eta_cutoff": Answer(_LIKE_TOP_P, (0.0,)),
    "top_h": Answer(_LIKE_TOP_P),
    "encoder_repetition_penalty": Answer("a decoder has no encoder: give repetition_penalty=…", (1.0,)),
    "encoder_no_repeat_ngram_size": Answer("a decoder has no encoder: give no_repeat_ngram_size=…", (0,)),
    "exponential_decay_length_penalty": Answer("there is no such penalty: max_new_tokens=… bounds the text"),
    "guidance_scale": Answer("there is no second prompt to be guided by: leave it out", (1, 1.0)),
    "watermarking_config": Answer("texts are not marked: leave it out"),
    "token_healing": Answer("prompts stand as they are tokenized: end the prompt before the last word's end", (False,)),
    "dola_layers": Answer("there is no contrast of layers: penalty_alpha=0.6 with top_k=4 contrasts tokens"),
    "assistant_model": Answer("it is called draft_model: give draft_model=… with num_draft_tokens=4"),
    "assistant_early_exit": Answer("a model does not draft for itself: give draft_model=…, or num_draft_tokens=4 alone"),
    "use_mtp": Answer("a model does not draft for itself: give draft_model=…, or num_draft_tokens=4 alone", (False,)),
    "num_assistant_tokens_schedule": Answer("as many are drafted each time: give num_draft_tokens=4", ("constant",)),
    "assistant_confidence_threshold": Answer(_DRAFTS, (0.4,)),
    "assistant_lookbehind": Answer(_DRAFTS, (10,)),
    "target_lookbehind": Answer(_DRAFTS, (10,)),
    "assistant_ensemble_weight": Answer(_DRAFTS),
    "is_assistant": Answer(_DRAFTS, (False,)),
    "speculation_type": Answer(_DRAFTS),
    "max_time": Answer("time does not end a text, so that it is the same on any machine: give max_new_tokens=…"),
    "stopping_criteria": Answer("a text ends by stop=…, max_new_tokens=…, or where regex=… or choices=… do", ([],)),
    "logits_processor": Answer("scores are changed by settings: logit_bias=…, bad_words=…, repetition_penalty=…", ([],)),
    "prefix_allowed_tokens_fn": Answer("say what the text may be: choices=…, regex=… or json_schema=…"),
    "streamer": Answer("tfllm.stream gives the text as it comes: leave it out"),
    "remove_invalid_values": Answer("scores that are no numbers are an error of the model: leave it out", (False,)),
    "renormalize_logits": Answer("probabilities sum to 1 after every cut: leave it out", (True, False)),
    "output_scores": Answer(f"{_RECORDS}, or give top_log_probs=5 for the other tokens of each step", (False,)),
    "output_logits": Answer(f"{_RECORDS}, or give top_log_probs=5 for the other tokens of each step", (False,)),
    "logprobs": Answer(f"{_RECORDS}, or give top_log_probs=5 for the other tokens of each step", (False, True)),
    "output_attentions": Answer("attention is not given with a text: leave it out", (False,)),
    "output_hidden_states": Answer("hidden states are not given with a text: leave it out", (False,)),
    "return_dict_in_generate": Answer(_RECORDS, (True, False)),
    "use_cache": Answer("keys and values are always kept: leave it out", (True,)),
    "cache_implementation": Answer(_CUT),
    "cache_config": Answer(_CUT),
    "max_cache_len": Answer(_CUT),
    "compile_config": Answer(_CUT),
    "disable_compile": Answer(_CUT, (False,)),
    "prefill_chunk_size": Answer(_CUT),
    "continuous_batching_config": Answer(_CUT),
    "low_memory": Answer(_CUT, (False,)),
    "skip_special_tokens": Answer("special tokens are not in the text: leave it out", (True,)),
    "clean_up_tokenization_spaces": Answer("the text is what the tokens say: leave it out", (False,)),
    "return_full_text": Answer("a Generation holds the continuation: put the prompt before its text", (False,)),
    "return_tensors": Answer(_RECORDS),
    "inputs": Answer("prompts are texts: give them after the tokenizer"),
    "input_ids": Answer("prompts are texts: give them after the tokenizer"),
    "attention_mask": Answer("prompts are texts, of any lengths: leave it out"),
    "batch_size": Answer("all prompts are one batch: call generate for some at a time"),
    "generation_config": Answer("it is called config, and is a tfllm.GenerationConfig: give config=…"),
    "best_epoch": Answer("give num_beams=… with num_sequences=1 for the most probable of several", (1,)),
    "transformers_version": Answer("this is a file of Transformers: write its settings with GenerationConfig.save"),
    "_from_model_config": Answer("this is a file of Transformers: write its settings with GenerationConfig.save"),
}
"""Names that mean nothing here, or something else. Advice names settings as `name=value`, which the command line rewrites."""


def translated(settings: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """Settings by the names they have here.

        num_return_sequences=2, temperature=0.8 -> num_sequences=2, temperature=0.8
        do_sample=True                          -> temperature=1.0, top_k=50, as Transformers draws
        do_sample=True, top_k=0                 -> temperature=1.0, top_k=0
        do_sample=False, temperature=1.0        -> temperature=0.0
        typical_p=1.0, pad_token_id=None        -> nothing: they are off

    Args:
        settings: as given; names that nobody knows stay.
        before: what they change: a config, or the class for its defaults.

    Raises:
        ValueError: a setting is called so elsewhere and does not exist here, or is given by both its names.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        answer = ANSWERS.get(name)
        if answer is not None:
            if value is not None and not any(value == off for off in answer.off):
                raise ValueError(f"{name}={value!r:.80}: {answer.advice}")
        elif name != "do_sample" and not (name in RENAMED and value is None):
            ours = RENAMED.get(name, name)
            if ours in found:
                raise ValueError(f"{ours} is given by two names, {name} is one of them: leave one out")
            found[ours] = value
    do_sample = settings.get("do_sample")
    return found if do_sample is None else found | _drawing(do_sample, found, before)


def _drawing(do_sample: Any, given: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """What `do_sample` means for temperature and top-k."""
    if not isinstance(do_sample, bool):
        raise ValueError(f"do_sample={do_sample!r} must be True or False: here temperature=1.0 draws, temperature=0 does not")
    temperature = given.get("temperature")
    if not do_sample:
        if temperature not in (None, 0, 1):
            raise ValueError(f"do_sample=False draws nothing, and temperature={temperature!r} does: leave one of them out")
        return {"temperature": 0.0}
    if temperature == 0:
        raise ValueError("do_sample=True draws, and temperature=0 does not: leave one of them out")
    if before.temperature:
        return {}
    top_k = {} if "top_k" in given or before.top_k else {"top_k": DEFAULT_TOP_K}
    return top_k | ({} if "temperature" in given else {"temperature": 1.0})
