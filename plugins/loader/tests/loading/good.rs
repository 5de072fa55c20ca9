//! Plugins that do what they should.

use super::*;
use crossdock_core::ErrorKind;
use crossdock_loader::load;
use std::sync::Arc;

#[test]
fn a_plugin_in_rust_routes() {
    if !in_child("good::a_plugin_in_rust_routes") {
        return;
    }
    let loaded = load(&spec(sample("consistent-hash"))).expect("loads");
    let look = loaded.look();
    assert_eq!((&*look.plugin, &*look.version), ("consistent-hash", "0.1.0"));
    assert_eq!(look.brings, ["exchange:x-sample-hash"]);
    assert_eq!(look.out_of_use, None);

    let mut matcher = exchange("x-sample-hash", &[]).matcher(false);
    assert!(check(&*matcher, &binding("10", 1)).is_ok());
    let why = check(&*matcher, &binding("ten", 1)).expect_err("no weight");
    assert!(why.kind() == ErrorKind::Invalid && why.detail().contains("and not 'ten'"), "{why}");
    (1..=4).for_each(|log| matcher.bind(Arc::new(binding("1", log))));
    let all = |matcher: &dyn Matcher| -> Vec<u64> {
        let of = |n: u32| route(matcher, &format!("order/{n}"), "").expect("routed");
        (0..1_000).flat_map(of).collect()
    };
    let before = all(&*matcher);
    assert_eq!(before.len(), 1_000, "each goes to one");
    assert!((1..=4).all(|log| before.iter().filter(|it| **it == log).count() > 150), "{before:?}");
    assert!(!matcher.reads_fields(), "the key decides: routes are remembered");
    assert!(matcher.unbind(&binding("1", 2)));
    let after = all(&*matcher);
    let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
    assert_eq!(moved, before.iter().filter(|it| **it == 2).count(), "only its share moves");

    let mut by_header = exchange("x-sample-hash", &[("hash-header", "h")]).matcher(false);
    (1..=4).for_each(|log| by_header.bind(Arc::new(binding("1", log))));
    let of = |key: &str, header: &str| route(&*by_header, key, header).expect("routed");
    assert!((0..100).all(|n| of(&n.to_string(), "same") == of("k", "same")));
    assert!((0..100).any(|n| of("k", &n.to_string()) != of("k", "same")));
    assert!(by_header.reads_fields());

    let wrong = exchange("x-sample-hash", &[("hash-header", "h"), ("hash-property", "type")]);
    assert_eq!(wrong.check().map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    let look = loaded.look();
    assert!(look.calls > 2_000 && look.refused == 2, "{look:?}");
    drop((matcher, by_header));
    let twice = load(&spec(sample("consistent-hash"))).map(|_| ()).expect_err("twice");
    assert!(twice.reason.contains("already"), "{twice}");
}

#[test]
fn a_plugin_in_c_routes() {
    if !in_child("good::a_plugin_in_c_routes") {
        return;
    }
    let path = in_c("first", &[]);
    let sha256 = run(Command::new("sha256sum").arg(&path));
    let sha256 = sha256.split(' ').next().map(str::to_owned);
    let loaded = load(&Spec { sha256, ..spec(path) }).expect("loads");
    let look = loaded.look();
    assert_eq!((&*look.plugin, &*look.version), ("first", "1.2.3"));
    let mut matcher = exchange("x-first", &[]).matcher(false);
    for (key, log) in [("b", 1), ("a", 2), ("c", 3)] {
        assert!(check(&*matcher, &binding(key, log)).is_ok());
        matcher.bind(Arc::new(binding(key, log)));
    }
    assert_eq!(route(&*matcher, "any", ""), Ok(vec![2]));
    let why = check(&*matcher, &binding("", 4)).expect_err("refused");
    assert_eq!(why.detail(), "an empty key");
    let why = exchange("x-first", &[("one", "1"), ("two", "2")]).check().expect_err("refused");
    assert_eq!(why.detail(), "two", "the last argument's name");
}

#[test]
fn a_plugin_of_a_newer_contract_is_read_as_far_as_it_is_known() {
    if !in_child("good::a_plugin_of_a_newer_contract_is_read_as_far_as_it_is_known") {
        return;
    }
    let newer = [
        "MARK_SIZE=sizeof(CrossdockPluginAbi)+16",
        "PLUGIN_SIZE=sizeof(CrossdockPlugin)+64",
        "KIND_SIZE=sizeof(kind)",
    ];
    let _loaded = load(&spec(in_c("newer", &newer))).expect("loads");
    let mut matcher = exchange("x-first", &[]).matcher(false);
    matcher.bind(Arc::new(binding("a", 7)));
    assert_eq!(route(&*matcher, "any", ""), Ok(vec![7]));
}

#[test]
fn several_threads_route_at_once() {
    if !in_child("good::several_threads_route_at_once") {
        return;
    }
    let loaded = load(&spec(sample("consistent-hash"))).expect("loads");
    let mut matcher = exchange("x-sample-hash", &[]).matcher(false);
    (1..=4).for_each(|log| matcher.bind(Arc::new(binding("1", log))));
    let matcher: Arc<dyn Matcher> = Arc::from(matcher);
    let started = std::time::Instant::now();
    let routes = |from: u32| {
        let matcher = matcher.clone();
        std::thread::spawn(move || {
            (from..from + 2_000).all(|n| route(&*matcher, &n.to_string(), "").is_ok())
        })
    };
    let all: Vec<_> = (0..4).map(routes).collect();
    assert!(all.into_iter().all(|thread| thread.join().expect("ends")));
    println!("{} us for a route", started.elapsed().as_micros() / 8_000);
    assert_eq!(loaded.look().out_of_use, None);
}
