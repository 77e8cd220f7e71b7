"""The README's Python runs as written, and its commands too, on a folder of text files."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import datasets
import pytest
from fetch import skipping
from minilm import minilm

import tfllm

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `my_texts` holds some of the standard library, as it is: compiled files, libraries and licence, too."""
    place = tmp_path_factory.mktemp("newcomer")
    library = Path(sysconfig.get_path("stdlib"))
    for file in (*library.glob("[a-b]*.py"), *library.glob("json/*.py"), *library.glob("__pycache__/a*.pyc")):
        copy = place / "my_texts" / file.relative_to(library)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    (place / "my_texts/_json.so").write_bytes(b"\x7fELF\2\1\1\0")
    shutil.copy(README.parent / "LICENSE", place / "my_texts")
    return place


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def run(command: list[str], place: Path) -> str:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_training_runs_as_written(place: Path) -> None:
    training = blocks("python")[0]
    assert len(training.splitlines()) <= 20
    training = re.sub("steps_per_epoch=50", "steps_per_epoch=10", training)  # else as written
    answer = run([sys.executable, "-c", training], place).partition("def main(")[2]
    assert len(answer) > 20
    manifest = json.loads((place / "runs/my_store/manifest.json").read_text())
    files = Counter(file.suffix for file in (place / "my_texts").rglob("*") if file.is_file())
    assert manifest["inputs"]["passed_by"] == {".pyc": files[".pyc"], ".so": 1}
    assert manifest["inputs"]["files"] == files[".py"] + 1  # LICENSE


def test_a_hugging_face_decoder_generates_and_is_exported_as_written(place: Path) -> None:
    """A small Llama with random weights in the place of SmolLM2."""
    tokenizer = tfllm.tokenizers.train([place / "my_texts"], kind="byte_bpe", vocab_size=400)
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=tokenizer.vocab_size))
    tfllm.to_huggingface(model, tokenizer, place / "SmolLM2-135M")
    _, generation, export = blocks("python")[1:]
    export = export.replace(
        "tfllm.export(", "config = tfllm.GenerationConfig(temperature=0.8, top_p=0.95, seed=1)\ntfllm.export("
    )
    export = export.replace('"saved_models/gravity")', '"saved_models/gravity", config)')  # as the text was made before
    printed = run([sys.executable, "-c", f"import tfllm\n{generation}print('====')\n{export}"], place)
    answer, _, served = printed.partition("====\n")
    assert len(answer) > 20 and served == answer


def test_fine_tuning_runs_as_written(place: Path) -> None:
    """MiniLM and BBC News in the place of the reader's checkpoint and files."""
    with skipping():
        minilm(place / "all-MiniLM-L6-v2")
        topics = datasets.bbc_news(place / "topics")
    lines = [json.loads(line) for line in (topics / "train.jsonl").read_text().splitlines()][::50]
    for line in lines:
        line["text"] = line["text"][:400]  # fewer tokens, else as written
    for name, rows in (("train", lines[::2]), ("validation", lines[1::2])):
        with (place / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
    printed = run([sys.executable, "-c", blocks("python")[1]], place)
    [answer] = ast.literal_eval(printed.splitlines()[-1])
    assert answer["label"] in {line["label"] for line in lines}
    for command in commands()[7:]:
        shorter = ["--epochs", "1", "--max-length", "16"] if command[0] == "finetune" else []
        printed = run([sys.executable, "-m", "tfllm", *command, *shorter], place)
    assert json.loads(printed)["label"] in {line["label"] for line in lines}


def commands() -> list[list[str]]:
    """The words of the README's command lines, each without its first, `tfllm`."""
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("tfllm ")]
    return [[word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)][1:] for line in lines]


def test_the_commands_run_as_written(place: Path) -> None:
    # Shorter than a newcomer's run, else as written.
    shorter = {
        "prepare": ["--validation", "0.05"],
        "pretrain": ["--preset", "llama-tiny", "--epochs", "2", "--steps-per-epoch", "5", "--sequence-length", "64"],
        "generate": ["--max-new-tokens", "8"],
    }
    assert len(commands()) == 9
    printed = {}
    for command in commands()[:7]:
        name = command[0]
        printed[name] = run([sys.executable, "-m", "tfllm", *command, *shorter.get(name, [])], place)
    assert printed["generate"].startswith("Once upon a time")
    assert '"bits_per_byte"' in printed["evaluate"]
    assert printed["export"].strip() == "saved_models/first/1"


def test_help_is_quick_for_it_imports_no_tensorflow(place: Path) -> None:
    found = "import sys; sys.argv = ['tfllm', '--help']\ntry:\n    import tfllm.__main__ as m; m.main()\nfinally:\n"
    printed = run([sys.executable, "-c", found + "    print('tensorflow' in sys.modules)"], place)
    assert printed.splitlines()[-1] == "False"
    assert "pretrain" in printed


def test_what_a_user_can_mend_is_said_in_a_line(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfllm", "generate", "nowhere"], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "tfllm: nowhere is not a folder" in done.stderr
    assert "Traceback" not in done.stderr
