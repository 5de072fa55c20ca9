#!/usr/bin/env python3
"""What many logins cost, against a broker that this script starts from a release binary.

    tests/clients/logins.py CROSSDOCK

Prints the time of 15,000 logins of one user with a password beside 15,000 of guest (alternating, twice each), the time
until 2,000 users who all connect at once are in, and the round trip of a client that publishes with acknowledgement
while 10,000 wrong logins come in ten seconds. Exit code 1 when a bound is not kept: twice guest's time, everybody in,
99th percentile under 100 ms. Times are of this machine; run it when nothing else does. MQTT 3.1.1 on loopback, no
package needed.
"""

import asyncio
import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LISTENERS = ("amqp", "mqtt", "stomp", "ws-mqtt", "ws-stomp", "metrics")
LOGINS = 15_000
AT_ONCE = 100  # connections of the 15,000 at the same time
USERS = 2_000
BAD, BAD_SECONDS = 10_000, 10
PASSWORD = "a right password"
PATIENCE = 300  # seconds for any one phase


def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(kind, body):
    length, size = len(body), b""
    while True:
        length, digit = length >> 7, length & 127
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([kind]) + size + body


def connect(client, user, password):
    return packet(0x10, text("MQTT") + bytes([4, 0xC2, 0, 60]) + text(client) + text(user) + text(password))


async def log_in(port, client, user, password):
    """The return code of CONNACK, or None where the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(connect(client, user, password))
        return (await reader.readexactly(4))[3]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    finally:
        writer.close()


async def many(port, user, password):
    """Seconds for all logins of one user."""
    left, failed = iter(range(LOGINS)), 0

    async def worker():
        nonlocal failed
        for n in left:
            failed += await log_in(port, f"{user}-{n}", user, password) != 0

    begun = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*(worker() for _ in range(AT_ONCE))), PATIENCE)
    return time.monotonic() - begun, failed


async def at_once(port):
    begun = time.monotonic()
    logins = (log_in(port, f"fleet-{n}", f"user-{n}", PASSWORD) for n in range(USERS))
    codes = await asyncio.wait_for(asyncio.gather(*logins), PATIENCE)
    return time.monotonic() - begun, sum(code != 0 for code in codes)


async def wrong(port):
    """Comes at its own pace: one each millisecond, whatever the broker does. Half of them are one user's."""
    answers, begun = {}, time.monotonic()

    async def one(n):
        await asyncio.sleep(max(0, begun + n * BAD_SECONDS / BAD - time.monotonic()))
        user = "plant" if n % 2 else f"nobody-{n}"
        code = await log_in(port, f"bad-{n}", user, "a wrong password")
        answers[code] = answers.get(code, 0) + 1

    await asyncio.wait_for(asyncio.gather(*(one(n) for n in range(BAD))), PATIENCE)
    return time.monotonic() - begun, answers


def good_client(port, stop, result):
    """Publishes with QoS 1, one by one, until it is stopped; milliseconds of each."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(connect("good", "guest", "guest"))
    assert sock.recv(4) == b"\x20\x02\0\0"
    times, n = [], 0
    while not stop.is_set():
        n = n % 60_000 + 1
        begun = time.monotonic()
        sock.sendall(packet(0x32, text("logins/good") + n.to_bytes(2, "big") + b"x"))
        assert len(sock.recv(4)) == 4
        times.append((time.monotonic() - begun) * 1000)
        time.sleep(0.002)
    times.sort()
    result.put((len(times), times[len(times) // 2], times[len(times) * 99 // 100], times[-1]))


def ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


def start(binary, folder):
    hashed = subprocess.run([binary, "hash-password"], input=PASSWORD, capture_output=True, text=True, check=True)
    entry = '[[user]]\nname = "{}"\n{}\nwrite = ["topic:#"]\nread = ["topic:#"]\n'
    names = ["plant", *(f"user-{n}" for n in range(USERS))]
    file = folder / "crossdock.toml"
    file.write_text("\n".join(entry.format(name, hashed.stdout.strip()) for name in names))
    chosen = dict(zip(LISTENERS, ports(len(LISTENERS))))
    words = [binary, "serve", "--config", file, "--data-dir", folder / "data"]
    # A low mark, so that nothing depends on the free disk space of the machine.
    words += ["--set", "store.disk_free_alarm=64MiB", "--set", "store.disk_free_hard=32MiB"]
    for name, port in chosen.items():
        words += ["--set", f"listeners.{name}.bind=127.0.0.1:{port}"]
    log = open(folder / "log", "w")
    process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + 60
    while "crossdock ready" not in (folder / "log").read_text():
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"the broker did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.05)
    return process, chosen["mqtt"]


def judge(port, log):
    broken = []
    for turn in (1, 2):
        plain, lost = asyncio.run(many(port, "guest", "guest"))
        own, failed = asyncio.run(many(port, "plant", PASSWORD))
        print(f"{LOGINS} logins, turn {turn}: guest {plain:.1f} s, one user {own:.1f} s, x{own / plain:.2f}", flush=True)
        if failed or lost or own > 2 * plain:
            broken.append(f"turn {turn}: {failed} and {lost} failed, x{own / plain:.2f}")
    seconds, failed = asyncio.run(at_once(port))
    print(f"{USERS} users at once: {seconds:.1f} s, {failed} not in", flush=True)
    if failed:
        broken.append(f"{failed} of {USERS} are not in")
    stop, result = multiprocessing.Event(), multiprocessing.Queue()
    good = multiprocessing.Process(target=good_client, args=(port, stop, result))
    good.start()
    seconds, answers = asyncio.run(wrong(port))
    stop.set()
    count, p50, p99, most = result.get(timeout=30)
    good.join()
    print(f"{BAD} wrong logins offered in {BAD_SECONDS} s, the last was answered after {seconds:.1f} s: {answers}")
    print(f"a good client beside them: {count} publishes, p50 {p50:.1f}, p99 {p99:.1f}, most {most:.1f} ms")
    print(f"{len(log.read_text().splitlines())} lines of log")
    if p99 >= 100:
        broken.append(f"p99 {p99:.1f} ms")
    if 0 in answers:
        broken.append(f"{answers[0]} wrong logins were let in")
    return broken


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="crossdock-logins-") as folder:
        binary = str(Path(sys.argv[1]).resolve())
        process, port = start(binary, Path(folder))
        try:
            broken = judge(port, Path(folder) / "log")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    for line in broken:
        print(f"NOT KEPT: {line}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
