"""Writes golden/generation.json: what `generate` of Hugging Face says with the weights of `cases.weight`.

python tests/parity/record_generation.py
"""

from __future__ import annotations

import json
from typing import Any

import torch
from cases import CASES, GOLDEN, weight
from generations import EOS, EOS_BIAS, MAX_NEW_TOKENS, MODELS, PROMPTS, SETTINGS
from peers import peer


def theirs(model: Any, name: str, prompt: list[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Tokens of each returned sequence, without what stands behind its end, and the scores of beams."""
    asked = dict(settings)
    beams = asked.get("num_beams", 1)
    bias = {int(token): value for token, value in asked.pop("logit_bias", {}).items()} | (
        {EOS: EOS_BIAS[name]} if beams > 1 else {}
    )
    if words := asked.pop("bad_words", None):
        asked["bad_words_ids"] = words
    if bias:
        asked["sequence_bias"] = [[[token], value] for token, value in bias.items()]
    said = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        **dict(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=EOS, pad_token_id=0),
        **dict(num_return_sequences=beams, return_dict_in_generate=True, output_scores=True),
        **asked,
    )
    rows = [row[len(prompt) :].tolist() for row in said.sequences]
    rows = [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]
    # Shorter ones without a separator would be cut by the longest: here all that end early have it.
    return {"token_ids": rows, "scores": said.sequences_scores.tolist() if beams > 1 else None}


if __name__ == "__main__":
    found = []
    for name in MODELS:
        model = peer(CASES[name]).float().eval()
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(weight(path, tuple(parameter.shape), 0)))
        for prompt in PROMPTS:
            for settings in SETTINGS:
                found.append({"model": name, "prompt": prompt, "settings": settings, **theirs(model, name, prompt, settings)})
    lines = ",\n".join(json.dumps(each) for each in found)
    (GOLDEN / "generation.json").write_text(f"[\n{lines}\n]\n")
    print(len(found), "calls;", len({json.dumps(each["token_ids"]) for each in found}), "different answers")
