//! The exchange type `x-NAME`: the key of a binding is one word, and gets the messages whose routing key ends with it.

use crossdock_plugin::{Binding, Exchange, ExchangeKind, ExchangeSpec, Routing, Start, Table};
use std::collections::HashMap;

pub struct Kind;

impl Start for Kind {
    /// `with`: the table of that name in the plugin's section, as JSON.
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(Kind),
            _ => Err("takes no settings: 'with' has to be empty".to_owned()),
        }
    }
}

impl ExchangeKind for Kind {
    const NAME: &'static str = "x-NAME";
    type Exchange = ByLastWord;

    fn declare(&self, spec: &ExchangeSpec<'_>) -> Result<ByLastWord, String> {
        match spec.arguments.first() {
            None => Ok(ByLastWord),
            Some(argument) => Err(format!("there is no argument '{}'", argument.name)),
        }
    }
}

/// One exchange.
pub struct ByLastWord;

impl Exchange for ByLastWord {
    type Table = Places;

    /// Keys come in topic form: words between `/`, where AMQP clients write `.`.
    fn check(&self, binding: &Binding<'_>) -> Result<(), String> {
        match binding.key.contains(&b'/') {
            true => Err("the key of a binding is one word".to_owned()),
            false => Ok(()),
        }
    }

    /// Not for each message: when one comes after bindings have changed.
    fn compile(&self, bindings: &[Binding<'_>]) -> Result<Places, String> {
        let mut places = Places::default();
        for (place, binding) in (0..).zip(bindings) {
            places.0.entry(binding.key.to_vec()).or_default().push(place);
        }
        Ok(places)
    }
}

/// The places of bindings, by their keys.
#[derive(Default)]
pub struct Places(HashMap<Vec<u8>, Vec<u32>>);

impl Table for Places {
    fn route(&self, routing: &Routing<'_>, chosen: &mut Vec<u32>) -> Result<(), String> {
        let last = routing.key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        chosen.extend(self.0.get(last).into_iter().flatten());
        Ok(())
    }
}

crossdock_plugin::export!(exchange: Kind);

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(key: &str) -> Binding<'_> {
        Binding { target: "queue:1", key: key.as_bytes(), arguments: Vec::new() }
    }

    #[test]
    fn messages_go_where_their_last_word_leads() {
        let spec = ExchangeSpec { name: "x", arguments: Vec::new() };
        let exchange = Kind::start("{}").and_then(|kind| kind.declare(&spec)).expect("declared");
        assert!(exchange.check(&binding("created")).is_ok());
        assert!(exchange.check(&binding("order/created")).is_err());
        let bindings = ["created", "gone", "created"].map(binding);
        let table = exchange.compile(&bindings).expect("compiled");
        let route = |key: &str| {
            let mut chosen = Vec::new();
            let routing = Routing { key: key.as_bytes(), values: Vec::new() };
            table.route(&routing, &mut chosen).expect("routed");
            chosen
        };
        assert_eq!(route("order/7/created"), [0, 2]);
        assert_eq!(route("gone"), [1]);
        assert_eq!(route("created/order"), [] as [u32; 0]);
    }
}
