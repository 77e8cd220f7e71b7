"""`tfllm generate`: prompts in, continuations out."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Annotated, Any, Literal

import tyro

from tfllm.commands.arguments import Address, Model, generation_config, load_model
from tfllm.generation.other_names import ANSWERS, RENAMED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Those of `GenerationConfig`, each left as it is where it is not given."""

    max_new_tokens: int | None = None
    """Longest continuation in tokens, 128 where nothing says otherwise."""
    min_new_tokens: int | None = None
    """Shortest continuation: the document is not closed before."""
    temperature: float | None = None
    """0, the default, always takes the most probable token; 1 draws from the model's own distribution."""
    top_k: int | None = None
    """Draw from the k most probable tokens only."""
    top_p: float | None = None
    """Draw from the most probable tokens that make up this probability."""
    min_p: float | None = None
    """Draw from tokens at least this many times as probable as the most probable."""
    repetition_penalty: float | None = None
    """Above 1, tokens already there become less probable."""
    frequency_penalty: float | None = None
    """Above 0, tokens become less probable each time they are said."""
    presence_penalty: float | None = None
    """Above 0, tokens become less probable once they are said."""
    no_repeat_ngram_size: int | None = None
    """No n tokens in a row come twice."""
    logit_bias: dict[int, float] | None = None
    """Token ids and what is added to their scores: 7 -1.5 12 2."""
    bad_words: tuple[str, ...] | None = None
    """Never said."""
    choices: tuple[str, ...] | None = None
    """Say one of these."""
    regex: str | None = None
    """Say what matches this expression as a whole."""
    json_schema: str | None = None
    """Say JSON of this schema."""
    top_log_probs: int | None = None
    """Write this many of the most probable tokens at each step, too."""
    num_beams: int | None = None
    """Above 1: a beam search for the most probable texts."""
    length_penalty: float | None = None
    """Of a beam search: above 0, long texts gain."""
    early_stopping: Literal[True, False, "never"] | None = None
    """Of a beam search: when it ends."""
    num_beam_groups: int | None = None
    """Beams in groups that avoid each other's tokens."""
    diversity_penalty: float | None = None
    """How much they avoid them."""
    penalty_alpha: float | None = None
    """Above 0: contrastive search among the top-k tokens for one that is unlike the text before."""
    num_draft_tokens: int | None = None
    """Above 0: draft this many tokens at once, by --draft-model or by looking them up in the text. The text is the same."""
    max_matching_ngram_size: int | None = None
    """Of looking up: the longest end of the text that is looked for in it."""
    num_sequences: int | None = None
    """Continuations of each prompt."""
    stop: tuple[str, ...] | None = None
    """End before any of these strings."""
    seed: int | None = None
    """The same seed gives the same text."""


def our_words(words: list[str]) -> list[str]:
    """A command line of `tfllm generate` by the names here; any other as it is.

        generate runs/first --num-return-sequences 2 --do-sample -> generate runs/first --num-sequences 2 --do-sample True

    Raises:
        ValueError: an option is called so elsewhere, and there is none such here.
    """
    found = list(words)
    for place, word in enumerate(words if words[:1] == ["generate"] else []):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        if not option.startswith("--"):
            continue
        if name in ANSWERS:
            raise ValueError(f"{option}: {ANSWERS[name].advice}")
        if name in RENAMED:
            found[place] = f"--{RENAMED[name].replace('_', '-')}{equals}{value}"
        if name == "do_sample" and not equals and words[place + 1 : place + 2] not in (["True"], ["False"]):
            found[place] = f"--do-sample={not option.startswith('--no-')}"
    return found


def generate(
    model: Model,
    *,
    prompt: tuple[str, ...] = ("",),
    draft_model: Address | None = None,
    quantize: Literal["int8"] | None = None,
    prepack: bool = False,
    do_sample: bool | None = None,
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings(),
) -> None:
    """Continue prompts: one as it comes, behind itself, several as JSON lines. What is not given is as in the model folder's
    generation.json (GenerationConfig.save writes it), or the default.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        prompt: Texts to continue; quote each.
        draft_model: A smaller model of the same tokenizer, to draft --num-draft-tokens at once.
        quantize: int8: products in 8 bits, sooner with a large model, for a little quality. Only on x86 processors.
        prepack: Matrices once more, as the processor reads them soonest: several prompts sooner. Only on x86 processors, in
            bfloat16 only on those with AVX-512.
        do_sample: True draws as Transformers does unless told otherwise, --temperature 1 --top-k 50; False is --temperature 0.
        settings: How.
    """
    import tfllm

    given = {name: value for name, value in (vars(settings) | {"do_sample": do_sample}).items() if value is not None}
    loaded, words = load_model(model)
    drafter = None if draft_model is None else load_model(draft_model)[0]
    if quantize or prepack:
        loaded = tfllm.for_inference(loaded, quantize=quantize, prepack=prepack)
    config = generation_config(model).replace(**given)
    if len(prompt) == 1 and config.num_sequences == config.num_beams == 1 and not config.top_log_probs:
        pieces = tfllm.stream(loaded, words, prompt[0], config, draft_model=drafter)
        print(prompt[0], end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return
    for result in tfllm.generate(loaded, words, list(prompt), config, draft_model=drafter):
        print(json.dumps(_line(result, words), ensure_ascii=False))


def _line(result: Any, words: Any) -> dict[str, Any]:
    """What is printed of a `Generation`."""
    line: dict[str, Any] = {"prompt": result.prompt, "text": result.text}
    if result.score is not None:
        line["score"] = result.score if math.isfinite(result.score) else None  # JSON has no infinity
    if result.num_draft_tokens:
        line |= {"num_draft_tokens": result.num_draft_tokens, "num_accepted_tokens": result.num_accepted_tokens}
    if result.top_log_probs:
        line["top_log_probs"] = [
            [{"token": words.id_to_piece(each.token_id), **each._asdict()} for each in step] for step in result.top_log_probs
        ]
    return line
