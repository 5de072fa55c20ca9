//! The keys of what one connection may do, protocol by protocol. They hold on every listener, for new connections.

use super::keys::{Form, Key, key, preset};

pub const AMQP: &[Key] = &[
    preset(
        "frame_max",
        Form::Count { min: 4_096, max: 16_777_216 },
        "131072",
        "Bytes of one frame at most. Clients may agree on less; one that asks for more is refused \
         with 530.",
    ),
    preset(
        "frame_max_before_login",
        Form::Count { min: 4_096, max: 1_048_576 },
        "8192",
        "Bytes of one frame at most until connection.open is answered. A longer one is refused with \
         501. Tokens that are longer than that need more.",
    ),
    preset(
        "channel_max",
        Form::Count { min: 1, max: 65_535 },
        "2047",
        "Channels of one connection at most. A further one is refused with 530.",
    ),
    preset(
        "heartbeat",
        Form::Count { min: 0, max: 65_535 },
        "60",
        "Seconds between heartbeats that are proposed to clients, which may choose others; 0 proposes \
         none. A client that is silent for two of them is disconnected.",
    ),
    preset(
        "consumers_per_channel",
        Form::Count { min: 1, max: 1_000_000 },
        "10000",
        "Consumers of one channel at most. A further one is refused with 530.",
    ),
];

pub const MQTT: &[Key] = &[
    preset(
        "connect_bytes",
        Form::Size { min: 256, max: u64::MAX },
        "\"64KiB\"",
        "Bytes of a CONNECT at most, will and password included. At a longer one the connection is \
         closed.",
    ),
    preset(
        "client_id_bytes",
        Form::Count { min: 1, max: 65_535 },
        "1024",
        "Bytes of a client identifier at most. A longer one is refused with 0x85 (3.1.1: 2).",
    ),
    preset(
        "receive_maximum",
        Form::Count { min: 1, max: 65_535 },
        "65535",
        "QoS 1 and 2 publishes that a client may have unacknowledged. Less than 65535: CONNACK says so, and \
         an MQTT 5 client is disconnected with 0x93 beyond it; one of 3.1.1, which has no field for it, is \
         read no further until some are acknowledged. 65535: whoever sends faster than the store takes it is \
         held back.",
    ),
    preset(
        "topic_alias_maximum",
        Form::Count { min: 0, max: 65_535 },
        "16",
        "Topic aliases that an MQTT 5 client may set; CONNACK says so, and it is disconnected with \
         0x94 beyond it. 0: none.",
    ),
    preset(
        "in_flight_messages",
        Form::Count { min: 1, max: 16_384 },
        "1024",
        "QoS 1 and 2 deliveries that a client may have unacknowledged, whatever Receive Maximum it \
         allows.",
    ),
    preset(
        "in_flight_bytes",
        Form::Size { min: 1, max: u64::MAX },
        "\"8MiB\"",
        "Bytes of these deliveries: while fewer are on their way, one more is sent, however large it is.",
    ),
    preset(
        "subscriptions_per_session",
        Form::Count { min: 1, max: 1_000_000 },
        "10000",
        "Filters of one session at most. A further one is refused with 0x97 in SUBACK (3.1.1: 0x80).",
    ),
    key(
        "session_expiry_max",
        Form::Span { min_ms: 1_000, max_ms: 3_153_600_000_000 },
        "How long a session outlives its connection at most. CONNACK gives it to MQTT 5 clients that ask for \
         longer; it holds for 3.1.1 clients with clean session 0, too. Not set: as long as the client \
         asks, and for ever in 3.1.1.",
    ),
    key(
        "keep_alive_max",
        Form::Count { min: 1, max: 65_535 },
        "Seconds of keep-alive at most. MQTT 5 clients that ask for more, or for none, get this value in \
         CONNACK; CONNACK of 3.1.1 cannot carry it, so they are refused with code 2, as in Mosquitto. A \
         client is disconnected when it is silent for one and a half times as long. Not set: what the \
         client asks for.",
    ),
    key(
        "share_expires",
        Form::Span { min_ms: 1_000, max_ms: 31_536_000_000 },
        "How long what waits for a `$share` group is kept when none of its members is connected, whether or \
         not they are still subscribed. It holds for groups that are made from then on. Not set: as long as \
         one session is subscribed, connected or not.",
    ),
    key(
        "another_server",
        Form::Text,
        "The server that MQTT 5 clients use while this broker is stopped: `HOST:PORT`, or several behind \
         each other with blanks between. DISCONNECT 0x9C names it as Server Reference. Not set: 0x8B.",
    ),
    key(
        "moved_to",
        Form::Text,
        "Where this broker has gone, in the same form. Clients who log in with success get CONNACK 0x9D \
         (3.1.1: 3) and are closed; who is connected stays. Not set: they are served.",
    ),
];

pub const STOMP: &[Key] = &[
    preset(
        "connect_bytes",
        Form::Size { min: 256, max: u64::MAX },
        "\"64KiB\"",
        "Bytes of the headers of CONNECT at most. Tokens that are longer than that need more.",
    ),
    preset(
        "headers_per_frame",
        Form::Count { min: 8, max: 10_000 },
        "100",
        "Headers of one frame at most.",
    ),
    preset(
        "header_bytes",
        Form::Size { min: 256, max: u64::MAX },
        "\"16KiB\"",
        "Bytes of all headers of one frame at most.",
    ),
    preset(
        "client_id_bytes",
        Form::Count { min: 1, max: 65_535 },
        "1024",
        "Bytes of a `client-id` at most.",
    ),
    preset(
        "heart_beat_min",
        Form::Span { min_ms: 1, max_ms: 60_000 },
        "\"500ms\"",
        "The shortest interval of heart-beats that is agreed to, either way.",
    ),
    key(
        "prefetch",
        Form::Count { min: 1, max: 65_535 },
        "Messages that a subscription with `ack` client or client-individual may have unacknowledged, \
         where it names no number itself. Not set: any number, because a client may acknowledge as seldom \
         as it likes.",
    ),
    preset(
        "subscriptions_per_connection",
        Form::Count { min: 1, max: 1_000_000 },
        "10000",
        "Subscriptions of one connection at most, and as many temporary queues.",
    ),
];
