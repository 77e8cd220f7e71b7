"""The tokens that the files beside a vocabulary name, read as Transformers reads them.

In: `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` of a checkpoint's folder. Out: added tokens.

    vocab.txt of 12 lines, added_tokens.json {"[E1]": 12}, special_tokens_map.json {"cls_token": "[CLS]"} of line 2
    -> [CLS] 2 (special), [E1] 12 (found in text, normalized)

Not read, because they change no id of a text: chat templates, `model_max_length`, `padding_side`,
`clean_up_tokenization_spaces`, and `add_bos_token` (`tfllm.data` opens and closes rows). Source:
`PreTrainedTokenizerBase.from_pretrained` and `TokenizersBackend` of Transformers 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfllm.tokenizers.added_tokens import AddedToken, check_library_id, library_id

CONFIG = "tokenizer_config.json"
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MORE = ("additional_special_tokens", "extra_special_tokens")
"""Lists of special tokens that have no role, or roles of their own: {"image_token": "<image>"}."""


def read_json(path: Path) -> Any:
    """Raises ValueError that names the file, where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): get it again") from error


@dataclass(frozen=True)
class TokenizerConfig:
    """The tokens that a folder's files name beside the vocabulary.

    folder: where they are. config: `tokenizer_config.json`. decoder: its `added_tokens_decoder`. plain: `added_tokens.json`,
    ids without flags. named: special tokens, with flags where a file gives any. unused: those Transformers does not look at.
    """

    folder: Path
    config: Mapping[str, Any]
    decoder: tuple[AddedToken, ...]
    plain: Mapping[str, int]
    named: Mapping[str, Mapping[str, Any]]
    unused: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: Path) -> TokenizerConfig:
        """Raises ValueError for a file that is damaged."""
        config, special, plain = (
            read_json(folder / name) if (folder / name).is_file() else {}
            for name in (CONFIG, "special_tokens_map.json", "added_tokens.json")
        )
        decoder = config.get("added_tokens_decoder")
        if decoder is None:
            return cls(folder, config, (), plain, _named(config) | _named(config | special))
        tokens = [AddedToken.of(fields, int(id)) for id, fields in decoder.items()]
        named = _named(config)
        return cls(folder, config, _by_id(tokens), plain, named, frozenset(_named(special) | plain) - frozenset(named))

    def role(self, name: str) -> str | None:
        """The content of the token that is called "cls_token" or the like."""
        return next((content for content, fields in self.named.items() if name in fields["roles"]), None)

    def beside(
        self,
        pieces: Mapping[str, int],
        stated: Iterable[AddedToken] = (),
        *,
        usual: Iterable[AddedToken] = (),
        effective_flags: Callable[[AddedToken], AddedToken] = lambda token: token,
    ) -> list[AddedToken]:
        """All added tokens of a tokenizer, by their ids.

        Args:
            pieces: the vocabulary.
            stated: added tokens that `tokenizer.json` states.
            usual: what is added where no file speaks of it.
            effective_flags: gives the token without the flags that change no ids.

        Raises ValueError where two files contradict each other, or an id is not the one that `tokenizers` gives.
        """
        tokens = {token.content: effective_flags(token) for token in stated}
        ids = {**pieces, **{token.content: token.id for token in tokens.values()}}
        for token in map(effective_flags, self.decoder):
            self._same(token, tokens.setdefault(token.content, token), CONFIG, "tokenizer.json")
            self._check_id(token, ids)
        usually = {token.content: token for token in usual}
        if unknown := sorted(self.unused - ids.keys()):
            raise ValueError(
                f"{self.folder}: {unknown[0]!r} is named, but not in the added_tokens_decoder of {CONFIG}, which Transformers "
                "goes by: put it there, or save the tokenizer again in Transformers"
            )
        for content, id in sorted(self.plain.items(), key=lambda entry: entry[1]):
            special = content in self.named
            new = AddedToken(id, content, special, normalized=not special)
            known = tokens.setdefault(content, usually.get(content, effective_flags(new)))
            self._same(replace(known, id=id), known, "added_tokens.json", "another file")
            self._check_id(known, ids)
        for content, fields in self.named.items():
            id = library_id(content, ids)
            token = effective_flags(AddedToken.of({**fields, "content": content, "special": True}, id))
            tokens.setdefault(content, token if "lstrip" in fields else usually.get(content, token))
        return list(_by_id((usually | tokens).values()))

    def _same(self, token: AddedToken, other: AddedToken, file: str, other_file: str) -> None:
        if token != other:
            raise ValueError(
                f"{self.folder}: {file} says {token}, {other_file} {other}: put what the model was trained with into both"
            )

    def _check_id(self, token: AddedToken, ids: dict[str, int]) -> None:
        try:
            check_library_id(token, ids)
        except ValueError as error:
            raise ValueError(f"{self.folder}: {error}") from None


def _by_id(tokens: Iterable[AddedToken]) -> tuple[AddedToken, ...]:
    return tuple(sorted(tokens, key=lambda token: token.id))


def _named(fields: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Special tokens by content, in the order in which Transformers adds them: {"[CLS]": {"roles": ["cls_token"], …}}."""
    more = [fields.get(name) or () for name in MORE]
    roles = {name: value for name, value in fields.items() if name.endswith("_token")}
    roles |= {name: value for names in more if isinstance(names, dict) for name, value in names.items()}
    ordered = [(name, roles[name]) for name in (*ROLES, *sorted(roles.keys() - {*ROLES})) if name in roles]
    ordered += [("", value) for names in more if not isinstance(names, dict) for value in names]
    found: dict[str, dict[str, Any]] = {}
    for role, value in ordered:
        if isinstance(value, str | dict) and value:  # "add_bos_token" is a bool
            content = value if isinstance(value, str) else value["content"]
            entry = found.setdefault(content, {"roles": [], **({} if isinstance(value, str) else value)})
            entry["roles"].append(role)
    return dict(found)
