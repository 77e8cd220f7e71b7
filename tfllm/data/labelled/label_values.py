"""Values of label columns in, names of classes and numbers out, checked; pure Python.

    "pos"  " pos "                       pos
    1  1.0  "1.0"  (pandas beside NaN)   1
    true                                 true (JSON's; a table's True stays True)
    ["joy", "anger"]  "['joy', 'anger']"  "joy|anger"       joy, anger: several labels (JSON, pandas' CSV, a table)
    "['joy' 'anger']"                    joy, anger (pandas' CSV of NumPy's arrays)
    [0, 1, 0]  "[0. 1. 0.]"  "0,1,0"     the second of the labels given; without labels an error

What may be of another convention is an error with its place, unless the labels given say that it is a name: "nan", 0.5, lists
where one label is wanted, "-1" and "-" (no label, in the files of GLUE and SNLI), labels that differ by their case only,
one that is made of others ("joy/anger").
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

_LARGEST = float.fromhex("0x1.fffffep127")
SEPARATOR = "|"
"""Between the labels of a cell, in CSV and TSV files with several labels a row."""

_ITEM = r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'",()\[\]{}]+)"""
"""Of a list: a string, or a number."""
_LISTED = re.compile(rf"[\[({{]\s*{_ITEM}?(\s*,\s*{_ITEM})*\s*,?\s*[\])}}]|\[\s*{_ITEM}(\s+{_ITEM})+\s*\]")
"""A list with commas, as Python writes one, or without any, as NumPy prints one."""
_ZEROS_AND_ONES = re.compile(r"\[?\s*[01](\.0*)?([,;|\s]+[01](\.0*)?)+\s*\]?")


def label_names(found: Iterable[str], given: Sequence[str] | None = None) -> tuple[str, ...]:
    """The labels, each at the place of its number: those given, else those found, sorted (whole numbers by size).

        neg pos pos -> neg pos        10 9 10 -1 -> -1 9 10

    Raises:
        ValueError: a label was given twice, or none at all.
    """
    names = sorted(set(found), key=_by_size) if given is None else list(given)
    if (
        isinstance(given, str)
        or not names
        or len(set(names)) < len(names)
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ValueError(
            f"labels={given if isinstance(given, str) else names!r} is invalid: expected distinct, non-empty strings. Give "
            "each label once."
        )
    return tuple(names)


def check_label(label: str, names: Mapping[str, int], place: str) -> int:
    """The number of a label, or an error that names the line."""
    if label not in names:
        known = ", ".join(map(repr, list(names)[:12])) + (", …" if len(names) > 12 else "")
        alike = [name for name in names if _key(name) == _key(label)]
        advice = f"Write {alike[0]!r}" if alike else "Correct it, or remove the row"
        raise ValueError(
            f"{place}: the label is {label!r}: expected one of these {len(names)}: {known}. {advice}; or read the training "
            "data with all labels, this one too: labels=[…]."
        )
    return names[label]


def check_names(found: Mapping[str, str], *, several: bool | None = None) -> None:
    """Raises ValueError where labels that nobody named look like those of another convention.

    Args:
        found: label -> the place it came first.
        several: does some row have more than one; None: each row has one label by its nature.
    """
    spelled: dict[str, str] = {}
    for label, place in found.items():
        other = spelled.setdefault(_key(label), label)
        if other != label:
            raise ValueError(
                f"{place}: the label is {label!r}, at {found[other]} it is {other!r}. Write both alike, {_NAME_ALL}."
            )
        if parts := _joined(label, found, several):
            advice = "" if several is None and SEPARATOR in label else f"Write {SEPARATOR.join(parts)!r}"
            if several is None:
                advice += f"{', and read' if advice else 'Read'} several labels a row with multi_label=True"
            raise ValueError(f"{place}: the label is {label!r}, which looks like {len(parts)} labels. {advice}, {_NAME_ALL}.")
    if several is False and found and found.keys() <= {"0", "1"}:
        raise ValueError(f"{next(iter(found.values()))}: each row has one label, 0 or 1. Remove multi_label=True, {_NAME_ALL}.")
    if several is not None and len({*map(len, found)}) == 1 and all(re.fullmatch("[01]{2,}", label) for label in found):
        label, place = next(iter(found.items()))
        raise ValueError(
            f"{place}: the label is {label!r}, which looks like {len(label)} values of 0 and 1. Write {[*map(int, label)]}, "
            f"and name {len(label)} labels in their order: labels=[…]; {_NAME_ALL}."
        )
    for none in ("-1", "-"):
        if none in found and not _is_signed(none, found.keys()):
            raise ValueError(
                f'{found[none]}: the label is {none!r}, which means "no label" in files of GLUE and SNLI. Remove such rows, '
                f"{_NAME_ALL}."
            )


def _is_signed(label: str, found: Collection[str]) -> bool:
    """Is -1, or -, one of two sides? -1 0 1 -> True     -1 0 1 2 -> False     - + -> True"""
    if label == "-":
        return "+" in found
    return not {"1", "+1"}.isdisjoint(found) and (set(found) <= {"-1", "0", "1", "+1"} or "-2" in found)


def _joined(label: str, found: Mapping[str, str], several: bool | None) -> list[str]:
    """The labels that one seems to be made of; none where it is one.

    Args:
        several: as for `check_names`.
    """
    if several is False and len(by_comma := re.split(r"\s*[,;]\s*", label)) > 1:
        return by_comma
    # Signs inside words, as in "sci-fi", part none.
    for parts in (re.split(r"\s*[^\w\s.'’-]\s*", label), label.split() if several is False else []):
        if len(parts) > 1 and found.keys() >= set(parts):
            return parts
    return []


_NAME_ALL = "or name all labels with labels=[…]"
_MISSING = {"nan", "<na>", "null", "n/a", "#n/a", "#na", "\\n"}
"""What pandas, SQL and spreadsheets write where there is no value; "None" and "NA" are names in published data sets."""


def read_label(value: Any, place: str, names: Collection[str] = ()) -> str:
    """One label.

        " pos " -> "pos"     1.0 -> "1"     True -> "true"

    Args:
        names: the labels given, whatever they look like.

    Raises:
        ValueError: it is none, or a number that is not whole, or a list.
    """
    label = value.strip() if isinstance(value, str) else value
    if label is not None and str(label) in names:
        return str(label)
    if isinstance(label, bool):
        return str(label).lower()
    if _is_list(label):
        raise ValueError(
            f"{place}: the label is {value!r:.60}: expected one label, not a list. Read several labels a row with "
            "multi_label=True; for lists of 0 and 1, also name all labels in the order of the lists: labels=[…]."
        )
    number = _number(label)
    if number is not None and number.is_integer():
        whole = isinstance(label, Integral) or (isinstance(label, str) and "." not in label)
        return str(label) if whole else str(int(number))
    if number is not None and math.isfinite(number):
        raise ValueError(
            f"{place}: the label is {value!r:.60}: expected a string, a whole number, true or false. Use regression for "
            f"numbers, {_NAME_ALL}."
        )
    if not isinstance(label, str) or not label or label.casefold() in _MISSING:
        named = f", {_NAME_ALL}" if isinstance(label, str) and label else ""
        raise ValueError(
            f"{place}: the label is {value!r:.60}: expected a string, a whole number, true or false. Fill it in, or remove "
            f"the row{named}."
        )
    return label


def read_labels(value: Any, place: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Any number of labels.

        ["pos", "glad"]   "pos|glad"   "['pos', 'glad']"  ->  pos glad
        [0, 1], names neg pos                             ->  pos
        []   ""   "[]"                                    ->  none

    Raises:
        ValueError: a list that cannot be read, or one of 0 and 1 that fits no names.
    """
    if isinstance(value, str) and value.strip() in names:
        return (value.strip(),)
    listed = _parsed(value) if isinstance(value, str) else value
    if isinstance(listed, str) and not re.fullmatch(r"\[.*\]|\{.*\}|array\(.*\)", listed, re.DOTALL):
        listed = listed.split(SEPARATOR)
    listed = listed.tolist() if hasattr(listed, "tolist") else listed
    if not isinstance(listed, (list, tuple, set)):
        raise ValueError(
            f"{place}: the labels are {value!r:.60}: expected a list of strings, as JSON or Python writes one, or a string "
            f"split at {SEPARATOR!r}."
        )
    several = list(listed)
    if len(several) > 1 and all(str(one) in ("0", "1", "0.0", "1.0", "True", "False") for one in several):
        numbers = {"0", "1"} <= set(names)
        if (len(names) == len(several)) == numbers:
            raise ValueError(
                f"{place}: the labels are {value!r:.60}, {len(several)} values of 0 and 1. If there is one value for each "
                f"label, name {len(several)} labels in their order: labels=[…]. If these are numbers of labels, name all "
                "numbers: labels=['0', '1', …]."
            )
        if not numbers:
            return tuple(name for name, one in zip(names, several, strict=True) if str(one) in ("1", "1.0", "True"))
    return tuple(dict.fromkeys(read_label(one, place, names) for one in several if one != ""))


def read_number(value: Any, column: str, place: str) -> float:
    """A finite number that float32 holds.

    Raises:
        ValueError: it is none.
    """
    number = None if isinstance(value, bool) else _number(value)
    if number is None or not math.isfinite(number):
        comma = isinstance(value, str) and "," in value and _number(value.replace(",", "")) is not None
        advice = "Write it with a point, and no comma." if comma else "Correct it, or remove the row."
        raise ValueError(f"{place}: the column {column!r} is {value!r:.60}: expected a finite number. {advice}")
    if abs(number) > _LARGEST:
        raise ValueError(
            f"{place}: the column {column!r} is {value!r:.60}: expected a number up to {_LARGEST:.3g}, the largest of "
            "float32. Scale the numbers, or use their logarithms."
        )
    return number


def _number(value: Any) -> float | None:
    if not isinstance(value, (str, Real)) or "_" in str(value):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _is_list(value: Any) -> bool:
    value = _parsed(value) if isinstance(value, str) else value
    return isinstance(value, (list, tuple, set)) or getattr(value, "ndim", 0) > 0


def _parsed(text: str) -> Any:
    """The list that a text spells; else the text.

    "['a', 'b']" -> a b     "['a' 'b']" -> a b     "[0. 1.]" -> 0 1     "a|b" -> "a|b"
    """
    text = text.strip()
    if _ZEROS_AND_ONES.fullmatch(text):
        return re.findall("[01]", re.sub(r"\.0*", "", text))
    try:
        listed = json.loads(text)
        return listed if isinstance(listed, list) else text
    except (ValueError, RecursionError):
        pass
    if not _LISTED.fullmatch(text):
        return text
    try:
        return [ast.literal_eval(item) for item in re.findall(_ITEM, text)]
    except (ValueError, SyntaxError):
        return text


def _key(label: str) -> str:
    """Equal for labels that are hardly meant to differ: Pos and pos, 01 and 1, true and 1."""
    if label.isdecimal():
        return str(int(label))
    key = " ".join(label.casefold().split())
    return {"true": "1", "false": "0"}.get(key, key)


def _by_size(name: str) -> tuple[int, int, str]:
    whole = name.removeprefix("-").isdecimal()
    return (not whole, int(name) if whole else 0, name)
