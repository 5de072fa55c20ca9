#!/usr/bin/env python3
"""Runs the example programs, or those named, against the broker that the environment names.

    examples/run_all.py                          all of them
    examples/run_all.py python/amqp node         those whose path contains one of the words
    examples/run_all.py --except supplier_stock  all but those whose path contains one of the words after it

Addresses: CROSSDOCK_AMQP, CROSSDOCK_MQTT, CROSSDOCK_STOMP (host:port). A program whose client is not installed is
skipped and named, or failed when CROSSDOCK_CLIENTS=required. CROSSDOCK_PYTHON is the Python that has the clients
(default: the one that runs this file). Exit code 0 when nothing failed. Needs only the standard library.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = os.environ.get("CROSSDOCK_PYTHON", sys.executable)
AT_ONCE = 4
LIMIT = 25  # seconds; the programs end themselves after 20
NODE_CLIENTS = {"amqp": "amqplib", "mqtt": "mqtt", "stomp": "@stomp/stompjs"}


def programs():
    python = [path for path in HERE.glob("python/**/*.py") if path.name != "hub.py"]
    node = [path for path in HERE.glob("node/*/*.mjs") if path.parent.name != "node_modules"]
    return sorted(python) + sorted(node) + sorted(HERE.glob("shell/*.sh"))


def chosen(words):
    exceptions = []
    if "--except" in words:
        at = words.index("--except")
        words, exceptions = words[:at], words[at + 1 :]
    names = [(path, path.relative_to(HERE).as_posix()) for path in programs()]
    if unknown := [word for word in words + exceptions if not any(word in name for _, name in names)]:
        sys.exit(f"no program matches {' '.join(unknown)}")
    return [
        path
        for path, name in names
        if (not words or any(word in name for word in words)) and not any(word in name for word in exceptions)
    ]


def missing_python_clients():
    """Which of the Python clients PYTHON cannot import."""
    probe = (
        "import importlib.util as u\n"
        "for name, module in (('pika', 'pika'), ('paho-mqtt', 'paho'), ('stomp.py', 'stomp')):\n"
        "    print(name if u.find_spec(module) is None else '')"
    )
    try:
        answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ["python"]
    return answer.stdout.split()


def missing_client(path, python_clients):
    """The client that a program needs and that is not there, or None."""
    kind = path.relative_to(HERE).parts[0]
    if kind == "python" or path.name == "stomp-cli.sh":
        return ", ".join(python_clients) or None
    if kind == "node":
        client = NODE_CLIENTS[path.parent.name]
        if shutil.which("node") is None:
            return "node"
        return None if (HERE / "node/node_modules" / client / "package.json").exists() else f"{client} (npm ci)"
    return None if shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub") else "mosquitto-clients"


def run(path):
    """Runs one program: (passed, seconds, output)."""
    command = {".py": [PYTHON, "-B"], ".mjs": ["node"], ".sh": ["bash"]}[path.suffix]
    environment = {"CROSSDOCK_PYTHON": PYTHON, **os.environ}
    started = time.monotonic()
    try:
        ended = subprocess.run(
            [*command, str(path)], capture_output=True, text=True, errors="replace", timeout=LIMIT, env=environment,
            stdin=subprocess.DEVNULL,
        )
        passed, output = ended.returncode == 0, ended.stdout if ended.returncode == 0 else ended.stdout + ended.stderr
    except subprocess.TimeoutExpired as late:
        passed, output = False, f"{(late.stderr or b'').decode(errors='replace')}\nno end after {LIMIT} s"
    except OSError as error:
        passed, output = False, str(error)
    return passed, time.monotonic() - started, output.strip()


def complaint(lines):
    """The line of a failed program's output that says most: an error's, else the last."""
    return next((line.strip() for line in reversed(lines) if "Error" in line), lines[-1])


def main(words):
    paths = chosen(words)
    python_clients = missing_python_clients()
    skipped = {path: client for path in paths if (client := missing_client(path, python_clients))}
    required = os.environ.get("CROSSDOCK_CLIENTS") == "required"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {path: None if path in skipped else pool.submit(run, path) for path in paths}
        passes = failures = 0
        for path, job in jobs.items():
            name = path.relative_to(HERE).as_posix()
            if job is None:
                failures += required
                word = "FAILED " if required else "skipped"
                print(f"{word} {name:44}         not installed: {skipped[path]}", flush=True)
                continue
            passed, seconds, output = job.result()
            passes, failures = passes + passed, failures + (not passed)
            lines = output.splitlines() or ["no output"]
            word, note = ("passed ", lines[-1]) if passed else ("FAILED ", complaint(lines))
            print(f"{word} {name:44} {seconds:5.2f} s  {note}", flush=True)
            if not passed:
                print("\n".join(f"        | {line}" for line in lines[-15:]), flush=True)

    not_run = "" if required or not skipped else f", {len(skipped)} skipped"
    print(f"{passes} passed, {failures} failed{not_run}")
    return 1 if failures or (passes == 0 and not skipped) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
