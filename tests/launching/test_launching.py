"""Local workers: real processes, without TensorFlow."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from launched import COUNT, START, Launched, as_in_a_terminal, gone

from tfllm.launching import launch
from tfllm.launching.cluster import ClusterTask, cluster_tasks, reserve_port, tf_config
from tfllm.launching.launcher import python_command


def test_a_cluster_has_its_tasks():
    assert cluster_tasks(2) == [ClusterTask("worker", 0), ClusterTask("worker", 1)]
    assert [str(task) for task in cluster_tasks(2, 1)] == ["chief 0", "worker 0", "worker 1", "ps 0"]
    assert json.loads(tf_config(cluster_tasks(2), [4001, 4002], ClusterTask("worker", 1))) == {
        "cluster": {"worker": ["127.0.0.1:4001", "127.0.0.1:4002"]},
        "task": {"type": "worker", "index": 1},
    }
    assert json.loads(tf_config(cluster_tasks(1, 2), [1, 2, 3, 4], ClusterTask("ps", 1))) == {
        "cluster": {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"], "ps": ["127.0.0.1:3", "127.0.0.1:4"]},
        "task": {"type": "ps", "index": 1},
    }


def test_a_command_is_a_file_a_module_or_one_of_ours():
    assert python_command(["train.py", "--epochs", "3"])[1:] == ["train.py", "--epochs", "3"]
    assert python_command(["-m", "mine.train"])[1:] == ["-m", "mine.train"]
    assert python_command(["pretrain", "runs/store"])[1:] == ["-m", "tfllm", "pretrain", "runs/store"]


def test_each_worker_knows_its_place_and_keeps_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    script = "print(json.dumps(config), os.environ.get('TF_CPP_MIN_LOG_LEVEL'), os.getpgid(0) == os.getpid(), sys.argv[1:])"
    (tmp_path / "worker.py").write_text(START + script + "\nprint('warns', index, file=sys.stderr)\nsys.stdin.read()")
    command = [sys.executable, "-m", "tfllm", "launch", "--workers", "2", "--", str(tmp_path / "worker.py"), "--workers", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    rows = {line[:11]: line[11:] for line in done.stdout.splitlines()}
    assert sorted(rows) == ["[worker 0] ", "[worker 1] "]
    for index, row in enumerate(rows[name] for name in sorted(rows)):
        config, end = json.JSONDecoder().raw_decode(row)
        assert config["task"] == {"type": "worker", "index": index}
        assert row[end:] == " None True ['--workers', '7']"
        hosts, ports = zip(*(address.split(":") for address in config["cluster"]["worker"]), strict=True)
        assert hosts == ("127.0.0.1", "127.0.0.1") and len(set(ports)) == 2
    assert sorted(done.stderr.splitlines()) == ["[worker 0] warns 0", "[worker 1] warns 1"]


def test_help_is_there_and_fast():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tfllm", "launch", "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "Run a command in several local workers" in done.stdout
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("failure", "code", "how"),
    [("sys.exit(3)", 3, "exit code 3"), ("os.kill(os.getpid(), 9)", 137, r"exit code 137 \(signal 9, Killed\)")],
)
def test_one_failure_ends_all_and_gives_the_code(tmp_path, failure, code, how):
    start = time.monotonic()
    done = Launched(tmp_path, f"save(0)\nmeet()\nif index:\n    print('last words')\n    {failure}\nsleep()").end()
    assert done.code == code
    assert re.fullmatch(rf"tfllm launch: worker 1 ended with {how}; the others have 10 s to end\n", done.err)
    assert "[worker 0] saved" in done.out and "[worker 1] last words" in done.out
    assert time.monotonic() - start < 8


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    start = time.monotonic()
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nmeet()\nif index:\n    sys.exit(4)\nsleep()"
    done = Launched(tmp_path, script, grace=0.5).end()
    assert done.code == 4
    assert "tfllm launch: worker 0 did not end within 0.5 s: killed\n" in done.err
    assert gone(*re.findall(r"sleeps (\d+)", done.out)) and time.monotonic() - start < 8


def test_one_that_is_done_is_waited_for_by_nobody_and_waits_for_nobody(tmp_path):
    done = Launched(tmp_path, "if index == 0:\n    sys.exit()\ntime.sleep(1)\nprint('done')").end()
    assert (done.code, done.out, done.err) == (0, "[worker 1] done\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_end_all_save_and_none_is_restarted(tmp_path, number):
    started = Launched(tmp_path, "save()\nsleep()", restarts=3)
    started.until("sleeps", 2)
    started.process.send_signal(number)
    done = started.end()
    assert done.code == 143
    assert sorted(done.out.splitlines()) == ["[worker 0] saved", "[worker 1] saved"]
    assert done.err == "tfllm launch: asked to end: the workers have 10 s to\n"


@pytest.mark.parametrize(("script", "code"), [("save(index * 5)", 5), ("save(0)", 0), ("save(0 if index else 143)", 143)])
def test_asked_to_end_the_code_says_how_it_went(tmp_path, script, code):
    started = Launched(tmp_path, f"{script}\nsleep()", restarts=3)
    started.until("sleeps", 2)
    started.process.terminate()
    assert started.end().code == code


def test_asked_to_end_while_it_waits_for_a_restart(tmp_path):
    started = Launched(tmp_path, "sys.exit(1)", restarts=1000)
    for line in iter(started.process.stderr.readline, b""):
        if b"starting all again" in line:
            break
    started.process.terminate()
    assert started.end().code == 143 and started.err == ""


def test_restarts_begin_anew_with_other_ports(tmp_path):
    done = Launched(
        tmp_path, COUNT + "if index and count < 3:\n    sys.exit(count + 2)\nif count < 3:\n    sleep()", restarts=3
    ).end()
    assert done.code == 0
    assert done.err.splitlines() == [
        "tfllm launch: worker 1 ended with exit code 3; the others have 10 s to end",
        "tfllm launch: starting all again in 1 s, 2 restarts left",
        "tfllm launch: worker 1 ended with exit code 4; the others have 10 s to end",
        "tfllm launch: starting all again in 1 s, 1 restarts left",
    ]
    ports = re.findall(r"127.0.0.1:(\d+)", "".join(sorted(set(re.findall(r"\{.*\}", done.out)))))
    assert len(ports) == 6 and len(set(ports)) == 6


def test_restarts_come_to_an_end(tmp_path):
    done = Launched(tmp_path, COUNT + "sys.exit(count + 2)", workers=1, restarts=1).end()
    assert done.code == 4 and done.out.count("[worker 0] {'worker': ") == 2 and done.err.count("starting all again") == 1


@pytest.mark.parametrize("parameter_servers", [0, 1])
def test_a_wrong_command_line_is_not_started_again(tmp_path, parameter_servers):
    script = "save(0)\nmeet()\nkind == 'worker' and sys.exit(2)\nsleep()"
    done = Launched(tmp_path, script, workers=1, parameter_servers=parameter_servers, restarts=3).end()
    assert done.code == 2 and "worker 0 ended with exit code 2" in done.err
    assert "starting" not in done.err


def test_a_worker_that_was_preempted_alone_is_a_failure(tmp_path):
    script = "save()\n" + COUNT + "if count == 1:\n    index and os.kill(os.getpid(), 15)\n    sleep()"
    done = Launched(tmp_path, script, restarts=1).end()
    assert done.code == 0 and done.out.count("saved") == 2
    assert "worker 1 ended with exit code 143; the others" in done.err
    assert Launched(tmp_path, "sys.exit(143)").end().code == 143


def test_a_reserved_port_is_the_workers_alone():
    with reserve_port() as held, socket.socket() as other, socket.socket() as server:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        server.bind(("127.0.0.1", port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_port_in_use_ends_in_a_restart_with_others(tmp_path):
    serve = """
import socket
def serve(place):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(config["cluster"]["worker"][place].split(":")[1])))
    server.listen()
    return server
if count == 1 and index:
    taken = serve(0)  # the first time, worker 1 takes the port of worker 0
meet()
if count == 1 and index:
    sleep()
server = serve(index)
"""
    done = Launched(tmp_path, COUNT + serve, restarts=1).end()
    assert done.code == 0
    assert "[worker 0] OSError: [Errno 98] Address already in use" in done.err
    assert "tfllm launch: worker 0 ended with exit code 1; the others" in done.err


def test_a_chief_that_is_done_ends_workers_and_servers(tmp_path):
    script = "save()\nmeet()\nif kind == 'chief':\n    print(sorted(config['cluster']))\n    sys.exit()\nsleep()"
    done = Launched(tmp_path, script, parameter_servers=1, restarts=3).end()
    assert (done.code, done.err) == (0, "")
    assert "[chief 0] ['chief', 'ps', 'worker']\n" in done.out
    assert {"[ps 0] saved", "[worker 0] saved", "[worker 1] saved"} <= set(done.out.splitlines())


def test_beside_parameter_servers_a_worker_alone_is_started_again(tmp_path):
    script = """
path = f"{__file__}.{kind}{index}"
open(path, "a").write("x")
count = os.path.getsize(path)
count == 1 and meet()
if kind == "chief":
    while not os.path.exists(f"{__file__}.again"):
        time.sleep(.05)
    sys.exit()
if (kind, index, count) == ("worker", 1, 1):
    os.kill(os.getpid(), 9)
if count == 2:
    open(f"{__file__}.again", "w")
sleep()
"""
    done = Launched(tmp_path, script, parameter_servers=1, restarts=2).end()
    assert done.code == 0
    assert "worker 1 ended with exit code 137 (signal 9, Killed): starting it again, 1 restarts left" in done.err
    sizes = {path.name[len("worker.py.") :]: path.stat().st_size for path in tmp_path.glob("worker.py.[!m]*")}
    assert sizes == {"chief0": 1, "worker0": 1, "worker1": 2, "ps0": 1, "again": 0}


def test_what_cannot_be_launched_is_said(monkeypatch):
    with pytest.raises(ValueError, match="nothing to run: say what after --"):
        launch([], workers=1)
    with pytest.raises(ValueError, match=r"workers=0 is invalid: expected at least 1\."):
        launch(["x.py"], workers=0)
    with pytest.raises(ValueError, match=r"grace=-1 is invalid: expected at least 0\."):
        launch(["x.py"], workers=1, grace=-1)
    with ThreadPoolExecutor() as threads, pytest.raises(RuntimeError, match=r"in the main thread only: call it there"):
        threads.submit(launch, ["x.py"], workers=1).result()
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(ValueError, match=r"TF_CONFIG is set .* unset TF_CONFIG"):
        launch(["x.py"], workers=1)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError, match="works on Linux, this is win32"):
        launch(["x.py"], workers=1)


def test_it_is_there_once_tfllm_is_imported():
    script = "import sys, tfllm; print(tfllm.launching.launch.__name__, 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "launch False\n"


def test_other_signals_of_the_caller_end_nothing(tmp_path):
    before = "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)"
    started = Launched(tmp_path, "save(9)\nprint('here')\ntime.sleep(0.5)", before=before, workers=1)
    started.until("here")
    started.process.send_signal(signal.SIGUSR1)
    assert started.end().code == 0 and started.err == ""


def test_handlers_are_put_back(tmp_path):
    (tmp_path / "worker.py").touch()
    check = """import signal, sys
from tfllm.launching import launch
assert launch(sys.argv[1:], workers=1) == 0
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.set_wakeup_fd(-1) == -1"""
    command = [sys.executable, "-c", check, str(tmp_path / "worker.py")]
    subprocess.run(command, timeout=30, check=True, preexec_fn=as_in_a_terminal)


def test_the_scripts_in_the_docs_say_who_is_who(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "launching.md").read_text()
    for name, body in {
        "tfllm": "echo $TF_CONFIG; exit 143",
        "scontrol": "[ $1 = requeue ] && echo requeued $2 || printf 'a\\nb\\n'",
        "srun": 'shift 2; SLURM_PROCID=1 exec "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def shell(script: str, **given: str) -> list[str]:
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-c", script], env={**given, "PATH": path}, capture_output=True, text=True, timeout=30)
        assert done.returncode == 143, done.stderr
        return done.stdout.splitlines()

    slurm = re.search(r"```bash\n(.*?)```", text, re.S).group(1)
    config, requeued = shell(slurm, SLURM_JOB_NODELIST="a,b", SLURM_JOB_ID="7")
    task = {"type": "worker", "index": 1}
    assert json.loads(config) == {"cluster": {"worker": ["a:12345", "b:12345"]}, "task": task}
    assert requeued == "requeued 7"
    pod = re.search(r"args:\n +- \|\n(.*?)\n +volumeMounts", text, re.S).group(1)
    (config,) = shell(pod, WORKERS="2", JOB_COMPLETION_INDEX="1")
    assert json.loads(config) == {"cluster": {"worker": ["train-0.train:2222", "train-1.train:2222"]}, "task": task}
