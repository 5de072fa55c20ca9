"""python3 -m unittest: what the transform does, without a broker and without WebAssembly."""

import json
import sys
import types
import unittest

# What componentize-py puts in the place of these inside a component.
imports = ["types", "log", "metrics", "kv"]
for name in ["componentize_py_types", "wit_world", "wit_world.imports"]:
    sys.modules[name] = types.ModuleType(name)
for name in imports:
    module = sys.modules[f"wit_world.imports.{name}"] = types.ModuleType(name)
    setattr(sys.modules["wit_world.imports"], name, module)
sys.modules["componentize_py_types"].Err = type("Err", (Exception,), {})
for name in [
    "Decision_Keep", "Decision_Drop", "Decision_Replace", "Decision_Emit", "Decision_Reject", "Decision_RetryAfterMs",
    "Output", "Patch", "Value_Null", "Value_Boolean", "Value_Integer", "Value_Unsigned", "Value_Float", "Value_Text",
    "Value_Bytes", "Value_TimestampMs",
]:
    setattr(sys.modules["wit_world.imports.types"], name, lambda *parts, name=name: (name, *parts))

# What a step grants: the lines of the log, the numbers and what is remembered are here for a test to look at.
lines, numbers, remembered = [], {}, {}
log, metrics, kv = (sys.modules[f"wit_world.imports.{name}"] for name in imports[1:])
log.Level = types.SimpleNamespace(DEBUG=0, INFO=1, WARN=2, ERROR=3)
log.write = lambda level, text: lines.append((level, text))
metrics.count = lambda name, by: numbers.update({name: numbers.get(name, 0) + by})
metrics.gauge = lambda name, value: numbers.update({name: value})
kv.get = remembered.get
kv.set = lambda key, value: remembered.update({key: value})
kv.delete = lambda key: remembered.pop(key, None)
kv.keys = lambda prefix, limit: sorted(key for key in remembered if key.startswith(prefix))[:limit]

import transform  # noqa: E402


class Reshape(unittest.TestCase):
    def test_keys_are_upper_case_and_options_are_added(self):
        body = transform.reshape(b'{"id": 7}', {"add": {"source": "erp"}})
        self.assertEqual(json.loads(body), {"ID": 7, "source": "erp"})

    def test_what_is_no_object_is_refused(self):
        for body in [b"[1]", b"<item/>", b"\xff"]:
            with self.assertRaises(ValueError):
                transform.reshape(body, {})

    def test_what_a_step_grants_is_at_hand(self):
        from wit_world.imports import kv, log, metrics
        from wit_world.imports.types import Decision_Emit, Output, Patch

        log.write(log.Level.WARN, "no price")
        metrics.count("items", 3)
        kv.set("last", b"7")
        self.assertEqual((lines, numbers["items"], kv.get("last")), ([(2, "no price")], 3, b"7"))
        output = Output("queue:urgent", None, Patch([], [], None, b"body"))
        self.assertEqual(Decision_Emit([output])[1], [output])


if __name__ == "__main__":
    unittest.main()
