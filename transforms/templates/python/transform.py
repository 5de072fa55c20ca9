"""What becomes of each message. `test_transform.py` tests it without a broker."""

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
