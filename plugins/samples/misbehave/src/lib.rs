//! A fixture of the loader's tests: an exchange kind that does what an argument of the exchange says, where it says it.
//! `with = { start = "panic" }` and the exchange's arguments `check`, `compile` and `route` are each one of `panic`,
//! `hang`, `refuse`, `slow` (a third of a second) and `outside` (a place that no binding has).

use crossdock_plugin::{
    Binding, Exchange, ExchangeKind, ExchangeSpec, Level, Routing, Start, Table, argument, log,
};
use std::time::Duration;

fn act(how: &str, place: &str) -> Result<(), String> {
    match how {
        "panic" => panic!("misbehaving in {place}"),
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
        "slow" => {
            std::thread::sleep(Duration::from_millis(333));
            Ok(())
        }
        "refuse" => Err(format!("refused in {place}")),
        _ => Ok(()),
    }
}

pub struct Misbehave;

impl Start for Misbehave {
    fn start(with: &str) -> Result<Self, String> {
        let how = ["panic", "hang", "refuse"].into_iter().find(|how| with.contains(how));
        act(how.unwrap_or_default(), "start")?;
        log(Level::Info, "misbehave is here");
        Ok(Misbehave)
    }
}

impl ExchangeKind for Misbehave {
    const NAME: &'static str = "x-misbehave";
    type Exchange = Misbehaving;

    fn declare(&self, spec: &ExchangeSpec<'_>) -> Result<Misbehaving, String> {
        let how = |place: &str| {
            let value = argument(&spec.arguments, place);
            value.and_then(|value| value.as_text()).unwrap_or_default().to_owned()
        };
        act(&how("declare"), "declare")?;
        Ok(Misbehaving { check: how("check"), compile: how("compile"), route: how("route") })
    }
}

pub struct Misbehaving {
    check: String,
    compile: String,
    route: String,
}

impl Exchange for Misbehaving {
    type Table = Misroute;

    fn reads(&self) -> Vec<String> {
        // What is chosen is not remembered.
        vec!["header:none".to_owned()]
    }

    fn check(&self, _: &Binding<'_>) -> Result<(), String> {
        act(&self.check, "check")
    }

    fn compile(&self, bindings: &[Binding<'_>]) -> Result<Misroute, String> {
        act(&self.compile, "compile")?;
        Ok(Misroute { how: self.route.clone(), bindings: bindings.len() as u32 })
    }
}

pub struct Misroute {
    how: String,
    bindings: u32,
}

impl Table for Misroute {
    fn route(&self, routing: &Routing<'_>, chosen: &mut Vec<u32>) -> Result<(), String> {
        // Only where the key says so: what came before is routed.
        if routing.key.starts_with(b"now") {
            act(&self.how, "route")?;
            if self.how == "outside" {
                chosen.push(self.bindings);
            }
        }
        chosen.extend(0..self.bindings);
        Ok(())
    }
}

crossdock_plugin::export!(exchange: Misbehave);
