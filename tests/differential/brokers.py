"""The two brokers, each in a temporary folder, with processes, ports and names of its own; they listen on the loopback.

Both have the virtual host `other`, the user `ann` (password `ann`, all rights in both virtual hosts) and the user `bob`
(password `bob`, in `/` only: he may declare, write and read what begins with `bob`).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START = 240  # seconds; RabbitMQ takes a minute on a machine that is busy


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A process group that ends with this object."""

    def __init__(self, name, folder):
        self.name, self.folder, self.port = name, Path(folder), free_port()
        self.processes = []

    def spawn(self, command, **environment):
        log = open(self.folder / f"{self.name}.log", "ab")
        own = {name: value for name, value in os.environ.items() if not name.startswith("CROSSDOCK_")}
        process = subprocess.Popen(
            command, cwd=self.folder, env={**own, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait(self):
        """Until a protocol header is answered."""
        until = time.monotonic() + START
        while time.monotonic() < until:
            if any(process.poll() is not None for process in self.processes):
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.settimeout(5)
                    probe.sendall(b"AMQP\x00\x00\x09\x01")
                    if probe.recv(1):
                        return self
            except OSError:
                pass
            time.sleep(0.1)
        log = (self.folder / f"{self.name}.log").read_text(errors="replace")
        self.stop()
        sys.exit(f"{self.name} does not answer on port {self.port}:\n{log[-3000:]}")

    def stop(self):
        for process in reversed(self.processes):
            for word, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
                try:
                    os.killpg(process.pid, word)
                    process.wait(patience)
                    break
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue
        self.processes = []


def crossdock(program, folder, options=()):
    broker = Broker("crossdock", folder)
    hash_of = lambda word: subprocess.run(
        [program, "hash-password"], input=f"{word}\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    everything = 'configure = ["*"]\nwrite = ["*"]\nread = ["*"]\n'
    some = "".join(f'{right} = ["queue:bob*", "exchange:bob*"]\n' for right in ("configure", "write", "read"))
    (broker.folder / "crossdock.toml").write_text(
        '[[virtual_host]]\nname = "other"\n'
        f'[[user]]\nname = "ann"\n{hash_of("ann")}\nvhosts = ["/", "other"]\n{everything}'
        f'[[user]]\nname = "bob"\n{hash_of("bob")}\nvhosts = ["/"]\n{some}'
    )
    command = [program, "serve", "--config", "crossdock.toml", "--data-dir", "data"]
    for listener in ("metrics", "mqtt", "stomp", "ws-mqtt", "ws-stomp"):
        command += ["--set", f"listeners.{listener}.bind=off"]
    command += ["--set", f"listeners.amqp.bind=127.0.0.1:{broker.port}", "--set", "store.disk_free_alarm=64MiB"]
    command += ["--set", "store.disk_free_hard=32MiB", *options]
    broker.spawn(command)
    return broker


def rabbitmq(folder, plugins=(), more=lambda port: {}):
    """`more`: what is defined beside users and virtual hosts, of the port that it listens on."""
    broker = Broker("rabbitmq", folder)
    names, internal = free_port(), free_port()
    users = [
        {"name": name, "password": name, "tags": "administrator" if name == "guest" else ""}
        for name in ("guest", "ann", "bob")
    ]
    rights = [
        {"user": user, "vhost": vhost, "configure": what, "write": what, "read": what}
        for user, vhost, what in (
            ("guest", "/", ".*"), ("guest", "other", ".*"), ("ann", "/", ".*"), ("ann", "other", ".*"), ("bob", "/", "^bob"),
        )
    ]
    definitions = {"vhosts": [{"name": "/"}, {"name": "other"}], "users": users, "permissions": rights, **more(broker.port)}
    (broker.folder / "definitions.json").write_text(json.dumps(definitions))
    (broker.folder / "rabbitmq.conf").write_text(
        f"log.file.level = warning\nlisteners.tcp.1 = 127.0.0.1:{broker.port}\n"
        f"load_definitions = {broker.folder}/definitions.json\ndisk_free_limit.absolute = 50MB\n"
    )
    (broker.folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
    (broker.folder / "environment").write_text("")
    # A port mapper of our own, which ends with the broker.
    broker.spawn(["epmd", "-address", "127.0.0.1", "-port", str(names)])
    time.sleep(0.2)
    broker.spawn(
        [str(RABBITMQ)],
        HOME=str(broker.folder),
        RABBITMQ_CONF_ENV_FILE=str(broker.folder / "environment"),
        RABBITMQ_CONFIG_FILE=str(broker.folder / "rabbitmq.conf"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(broker.folder / "plugins"),
        RABBITMQ_MNESIA_BASE=str(broker.folder / "mnesia"),
        RABBITMQ_LOG_BASE=str(broker.folder / "log"),
        RABBITMQ_NODENAME=f"differential{internal}@localhost",
        RABBITMQ_NODE_PORT=str(broker.port),
        RABBITMQ_DIST_PORT=str(internal),
        ERL_EPMD_ADDRESS="127.0.0.1",
        ERL_EPMD_PORT=str(names),
    )
    return broker


def folder():
    return tempfile.TemporaryDirectory(prefix="crossdock-differential-")
