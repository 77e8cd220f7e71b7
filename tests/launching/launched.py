"""A launcher on a script of a test's, and whether processes have ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

LAUNCH = "import json, sys; from tfllm.launching import launch; sys.exit(launch(sys.argv[2:], **json.loads(sys.argv[1])))"
START = """import json, os, signal, subprocess, sys, time
config = json.loads(os.environ["TF_CONFIG"])
kind, index = config["task"]["type"], config["task"]["index"]
def sleep():  # a minute is for ever: every test ends in seconds
    print(f"sleeps {os.getpid()}\\n", end="", flush=True)  # in one piece, before whatever a signal prints
    time.sleep(60)
met = 0
def meet():  # until all are here: none is ended before it began
    global met
    met += 1
    name = f"{__file__}.met{met}." + config["cluster"]["worker"][0][-5:]
    open(name, "a").write("x")
    while os.path.getsize(name) < sum(map(len, config["cluster"].values())):
        time.sleep(.02)
def save(code=143, says=""):
    def saved(*_):
        print(says, end="", flush=True)
        open(f"{__file__}.saved{index}", "w")  # for where nobody reads
        print("saved", flush=True)
        sys.exit(code)
    signal.signal(signal.SIGTERM, saved)
"""
COUNT = """path = f"{__file__}.{index}"
open(path, "a").write("x")
count = os.path.getsize(path)
print(config["cluster"])
meet()
"""
CHILD = (
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nprint('child', child.pid, flush=True)\n"
)


def as_in_a_terminal() -> None:
    """Gives a process signals that whoever runs the tests may have had ignored, as nohup and `&` do."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Launched:
    """A launcher on a script that begins with START.

    Args:
        before: a program's lines before it launches.
        out, error: descriptors for its output.
        environment: beside that of the tests.
        options: of `launch`.
    """

    def __init__(self, folder: Path, script: str, *, before="", out=PIPE, error=PIPE, environment=None, **options):
        self.script = folder / "worker.py"
        self.script.write_text(START + script)
        options = {"workers": 2, "grace": 10, **options}
        command = [sys.executable, "-c", f"{before}\n{LAUNCH}", json.dumps(options), str(self.script)]
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | (environment or {})
        self.process = subprocess.Popen(command, stdout=out, stderr=error, env=plain, preexec_fn=as_in_a_terminal)

    def wrote(self, *names: str, within: float = 10.0) -> bool:
        """Whether workers write the files worker.py.NAME."""
        paths = [self.script.with_name(f"worker.py.{name}") for name in names]
        return soon(lambda: all(path.exists() for path in paths), within)

    def until(self, pattern: str, times: int = 1) -> list[str]:
        """What the pattern catches in standard output, once it was there so often."""
        found: list[str] = []
        while len(found) < times:
            line = self.process.stdout.readline().decode()
            assert line, f"no {pattern} before the end: {self.process.stderr.read().decode()}"
            found += re.findall(pattern, line)
        return found

    def end(self) -> "Launched":
        out, err = self.process.communicate(timeout=30)
        self.code, self.out, self.err = self.process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        return self


def gone(*pids: str, within: float = 5.0) -> bool:
    """Whether the processes end. One that nobody reaps yet has ended."""

    def alive(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return soon(lambda: not any(map(alive, pids)), within)


def soon(is_so: Callable[[], bool], within: float) -> bool:
    """Whether something becomes so in that many seconds."""
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
