"""python3 -m unittest: what the transform does, without a broker and without WebAssembly."""

import json
import sys
import types
import unittest

# What componentize-py puts in the place of these inside a component.
for name in ["componentize_py_types", "wit_world", "wit_world.imports", "wit_world.imports.types"]:
    sys.modules[name] = types.ModuleType(name)
sys.modules["componentize_py_types"].Err = type("Err", (Exception,), {})
for name in ["Decision_Replace", "Patch", "Value_Text"]:
    setattr(sys.modules["wit_world.imports.types"], name, lambda *parts: parts)

import transform  # noqa: E402


class Reshape(unittest.TestCase):
    def test_keys_are_upper_case_and_options_are_added(self):
        body = transform.reshape(b'{"id": 7}', {"add": {"source": "erp"}})
        self.assertEqual(json.loads(body), {"ID": 7, "source": "erp"})

    def test_what_is_no_object_is_refused(self):
        for body in [b"[1]", b"<item/>", b"\xff"]:
            with self.assertRaises(ValueError):
                transform.reshape(body, {})


if __name__ == "__main__":
    unittest.main()
