//! The keys of how clients come in: listeners, users.

use super::keys::{Form, Key, key, preset, required};

pub const LISTENER: &[Key] = &[
    key(
        "bind",
        Form::Binds,
        "Where it listens: one `HOST:PORT` or a list, as `[\"0.0.0.0:1883\", \"[::]:1883\"]`; `off` \
         closes it. An address that other machines can reach needs a `[[user]]`: `guest` may log in \
         from this machine only.",
    ),
    key(
        "protocols",
        Form::Texts,
        "Which protocols are spoken there: `amqp`, `mqtt`, `stomp`, `metrics`, or one that a \
         `[[plugin]]` brings, which stands alone. Where there are several, the first bytes of a connection \
         tell which one it speaks.",
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
        "connects_per_second_total",
        Form::Count { min: 1, max: 1_000_000 },
        "New connections in one second from all addresses together, five times as many at once; \
         further ones are closed. Not for connections from this machine. Not set: any number.",
    ),
    key(
        "denied_publish",
        Form::Word(&["drop", "close"]),
        "What becomes of a publish to where its user may not publish (or to a topic with `$`) when \
         its publisher waits for no answer, or its protocol has no word for no: MQTT 3.1.1, MQTT QoS \
         0, AMQP without confirms, STOMP without a receipt. `drop`: it is taken, dropped, counted and \
         logged. `close`: the connection is closed with its protocol's refusal, in AMQP the channel. \
         Not set: `drop`.",
    ),
    key(
        "announce",
        Form::Word(&["rabbitmq", "crossdock"]),
        "As what AMQP clients see the broker in its server properties. `rabbitmq`: product `RabbitMQ` \
         and the version whose dialect is spoken, 4.1.0, because clients choose their behaviour by it; ours \
         stands beside it, in `platform` and `crossdock`. `crossdock`: product and version are ours. \
         Not set: `rabbitmq`.",
    ),
    key(
        "stomp_dialect",
        Form::Word(&["auto", "activemq"]),
        "Whose habits STOMP clients have where a frame does not tell. `activemq`: a body without \
         a `content-length` is text, every MESSAGE has `timestamp`, `expires` and `priority`, and NACK \
         rejects. Not set: `auto`, as each frame says.",
    ),
    key(
        "stomp_nack_default",
        Form::Word(&["requeue", "dead-letter"]),
        "What a NACK of STOMP without a `requeue` header does. `requeue`, as in RabbitMQ: the message goes \
         back to its place. `dead-letter`, as in ActiveMQ: to the dead-letter address of its queue. Not set: \
         `dead-letter` with `stomp_dialect = \"activemq\"`, else `requeue`.",
    ),
    key(
        "stomp_timestamp",
        Form::Word(&["ms", "s"]),
        "The unit of the `timestamp` header that STOMP clients send and read: milliseconds, or seconds as \
         in RabbitMQ. Not set: `ms`.",
    ),
    key(
        "stomp_carry",
        Form::Word(&["full", "standard", "off"]),
        "How many of the fields that STOMP has no header for are shown to STOMP clients as `mq.` headers. \
         Not set: `full`.",
    ),
    key(
        "stomp_anycast_prefixes",
        Form::Texts,
        "What stands in front of a queue's name in destinations of STOMP, beside `/queue/`: as acceptors of \
         Artemis are set, `[\"jms.queue.\"]`. Not set: nothing.",
    ),
    key(
        "stomp_multicast_prefixes",
        Form::Texts,
        "The same for topics, `[\"jms.topic.\"]`. Not set: nothing.",
    ),
    key(
        "stomp_strict_host",
        Form::Bool,
        "Refuse a STOMP client whose `host` header names no virtual host. Not set: false; such a client \
         gets the first virtual host, because many libraries send the name of the machine.",
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

pub const AUTH: &[Key] = &[
    preset(
        "order",
        Form::Texts,
        "[\"own\"]",
        "Who decides a login, in this order: names of `[[plugin]]` sections that bring an authenticator, \
         and `own`: the broker's own users, tokens and `guest`. Who knows nothing of a login leaves it to \
         the next; who cannot say now, as a plugin that is out of use, lets nobody in. Without `own` its \
         users, tokens and `guest` are not let in by themselves.",
    ),
    preset(
        "certificate_user",
        Form::Word(&["common-name", "subject", "alternative-name"]),
        "\"common-name\"",
        "What in a client's certificate is the name of its user, for AMQP's EXTERNAL and for MQTT and \
         STOMP clients that give no password: the only common name, the whole subject as \
         `CN=device,O=Plant`, or the first alternative name that is the name of a user.",
    ),
    preset(
        "stored_users",
        Form::Bool,
        "false",
        "There are users in the store (`crossdock user add`), so that listeners may bind addresses that \
         other machines can reach without a `[[user]]` here.",
    ),
    preset(
        "failures_before_delay",
        Form::Count { min: 1, max: 1_000_000_000 },
        "5",
        "After this number of failed logins of one user from one address, further ones are refused for \
         one second, and for twice as long after each further failure.",
    ),
    preset(
        "failure_delay_max",
        Form::Span { min_ms: 1_000, max_ms: 600_000 },
        "\"60s\"",
        "The longest of these times. Ten minutes without a failure clear all.",
    ),
    key(
        "token_secret_files",
        Form::Texts,
        "Files, each with a secret of 32 bytes or more that tokens (JWT) are signed with by HS256. \
         Users other than the owner and the group may not read them. With any key tokens are taken in \
         the place of passwords.",
    ),
    key(
        "token_secret_env",
        Form::Text,
        "The name of a variable of the environment with such a secret.",
    ),
    key(
        "token_public_key_files",
        Form::Texts,
        "Files (PEM), each with a public key of whoever signs tokens: RSA (RS256), P-256 (ES256), \
         Ed25519 (EdDSA).",
    ),
    key(
        "token_key_set_files",
        Form::Texts,
        "Files, each with a set of such public keys (JWKS). Nothing is fetched from anywhere.",
    ),
    key(
        "token_issuer",
        Form::Text,
        "What the claim `iss` of a token has to be. Not set: anything.",
    ),
    key(
        "token_audience",
        Form::Text,
        "What the claim `aud` of a token has to be or to contain. Not set: anything.",
    ),
    preset("token_user_claim", Form::Text, "\"sub\"", "The claim that is the name of the user."),
    preset(
        "token_scope_claim",
        Form::Text,
        "\"scope\"",
        "The claim with the scopes: words with spaces between them, or a list.",
    ),
    preset(
        "token_scope_prefix",
        Form::Text,
        "\"\"",
        "What scopes for this broker begin with, as `crossdock.`; others are not for it.",
    ),
    preset(
        "token_leeway_seconds",
        Form::Count { min: 0, max: 3_600 },
        "30",
        "How far the clock of whoever signs tokens may be from this one's: a token counts for so long \
         before and after its times.",
    ),
    preset(
        "token_rights",
        Form::Word(&["scopes", "account"]),
        "\"scopes\"",
        "Where the rights of a token's user are: in its scopes (`read:VHOST/NAME`, as in RabbitMQ), \
         or in the account of that name, which has to be there.",
    ),
];

pub const VIRTUAL_HOST: &[Key] =
    &[required("name", Form::Text, "Its name; clients of AMQP and STOMP name it at login.")];

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
        "password_hash_env",
        Form::Text,
        "The name of a variable of the environment that holds it instead.",
    ),
    key(
        "previous_password_hash",
        Form::Text,
        "The hash of another password that is good, too: while clients change from one to the other.",
    ),
    key(
        "scram_256",
        Form::Text,
        "Keys of the password for SCRAM-SHA-256, as `crossdock hash-password` prints them: for clients of \
         MQTT 5 that ask for it. They cannot be made from the hash later.",
    ),
    key("scram_512", Form::Text, "The same for SCRAM-SHA-512."),
    key(
        "secrets_file",
        Form::Text,
        "A file with all lines that `crossdock hash-password` prints, and a `previous_password_hash` \
         perhaps, instead of these keys. Nobody else may read it.",
    ),
    key("secrets_env", Form::Text, "The name of a variable of the environment with such lines."),
    key(
        "tags",
        Form::Texts,
        "Words for rights over the broker itself. `monitoring` and `administrator` may read metrics from \
         other machines; other words are kept and have no effect yet.",
    ),
    key(
        "vhosts",
        Form::Texts,
        "The virtual hosts in which the user has the rights below. Not set: `/` only.",
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
