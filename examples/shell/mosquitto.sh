#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub: QoS 0, 1 and 2, retained messages, wills, sessions; MQTT 3.1.1 and 5.
#
# Nothing here sleeps: a subscriber that must exist before the publisher subscribes with a persistent session (-c -E)
# first, and reads the messages that waited for it afterwards.
set -euo pipefail

address=${CROSSDOCK_MQTT:-127.0.0.1:1883}
login=(-h "${address%:*}" -p "${address##*:}" -u guest -P guest)
topic="shell/$$-$RANDOM"

fail() {
  echo "mosquitto.sh: $*" >&2
  exit 1
}

pub() { timeout 8 mosquitto_pub "${login[@]}" -V "$version" "$@"; }

sub() { mosquitto_sub "${login[@]}" -V "$version" -W 8 "$@"; }

# session ID VERB ARGUMENTS: a subscriber with a persistent session, or one that ends its session.
session() {
  local id=$1 verb=$2 keep=(-c)
  shift 2
  [[ $version == mqttv5 ]] && keep=(-c -x 60)
  case $verb in
    start) sub "${keep[@]}" -i "$id" -E "$@" ;;
    read) sub "${keep[@]}" -i "$id" "$@" ;;
    end) sub -i "$id" -E "$@" ;;
  esac
}

expect() { [[ $2 == "$3" ]] || fail "$version: $1: expected '$3', got '$2'"; }

for version in mqttv311 mqttv5; do
  # QoS 1 and 2 messages wait for a disconnected subscriber; QoS 0 reaches a connected one, here as a retained message.
  session "$topic-a" start -q 2 -t "$topic/+/temp"
  for qos in 1 2; do pub -q "$qos" -t "$topic/oven/temp" -m "at $qos"; done
  printf 'one\ntwo\n' | pub -q 1 -t "$topic/oven/temp" -l
  expect 'messages that waited' "$(session "$topic-a" read -q 2 -t "$topic/+/temp" -C 4 -F '%q %t %p' | sort)" \
    "$(printf '%s\n' "1 $topic/oven/temp at 1" "1 $topic/oven/temp one" "1 $topic/oven/temp two" "2 $topic/oven/temp at 2")"
  session "$topic-a" end -t "$topic/+/temp"

  for qos in 0 1 2; do
    pub -q "$qos" -r -t "$topic/state" -m "open $qos"
    expect "retained at QoS $qos" "$(sub -q 2 -t "$topic/#" -C 1 -F '%q %r %p')" "$qos 1 open $qos"
  done
  expect 'retained, lowered to QoS 0' "$(sub -q 0 -t "$topic/state" -C 1 -F '%q %r %p')" '0 1 open 2'

  # A client with a will is ended by SIGKILL as soon as it is connected.
  session "$topic-w" start -q 1 -t "$topic/status"
  exec 3< <(exec mosquitto_sub "${login[@]}" -V "$version" -t "$topic/state" \
    --will-topic "$topic/status" --will-payload lost --will-qos 1)
  device=$!
  read -r -t 8 line <&3 || fail "$version: the client with a will did not connect"
  expect 'what that client saw' "$line" 'open 2'
  kill -KILL "$device"
  exec 3<&-
  expect 'will' "$(session "$topic-w" read -q 1 -t "$topic/status" -C 1 -F '%q %p')" '1 lost'
  session "$topic-w" end -t "$topic/status"

  pub -q 1 -r -n -t "$topic/state"
  if sub -t "$topic/state" -C 1 -W 1 >/dev/null 2>&1; then fail "$version: a cleared retained message came back"; fi
done

# MQTT 5 properties.
version=mqttv5
session "$topic-p" start -q 1 -t "$topic/request"
pub -q 1 -t "$topic/request" -m '{}' -D publish content-type application/json -D publish user-property unit celsius \
  -D publish response-topic "$topic/reply" -D publish correlation-data c-17
expect 'properties' "$(session "$topic-p" read -q 1 -t "$topic/request" -C 1 -F '%C %P %R %D %p')" \
  "application/json unit:celsius $topic/reply c-17 {}"
session "$topic-p" end -t "$topic/request"

echo "mosquitto_pub and mosquitto_sub: QoS 0/1/2, retained, will, sessions with MQTT 3.1.1 and 5, properties with 5"
