#!/usr/bin/env python3
"""The doors of Crossdock with real clients: TLS, client certificates, EXTERNAL, WebSocket.

    tests/clients/doors.py CROSSDOCK             all cases, against a broker that this script starts from that binary
    tests/clients/doors.py CROSSDOCK pika wss    those whose name contains one of the words

Python clients: pika, aio-pika, paho-mqtt, stomp.py, of the Python that runs this file; mosquitto_pub and openssl from
the path; Node clients and headless Chromium by doors.mjs beside this file. What is not installed is skipped and named,
or fails when CROSSDOCK_CLIENTS=required. The broker listens on loopback, on ports that are free, and its folder is
temporary. Exit code 0 when nothing failed.
"""

import asyncio
import importlib.util
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
MESSAGES = 200
TIMEOUT = 10  # seconds that a client waits for one answer
LIMIT = 60  # seconds that one case may take
PASSWORD = "a right password"
LISTENERS = ("tls", "strict", "newest", "ws", "wss", "page")
CASES = []


class Door:
    """A broker with users, and the certificates that its clients show.

    `plant` has a password, `device` comes by certificate. `guarded` is the user of all logins that are to fail: after
    some of them the broker lets it wait, right password or wrong, which must not meet the other cases.
    """

    def __init__(self, binary, folder):
        self.binary, self.folder = str(Path(binary).resolve()), Path(folder)
        self.certificates = self.folder / "tls"
        subprocess.run([self.binary, "tls", "self-signed", self.certificates], check=True, capture_output=True)
        self.authority = str(self.certificates / "ca.pem")
        for user in ("device", "stranger"):
            self.sign(user)
        self.sign("device", authority="other-ca", name="foreign")
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS))))
        self.file = self.folder / "crossdock.toml"
        self.file.write_text(self.configuration())
        self.log = open(self.folder / "log", "w")
        words = [self.binary, "serve", "--config", self.file]
        # A low mark, so that nothing depends on the free disk space of the machine.
        words += ["--set", "store.disk_free_alarm=64MiB", "--set", "store.disk_free_hard=32MiB"]
        self.process = subprocess.Popen(words, stdout=self.log, stderr=subprocess.STDOUT)
        for port in self.ports.values():
            self.wait_for(port)

    def path(self, name):
        return str(self.certificates / f"{name}.pem")

    def sign(self, user, authority="ca", name=None):
        """A client certificate of that common name. An authority that is not there is made: nobody trusts it."""
        name, key = name or user, self.certificates / f"{authority}-key.pem"
        openssl = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        if not key.exists():
            openssl("req", "-x509", *curve, "-keyout", key, "-out", self.path(authority), "-subj", "/CN=another")
        request = self.certificates / f"{name}.csr"
        openssl("req", "-new", *curve, "-keyout", self.path(f"{name}-key"), "-out", request, "-subj", f"/CN={user}")
        # Without an extension openssl makes a certificate of version 1, which rustls does not take.
        extensions = self.certificates / "extensions"
        extensions.write_text("extendedKeyUsage = clientAuth\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.path(authority), "-CAkey", key, "-CAcreateserial",
            "-out", self.path(name), "-days", "2", "-extfile", extensions,
        )

    def hash(self):
        hashed = subprocess.run(
            [self.binary, "hash-password"], input=PASSWORD + "\n", capture_output=True, text=True, check=True
        )
        return next(line for line in hashed.stdout.splitlines() if line.startswith("password_hash"))

    def configuration(self):
        tls = (
            f'tls_certificate = "{self.path("server")}"\ntls_key = "{self.path("server-key")}"\n'
            f'tls_client_ca = "{self.authority}"\n'
        )
        of = {
            "tls": tls,
            "strict": tls + 'tls_client_certificate = "required"\n',
            "newest": tls + 'tls_min_version = "1.3"\n',
            "ws": 'transport = "ws"\n',
            "wss": tls + 'transport = "ws"\n',
            # A browser that is asked for a certificate and has none gives up.
            "page": tls.replace("tls_client_ca", "# tls_client_ca") + 'transport = "ws"\n',
        }
        off = "".join(f'[listeners.{name}]\nbind = "off"\n' for name in ("amqp", "mqtt", "stomp"))
        listeners = "".join(
            f'[listeners.{name}]\nbind = "127.0.0.1:{self.ports[name]}"\nprotocols = ["amqp", "mqtt", "stomp"]\n{keys}'
            for name, keys in of.items()
        )
        rights = "".join(f'{verb} = ["*"]\n' for verb in ("configure", "write", "read"))
        return (
            f'data_dir = "{self.folder / "data"}"\n{off}{listeners}'
            f'[[user]]\nname = "plant"\n{self.hash()}\n{rights}[[user]]\nname = "device"\n{rights}'
            f'[[user]]\nname = "guarded"\n{self.hash()}\n'
        )

    def wait_for(self, port):
        until = time.monotonic() + TIMEOUT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"the broker does not listen:\n{(self.folder / 'log').read_text()}")
                time.sleep(0.05)

    def context(self, certificate=None, version=None):
        context = ssl.create_default_context(cafile=self.authority)
        if certificate:
            context.load_cert_chain(self.path(certificate), self.path(f"{certificate}-key"))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(TIMEOUT)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def case(*needs):
    """A case, with the modules or programs that it needs."""

    def register(function):
        CASES.append((function.__name__.replace("_", " "), needs, function))
        return function

    return register


def in_order(got, what="message"):
    want = [f"{what} {number}".encode() for number in range(MESSAGES)]
    assert got == want, f"{len(got)} of {MESSAGES} messages, or out of order"


def refused(call, *kinds):
    """Makes a call that has to fail with one of these exceptions; returns its text."""
    try:
        call()
    except kinds as error:
        return f"{type(error).__name__} {error}".strip()
    raise AssertionError("it was let in")


def unique(prefix):
    return f"{prefix}-{secrets.token_hex(4)}"


# pika -----------------------------------------------------------------------------------------------------------------


def pika_connection(door, listener="tls", certificate=None, credentials=None, version=None):
    import pika

    return pika.BlockingConnection(
        pika.ConnectionParameters(
            "localhost",
            door.ports[listener],
            credentials=credentials or pika.PlainCredentials("plant", PASSWORD),
            ssl_options=pika.SSLOptions(door.context(certificate, version), "localhost"),
            blocked_connection_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            connection_attempts=1,
        )
    )


def pika_messages(connection):
    with connection:
        channel = connection.channel()
        channel.confirm_delivery()
        name = unique("pika")
        channel.queue_declare(name, exclusive=True)
        for number in range(MESSAGES):
            channel.basic_publish("", name, f"message {number}".encode(), mandatory=True)
        got = []
        for method, _, body in channel.consume(name, inactivity_timeout=TIMEOUT):
            assert method, f"only {len(got)} messages"
            got.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(got) == MESSAGES:
                break
        in_order(got)


@case("pika")
def pika_password(door):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        pika_messages(pika_connection(door, version=version))


@case("pika")
def pika_external(door):
    from pika.credentials import ExternalCredentials

    for listener in ("tls", "strict", "newest"):
        pika_messages(pika_connection(door, listener, "device", ExternalCredentials()))


@case("pika")
def pika_password_beside_a_certificate(door):
    pika_messages(pika_connection(door, "strict", "stranger"))


@case("pika")
def pika_refused(door):
    from pika.credentials import ExternalCredentials
    from pika.exceptions import AMQPError
    from pika import PlainCredentials

    outside = ExternalCredentials()
    told = [
        refused(lambda: pika_connection(door, "tls", "stranger", outside), AMQPError),
        refused(lambda: pika_connection(door, "tls", None, outside), AMQPError),
        refused(lambda: pika_connection(door, "tls", None, PlainCredentials("guarded", "wrong")), AMQPError),
    ]
    refused(lambda: pika_connection(door, "strict"), AMQPError, ssl.SSLError, OSError)
    refused(lambda: pika_connection(door, "strict", "foreign", outside), AMQPError, ssl.SSLError, OSError)
    refused(lambda: pika_connection(door, "newest", version=ssl.TLSVersion.TLSv1_2), AMQPError, ssl.SSLError, OSError)
    assert "ProbableAuthenticationError" in told[0] and "ProbableAuthenticationError" in told[2], told


# aio-pika -------------------------------------------------------------------------------------------------------------


@case("aio_pika")
def aio_pika_password_and_external(door):
    import aio_pika

    async def messages(url, certificate):
        connection = await aio_pika.connect(url, ssl_context=door.context(certificate), timeout=TIMEOUT)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            declared = await channel.declare_queue(unique("aio-pika"), exclusive=True)
            for number in range(MESSAGES):
                message = aio_pika.Message(f"message {number}".encode())
                await channel.default_exchange.publish(message, declared.name, timeout=TIMEOUT)
            got = []
            async with declared.iterator(timeout=TIMEOUT) as incoming:
                async for message in incoming:
                    await message.ack()
                    got.append(message.body)
                    if len(got) == MESSAGES:
                        break
            in_order(got)

    asyncio.run(messages(f"amqps://plant:{quote(PASSWORD)}@localhost:{door.ports['tls']}/", None))
    asyncio.run(messages(f"amqps://localhost:{door.ports['strict']}/?auth=external", "device"))


# paho-mqtt ------------------------------------------------------------------------------------------------------------


class Paho:
    """A connected client. What the broker answers to CONNECT is an AssertionError, if it is no."""

    def __init__(
        self, door, listener="tls", certificate=None, login=None, version=5, tls=None, transport="tcp", path="/mqtt"
    ):
        import paho.mqtt.client as paho

        self.inbox, self.answers = queue.Queue(), queue.Queue()
        name = unique("paho")
        self.client = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, name, protocol={5: paho.MQTTv5, 4: paho.MQTTv311}[version],
            reconnect_on_failure=False, transport=transport,
        )
        if transport == "websockets":
            client.ws_set_options(path)
        if listener != "ws":
            client.tls_set_context(door.context(certificate, tls))
        if login:
            client.username_pw_set(*login)
        client.on_connect = lambda _c, _u, _f, reason, _p: self.answers.put(reason)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self.answers.put(reason)
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.answers.put(reasons[0])
        client.on_message = lambda _c, _u, message: self.inbox.put(message.payload)
        client.connect("localhost", door.ports[listener], 30)
        client.loop_start()
        self.said(self.answers)

    def said(self, answers):
        reason = answers.get(timeout=TIMEOUT)
        if reason.is_failure:
            self.client.loop_stop()
            raise AssertionError(f"refused: {reason}")

    def messages(self, count=MESSAGES, size=0):
        topic = unique("clients") + "/paho"
        self.client.subscribe(topic, 1)
        self.said(self.answers)
        want = [f"message {number}".encode().ljust(size, b".") for number in range(count)]
        for sent in [self.client.publish(topic, body, 1) for body in want]:
            sent.wait_for_publish(TIMEOUT)
        got = [self.inbox.get(timeout=TIMEOUT) for _ in want]
        assert got == want, "out of order"
        self.client.disconnect()
        self.client.loop_stop()


@case("paho")
def paho_password(door):
    for version in (4, 5):
        for tls in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            Paho(door, login=("plant", PASSWORD), version=version, tls=tls).messages()


@case("paho")
def paho_certificate(door):
    for version in (4, 5):
        Paho(door, "strict", "device", version=version).messages()
        Paho(door, "tls", "device", ("device", None), version).messages()


@case("paho")
def paho_refused(door):
    for version in (4, 5):
        for certificate, login in (("stranger", None), ("device", ("guarded", None)), (None, ("guarded", "wrong"))):
            told = refused(lambda: Paho(door, "tls", certificate, login, version), AssertionError)
            assert "Not authorized" in told or "Bad user name or password" in told, told
    for certificate in (None, "foreign"):
        refused(lambda: Paho(door, "strict", certificate, ("plant", PASSWORD)), AssertionError, OSError)
    refused(lambda: Paho(door, "newest", login=("plant", PASSWORD), tls=ssl.TLSVersion.TLSv1_2), OSError)


@case("paho")
def paho_over_ws_and_wss(door):
    for path in ("/", "/ws", "/mqtt"):
        Paho(door, "ws", login=("plant", PASSWORD), transport="websockets", path=path).messages()
    Paho(door, "wss", "device", transport="websockets").messages()
    Paho(door, "wss", login=("plant", PASSWORD), transport="websockets").messages(5, 1 << 20)


# stomp.py -------------------------------------------------------------------------------------------------------------


def stomp_connection(door, listener="tls", certificate=None, login=(None, None)):
    import stomp

    class Inbox(stomp.ConnectionListener):
        def __init__(self):
            self.bodies, self.errors, self.receipts = queue.Queue(), [], queue.Queue()

        def on_message(self, frame):
            self.bodies.put(frame.body.encode())

        def on_receipt(self, frame):
            self.receipts.put(frame.headers["receipt-id"])

        def on_error(self, frame):
            self.errors.append(frame.headers.get("message"))

    port = door.ports[listener]
    connection = stomp.Connection12([("localhost", port)], reconnect_attempts_max=1, timeout=TIMEOUT)
    names = {"cert_file": door.path(certificate), "key_file": door.path(f"{certificate}-key")} if certificate else {}
    connection.set_ssl([("localhost", port)], ca_certs=door.authority, **names)
    inbox = Inbox()
    connection.set_listener("doors", inbox)
    connection.connect(*login, wait=True)
    return connection, inbox


def stomp_messages(connection, inbox):
    destination = f"/queue/{unique('stomp')}"
    for number in range(MESSAGES):
        connection.send(destination, f"message {number}", receipt=str(number))
        inbox.receipts.get(timeout=TIMEOUT)
    connection.subscribe(destination, "1", "auto")
    in_order([inbox.bodies.get(timeout=TIMEOUT) for _ in range(MESSAGES)])
    assert not inbox.errors, inbox.errors
    connection.disconnect()


@case("stomp")
def stomp_py_password_and_certificate(door):
    stomp_messages(*stomp_connection(door, login=("plant", PASSWORD)))
    stomp_messages(*stomp_connection(door, "strict", "device"))
    stomp_messages(*stomp_connection(door, "tls", "device", ("device", None)))
    stomp_messages(*stomp_connection(door, "newest", "stranger", ("plant", PASSWORD)))


@case("stomp")
def stomp_py_refused(door):
    from stomp.exception import StompException

    for certificate, login in (("stranger", (None, None)), ("device", ("guarded", None)), (None, ("guarded", "wrong"))):
        refused(lambda: stomp_connection(door, "tls", certificate, login), StompException)
    refused(lambda: stomp_connection(door, "strict", None, ("plant", PASSWORD)), StompException, OSError)


# mosquitto, openssl ---------------------------------------------------------------------------------------------------


def mosquitto(door, program, listener, certificate, login, *words, lines=None):
    command = [program, "-h", "localhost", "-p", str(door.ports[listener]), "--cafile", door.authority, *words]
    if certificate:
        command += ["--cert", door.path(certificate), "--key", door.path(f"{certificate}-key")]
    if login:
        command += ["-u", login[0]] + (["-P", login[1]] if login[1] else [])
    ended = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=TIMEOUT)
    return ended.returncode, ended.stdout + ended.stderr


@case("mosquitto_pub", "mosquitto_sub")
def mosquitto_password_and_certificate(door):
    lines = "".join(f"message {number}\n" for number in range(MESSAGES))
    ways = [("tls", None, ("plant", PASSWORD)), ("strict", "device", None), ("tls", "device", ("device", None))]
    for listener, certificate, login in ways:
        for version in ("311", "5"):
            topic = unique("mosquitto")
            way = (listener, certificate, login, "-V", version, "-t", topic, "-q", "1")
            # A session that outlives the program that subscribes, and is read by the next one.
            session = ("-c", "-i", topic, *(("-x", "60") if version == "5" else ()))
            for program, words, text in (
                ("mosquitto_sub", ("-E", *session), None),
                ("mosquitto_pub", ("-l",), lines),
                ("mosquitto_sub", ("-C", str(MESSAGES), *session), None),
            ):
                code, told = mosquitto(door, program, *way, *words, lines=text)
                assert code == 0, f"{program}: {told}"
            in_order(told.encode().splitlines())


@case("mosquitto_pub")
def mosquitto_refused(door):
    words = ("-t", "clients/refused", "-m", "no", "-q", "1")
    for listener, certificate, login in (
        ("tls", "stranger", None), ("tls", "device", ("guarded", None)), ("tls", None, ("guarded", "wrong")),
        ("strict", None, ("plant", PASSWORD)), ("strict", "foreign", None),
    ):
        code, told = mosquitto(door, "mosquitto_pub", listener, certificate, login, *words)
        assert code != 0, f"{listener} {certificate} {login}: let in: {told}"


@case("openssl")
def openssl_versions(door):
    def speaks(listener, version, *words):
        command = ["openssl", "s_client", "-connect", f"localhost:{door.ports[listener]}", "-CAfile", door.authority]
        command += ["-verify_return_error", "-x509_strict", "-verify_hostname", "localhost", f"-{version}", *words]
        ended = subprocess.run(command, input="", capture_output=True, text=True, timeout=TIMEOUT)
        return ended.returncode == 0 and "Verify return code: 0" in ended.stdout

    found = {(name, version): speaks(name, version) for name in ("tls", "newest") for version in ("tls1_2", "tls1_3")}
    assert found == {key: key != ("newest", "tls1_2") for key in found}, found
    assert not speaks("tls", "tls1_1", "-cipher", "ALL:@SECLEVEL=0")


# Node -----------------------------------------------------------------------------------------------------------------


def node(door, words):
    """Runs doors.mjs; its lines pass through. (passed, failed, skipped)."""
    if shutil.which("node") is None:
        return None
    facts = {
        "ports": door.ports, "password": PASSWORD, "authority": door.authority, "messages": MESSAGES,
        "certificates": {
            name: [door.path(name), door.path(f"{name}-key")] for name in ("device", "stranger", "foreign")
        },
    }
    environment = {**os.environ, "CROSSDOCK_DOORS": json.dumps(facts)}
    program = subprocess.Popen(["node", HERE / "doors.mjs", *words], stdout=subprocess.PIPE, text=True, env=environment)
    counts = dict.fromkeys(("passed", "FAILED", "skipped"), 0)
    for line in program.stdout:
        print(line, end="", flush=True)
        word = line.split(" ", 1)[0]
        counts[word] = counts.get(word, 0) + 1
    code = program.wait(TIMEOUT)
    return counts["passed"], max(counts["FAILED"], int(code != 0)), counts["skipped"]


# ----------------------------------------------------------------------------------------------------------------------


def run(function, door):
    """Runs one case in a thread, so that one that hangs fails after LIMIT: None, or what went wrong."""
    ended = queue.Queue()

    def target():
        try:
            function(door)
            ended.put(None)
        except BaseException as error:
            trace = error.__traceback__
            while trace.tb_next and trace.tb_next.tb_frame.f_code.co_filename == __file__:
                trace = trace.tb_next
            ended.put(f"line {trace.tb_lineno}: {type(error).__name__}: {error}")

    threading.Thread(target=target, daemon=True).start()
    try:
        return ended.get(timeout=LIMIT)
    except queue.Empty:
        return f"no end after {LIMIT} s"


def main(binary, words):
    required = os.environ.get("CROSSDOCK_CLIENTS") == "required"
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="crossdock-doors-") as folder:
        door = Door(binary, folder)
        try:
            for name, needs, function in CASES:
                if words and not any(word in name for word in words):
                    continue
                if missing := [n for n in needs if not (shutil.which(n) or importlib.util.find_spec(n))]:
                    failed, skipped = failed + required, skipped + (not required)
                    word = "FAILED " if required else "skipped"
                    print(f"{word} {name:44}          not installed: {', '.join(missing)}")
                    continue
                started = time.monotonic()
                wrong = run(function, door)
                passed, failed = passed + (wrong is None), failed + (wrong is not None)
                word = "passed " if wrong is None else "FAILED "
                print(f"{word} {name:44} {time.monotonic() - started:5.2f} s  {wrong or ''}".rstrip(), flush=True)
            counts = node(door, words) or (0, int(required), 1)
            passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
            if door.process.poll() is not None or "panic" in (door.folder / "log").read_text():
                failed += 1
                print(f"FAILED  the broker\n{(door.folder / 'log').read_text()[-4000:]}")
        finally:
            door.end()
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    os._exit(1 if failed or not passed else 0)  # a case that hangs has a thread that does not end


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
