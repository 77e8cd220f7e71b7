"""Settings of generation by the names of other libraries.

A name that means the same as a setting here is translated. For any other, the error says what to do here.

Input: settings by name, as a user gives them to `GenerationConfig`. Output: settings by the names of `GenerationConfig`.
Source: `transformers.GenerationConfig` (5.24), its `_get_default_generation_params`; OpenAI's completions.
Importing this module does not import TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfllm.generation.setting import invalid

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
"""Name elsewhere -> name here."""

DEFAULT_TOP_K = 50
"""The `top_k` of Transformers, if `do_sample` is true and no `top_k` is given."""


class Answer(NamedTuple):
    """What to do in place of a setting that exists only elsewhere."""

    advice: str
    no_effect: tuple[Any, ...] = ()
    """Values that turn the setting off there, so that they are accepted here. None always is."""


_TOKENIZER = Answer("Leave it out: the tokenizer has this id.")
_TEXTS_OF_IDS = "with the texts of these ids (tokenizer.decode)."
_LIKE_TOP_P = "Give top_p=0.9 or min_p=0.05, which have a similar effect."
_RECORDS = "Leave it out: each Generation has token_ids, log_probs and score."
_ALTERNATIVES = "For the other tokens of each step give top_log_probs=5."
_CONSTRAINT = "Give choices=…, regex=… or json_schema=…, which say what the text may be."
_ONE_TOKEN = "Give logit_bias={id: -1e9}, which forbids a token at every step."
_GRAPH = "Leave it out: the graph and its cache need no such setting."
_DRAFTS = "Leave it out: drafts are checked token by token, so the text is the same without it."
_LOOKUP = "Give draft_model=…, or num_draft_tokens=4 alone: a model does not draft for itself."
_FILE = "Write the settings with GenerationConfig.save: this is a file of Transformers."

ANSWERS = {
    "max_length": Answer("Give max_new_tokens=…, which counts the continuation without the prompt."),
    "min_length": Answer("Give min_new_tokens=…, which counts the continuation without the prompt.", (0,)),
    "eos_token_id": Answer("Leave it out: the tokenizer has this id. To end a text earlier give stop=…"),
    "stop_token_ids": Answer(f"Give stop=… {_TEXTS_OF_IDS}", ([], ())),
    "pad_token_id": _TOKENIZER,
    "bos_token_id": _TOKENIZER,
    "decoder_start_token_id": _TOKENIZER,
    "forced_bos_token_id": Answer("Put the text of this token at the end of the prompt."),
    "forced_eos_token_id": Answer("Leave it out: a text that reaches max_new_tokens=… ends there without the token."),
    "bad_words_ids": Answer(f"Give bad_words=… {_TEXTS_OF_IDS}", ([],)),
    "force_words_ids": Answer(_CONSTRAINT, ([],)),
    "constraints": Answer(_CONSTRAINT, ([],)),
    "suppress_tokens": Answer(_ONE_TOKEN, ([],)),
    "begin_suppress_tokens": Answer(_ONE_TOKEN, ([],)),
    "sequence_bias": Answer("Give logit_bias={id: bias} for single tokens, or bad_words=… to forbid words.", ({}, [])),
    "typical_p": Answer(_LIKE_TOP_P, (1.0,)),
    "epsilon_cutoff": Answer(_LIKE_TOP_P, (0.0,)),
    "eta_cutoff": Answer(_LIKE_TOP_P, (0.0,)),
    "top_h": Answer(_LIKE_TOP_P),
    "encoder_repetition_penalty": Answer("Give repetition_penalty=…: a decoder has no encoder.", (1.0,)),
    "encoder_no_repeat_ngram_size": Answer("Give no_repeat_ngram_size=…: a decoder has no encoder.", (0,)),
    "exponential_decay_length_penalty": Answer("Give max_new_tokens=…, which limits the length of the text."),
    "guidance_scale": Answer("Leave it out: there is no second prompt for guidance.", (1, 1.0)),
    "watermarking_config": Answer("Leave it out: texts are not watermarked."),
    "token_healing": Answer("Leave it out, and end the prompt before its last word.", (False,)),
    "dola_layers": Answer("Give penalty_alpha=0.6 with top_k=4, which contrasts tokens, not layers."),
    "assistant_model": Answer("Give draft_model=… with num_draft_tokens=4."),
    "assistant_early_exit": Answer(_LOOKUP),
    "use_mtp": Answer(_LOOKUP, (False,)),
    "num_assistant_tokens_schedule": Answer("Give num_draft_tokens=4, the same number for each pass.", ("constant",)),
    "assistant_confidence_threshold": Answer(_DRAFTS, (0.4,)),
    "assistant_lookbehind": Answer(_DRAFTS, (10,)),
    "target_lookbehind": Answer(_DRAFTS, (10,)),
    "assistant_ensemble_weight": Answer(_DRAFTS),
    "is_assistant": Answer(_DRAFTS, (False,)),
    "speculation_type": Answer(_DRAFTS),
    "max_time": Answer("Give max_new_tokens=…: a limit of time would give other texts on other machines."),
    "stopping_criteria": Answer(
        "Give stop=… or max_new_tokens=…, or regex=… or choices=…, where a text ends by itself.", ([],)
    ),
    "logits_processor": Answer("Give settings that change scores: logit_bias=…, bad_words=…, repetition_penalty=…", ([],)),
    "prefix_allowed_tokens_fn": Answer(_CONSTRAINT),
    "streamer": Answer("Leave it out, and call tfllm.stream, which gives the text piece by piece."),
    "remove_invalid_values": Answer("Leave it out: NaN scores are an error of the model.", (False,)),
    "renormalize_logits": Answer("Leave it out: probabilities always sum to 1.", (True, False)),
    "output_scores": Answer(f"{_RECORDS} {_ALTERNATIVES}", (False,)),
    "output_logits": Answer(f"{_RECORDS} {_ALTERNATIVES}", (False,)),
    "logprobs": Answer(f"{_RECORDS} {_ALTERNATIVES}", (False, True)),
    "output_attentions": Answer("Leave it out: attention is not returned with a text.", (False,)),
    "output_hidden_states": Answer("Leave it out: hidden states are not returned with a text.", (False,)),
    "return_dict_in_generate": Answer(_RECORDS, (True, False)),
    "use_cache": Answer("Leave it out: keys and values are always cached.", (True,)),
    "cache_implementation": Answer(_GRAPH),
    "cache_config": Answer(_GRAPH),
    "max_cache_len": Answer(_GRAPH),
    "compile_config": Answer(_GRAPH),
    "disable_compile": Answer(_GRAPH, (False,)),
    "prefill_chunk_size": Answer(_GRAPH),
    "continuous_batching_config": Answer(_GRAPH),
    "low_memory": Answer(_GRAPH, (False,)),
    "skip_special_tokens": Answer("Leave it out: special tokens are never in the text.", (True,)),
    "clean_up_tokenization_spaces": Answer("Leave it out: the text is decoded as it is.", (False,)),
    "return_full_text": Answer("Leave it out, and put the prompt before the text of a Generation.", (False,)),
    "return_tensors": Answer(_RECORDS),
    "inputs": Answer("Give the prompts as texts, after the tokenizer."),
    "input_ids": Answer("Give the prompts as texts, after the tokenizer."),
    "attention_mask": Answer("Leave it out: prompts are texts of any lengths."),
    "batch_size": Answer(
        "Leave it out: all prompts are one batch. For smaller batches, call generate for some prompts at a time."
    ),
    "generation_config": Answer("Give config=…, a tfllm.GenerationConfig."),
    "best_of": Answer("Give num_beams=… with num_sequences=1 for the most probable text of several.", (1,)),
    "transformers_version": Answer(_FILE),
    "_from_model_config": Answer(_FILE),
}
"""Names of other libraries without a setting here. Advice writes settings as `name=value`, which the command line turns into
options."""


def translated(settings: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """Settings by the names that they have here.

        num_return_sequences=2, temperature=0.8 -> num_sequences=2, temperature=0.8
        do_sample=True                          -> temperature=1.0, top_k=50, as Transformers draws
        do_sample=True, top_k=0                 -> temperature=1.0, top_k=0
        do_sample=False, temperature=1.0        -> temperature=0.0
        typical_p=1.0, pad_token_id=None        -> nothing: these values turn them off

    Args:
        settings: by any names. Names that no library has are kept; `GenerationConfig` rejects them.
        before: the config that the settings change, or the class for its defaults.

    Raises:
        ValueError: a name has no setting here that means the same, or a setting is given by two of its names.
    """
    found: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for name, value in settings.items():
        answer = ANSWERS.get(name)
        if answer is not None:
            if value is not None and not any(value == each for each in answer.no_effect):
                raise invalid(name, value, "a setting that exists here", answer.advice)
        elif name != "do_sample" and not (name in RENAMED and value is None):
            ours = RENAMED.get(name, name)
            if ours in found:
                other = name if name != ours else given_as[ours]
                raise invalid(other, settings[other], f"no value with {ours}, which means the same", f"Leave {other} out.")
            found[ours], given_as[ours] = value, name
    do_sample = settings.get("do_sample")
    return found if do_sample is None else found | _sampling(do_sample, found, before)


def _sampling(do_sample: Any, given: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """What `do_sample` means for temperature and top-k."""
    if not isinstance(do_sample, bool):
        raise invalid("do_sample", do_sample, "True or False", "Give temperature=1.0 to draw, or temperature=0 not to.")
    temperature = given.get("temperature")
    if not do_sample:
        if temperature not in (None, 0, 1):
            raise invalid("temperature", temperature, "0 or 1 with do_sample=False", "Leave temperature or do_sample out.")
        return {"temperature": 0.0}
    if temperature == 0:
        raise invalid("temperature", temperature, "more than 0 with do_sample=True", "Leave temperature or do_sample out.")
    if before.temperature:
        return {}
    top_k = {} if "top_k" in given or before.top_k else {"top_k": DEFAULT_TOP_K}
    return top_k | ({} if "temperature" in given else {"temperature": 1.0})
