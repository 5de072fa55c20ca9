#!/bin/sh
# Builds NAME.wasm. Needs componentize-py: pip install componentize-py==0.25.1
set -eu
cd "$(dirname "$0")"
# A transform that uses the log or metrics is of the world transform-with-grants, one that uses kv of transform-with-kv, and
# one that uses all of them of transform-with-all. The route's step has to grant all that a world has.
WORLD=transform
componentize-py --wit-path wit --world "$WORLD" componentize transform --output NAME.wasm
