"""What becomes of each message. `test_transform.py` tests it without a broker.

`handle` returns one of these (all in wit_world.imports.types): `Decision_Replace(patch)`, the message with a patch;
`Decision_Emit([Output(address, None, patch)])`, any number of messages instead of it, each to an address of its own or to
None, where the route sends (the step has to name such an address in its `destinations`); `Decision_Keep()`,
`Decision_Drop(why)`, `Decision_Reject(why)`, `Decision_RetryAfterMs(ms)`.

What more a module can do, the route's step has to grant, and build.sh has to name another world:

    from wit_world.imports import kv, log, metrics

    log.write(log.Level.WARN, "no price")       # grants = ["log"]: a line in the broker's log
    metrics.count("items", 3)                   # grants = ["metrics"]: a counter on the broker's page of metrics
    kv.set("last", b"7")                        # grants = ["kv"]: what it remembers from message to message
    kv.get("last")                              # b"7", or None
"""

import json

from componentize_py_types import Err
from wit_world.imports.types import Decision_Replace, Patch, Value_Text

CHUNK = 1 << 20

# The route's `with`. It stands here because each call has a WitWorld of its own.
options = {}


def reshape(body: bytes, options: dict) -> bytes:
    """A JSON object with its keys in upper case, and what the route's `with` adds."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the body is no JSON object")
    document = {key.upper(): value for key, value in document.items()}
    return json.dumps(document | options.get("add", {})).encode()


def body_of(message) -> bytes:
    parts, size = [], 0
    while size < message.len():
        parts.append(message.read(size, CHUNK))
        size += len(parts[-1])
    return b"".join(parts)


class WitWorld:
    """The names are those of the contract, wit/crossdock-transform.wit."""

    def init(self, config: str) -> None:
        given = json.loads(config)
        unknown = given.keys() - {"add"}
        if unknown:
            raise Err(f"there is no option {sorted(unknown)[0]}; the only one is add")
        options.update(given)

    def handle(self, m):
        try:
            body = reshape(body_of(m), options)
        except (ValueError, KeyError, TypeError) as error:
            # The message's fault: it is not tried again, and goes where the route's on_error says.
            raise Err(str(error))
        header = ("reshaped-by", Value_Text("NAME"))
        return Decision_Replace(Patch([header], [], "application/json", body))
