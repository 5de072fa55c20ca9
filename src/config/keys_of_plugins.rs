//! The keys of native plugins.

use super::keys::{Form, Key, key, required};

const LIMITS: &[Key] = &[
    key(
        "call_time",
        Form::Span { min_ms: 10, max_ms: 60_000 },
        "How long a call of the plugin may take. One that takes longer puts the plugin out of use. Not \
         set: `1s`.",
    ),
    key(
        "threads",
        Form::Count { min: 1, max: 64 },
        "Threads that its calls run on, at most. Not set: 2.",
    ),
];

pub const PLUGIN: &[Key] = &[
    required(
        "name",
        Form::Text,
        "What it is called in the log and in `crossdock ctl list plugins`: 1 to 64 letters, digits, `-`, `_` \
         and `.`.",
    ),
    required(
        "path",
        Form::Text,
        "The library, by its absolute path. File and folders above it have to be root's or the broker's \
         user's, and nobody else may write there.",
    ),
    key("sha256", Form::Text, "The SHA-256 of the file, in hexadecimal: another file is refused."),
    key(
        "with",
        Form::Arguments,
        "The plugin's own settings, which it gets as JSON. Not set: none.",
    ),
    key("limits", Form::Table(LIMITS), "What it may take."),
];
