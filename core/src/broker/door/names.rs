//! Names that somebody gives to a queue or an exchange that is not there yet: one rule for every door.

use crate::error::{Error, ErrorKind};
use crate::message::Name;

/// Names that begin like this are the broker's (AMQP 0-9-1 §1.6.2.1, §1.7.2.1).
pub const RESERVED_NAMES: &str = "amq.";

/// Names of reply addresses begin like this. No queue has such a name, so whoever publishes there answers a request,
/// and needs no other right than to know it.
pub const REPLY_NAMES: &str = "amq.rabbitmq.reply-to.";

/// It can only be the name of a reply address.
pub fn is_reply_name(name: &[u8]) -> bool {
    name.starts_with(REPLY_NAMES.as_bytes())
}

/// Bytes of a name that every protocol can say: the least of them has one byte for their number.
pub const NAME_BYTES_MAX: usize = 255;

/// `Invalid` for a name that not every protocol can say. `what`: queue or exchange.
pub fn check_sayable(what: &str, name: &str) -> Result<(), Error> {
    let detail = match name {
        "" => format!("the name of the {what} is empty"),
        name if name.len() > NAME_BYTES_MAX => {
            let bytes = name.len();
            format!(
                "the name of the {what} has {bytes} bytes: {NAME_BYTES_MAX} are the most that all protocols \
                 can say"
            )
        }
        name if name.contains('\0') => {
            format!(
                "the name of the {what} has a zero character in it, which not every protocol can say"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, detail))
}

/// `Refused` for the name of a new queue or exchange that nobody but the broker may give. `of_sessions`: queues whose
/// names begin like this come and go with a client's session.
pub fn check_new(what: &str, name: &str, of_sessions: &[Name]) -> Result<(), Error> {
    let detail = if name.starts_with(RESERVED_NAMES) {
        format!("{what} name '{name}' contains reserved prefix '{RESERVED_NAMES}*'")
    } else if let Some(prefix) = of_sessions.iter().find(|prefix| name.starts_with(&***prefix)) {
        format!(
            "{what} name '{name}' begins with '{prefix}': such a queue comes with the session of its client, \
             and ends with it"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Refused, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_protocol_can_say_has_a_length() {
        let longest = "n".repeat(NAME_BYTES_MAX);
        for name in ["a", "a/b % \u{e4}", "#", &longest] {
            assert_eq!(check_sayable("queue", name), Ok(()), "{name}");
        }
        let long = format!("{longest}n");
        for (name, why) in [("", "is empty"), (&*long, "256 bytes"), ("a\0b", "zero character")] {
            let error = check_sayable("queue", name).expect_err(name);
            assert!(error.kind() == ErrorKind::Invalid && error.detail().contains(why), "{error}");
        }
    }

    #[test]
    fn some_names_are_the_brokers() {
        let of_sessions = [Name::from("mine/")];
        for name in ["amq", "amqs.x", "mine", "a/mine/b"] {
            assert_eq!(check_new("queue", name, &of_sessions), Ok(()), "{name}");
        }
        for name in ["amq.", "amq.gen-1", "mine/x"] {
            let error = check_new("queue", name, &of_sessions).expect_err(name);
            assert!(error.kind() == ErrorKind::Refused && error.detail().contains(name), "{error}");
        }
        assert_eq!(check_new("exchange", "mine/x", &[]), Ok(()));
    }
}
