#!/bin/sh
# Builds NAME.wasm. Needs componentize-py: pip install componentize-py==0.25.1
set -eu
cd "$(dirname "$0")"
componentize-py --wit-path wit --world transform componentize transform --output NAME.wasm
