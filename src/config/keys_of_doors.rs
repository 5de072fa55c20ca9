//! The keys of how clients come in: listeners, users.

use super::keys::{Form, Key, key, preset, required};

pub const LISTENER: &[Key] = &[
    key(
        "bind",
        Form::Binds,
        "Where it listens: one `HOST:PORT` or a list, as `[\"0.0.0.0:1883\", \"[::]:1883\"]`; `off` closes \
         it. An address that other machines can reach needs a `[[user]]`: `guest` may log in from this \
         machine only.",
    ),
    key(
        "protocols",
        Form::Texts,
        "Which protocols are spoken there: `amqp`, `mqtt`, `stomp`. Where there are several, the \
         first bytes of a connection tell which one it speaks.",
    ),
    key(
        "connections_max",
        Form::Count { min: 1, max: 10_000_000 },
        "Connections that may be open at once; further ones are closed at once. Not set: 80 % of \
         the file descriptors that the process may open.",
    ),
    key(
        "connections_per_address",
        Form::Count { min: 1, max: 10_000_000 },
        "Of these, how many may come from one address. Not for connections from this machine. Not \
         set: as many as there may be, because a whole fleet can stand behind one address.",
    ),
    key(
        "connects_per_second",
        Form::Count { min: 1, max: 1_000_000 },
        "New connections in one second from one address, five times as many at once; further ones \
         are closed. Not for connections from this machine. Not set: any number.",
    ),
    key(
        "transport",
        Form::Word(&["tcp", "ws"]),
        "`ws`: the protocols are spoken inside WebSocket, at the paths `/`, `/ws`, `/mqtt` and \
         `/stomp`. Not set: `tcp`.",
    ),
    key(
        "origins",
        Form::Texts,
        "With `transport = \"ws\"`: pages that may connect, by their origin, as \
         `https://app.example.org`. Not set: any, and programs that are no browsers.",
    ),
    key(
        "proxy",
        Form::Bool,
        "Every connection begins with a PROXY header (version 1 or 2), as a load balancer sends it, \
         and comes from the address in it. Not set: false.",
    ),
    key(
        "tls_certificate",
        Form::Text,
        "File of the certificate and its chain (PEM). With it the listener speaks TLS only. A file \
         that is replaced counts from SIGHUP on, for new connections.",
    ),
    key(
        "tls_key",
        Form::Text,
        "File of the certificate's private key (PEM), which nobody else may read.",
    ),
    key(
        "tls_client_ca",
        Form::Text,
        "File of the authorities (PEM) that certificates of clients have to come from.",
    ),
    key(
        "tls_client_certificate",
        Form::Word(&["optional", "required"]),
        "Whether a client has to show a certificate. Needs `tls_client_ca`. Not set: `optional` where \
         there is a `tls_client_ca`.",
    ),
    key(
        "tls_min_version",
        Form::Word(&["1.2", "1.3"]),
        "The oldest version of TLS that is spoken. Not set: `1.2`.",
    ),
];

pub const AUTH: &[Key] = &[preset(
    "certificate_user",
    Form::Word(&["common-name", "subject", "alternative-name"]),
    "\"common-name\"",
    "What in a client's certificate is the name of its user, for AMQP's EXTERNAL and for MQTT and STOMP \
     clients that give no password: the only common name, the whole subject as `CN=device,O=Plant`, or \
     the first alternative name that is the name of a user.",
)];

pub const USER: &[Key] = &[
    required("name", Form::Text, "Its name; no other user has it. `guest` is the broker's own."),
    key(
        "password_hash",
        Form::Text,
        "What `crossdock hash-password` prints. Without any hash the user cannot log in by password.",
    ),
    key(
        "password_hash_file",
        Form::Text,
        "A file that holds it instead, which nobody else may read.",
    ),
    key(
        "previous_password_hash",
        Form::Text,
        "The hash of another password that is good, too: while clients change from one to the other.",
    ),
    key(
        "scram_256",
        Form::Text,
        "Keys of the password for SCRAM-SHA-256, as `crossdock hash-password` prints them. No protocol \
         asks for them yet; they cannot be made from the hash later.",
    ),
    key("scram_512", Form::Text, "The same for SCRAM-SHA-512."),
    key(
        "tags",
        Form::Texts,
        "Words for rights over the broker itself, as `administrator`. They are kept; no verb asks for them.",
    ),
    key(
        "configure",
        Form::Texts,
        "What the user may declare and delete: patterns like `queue:orders-*`, `topic:plant/#`, \
         `exchange:events`, `*` (docs/guide/security.md). Not set: nothing.",
    ),
    key(
        "write",
        Form::Texts,
        "Where the user may publish to, and bind queues to. Not set: nowhere.",
    ),
    key("read", Form::Texts, "What the user may consume and subscribe to. Not set: nothing."),
];
