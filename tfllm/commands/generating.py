"""`tfllm generate`: continues prompts. Its options are derived from the settings of `GenerationConfig`."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Annotated, Any, Literal

import tyro

from tfllm.commands.arguments import Address, Model, generation_config, load_model
from tfllm.generation.config import GenerationConfig
from tfllm.generation.other_names import ANSWERS, RENAMED
from tfllm.generation.setting import Setting, settings_of


def _option(setting: Setting) -> tuple[str, Any, None]:
    """A setting as a field of `Settings`."""
    default = f"(default: the model folder's, else {setting.default!r})"
    described = tyro.conf.arg(help=setting.help, help_behavior_hint=default)
    return setting.name, Annotated[setting.accepted.option | None, described], None


_Options: Any = dataclasses.make_dataclass("_Options", map(_option, settings_of(GenerationConfig)), frozen=True, kw_only=True)


class Settings(_Options):
    """One option for each setting of `GenerationConfig`. None: not given, so the setting of the model folder is used."""


_NOT_GIVEN = Settings()


def translated_options(words: list[str]) -> list[str]:
    """Translates the options of other libraries in a command line of `tfllm generate`. Other command lines are not changed.

        generate runs/first --num-return-sequences 2 --do-sample -> generate runs/first --num-sequences 2 --do-sample True

    Raises:
        ValueError: an option of another library has no equivalent here.
    """
    found = list(words)
    for place, word in enumerate(words if words[:1] == ["generate"] else []):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        if not option.startswith("--"):
            continue
        if name in ANSWERS:
            raise ValueError(f"{option} is invalid: expected an option that exists here. {ANSWERS[name].advice}")
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
    settings: Annotated[Settings, tyro.conf.arg(name="")] = _NOT_GIVEN,
) -> None:
    """Continue prompts. One prompt is printed with its continuation as it comes; several give JSON lines. Settings that are not
    given are those of the model folder's generation.json (GenerationConfig.save writes it), or the defaults.

    Args:
        model: A run, a checkpoint or a model folder, here or at an address (gs://…), or a Hugging Face folder.
        prompt: Texts to continue. Quote each.
        draft_model: A smaller model with the same tokenizer, which drafts --num-draft-tokens at once.
        quantize: int8: compute in 8 bits. Faster for large models, with slightly lower quality. Only on x86 processors.
        prepack: Keep another copy of each matrix, in the layout that the processor reads fastest. Faster for several prompts.
            Only on x86 processors; in bfloat16 only with AVX-512.
        do_sample: True is --temperature 1 --top-k 50, the defaults of Transformers; False is --temperature 0.
        settings: Settings of generation.
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
    """The JSON line of a `Generation`."""
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
