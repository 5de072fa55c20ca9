"""A TLS client for tests: connects, says what it got on standard output, and carries the bytes of one plain connection.

tunnel.py ADDRESS PORT JSON, where JSON may have: ca (file), certificate and key (files), alpn (list), newest ("1.2").
"""

import json
import select
import socket
import ssl
import sys

address, port, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
context = ssl.create_default_context(cafile=options["ca"])
if "certificate" in options:
    context.load_cert_chain(options["certificate"], options["key"])
if "alpn" in options:
    context.set_alpn_protocols(options["alpn"])
if options.get("newest") == "1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
try:
    far = context.wrap_socket(socket.create_connection((address, port), 10), server_hostname=address)
except (OSError, ssl.SSLError) as error:
    print("failed", error, flush=True)
    sys.exit(0)
listener = socket.create_server(("127.0.0.1", 0))
serial = far.getpeercert()["serialNumber"]
print("open", listener.getsockname()[1], serial, far.version(), far.selected_alpn_protocol(), flush=True)
near, _ = listener.accept()
far.settimeout(10)
try:
    while True:
        if not far.pending():
            ready, _, _ = select.select([near, far], [], [])
        else:
            ready = [far]
        if near in ready:
            chunk = near.recv(65536)
            if not chunk:
                break
            far.sendall(chunk)
        if far in ready:
            # What came may be a ticket of TLS 1.3, and nothing to read.
            far.setblocking(False)
            try:
                chunk = far.recv(65536)
            except ssl.SSLWantReadError:
                continue
            finally:
                far.settimeout(10)
            if not chunk:
                break
            near.sendall(chunk)
except OSError:
    pass
near.close()
far.close()
