#!/usr/bin/env bash
# stomp.py's own command-line client: sends from a command file, and listens; STOMP 1.0, 1.1 and 1.2.
#
# CROSSDOCK_PYTHON is the Python that has stomp.py (default python3). STOMP_VERSIONS chooses the versions: in 1.2 this
# client sends the broker's host name as `host`, which some brokers do not take for a virtual host.
set -euo pipefail

address=${CROSSDOCK_STOMP:-127.0.0.1:61613}
python=${CROSSDOCK_PYTHON:-python3}
cli=("$python" -u -m stomp -H "${address%:*}" -P "${address##*:}" -U guest -W guest)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "stomp-cli.sh: $*" >&2
  exit 1
}

# Reads the client's output until a line ends with $1.
expect() {
  local line
  while IFS= read -r -t 8 line <&"${listener[0]}"; do
    [[ $line == *"$1" ]] && return
  done
  fail "STOMP $version: no '$1' within 8 s"
}

for version in ${STOMP_VERSIONS:-1.0 1.1 1.2}; do
  topic="/topic/shell-$$-$RANDOM"
  # The command reader: subscribes, and sends itself one message to know that the subscription is in place.
  coproc listener { exec timeout 15 "${cli[@]}" -S "$version" 2>&1; }
  pid=$listener_PID
  exec {commands}>&"${listener[1]}"
  printf '%s\n' "subscribe $topic" "sendrec $topic ready" >&"$commands"
  expect ready

  # A batch file.
  printf '%s\n' "send $topic first of the batch" "begin" "send $topic second of the batch" "commit" >"$scratch/batch"
  timeout 8 "${cli[@]}" -S "$version" -F "$scratch/batch" >"$scratch/out" 2>&1 || fail "$(<"$scratch/out")"
  expect 'first of the batch'
  expect 'second of the batch'

  printf 'unsubscribe %s\nquit\n' "$topic" >&"$commands"
  exec {commands}>&-
  wait "$pid" || fail "STOMP $version: the client ended with $?"
done

echo "stomp.py's command line sent a batch and received it with STOMP ${STOMP_VERSIONS:-1.0 1.1 1.2}"
