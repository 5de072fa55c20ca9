//! Patterns against a naive model, names that look like wildcards, and RabbitMQ's expressions.

use super::*;
use crate::exchange::filter;
use expect_test::expect;

const TOPICS: &str = "amq.topic";

fn who<'a>(user: &'a str, client: &'a str) -> Who<'a> {
    Who { user, client, vhost: "/" }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn queue(text: &str, name: &str) -> bool {
    pattern(text).matches(&Object::Queue(name), &who("u", "c"))
}

fn topic(text: &str, name: &str, who: &Who<'_>) -> bool {
    let key = Key::from(name);
    pattern(text).matches(&Object::Key { exchange: TOPICS, key: &key, is_topics: true }, who)
}

fn rights(configure: &[&str], write: &[&str], read: &[&str]) -> Rights {
    let all = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let (configure, write, read) = (all(configure), all(write), all(read));
    Rights::parse(RightsText { configure, write, read, ..RightsText::default() }).expect("rights")
}

/// Every text of up to `max` of these parts.
fn texts(parts: &[&str], max: usize, between: &str) -> Vec<String> {
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..max {
        let upto = all.len();
        for at in from..upto {
            for part in parts {
                let mut longer = all[at].clone();
                longer.push(part);
                all.push(longer);
            }
        }
        from = upto;
    }
    all.iter().skip(1).map(|parts| parts.join(between)).collect()
}

/// A name matches when it is what stands between the stars, with anything in their places.
fn naive_glob(glob: &[u8], name: &[u8]) -> bool {
    match (glob.split_first(), name.split_first()) {
        (None, _) => name.is_empty(),
        (Some((b'*', rest)), None) => naive_glob(rest, name),
        (Some((b'*', rest)), Some((_, after))) => naive_glob(rest, name) || naive_glob(glob, after),
        (Some((a, rest)), Some((b, after))) => a == b && naive_glob(rest, after),
        (Some(_), None) => false,
    }
}

#[test]
fn names_match_as_a_naive_model_says() {
    let globs = texts(&["a", "b", "*"], 5, "");
    let names = texts(&["a", "b"], 5, "");
    let mut matches = 0;
    for glob in &globs {
        let pattern = pattern(&format!("queue:{glob}"));
        for name in &names {
            let is_match = pattern.matches(&Object::Queue(name), &who("u", "c"));
            assert_eq!(is_match, naive_glob(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
            matches += usize::from(is_match);
        }
    }
    assert!(matches > 1_000, "{matches}");
}

/// Filters with `#` at the end only, as patterns have them.
fn filters(words: &[&str], max: usize) -> Vec<String> {
    let mut all = texts(words, max, "/");
    let longer: Vec<String> = all.iter().map(|filter| format!("{filter}/#")).collect();
    all.extend(longer);
    all.push("#".into());
    all
}

fn naive_topic(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (Key::from(filter), Key::from(topic));
    filter::matches(&filter, &topic) && !filter::hidden(&filter, &topic)
}

#[test]
fn topics_are_matched_covered_and_met_as_a_naive_model_says() {
    let patterns = filters(&["a", "$b", "+"], 3);
    let subscriptions = texts(&["a", "$b", "+", "#"], 3, "/");
    let topics = texts(&["a", "$b", "c"], 5, "/");
    let exchange = Object::exchange(TOPICS, TOPICS);
    let (mut all, mut some, mut none) = (0, 0, 0);
    for text in &patterns {
        let pattern = pattern(&format!("topic:{text}"));
        for topic_name in &topics {
            let key = Key::from(&**topic_name);
            let object = Object::Key { exchange: TOPICS, key: &key, is_topics: true };
            let is_match = pattern.matches(&object, &who("u", "c"));
            assert_eq!(is_match, naive_topic(text, topic_name), "{text} {topic_name}");
        }
        for asked in &subscriptions {
            let wanted: Vec<&String> = topics.iter().filter(|t| naive_topic(asked, t)).collect();
            let allowed = wanted.iter().filter(|t| naive_topic(text, t)).count();
            let found = pattern.coverage(&exchange, &Key::from(&**asked), &who("u", "c"));
            match found {
                Coverage::Everything => {
                    assert_eq!(allowed, wanted.len(), "{text} {asked}");
                    all += 1;
                }
                Coverage::Some => {
                    // That a `#` in front stands for no word, and then meets no `$`, is not looked at.
                    assert!(
                        allowed > 0 || asked.starts_with("#") && asked.contains("$"),
                        "{text} {asked}"
                    );
                    some += 1;
                }
                Coverage::Nothing => {
                    assert_eq!(allowed, 0, "{text} {asked}");
                    none += 1;
                }
            }
            // It is wholly covered, and said to be: only `#` in the middle may be taken for more than it is.
            if allowed == wanted.len() && allowed > 0 && !asked.contains('#') {
                assert_eq!(found, Coverage::Everything, "{text} {asked}");
            }
        }
    }
    assert!(all > 200 && some > 200 && none > 200, "{all} {some} {none}");
}

#[test]
fn a_subscription_to_all_is_covered_by_all() {
    let exchange = Object::exchange(TOPICS, TOPICS);
    let coverage = |text: &str, asked: &str| {
        pattern(text).coverage(&exchange, &Key::from(asked), &who("u", "c"))
    };
    assert_eq!(coverage("topic:#", "#"), Coverage::Everything);
    assert_eq!(coverage("topic:#", "a/#/b"), Coverage::Everything);
    assert_eq!(coverage("topic:#", "$SYS/#"), Coverage::Nothing);
    assert_eq!(coverage("topic:$SYS/#", "#"), Coverage::Nothing);
    assert_eq!(coverage("topic:$SYS/#", "$SYS/x"), Coverage::Everything);
    assert_eq!(coverage("exchange:amq.topic", "$SYS/#"), Coverage::Everything);
    assert_eq!(coverage("exchange:amq.topic/a/#", "a/+"), Coverage::Everything);
    assert_eq!(coverage("*", "#"), Coverage::Everything);
    assert_eq!(coverage("queue:*", "#"), Coverage::Nothing);
    assert_eq!(coverage("topic:a/b", "#"), Coverage::Some);
    assert_eq!(coverage("topic:a/b", "a/#/b"), Coverage::Some);
    assert_eq!(coverage("topic:a/b", "+/c"), Coverage::Nothing);
}

/// Names that would be wildcards, expressions or paths if they were not taken literally.
const TRICKS: [&str; 11] = ["+", "#", "*", ".", "|", "^", "$", "%", "/", ".*", "a/b"];

#[test]
fn a_client_id_never_becomes_a_wildcard() {
    for trick in TRICKS {
        let it = who("u", trick);
        let own = format!("d/{trick}/x");
        // A word has no separator: such a client has no topics of its own.
        assert_eq!(topic("topic:d/{client_id}/x", &own, &it), !trick.contains('/'), "{trick}");
        assert!(!topic("topic:d/{client_id}/x", "d/victim/x", &it), "{trick}");
        assert!(!topic("topic:d/{client_id}/x", "d/a/b/x", &it), "{trick}");
        let exchange = Object::exchange(TOPICS, TOPICS);
        let pattern_of = pattern("topic:d/{client_id}/#");
        for asked in ["d/victim/#", "d/victim/x"] {
            let found = pattern_of.coverage(&exchange, &Key::from(asked), &it);
            assert_eq!(found, Coverage::Nothing, "{trick} {asked}");
        }
        let named = pattern("queue:q.{client_id}");
        assert!(named.matches(&Object::Queue(&format!("q.{trick}")), &it), "{trick}");
        assert!(!named.matches(&Object::Queue("q.victim"), &it), "{trick}");
        let user = pattern("queue:{username}.*");
        assert!(!user.matches(&Object::Queue("victim.x"), &who(trick, "c")), "{trick}");
        assert!(user.matches(&Object::Queue(&format!("{trick}.x")), &who(trick, "c")), "{trick}");
    }
}

#[test]
fn who_has_no_name_has_no_rights_by_it() {
    assert!(!pattern("queue:{client_id}*").matches(&Object::Queue("q"), &who("u", "")));
    assert!(!pattern("queue:{username}*").matches(&Object::Queue("q"), &who("", "c")));
    assert!(!topic("topic:d/{client_id}/x", "d//x", &who("u", "")));
    assert!(topic("topic:d/{client_id}/x", "d/c/x", &who("u", "c")));
    assert!(topic("topic:d/x-{client_id}-{username}", "d/x-c-u", &who("u", "c")));
}

#[test]
fn each_kind_of_pattern_names_its_kind() {
    let it = who("u", "c");
    let key = Key::from("k/l");
    let at = |exchange: &'static str| Object::Key { exchange, key: &key, is_topics: false };
    assert!(queue("queue:orders.*", "orders.eu") && !queue("queue:orders.*", "order"));
    assert!(queue("*", "q") && !queue("exchange:*", "q") && !queue("topic:#", "q"));
    assert!(pattern("queue:k/l").matches(&at(""), &it), "the key of the default exchange");
    assert!(!pattern("exchange:*").matches(&at(""), &it));
    assert!(pattern("exchange:logs").matches(&at("logs"), &it));
    assert!(pattern("exchange:l*/k/+").matches(&at("logs"), &it));
    assert!(!pattern("exchange:logs/k").matches(&at("logs"), &it));
    assert!(!pattern("topic:k/l").matches(&at("logs"), &it));
    let whole = Object::exchange("logs", TOPICS);
    assert!(pattern("exchange:logs/#").matches(&whole, &it));
    assert!(!pattern("exchange:logs/k").matches(&whole, &it));
    assert!(pattern("topic:#").matches(&Object::exchange(TOPICS, TOPICS), &it));
    assert!(!pattern("topic:#").matches(&whole, &it));
    assert!(pattern("queue:*").matches(&Object::exchange("", TOPICS), &it));
    assert!(!pattern("queue:a*").matches(&Object::exchange("", TOPICS), &it));
}

#[test]
fn nothing_is_allowed_by_nothing() {
    let none = Rights::parse(RightsText::default()).expect("empty rights");
    for action in [Action::Configure, Action::Write, Action::Read] {
        assert!(!none.may(action, &Object::Queue("q"), &who("u", "c")));
        assert!(!none.may(action, &Object::Queue(""), &who("u", "c")));
    }
    let some = rights(&[], &["queue:q"], &[]);
    assert!(some.may(Action::Write, &Object::Queue("q"), &who("u", "c")));
    assert!(!some.may(Action::Read, &Object::Queue("q"), &who("u", "c")));
    assert!(!some.may(Action::Configure, &Object::Queue("q"), &who("u", "c")));
}

#[test]
fn every_mistake_is_named() {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mistakes = Rights::parse(RightsText {
        configure: list(&["", "orders", "queue:", "exchange:/k", "queues:x"]),
        write: list(&["topic:a/#/b", "topic:a#", "topic:a+/b", "topic:a/*", "queue:{client}"]),
        read: list(&["queue:ok"]),
        regexes: Some(NameRegexes {
            configure: "(".into(),
            write: "^(?!x)".into(),
            read: "".into(),
        }),
        topics: vec![TopicRegexes { exchange: "x".into(), write: "[".into(), read: ".*".into() }],
    });
    expect![[r#"
        configure '': a pattern is '*', 'queue:NAME', 'topic:FILTER', 'exchange:NAME' or 'exchange:NAME/FILTER'
        configure 'orders': a pattern is '*', 'queue:NAME', 'topic:FILTER', 'exchange:NAME' or 'exchange:NAME/FILTER'
        configure 'queue:': the name of a queue is missing; '*' stands for any
        configure 'exchange:/k': the name of an exchange is missing; '*' stands for any
        configure 'queues:x': a pattern is '*', 'queue:NAME', 'topic:FILTER', 'exchange:NAME' or 'exchange:NAME/FILTER'
        write 'topic:a/#/b': '#' has to be the last word, and all of it
        write 'topic:a#': '#' has to be the last word, and all of it
        write 'topic:a+/b': '+' has to be a whole word
        write 'topic:a/*': '+' stands for one word and '#' for all that follow; a word that is '*' is neither
        write 'queue:{client}': what is in braces has to be one of '{username}' and '{client_id}'
        regex.configure '(': the expression cannot be compiled: unclosed group
        regex.write '^(?!x)': the expression cannot be compiled: look-around, including look-ahead and look-behind, is not supported
        topics 'x' write '[': the expression cannot be compiled: unclosed character class"#]]
    .assert_eq(&mistakes.expect_err("mistakes").join("\n"));
}

#[test]
fn what_can_never_match_is_told() {
    let some = rights(&["queue:route/x", "queue:route/*"], &["queue:r*", "topic:a\0"], &["*"]);
    let idle: Vec<String> = some.idle().map(|(action, p)| format!("{action} {p:?}")).collect();
    assert_eq!(idle.len(), 3, "{idle:?}");
    assert!(!pattern("queue:route/x").can_match() && pattern("queue:routes").can_match());
}

fn rabbit(configure: &str, write: &str, read: &str, topics: Vec<TopicRegexes>) -> Rights {
    let (configure, write, read) = (configure.into(), write.into(), read.into());
    let regexes = Some(NameRegexes { configure, write, read });
    Rights::parse(RightsText { regexes, topics, ..RightsText::default() }).expect("expressions")
}

#[test]
fn regular_expressions_are_read_as_rabbitmq_reads_them() {
    let it = who("u", "c");
    let some = rabbit("", "^amq\\.default$", "orders", Vec::new());
    assert!(!some.may(Action::Configure, &Object::Queue("q"), &it), "empty allows nothing");
    assert!(some.may(Action::Read, &Object::Queue("my-orders-eu"), &it), "found anywhere");
    assert!(!some.may(Action::Read, &Object::Queue("order"), &it));
    let key = Key::from("any");
    let default = Object::Key { exchange: "", key: &key, is_topics: false };
    assert!(some.may(Action::Write, &default, &it), "the default exchange has a name there");
    assert!(!some.may(Action::Write, &Object::Queue("any"), &it));
    assert_eq!(some.text().regexes.as_ref().map(|all| &*all.read), Some("orders"), "kept as sent");
}

#[test]
fn topic_permissions_judge_keys_in_dotted_form() {
    let rule = |write: &str, read: &str| TopicRegexes {
        exchange: TOPICS.into(),
        write: write.into(),
        read: read.into(),
    };
    let some = rabbit(".*", ".*", ".*", vec![rule("^{client_id}\\.", "^a\\.")]);
    let may = |action, key: &str, client| {
        let key = Key::from(key);
        let object = Object::Key { exchange: TOPICS, key: &key, is_topics: true };
        some.may(action, &object, &who("u", client))
    };
    assert!(may(Action::Write, "c/x", "c") && !may(Action::Write, "d/x", "c"));
    for trick in TRICKS {
        assert!(!may(Action::Write, "victim/x", trick), "{trick}");
    }
    assert!(!may(Action::Write, "/x", ""), "no client id, no right by it");
    let exchange = Object::exchange(TOPICS, TOPICS);
    let coverage = |key: &str| some.coverage(&exchange, &Key::from(key), &who("u", "c"));
    assert_eq!((coverage("a/#"), coverage("#")), (Coverage::Everything, Coverage::Nothing));
    // Other exchanges have no rule.
    let key = Key::from("z");
    let other = Object::Key { exchange: "other", key: &key, is_topics: false };
    assert!(some.may(Action::Write, &other, &who("u", "c")));
}

#[test]
fn an_expression_that_grows_too_large_is_a_mistake() {
    let regexes = Some(NameRegexes { read: "(a{1000}){1000}".into(), ..NameRegexes::default() });
    let refused = Rights::parse(RightsText { regexes, ..RightsText::default() });
    assert!(refused.expect_err("too large").iter().any(|why| why.contains("size limit")));
}

#[test]
fn a_group_is_for_those_who_may_read_its_topics() {
    assert_eq!(shared_filter("share/g/a/+/b"), Some("a/+/b"));
    assert_eq!(
        (shared_filter("share/g"), shared_filter("share//a"), shared_filter("q")),
        (None, None, None)
    );
    let some = rights(&[], &[], &["topic:a/#"]);
    let topics = Object::exchange(TOPICS, TOPICS);
    let coverage = |queue: &str| some.shared_coverage(queue, &topics, &who("u", "c"));
    assert_eq!(coverage("share/g/a/b"), Coverage::Everything);
    assert_eq!(coverage("share/g/#"), Coverage::Some);
    assert_eq!((coverage("share/g/b"), coverage("a/b")), (Coverage::Nothing, Coverage::Nothing));
}

#[test]
fn many_wildcards_stay_cheap() {
    let some = rights(&[], &[], &[&format!("topic:{}", vec!["+"; 200].join("/"))]);
    let asked = Key::from(&*vec!["#"; 200].join("/"));
    let started = std::time::Instant::now();
    let found = some.coverage(&Object::exchange(TOPICS, TOPICS), &asked, &who("u", "c"));
    assert_eq!(found, Coverage::Some);
    assert!(started.elapsed().as_millis() < 100);
}
