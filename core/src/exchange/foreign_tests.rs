//! What the core does for exchanges whose kind a plugin brings; the plugin is one of these tests.

use super::*;
use crate::exchange::{Kind, LogId, Target};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Routes to the bindings whose key is what the message has under `header:to`, or to nothing when it is switched off.
#[derive(Default)]
struct Double {
    is_broken: Arc<AtomicUsize>,
    compiled: Arc<AtomicUsize>,
    reads: Vec<String>,
}

fn broken() -> Error {
    Error::new(ErrorKind::Unavailable, "the plugin is out of use")
}

impl ForeignMaker for Double {
    fn declare(&self, spec: &ExchangeSpec) -> Result<Arc<dyn ForeignExchange>, Error> {
        if spec.arguments.iter().any(|(name, _)| &**name == "wrong") {
            return Err(Error::new(ErrorKind::Invalid, "an argument 'wrong'"));
        }
        let (is_broken, compiled) = (self.is_broken.clone(), self.compiled.clone());
        Ok(Arc::new(Double { is_broken, compiled, reads: vec!["header:to".to_owned()] }))
    }
}

impl ForeignExchange for Double {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        match &**binding.key.bytes() {
            b"no" => Err(Error::new(ErrorKind::Invalid, "not that key")),
            _ => Ok(()),
        }
    }

    fn compile(&self, bindings: &[Arc<Binding>]) -> Result<Arc<dyn ForeignTable>, Error> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let keys = bindings.iter().map(|binding| binding.key.bytes().to_vec()).collect();
        Ok(Arc::new(Keys(keys, self.is_broken.clone())))
    }
}

struct Keys(Vec<Vec<u8>>, Arc<AtomicUsize>);

impl ForeignTable for Keys {
    fn route(&self, _: &Key, values: Vec<Option<Vec<u8>>>) -> Result<Vec<u32>, Error> {
        if self.1.load(Ordering::Relaxed) > 0 {
            return Err(broken());
        }
        let Some(Some(to)) = values.first() else { return Ok(vec![]) };
        let found = self.0.iter().enumerate().filter(|(_, key)| *key == to);
        // A place that no binding has is nobody's.
        Ok(found.map(|(at, _)| at as u32).chain([99]).collect())
    }
}

fn fields(to: &str) -> Fields {
    Fields { headers: vec![("to".into(), Value::text(to))], ..Fields::default() }
}

/// How many hits there are once the plugin was asked, and whether they are by the bindings that are there now.
fn routed(matcher: &dyn Matcher, fields: &Fields) -> Result<(usize, bool), Error> {
    let (key, fields): (Key, FieldsOf<'_>) = ("k".into(), &|| fields);
    let (mut answers, mut out) = (Vec::new(), Vec::new());
    loop {
        match matcher.route_by((&key, fields), &answers, &mut out) {
            Ok(is_current) => return Ok((out.len(), is_current)),
            Err(unknown) => match *unknown {
                Unknown::Failed(why) => return Err(why),
                Unknown::Ask(question) => answers.push(question.ask(&key, fields)),
            },
        }
    }
}

#[test]
fn a_plugins_kind_routes_by_what_it_reads_and_is_asked_again_when_bindings_change() {
    let double = Double::default();
    let (is_broken, compiled) = (double.is_broken.clone(), double.compiled.clone());
    let kind = ForeignKind::provide("x-double", Arc::new(double)).expect("a new kind");
    assert_eq!(Kind::parse("x-double").expect("known"), Kind::Foreign(kind));
    assert_eq!(Kind::Foreign(kind).as_str(), "x-double");
    let spec = ExchangeSpec::new("x", Kind::Foreign(kind));
    let mut matcher = spec.matcher(false);
    let binding = |key: &str, log| Binding::new("x", key.into(), Target::Log(LogId(log)));
    let routed = |matcher: &dyn Matcher, to: &str| routed(matcher, &fields(to)).map(|hits| hits.0);
    assert_eq!(routed(&*matcher, "a"), Ok(0));
    matcher.bind(Arc::new(binding("a", 1)));
    matcher.bind(Arc::new(binding("a", 2)));
    matcher.bind(Arc::new(binding("b", 1)));
    for (to, hits) in [("a", 2), ("b", 1), ("c", 0)] {
        assert_eq!(routed(&*matcher, to), Ok(hits));
    }
    assert_eq!(compiled.load(Ordering::Relaxed), 1, "once for all that came since");
    assert!(matcher.reads_fields(), "what it chooses depends on more than the key");
    assert!(matcher.unbind(&binding("a", 2)) && !matcher.unbind(&binding("a", 3)));
    assert_eq!(routed(&*matcher, "a"), Ok(1));
    assert_eq!(compiled.load(Ordering::Relaxed), 2);
    let asked = matcher.asked().expect("a plugin's").clone();
    assert_eq!(asked.check(&binding("yes", 1)), Ok(()));
    assert_eq!(asked.check(&binding("no", 1)).map_err(|e| e.kind()), Err(ErrorKind::Invalid));
    is_broken.store(1, Ordering::Relaxed);
    assert_eq!(routed(&*matcher, "a"), Err(broken()));
    let wrong = vec![("wrong".into(), Value::Null)];
    let refused = ExchangeSpec { arguments: wrong, ..spec }.check();
    assert_eq!(refused.map_err(|e| e.kind()), Err(ErrorKind::Invalid));
}

/// Bindings may change while a plugin thinks: its answer counts for that message, and is not remembered.
#[test]
fn an_answer_that_bindings_have_overtaken_counts_once() {
    let kind = ForeignKind::provide("x-overtaken", Arc::new(Double::default())).expect("new");
    let mut matcher = ExchangeSpec::new("x", Kind::Foreign(kind)).matcher(false);
    let binding = |log| Arc::new(Binding::new("x", "a".into(), Target::Log(LogId(log))));
    matcher.bind(binding(1));
    let (key, fields): (Key, _) = ("k".into(), fields("a"));
    let mut out = Vec::new();
    let ask = |matcher: &dyn Matcher| {
        let unknown = matcher.route_by((&key, &|| &fields), &[], &mut vec![]).expect_err("asked");
        match *unknown {
            Unknown::Ask(question) => question,
            Unknown::Failed(why) => panic!("{why}"),
        }
    };
    let (early, late) = (ask(&*matcher), ask(&*matcher));
    matcher.bind(binding(2));
    let newest = ask(&*matcher);
    let answer = early.ask(&key, &|| &fields);
    let by = matcher.route_by((&key, &|| &fields), &[answer], &mut out).map_err(|_| ());
    assert_eq!((by, out.len()), (Ok(false), 1));
    // Whoever asked before the change gets what was compiled behind it.
    for question in [newest, late] {
        let answer = question.try_ask(&key, &|| &fields).expect("nobody compiles");
        out.clear();
        let by = matcher.route_by((&key, &|| &fields), &[answer], &mut out).map_err(|_| ());
        assert_eq!((by, out.len()), (Ok(true), 2));
    }
}

#[test]
fn a_kind_has_one_maker_and_a_name_of_its_own() {
    let provide = |name: &str| ForeignKind::provide(name, Arc::new(Double::default()));
    for (name, why) in [
        ("double", "does not begin with 'x-'"),
        ("x-", "does not begin with 'x-'"),
        ("x-a b", "other characters"),
        ("x-random", "is one of the broker's own"),
    ] {
        let error = provide(name).expect_err(name);
        assert!(error.detail().contains(why), "{name}: {error}");
    }
    provide("x-once").expect("a new kind");
    assert!(provide("x-once").expect_err("another").detail().contains("is there already"));
}

#[test]
fn what_the_store_names_stays_without_its_plugin_and_refuses_publishes() {
    assert_eq!(Kind::stored("nonsense"), None);
    assert_eq!(Kind::stored("x-\u{1}"), None);
    let kind = Kind::stored("x-absent").expect("kept");
    assert_eq!(kind.as_str(), "x-absent");
    assert!(Kind::parse("x-absent").is_err(), "nobody declares one");
    let mut matcher = ExchangeSpec::new("orders", kind).matcher(false);
    let fields = Fields::default();
    let route = |matcher: &dyn Matcher| routed(matcher, &fields).map(|_| ());
    assert_eq!(route(&*matcher), Ok(()), "nothing is bound");
    matcher.bind(Arc::new(Binding::new("orders", "1".into(), Target::Log(LogId(1)))));
    let why = route(&*matcher).expect_err("no plugin");
    assert_eq!(why.kind(), ErrorKind::Unavailable);
    assert!(why.detail().contains("'orders'") && why.detail().contains("'x-absent'"), "{why}");
    assert!(ForeignKind::names().1.contains(&"x-absent"));
    // As soon as the plugin is there, they route.
    ForeignKind::provide("x-absent", Arc::new(Double::default())).expect("was missing");
    assert_eq!(route(&*matcher), Ok(()));
}

#[test]
fn values_are_read_as_text() {
    let mut fields = fields("a");
    fields.headers.push(("n".into(), Value::U64(u64::MAX)));
    fields.headers.push(("f".into(), Value::F64(0.5)));
    fields.headers.push(("l".into(), Value::List(vec![])));
    fields.properties.created_at = Some(7);
    fields.properties.correlation_id = Some(crate::message::Id::U64(9));
    let cases = [
        ("header:to", Some("a")),
        ("header:n", Some("18446744073709551615")),
        ("header:f", Some("0.5")),
        ("header:l", None),
        ("header:gone", None),
        ("property:timestamp", Some("7")),
        ("property:correlation_id", Some("9")),
        ("property:message_id", None),
    ];
    for (name, text) in cases {
        assert!(is_readable(name));
        assert_eq!(value(&fields, name).as_deref(), text.map(str::as_bytes), "{name}");
    }
    for name in ["to", "header:", "property:none", "body:x"] {
        assert!(!is_readable(name), "{name}");
    }
}
