"""Every task, one file each: what it is called, what it reads, how it learns, what it answers and how it is exported.

Enters: a name, or a model. Leaves: its `TaskSpec`. To add a task, write its model and its file, and put the file's `SPEC` into
`BUILT_IN`. From outside this package call `register`, or declare an entry point of the group "tfllm.tasks", which the command
line finds, too:

    [project.entry-points."tfllm.tasks"]
    my_task = "my_package.my_task:SPEC"
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Any

from tfllm.deprecation import warn_renamed
from tfllm.tasks import (
    causal_lm,
    masked_lm,
    question_answerer,
    text_classifier,
    text_embedder,
    text_regressor,
    token_classifier,
)
from tfllm.tasks.spec import (
    ExportSpec,
    Field,
    FinetuningSpec,
    Metrics,
    Option,
    PredictionSpec,
    Reference,
    TaskSpec,
    resolve,
)

__all__ = [
    "BUILT_IN",
    "ExportSpec",
    "Field",
    "FinetuningSpec",
    "Metrics",
    "Option",
    "PredictionSpec",
    "Reference",
    "TaskSpec",
    "all_tasks",
    "finetuning_of",
    "finetuning_options",
    "get",
    "options_of",
    "register",
    "resolve",
    "task_of",
]

BUILT_IN: tuple[TaskSpec, ...] = (
    causal_lm.SPEC,
    masked_lm.SPEC,
    text_classifier.SPEC,
    text_regressor.SPEC,
    token_classifier.SPEC,
    question_answerer.SPEC,
    text_embedder.SPEC,
)
DEFAULT = causal_lm.SPEC.name
"""The task of a folder or an export that names none, as all were once."""
_TASKS = {spec.name: spec for spec in BUILT_IN}


def register(spec: TaskSpec) -> TaskSpec:
    """Adds a task. From then on fine-tuning, folders, exports and the command line know it, in this process.

    >>> tfllm.tasks.register(tfllm.tasks.TaskSpec(name="length_regressor", model=LengthRegressor, …))

    Registered again under its name, a task replaces the one of before.

    Raises:
        TypeError: `spec` is no `TaskSpec`.
        ValueError: the name is a built-in task's, or an option is another task's with another type, default or help.
    """
    if not isinstance(spec, TaskSpec):
        raise TypeError(f"spec={spec!r:.80} is invalid: expected a tfllm.tasks.TaskSpec, got {type(spec).__name__}.")
    if spec.name in {each.name for each in BUILT_IN}:
        raise ValueError(f"name={spec.name!r} is invalid: expected one that no built-in task has. Give the task another name.")
    known = {option.name: option for each in _TASKS.values() if each.name != spec.name for option in options_of(each)}
    for option in options_of(spec):
        if known.get(option.name, option) != option:
            raise ValueError(
                f"option={option!r} is invalid: expected {known[option.name]!r}, as another task has it. Use that one, or give "
                "the option another name."
            )
    _TASKS[spec.name] = spec
    return spec


def all_tasks() -> tuple[TaskSpec, ...]:
    """The built-in tasks, those of installed packages, and the registered ones."""
    _load_entry_points()
    return tuple(_TASKS.values())


def get(name: str, *, stacklevel: int = 1) -> TaskSpec:
    """The task of a name.

    Args:
        stacklevel: whose line a warning names, as in `warnings.warn`: 1 is the caller's.

    Raises:
        ValueError: there is none.

    Warns:
        DeprecationWarning: the name is an old one.
    """
    found = {spec.name: spec for spec in all_tasks()}
    if name in found:
        return found[name]
    for spec in found.values():
        if name in spec.old_names:
            warn_renamed(f"task={name!r}", f"task={spec.name!r}", stacklevel=stacklevel + 1)
            return spec
    raise ValueError(f"task={name!r} is invalid: expected one of {', '.join(found)}.")


def task_of(model: Any) -> TaskSpec:
    """The task of a model.

    Raises:
        ValueError: its class names none that is known.
    """
    return get(model.task)


def finetuning_of(spec: TaskSpec) -> FinetuningSpec:
    """How the task is fine-tuned.

    Raises:
        ValueError: it is not.
    """
    if spec.finetuning is None:
        accepted = ", ".join(each.name for each in all_tasks() if each.finetuning)
        raise ValueError(f"task={spec.name!r} is invalid: expected a task that is fine-tuned: {accepted}.")
    return spec.finetuning


def finetuning_options() -> dict[str, Option]:
    """By name: the options that tasks take on the command line of `tfllm finetune`."""
    return {option.name: option for spec in all_tasks() for option in options_of(spec)}


def options_of(spec: TaskSpec) -> tuple[Option, ...]:
    """The options of `tfllm finetune` that the task takes."""
    return () if spec.finetuning is None else (*spec.finetuning.reader_options, *spec.finetuning.model_options)


@functools.cache
def _load_entry_points() -> None:
    """Registers the tasks of installed packages, once.

    Raises:
        ImportError: one cannot be imported.
    """
    for point in entry_points(group="tfllm.tasks"):
        try:
            register(point.load())
        except Exception as error:
            raise ImportError(
                f"the task {point.name!r} ({point.value}), which an installed package adds to tfllm, cannot be loaded: "
                f"{error}. Mend or uninstall that package."
            ) from error
