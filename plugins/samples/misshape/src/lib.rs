//! A fixture of the tests: a transform that does what the body of a message says.
//!
//! | body | |
//! |---|---|
//! | `panic` `hang` `refuse` | |
//! | `drop` `reject` `again` `keep` `none` | the decision; `again` the first time only, `none` emits nothing |
//! | `to ADDRESS` | emits to there |
//! | `many N` | emits that many |
//! | `large N` | a body of that many bytes |
//! | `user` | sets what cannot be set |
//! | `shown` | the body becomes all that is known of the message |
//! | `slow` | takes 100 ms |
//! | other | in upper case |

use crossdock_plugin::{Decision, Message, Output, Patch, Start, Step, Transform, Value};
use std::time::Duration;

pub struct Misshape;

impl Start for Misshape {
    fn start(_with: &str) -> Result<Self, String> {
        Ok(Misshape)
    }
}

impl Transform for Misshape {
    type Step = Misshaping;

    fn make_step(&self, with: &str) -> Result<Misshaping, String> {
        match with {
            "{\"make\":\"refuse\"}" => Err("refused in make_step".to_owned()),
            "{\"make\":\"panic\"}" => panic!("misshaping in make_step"),
            _ => Ok(Misshaping),
        }
    }
}

pub struct Misshaping;

impl Step for Misshaping {
    fn handle(&self, message: &Message<'_>) -> Result<Decision, String> {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        let (word, rest) = body.split_once(' ').unwrap_or((&body, ""));
        let number = rest.parse().unwrap_or(1);
        Ok(match word {
            "panic" => panic!("misshaping"),
            "hang" => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            "refuse" => return Err("refused".to_owned()),
            "slow" => {
                std::thread::sleep(Duration::from_millis(100));
                Decision::Replace(Patch::default().body("SLOW"))
            }
            "keep" => Decision::Keep,
            "drop" => Decision::Drop("dropped".to_owned()),
            "reject" => Decision::Reject("rejected".to_owned()),
            "again" if message.attempt() == 0 => Decision::RetryAfter(Duration::from_millis(1)),
            "none" => Decision::Emit(Vec::new()),
            "to" => Decision::Emit(vec![
                Output::new(Patch::default().set("copy", false)),
                Output::to(rest, Patch::default().set("copy", true)),
            ]),
            "many" => Decision::Emit((0..number).map(|_| Output::default()).collect()),
            "large" => Decision::Replace(Patch::default().body(vec![b'x'; number])),
            "user" => Decision::Replace(Patch::default().set("user_id", "somebody else")),
            "shown" => Decision::Replace(shown(message)),
            _ => Decision::Replace(Patch::default().body(body.to_uppercase())),
        })
    }
}

/// All kinds of values are set, and removed.
fn shown(message: &Message<'_>) -> Patch {
    let headers: Vec<String> =
        message.headers().map(|(name, value)| format!("{name}={value:?}")).collect();
    let property = |name: &str| format!("{name}={:?}", message.header(name));
    let properties: Vec<String> =
        ["content_type", "priority", "message_id", "timestamp", "subject", "h", "nothing"]
            .map(property)
            .to_vec();
    let (user, client, listener) = (message.user(), message.client(), message.listener());
    let text = format!(
        "{} from {user}/{client}/{listener}, attempt {}\n{}\n{}",
        message.address(),
        message.attempt(),
        headers.join(" "),
        properties.join(" ")
    );
    assert_eq!(message.header("\u{0}"), Value::None);
    Patch::default()
        .remove("h")
        .remove("subject")
        .set("yes", true)
        .set("whole", i64::MIN)
        .set("number", 2.5)
        .set("text", "é")
        .set("bytes", vec![0, 255])
        .set("priority", 7_i64)
        .content_type("text/x-shown")
        .body(text)
}

crossdock_plugin::export!(transform: Misshape);
