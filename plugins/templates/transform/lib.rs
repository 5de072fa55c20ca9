//! The step `NAME`: each line of a text becomes a message, with its number in a header.

use crossdock_plugin::{Decision, Message, Output, Patch, Start, Step, Transform};

pub struct Lines;

impl Start for Lines {
    /// `with`: the table of that name in the plugin's section, as JSON.
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(Lines),
            _ => Err("takes no settings: 'with' has to be empty".to_owned()),
        }
    }
}

impl Transform for Lines {
    type Step = Split;

    /// A step that names this plugin. `with`: the step's own, as JSON.
    fn make_step(&self, with: &str) -> Result<Split, String> {
        match with {
            "{}" => Ok(Split),
            _ => Err("takes no settings: 'with' of the step has to be empty".to_owned()),
        }
    }
}

/// One step of one route. Several threads use it at once.
pub struct Split;

impl Step for Split {
    fn handle(&self, message: &Message<'_>) -> Result<Decision, String> {
        // An error is the message's fault: the route's `on_error` says what becomes of it.
        let text = std::str::from_utf8(message.body()).map_err(|why| format!("not text: {why}"))?;
        let lines: Vec<Output> = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| {
                let number: i64 = number;
                Output::new(Patch::default().set("line", number).body(line))
            })
            .collect();
        match lines.is_empty() {
            true => Ok(Decision::Drop("a text without lines".to_owned())),
            false => Ok(Decision::Emit(lines)),
        }
    }
}

crossdock_plugin::export!(transform: Lines);

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_plugin::trial::{Given, handle};

    fn split(body: &[u8]) -> Result<Decision, String> {
        let step = Lines.make_step("{}").expect("made");
        handle(&step, &Given { address: "topic:files/a", headers: &[], body })
    }

    #[test]
    fn each_line_becomes_a_message() {
        let line =
            |number: i64, text: &str| Output::new(Patch::default().set("line", number).body(text));
        assert_eq!(split(b"a\n\nb"), Ok(Decision::Emit(vec![line(1, "a"), line(3, "b")])));
        assert!(matches!(split(b"\n"), Ok(Decision::Drop(_))));
        assert!(split(b"\xff").is_err());
    }
}
