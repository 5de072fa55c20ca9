#!/usr/bin/env python3
"""Plays the dialogues of dialogues/ on RabbitMQ and on Crossdock, and compares what each of them answered.

    tests/differential/run.py CROSSDOCK [WORDS]      all dialogues, or those whose name has one of the words in it
        --show       the traces of both, whether they are equal or not
        --record     the differences that are not explained, as rows for differences.py (the reason is to be written)
        --ports R C  brokers that run already, RabbitMQ's port first (see brokers.py for users and virtual hosts)

What a dialogue saw is compared line by line: replies and codes, the texts of refusals, properties, headers with the
types of their values, order and counts. differences.py names what differs and why, with the lines. Exit code 1: a
difference that is not explained there, one that is explained otherwise than it is, or one that is no more.
Needs pika, and Debian's rabbitmq-server (3.10), which is started in a folder of its own and never as a service.
"""

import argparse
import difflib
import importlib
import inspect
import sys
import threading
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import brokers  # noqa: E402
from client import World  # noqa: E402
from differences import DIFFERENCES  # noqa: E402


def dialogues(words):
    """(name, function) of every dialogue, in the order of the files."""
    found = []
    for path in sorted(HERE.glob("dialogues/[a-z]*.py")):
        module = importlib.import_module(f"dialogues.{path.stem}")
        for name, function in vars(module).items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                found.append((f"{path.stem}.{name}", function))
    return [(name, function) for name, function in found if not words or any(word in name for word in words)]


def play(port, name, function):
    """One dialogue on one broker: its trace."""
    world = World(port)
    try:
        function(world)
    except Exception as error:
        world.say(f"the dialogue broke off: {error!r} {traceback.format_exc().splitlines()[-3].strip()}")
    try:
        world.clean()
    except Exception as error:
        world.say(f"could not clean up: {error!r}")
    return world.trace


def play_all(port, chosen, traces):
    for name, function in chosen:
        started = time.monotonic()
        traces[name] = (play(port, name, function), time.monotonic() - started)


def difference(theirs, ours):
    """The lines that differ: `- ` RabbitMQ's, `+ ` Crossdock's."""
    lines = difflib.unified_diff(theirs, ours, lineterm="", n=0)
    return [f"{line[0]} {line[1:]}" for line in lines if line[0] in "+-" and not line.startswith(("---", "+++"))]


def judge(chosen, theirs, ours, arguments):
    failures = explained = 0
    for name, _ in chosen:
        (left, left_time), (right, right_time) = theirs[name], ours[name]
        differs, row = difference(left, right), DIFFERENCES.get(name)
        if arguments.show:
            print(f"\n== {name} ({left_time:.2f} s, {right_time:.2f} s)")
            print("\n".join(f"  rabbitmq  | {line}" for line in left))
            print("\n".join(f"  crossdock | {line}" for line in right) if differs else "  the same")
        if not left:
            failures += 1
            print(f"FAILED  {name}: nothing was written down")
        elif differs and row is None:
            failures += 1
            if arguments.record:
                print(f"    {name!r}: (\n        WHY,\n" + "".join(f"        {line!r},\n" for line in differs) + "    ),")
            else:
                print(f"FAILED  {name}: an unexplained difference (- RabbitMQ, + Crossdock)")
                print("\n".join(f"        {line}" for line in differs))
        elif row is not None and not differs:
            failures += 1
            print(f"FAILED  {name}: differences.py explains a difference that is not there any more")
        elif row is not None and list(row[1:]) != differs:
            failures += 1
            print(f"FAILED  {name}: differs otherwise than differences.py says (- RabbitMQ, + Crossdock)")
            print("\n".join(f"        {line}" for line in differs))
        else:
            explained += row is not None
    return failures, explained


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("crossdock")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--ports", nargs=2, type=int)
    arguments = parser.parse_args()
    chosen = dialogues(arguments.words)
    if not chosen:
        sys.exit("no dialogue has such a name")
    if not arguments.words and (unknown := set(DIFFERENCES) - {name for name, _ in chosen}):
        sys.exit(f"differences.py names dialogues that are not there: {', '.join(sorted(unknown))}")
    with brokers.folder() as folder:
        started = []
        try:
            if arguments.ports:
                ports = arguments.ports
            else:
                started.append(brokers.rabbitmq(folder))
                started.append(brokers.crossdock(str(Path(arguments.crossdock).resolve()), folder))
                ports = [broker.wait().port for broker in started]
            theirs, ours = {}, {}
            threads = [
                threading.Thread(target=play_all, args=(port, chosen, traces)) for port, traces in zip(ports, (theirs, ours))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for broker in started:
                broker.stop()
    failures, explained = judge(chosen, theirs, ours, arguments)
    equal = len(chosen) - failures - explained
    print(f"{len(chosen)} dialogues: {equal} equal, {explained} explained differences, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
