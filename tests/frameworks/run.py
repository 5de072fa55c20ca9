#!/usr/bin/env python3
"""Runs the programs of python/, node/, go/, java/ and rust/, frameworks with their own idioms, against a broker that it starts.

    tests/frameworks/run.py CROSSDOCK            all of them
    tests/frameworks/run.py CROSSDOCK --short    without those that take long (SLOW)
    tests/frameworks/run.py CROSSDOCK WORDS      those whose path has one of the words in it
        --at HOST:PORT                           against a broker that runs already

Each program asserts what it saw, prints one line and exits 0. The Python that runs this file has to have the packages of
requirements.txt; a program whose packages are missing is skipped and named, or failed with CROSSDOCK_CLIENTS=required.
What needs direct reply-to is left out, aloud, where the broker does not announce it. Exit code 0 when nothing failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "differential"))
import brokers  # noqa: E402

AT_ONCE = 3
LIMIT = 80  # seconds for one program; it ends itself before
# Go and Rust are built and Java is compiled first, which takes longer than what they test.
SLOW = (
    "python/celery_tasks.py", "go/main.go", "java/JavaClient.java", "java/SpringAmqp.java", "rust/src/bin/amqprs.rs",
    "rust/src/bin/lapin.rs",
)
CACHE = HERE.parents[1] / ".cache"
GO, CLASSPATH, RUST = CACHE / "frameworks-go", CACHE / "frameworks-java.txt", CACHE / "frameworks-rust/debug"
MODULES = {
    "aio_pika_client": "aio_pika", "celery_delayed": "celery", "celery_tasks": "celery", "dramatiq_actors": "dramatiq",
    "faststream_app": "faststream", "kombu_client": "kombu", "pika_asyncio": "pika", "pika_blocking": "pika",
}


def programs(words, short):
    kinds = ("python/*.py", "node/*.mjs", "go/main.go", "java/*.java", "rust/src/bin/*.rs")
    found = [path for kind in kinds for path in sorted(HERE.glob(kind)) if path.name[0] != "_"]
    names = {path.relative_to(HERE).as_posix(): path for path in found}
    if words:
        return {name: path for name, path in names.items() if any(word in name for word in words)}
    return {name: path for name, path in names.items() if not (short and name in SLOW)}


def missing(path):
    """What a program needs and is not there, or None."""
    if path.suffix == ".py":
        probe = f"import {MODULES[path.stem]}"
        ended = subprocess.run([sys.executable, "-c", probe], capture_output=True)
        return None if ended.returncode == 0 else MODULES[path.stem]
    if path.suffix in (".go", ".java", ".rs"):
        made = {".go": GO, ".java": CLASSPATH, ".rs": RUST / path.stem}[path.suffix]
        return None if made.exists() else f"{made.relative_to(CACHE)} (cargo xtask test --full makes it)"
    if shutil.which("node") is None:
        return "node"
    return None if (HERE / "node/node_modules").exists() else "node_modules (npm ci)"


def run(path, address):
    command = {
        ".py": lambda: [sys.executable, "-B", str(path)],
        ".mjs": lambda: ["node", str(path)],
        ".go": lambda: [str(GO)],
        ".rs": lambda: [str(RUST / path.stem)],
        ".java": lambda: ["java", "-cp", CLASSPATH.read_text().strip(), str(path)],
    }[path.suffix]()
    environment = {**os.environ, "CROSSDOCK_AMQP": address, "PYTHONDONTWRITEBYTECODE": "1"}
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=path.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
        return process.returncode == 0, time.monotonic() - begun, output
    except subprocess.TimeoutExpired:
        process.kill()
        return False, LIMIT, process.communicate()[0] + f"\nno end after {LIMIT} s"


def run_all(chosen, address):
    required = os.environ.get("CROSSDOCK_CLIENTS") == "required" or os.environ.get("CI") == "true"
    failures = 0
    lacks = {name: missing(path) for name, path in chosen.items()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {name: lacks[name] or pool.submit(run, path, address) for name, path in chosen.items()}
        for name, job in jobs.items():
            if isinstance(job, str):
                failures += required
                print(f"{'FAILED ' if required else 'skipped'} {name:36}  not installed: {job}", flush=True)
                continue
            passed, seconds, output = job.result()
            failures += not passed
            lines = [line for line in output.splitlines() if line.strip()] or ["no output"]
            notes = [line for line in lines if line.startswith("left out")] + lines[-1:]
            print(f"{'passed ' if passed else 'FAILED '} {name:36} {seconds:5.1f} s  {'; '.join(notes)}", flush=True)
            if not passed:
                print("\n".join(f"        | {line}" for line in lines[-30:]), flush=True)
    print(f"{len(chosen)} programs, {failures} failed")
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("crossdock")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--at")
    arguments = parser.parse_args()
    chosen = programs(arguments.words, arguments.short)
    if not chosen:
        sys.exit("no program has such a name")
    if arguments.at:
        return 1 if run_all(chosen, arguments.at) else 0
    with brokers.folder() as folder:
        broker = brokers.crossdock(str(Path(arguments.crossdock).resolve()), folder)
        try:
            broker.wait()
            return 1 if run_all(chosen, f"127.0.0.1:{broker.port}") else 0
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())
