//! Plugins that break the contract: refused when they are loaded, or out of use from then on. The process lives.

use super::*;
use crossdock_core::ErrorKind;
use crossdock_loader::load;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn what_is_no_plugin_of_this_contract_is_refused_with_file_and_reason() {
    let cases: [(&str, &[&str], &str); 14] = [
        ("wrong-magic", &["MAGIC=\"XDOCKPLX\""], "does not begin with XDOCKPLG"),
        ("no-mark", &["NO_MARK"], "has no symbol CROSSDOCK_PLUGIN_ABI"),
        ("no-entry", &["NO_ENTRY"], "has no symbol crossdock_plugin_entry_v1"),
        (
            "old-mark",
            &["MARK_SIZE=8"],
            "CROSSDOCK_PLUGIN_ABI has 8 bytes, and version 1.0 began with 24",
        ),
        ("old-plugin", &["PLUGIN_SIZE=40"], "CrossdockPlugin has 40 bytes"),
        ("old-kind", &["KIND_SIZE=24"], "CrossdockExchangeKind has 24 bytes"),
        ("huge-kind", &["KIND_SIZE=1000000000"], "none has more than 65536"),
        ("other-major", &["MAJOR=2"], "is of version 2 of the contract, and this broker has 1"),
        ("unknown", &["KINDS=17"], "what this version of Crossdock does not know (kinds 0x11)"),
        ("nothing", &["KINDS=0"], "says that it brings nothing"),
        ("no-kind", &["NO_KIND"], "says that it brings an exchange kind, and has none"),
        ("no-route", &["NO_ROUTE"], "its exchange kind has no function 'route'"),
        ("bad-name", &["KIND=\"first\""], "the exchange type 'first' does not begin with 'x-'"),
        ("fails", &["FAIL_ENTRY"], "its call 'entry' failed with status 2"),
    ];
    for (name, definitions, why) in cases {
        let path = in_c(name, definitions);
        let error = load(&spec(path.clone())).map(|_| ()).expect_err(name);
        assert!(error.reason.contains(why), "{name}: {error}");
        assert!(
            error.reason.contains(&path.display().to_string()),
            "{name} names the file: {error}"
        );
        assert_eq!(error.key, "path");
    }
    let error = load(&Spec { with: "{\"a\":1}".into(), ..spec(in_c("with", &[])) });
    let error = error.map(|_| ()).expect_err("takes no settings");
    assert!(error.key == "with" && error.reason.ends_with("does not start: takes no settings"));
}

#[test]
fn what_is_no_library_is_refused() {
    let path = room().join("text.so");
    std::fs::write(&path, "not a library").expect("written");
    let error = load(&spec(path)).map(|_| ()).expect_err("a text");
    assert!(error.reason.contains("is no library that can be loaded"), "{error}");
    let whole = std::fs::read(sample("consistent-hash")).expect("built");
    for bytes in [8, 63, 200, 4_096, 20_000, whole.len() / 2] {
        let path = room().join(format!("cut-{bytes}.so"));
        std::fs::write(&path, &whole[..bytes]).expect("written");
        let error = load(&spec(path)).map(|_| ()).expect_err("cut off");
        assert!(error.key == "path" && error.reason.contains("is cut off: it has"), "{error}");
    }
    let error = load(&spec("/gone/plugin.so".into())).map(|_| ()).expect_err("gone");
    assert!(error.reason.contains("/gone/plugin.so: cannot be found"), "{error}");
}

#[test]
fn a_library_that_hangs_when_it_is_opened_does_not_keep_the_broker_waiting() {
    if !in_child("hostile::a_library_that_hangs_when_it_is_opened_does_not_keep_the_broker_waiting")
    {
        return;
    }
    let path = in_c("hangs", &["HANG_WHEN_OPENED"]);
    let started = Instant::now();
    let error = load(&Spec { call_time: Duration::from_millis(50), ..spec(path) });
    let error = error.map(|_| ()).expect_err("hangs");
    assert!(error.reason.ends_with("opening it did not end within 500 ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let other = load(&Spec { call_time: Duration::from_millis(50), ..spec(in_c("beside", &[])) });
    assert!(other.map(|_| ()).expect_err("not tried").reason.contains("another library hangs"));
    // The ordinary end would wait for the library.
    crossdock_loader::exit_if_stuck(0);
}

/// Loads the fixture; an exchange with that argument, and one without.
fn misbehaving(
    argument: &[(&str, &str)],
) -> (crossdock_loader::Loaded, Box<dyn Matcher>, ExchangeSpec) {
    let loaded = load(&hasty(sample("misbehave"))).expect("loads");
    let good = exchange("x-misbehave", &[]);
    let mut matcher = exchange("x-misbehave", argument).matcher(false);
    matcher.bind(Arc::new(binding("k", 1)));
    (loaded, matcher, good)
}

/// What happens where the fixture does that, in a process of its own.
fn broken(test: &str, place: &str, how: &str, why: &str) {
    if !in_child(test) {
        return;
    }
    let (loaded, matcher, good) = misbehaving(&[(place, how)]);
    let mut healthy = good.matcher(false);
    healthy.bind(Arc::new(binding("k", 2)));
    assert_eq!(route(&*healthy, "k", ""), Ok(vec![2]));
    let started = Instant::now();
    let act = || match place {
        "declare" => check(&*matcher, &binding("k", 1)),
        "check" => check(&*matcher, &binding("k", 1)),
        _ => route(&*matcher, "now", "").map(|_| ()),
    };
    let error = act().expect_err("broken");
    // Who declares or binds did so in vain; a publish may be repeated.
    let kind = match place {
        "declare" | "check" => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    assert_eq!(error.kind(), kind);
    assert!(error.detail().contains(why), "{error}");
    assert!(error.detail().contains("libmisbehave.so"), "{error}");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let look = loaded.look();
    assert!(look.out_of_use.as_ref().is_some_and(|said| said.contains(why)), "{look:?}");
    // Nothing of the plugin is called any more, whoever asks.
    for error in [act(), route(&*healthy, "k", "").map(|_| ()), good.check()] {
        assert!(error.expect_err("out of use").detail().contains("is out of use"));
    }
    assert_eq!(loaded.look().calls, look.calls);
}

macro_rules! broken {
    ($($name:ident: $place:literal $how:literal $why:literal;)*) => {$(
        #[test]
        fn $name() {
            broken(concat!("hostile::", stringify!($name)), $place, $how, $why);
        }
    )*};
}

broken! {
    a_panic_in_declare: "declare" "panic" "its call 'declare' panicked";
    a_panic_in_check: "check" "panic" "its call 'check' panicked";
    a_panic_in_compile: "compile" "panic" "its call 'compile' panicked";
    a_panic_in_route: "route" "panic" "misbehaving in route";
    a_hang_in_declare: "declare" "hang" "its call 'declare' did not return within 300 ms";
    a_hang_in_check: "check" "hang" "its call 'check' did not return within 300 ms";
    a_hang_in_compile: "compile" "hang" "its call 'compile' did not return within 300 ms";
    a_hang_in_route: "route" "hang" "its call 'route' did not return within 300 ms";
    a_place_that_no_binding_has: "route" "outside" "its call 'route' chose binding 1, and there are 1";
}

#[test]
fn a_refusal_is_an_answer_and_breaks_nothing() {
    if !in_child("hostile::a_refusal_is_an_answer_and_breaks_nothing") {
        return;
    }
    let (loaded, _, good) = misbehaving(&[]);
    for place in ["declare", "check", "compile", "route"] {
        let mut matcher = exchange("x-misbehave", &[(place, "refuse")]).matcher(false);
        matcher.bind(Arc::new(binding("k", 1)));
        let refused = match place {
            "declare" | "check" => check(&*matcher, &binding("k", 1)),
            _ => route(&*matcher, "now", "").map(|_| ()),
        };
        let error = refused.expect_err(place);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.detail(), format!("refused in {place}"));
    }
    assert!(good.check().is_ok());
    assert_eq!((loaded.look().refused, loaded.look().out_of_use), (4, None));
}

#[test]
fn a_plugin_that_breaks_at_its_start_is_refused() {
    for (how, why, key) in [
        ("panic", "its call 'start' panicked", "path"),
        ("hang", "its call 'start' did not return within 300 ms", "path"),
        ("refuse", "does not start: refused in start", "with"),
    ] {
        let with = format!("{{\"start\":\"{how}\"}}");
        let error = load(&Spec { with, ..hasty(sample("misbehave")) }).map(|_| ()).expect_err(how);
        assert!(error.reason.contains(why) && error.key == key, "{how}: {error}");
        assert!(error.reason.contains("libmisbehave.so"), "{how}: {error}");
    }
}

#[test]
fn a_status_that_is_no_answer_ends_it() {
    if !in_child("hostile::a_status_that_is_no_answer_ends_it") {
        return;
    }
    let loaded = load(&spec(in_c("status", &["FAIL_ROUTE"]))).expect("loads");
    let mut matcher = exchange("x-first", &[]).matcher(false);
    matcher.bind(Arc::new(binding("a", 1)));
    let error = route(&*matcher, "k", "").expect_err("fails");
    assert!(error.detail().contains("its call 'route' failed with status 77"), "{error}");
    assert!(loaded.look().out_of_use.is_some());
}
