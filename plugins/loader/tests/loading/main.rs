//! Plugins are built, in Rust and in C, loaded and called: good ones, and every kind of bad one.

mod built;
mod conversations;
mod good;
mod hostile;
mod judging;
mod layout;
mod shaping;
mod speaking;
mod toolchains;

use built::{compiled, here, in_c, in_cpp, room, run, sample};
use crossdock_core::exchange::{Binding, Hit, Matcher, Target, Unknown};
use crossdock_core::{Error, ExchangeSpec, Fields, Key, Kind, LogId, Value};
use crossdock_loader::Spec;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Says which test a child process runs.
const CHILD: &str = "CROSSDOCK_LOADER_TEST";

/// For libraries that answer: on a busy machine, too, a call ends in that time.
fn spec(path: PathBuf) -> Spec {
    Spec { call_time: Duration::from_secs(20), ..hasty(path) }
}

/// For libraries that hang: that is noticed soon.
fn hasty(path: PathBuf) -> Spec {
    Spec {
        name: "tested".to_owned(),
        path,
        sha256: None,
        with: "{}".to_owned(),
        call_time: Duration::from_millis(300),
        threads: 2,
    }
}

/// Kinds are known in the whole process, and a broken plugin stays so: such a test runs in a process of its own. True
/// in that process; false in the one that started it, where all is done.
fn in_child(test: &str) -> bool {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        return true;
    }
    let own = std::env::current_exe().expect("a path");
    run(Command::new(own).args(["--exact", test, "--nocapture"]).env(CHILD, test));
    false
}

/// An exchange with arguments that are texts.
fn exchange(kind: &str, arguments: &[(&str, &str)]) -> ExchangeSpec {
    let kind = Kind::parse(kind).expect("a plugin brings it");
    let arguments = arguments.iter().map(|(name, text)| ((*name).into(), Value::text(*text)));
    ExchangeSpec { arguments: arguments.collect(), ..ExchangeSpec::new("x", kind) }
}

fn binding(key: &str, log: u64) -> Binding {
    Binding::new("x", key.into(), Target::Log(LogId(log)))
}

/// Whether the plugin takes that binding.
fn check(matcher: &dyn Matcher, binding: &Binding) -> Result<(), Error> {
    matcher.asked().expect("a plugin's").check(binding)
}

/// Where a message with that key and header `h` goes.
fn route(matcher: &dyn Matcher, key: &str, header: &str) -> Result<Vec<u64>, Error> {
    let headers = vec![("h".into(), Value::text(header))];
    let fields = Fields { headers, ..Fields::default() };
    let mut hits: Vec<Hit> = Vec::new();
    let (key, mut answers): (Key, _) = (key.into(), Vec::new());
    loop {
        match matcher.route_by((&key, &|| &fields), &answers, &mut hits) {
            Ok(_) => break,
            Err(unknown) => match *unknown {
                Unknown::Ask(question) => answers.push(question.ask(&key, &|| &fields)),
                Unknown::Failed(why) => return Err(why),
            },
        }
    }
    let target = |hit: &Hit| match hit.target {
        Target::Log(LogId(log)) => log,
        _ => panic!("no queue"),
    };
    Ok(hits.iter().map(target).collect())
}
