"""The command line, `tfllm …`.

From a folder of text files to a served model:

    tfllm tokenizer my_texts --out runs/tokenizer
    tfllm prepare my_texts --tokenizer runs/tokenizer --out runs/store
    tfllm pretrain runs/store --tokenizer runs/tokenizer --run runs/first
    tfllm generate runs/first --prompt "Once upon a time"
    tfllm evaluate runs/first --store runs/store
    tfllm export runs/first --name first
    tfllm check saved_models/first

From a pretrained encoder and labelled texts:

    tfllm finetune minilm --task text_classifier --data train.csv --validation held_out.csv --run runs/topics
    tfllm predict runs/topics/best "What is this about?"
    tfllm export runs/topics/best --name topics

`tfllm COMMAND --help` says what a command takes, `tfllm --version` which version this is.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import tyro

from tfllm import __version__
from tfllm.commands import corpus, generating, inspecting, launch, renamed, training, using, wording

COMMANDS = (
    *(corpus.tokenizer, corpus.prepare),
    *(training.pretrain, training.finetune, training.evaluate, launch.launch),
    *(generating.generate, using.predict, using.export, using.convert),
    *(inspecting.check, inspecting.info),
)
app = tyro.extras.SubcommandApp()
for command in COMMANDS:
    app.command(command)


def main() -> None:
    """Runs a command; what a user can mend is said in one line. TFLLM_TRACEBACK=1 shows where it came from."""
    atexit.register(gc.freeze)  # else the end of the process takes seconds to look through what goes with it
    if sys.argv[1:2] != ["launch"]:  # whose workers keep what the user has
        answers = sys.argv[1:2] in (["generate"], ["predict"])  # among which no log should stand
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if answers else "2")
    warnings.formatwarning = _warned
    if sys.argv[1:] == ["--version"]:
        print(f"tfllm {__version__}")
        return
    try:
        words = renamed.with_new_names(generating.translated_options(sys.argv[1:]))
        app.cli(prog="tfllm", args=words, description=(__doc__ or "").replace("    tfllm", "  tfllm"))
    except BrokenPipeError:  # `tfllm info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, RuntimeError, ImportError, FloatingPointError) as error:
        if os.environ.get("TFLLM_TRACEBACK"):
            raise
        print(f"tfllm: {_said(str(error))}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _warned(message: Any, category: type, filename: str, lineno: int, line: str | None = None) -> str:
    """A warning of ours as an error is said, another's with the place it came from."""
    if Path(filename).is_relative_to(Path(__file__).parent):
        return f"tfllm: {_said(str(message))}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _said(message: str) -> str:
    """A message in words of the command that ran."""
    ran = [command for command in COMMANDS if command.__name__ == "".join(sys.argv[1:2])]
    return wording.as_options(message, ran[0]) if ran else message


if __name__ == "__main__":
    main()
