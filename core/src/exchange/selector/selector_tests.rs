//! Three-valued logic, comparisons, patterns, names, limits, and where errors are said to be.

use super::*;
use crate::message::{Id, Key, Name, Origin, Timestamp, Value};
use std::sync::Arc;

struct Given {
    address: Address,
    meta: Meta,
    fields: Fields,
    body: Vec<u8>,
    coerce: bool,
}

fn given() -> Given {
    let mut fields = Fields::default();
    let headers = [
        ("a", Value::I32(5)),
        ("big", Value::U64(u64::MAX)),
        ("f", Value::F64(2.5)),
        ("region", Value::text("eu")),
        ("quote", Value::text("it's")),
        ("n", Value::text("7")),
        ("yes", Value::Bool(true)),
        ("no", Value::Bool(false)),
        ("word", Value::text("TRUE")),
        ("null", Value::Null),
        ("x-odd name", Value::I8(1)),
        ("mq.kind", Value::text("k")),
        ("list", Value::List(vec![Value::I8(1)])),
    ];
    fields.headers = headers.into_iter().map(|(n, v)| (Name::from(n), v)).collect();
    fields.properties.content_type = Some("application/xml".into());
    fields.properties.message_id = Some(Id::Text("m-1".into()));
    fields.properties.correlation_id = Some(Id::U64(9));
    fields.properties.kind = Some("order".into());
    let origin = Arc::new(Origin::default());
    let mut meta = Meta::new(origin, Timestamp(1_000));
    meta.durable = true;
    let address = Address::new("t".into(), Key::from("suppliers/x/stock"));
    Given { address, meta, fields, body: b"<item id='1'/>".to_vec(), coerce: false }
}

impl Given {
    fn input(&self) -> Input<'_> {
        Input {
            address: &self.address,
            meta: &self.meta,
            fields: &self.fields,
            body: &self.body,
            topic_exchange: Some("t"),
            access: None,
            coerce: self.coerce,
        }
    }

    fn ask(&self, text: &str) -> Option<bool> {
        Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&self.input())
    }
}

fn check(expected: Option<bool>, texts: &[&str]) {
    let given = given();
    for text in texts {
        assert_eq!(given.ask(text), expected, "{text}");
    }
}

fn value(text: &str) -> String {
    let given = given();
    let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    format!("{:?}", selector.value(&given.input()))
}

#[test]
fn three_valued_tables() {
    // SQL-92 §8.12, tables 13 to 15: true, false, unknown.
    let values = [("TRUE", Some(true)), ("FALSE", Some(false)), ("(missing = 1)", None)];
    let given = given();
    for (a, x) in values {
        assert_eq!(given.ask(&format!("NOT {a}")), x.map(|b| !b), "NOT {a}");
        for (b, y) in values {
            let and = match (x, y) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (x, y) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            assert_eq!(given.ask(&format!("{a} AND {b}")), and, "{a} AND {b}");
            assert_eq!(given.ask(&format!("{a} OR {b}")), or, "{a} OR {b}");
        }
    }
}

#[test]
fn comparisons() {
    check(
        Some(true),
        &[
            "a = 5",
            "a <> 4",
            "a != 4",
            "a < 6",
            "a <= 5",
            "a > 4",
            "a >= 5",
            "a = 5.0",
            "f > 2",
            "f = 25e-1",
            "region = 'eu'",
            "region <> 'us'",
            "region < 'f'",
            "quote = 'it''s'",
            "yes = TRUE",
            "no <> true",
            "big > 5",
            "5 = a",
            "yes",
            "NOT no",
            "a = 0x5",
            "a = 05",
            "a = 5L",
            "f = 2.5d",
            "a = .5e1",
            "a + 1 = 6",
            "a*2-1 = 9",
            "a / 2 = 2",
            "f * 2 = 5",
            "-a = -5",
            "- (a) = -5",
            "+a = 5",
            "a - -1 = 6",
            "a=5 or missing=1 and no",
            "(a=5 or yes) and not no",
            "not a = 6",
            "-9223372036854775808 < 0",
            "mq.kind = 'k'",
            "\"x-odd name\" = 1",
            "list = list",
            "(a = 5) = yes",
        ],
    );
    check(
        Some(false),
        &[
            "a = '5'",
            "a <> '5'",
            "region = 5",
            "yes > no",
            "yes = 'TRUE'",
            "n = 7",
            "list = 1",
            "a = 6",
            "2 + 3 * 2 = 10",
        ],
    );
    check(
        None,
        &[
            "missing = 1",
            "missing <> 1",
            "null = null",
            "NOT missing = 1",
            "missing",
            "region",
            "a",
            "missing + 1 > 0",
            "region + 1 > 0",
            "a / 0 = 1",
            "-region = 1",
        ],
    );
}

#[test]
fn between_in_like_null() {
    check(
        Some(true),
        &[
            "a BETWEEN 5 AND 6",
            "a NOT BETWEEN 6 AND 7",
            "a between a-1 and a+1",
            "region IN ('us', 'eu')",
            "region NOT IN ('us')",
            "a IN (1, 5)",
            "a NOT IN (-1, 'x')",
            "region LIKE 'e%'",
            "region LIKE '_u'",
            "region NOT LIKE '%x%'",
            "'a%b' LIKE 'a!%b' ESCAPE '!'",
            "'a_b' LIKE '%\\_%' ESCAPE '\\'",
            "missing IS NULL",
            "null IS NULL",
            "a IS NOT NULL",
            "list IS NOT NULL",
            "body LIKE '<%'",
            "region NOT BETWEEN 'a' AND 'b'",
            "missing + 1 IS NULL",
        ],
    );
    check(
        Some(false),
        &[
            "a BETWEEN 6 AND 7",
            "a NOT IN (5)",
            "a LIKE '5'",
            "'axb' LIKE 'a!%b' ESCAPE '!'",
            "a IS NULL",
            "missing BETWEEN 1 AND 2 AND no",
            "a BETWEEN 6 AND missing",
            "region LIKE 'E%'",
            "'' LIKE '_'",
        ],
    );
    check(
        None,
        &[
            "missing IN (1)",
            "missing NOT IN (1)",
            "missing LIKE '%'",
            "missing BETWEEN 1 AND 2",
            "a BETWEEN 1 AND missing",
        ],
    );
}

#[test]
fn like_segments() {
    let is = |text: &str, pattern: &str| like::Pattern::new(pattern, None).unwrap().matches(text);
    for (text, pattern) in [
        ("", ""),
        ("", "%"),
        ("abc", "abc"),
        ("abc", "a%"),
        ("abc", "%c"),
        ("abc", "%b%"),
        ("abc", "a_c"),
        ("abcabc", "%bc"),
        ("abab", "ab%ab"),
        ("aXbYc", "a_b_c"),
        ("xxaXbyy", "%a_b%"),
        ("äöü", "ä_ü"),
        ("äöü", "%ü"),
        ("abc", "%%%"),
        ("abc", "a%b%c"),
        ("aaa", "%a%a%a%"),
    ] {
        assert!(is(text, pattern), "{text} LIKE {pattern}");
    }
    for (text, pattern) in [
        ("a", ""),
        ("ab", "a"),
        ("aba", "ab%ba"),
        ("abc", "%b"),
        ("aa", "%a%a%a%"),
        ("abc", "____"),
        ("ac", "a_c"),
    ] {
        assert!(!is(text, pattern), "{text} LIKE {pattern}");
    }
}

#[test]
fn like_does_not_explode() {
    let pattern = "%a_".repeat(2_000) + "%b";
    let selector = Selector::parse(&format!("body LIKE '{pattern}'")).unwrap();
    let mut given = given();
    given.body = vec![b'a'; 1 << 20];
    let started = std::time::Instant::now();
    assert_eq!(selector.matches(&given.input()), Some(false));
    assert!(started.elapsed().as_millis() < 1_000, "{:?}", started.elapsed());
}

#[test]
fn coercion_is_asked_for() {
    let mut given = given();
    let texts =
        ["n = 7", "n > 6.5", "n IN (7)", "a IN ('5')", "n + 1 = 8", "word = TRUE", "word", "7 = n"];
    for text in texts {
        let plain = given.ask(text);
        assert!(plain != Some(true), "{text} without coercion");
        assert_eq!(given.ask(&format!("convert_string_expressions:{text}")), Some(true), "{text}");
    }
    given.coerce = true;
    assert_eq!(given.ask("n = 7"), Some(true));
    assert_eq!(given.ask("region = 7"), Some(false), "not a number");
    assert_eq!(given.ask("n = '07'"), Some(false), "two texts stay texts");
    assert_eq!(given.ask("no_convert_string_expressions: a = 5"), Some(true));
}

#[test]
fn properties_and_standard_names() {
    check(
        Some(true),
        &[
            "content_type LIKE '%xml%'",
            "JMSPriority = 4",
            "priority IS NULL",
            "JMSType = 'order'",
            "type = 'order'",
            "JMSMessageID = 'm-1'",
            "message_id = 'm-1'",
            "JMSCorrelationID = '9'",
            "JMSTimestamp = 1000",
            "JMSDeliveryMode = 'PERSISTENT'",
            "JMSExpiration = 0",
            "address = 'topic:suppliers/x/stock'",
            "address LIKE 'topic:suppliers/%'",
            "\"type\" IS NULL",
            "JMSXGroupID IS NULL",
            "body IS NOT NULL",
        ],
    );
    let mut given = given();
    given.body = vec![0xff, b'<'];
    assert_eq!(given.ask("body LIKE '%<'"), None, "a body that is not text is NULL");
    given.fields.headers.insert(0, ("priority".into(), Value::text("high")));
    given.meta.priority = Some(7);
    assert_eq!(
        given.ask("priority = 'high' AND JMSPriority = 7"),
        Some(true),
        "the header comes first"
    );
}

#[test]
fn case_and_values() {
    assert_eq!(value("CASE region WHEN 'eu' THEN 7 ELSE 4 END"), "Int(7)");
    assert_eq!(value("CASE WHEN missing = 1 THEN 1 WHEN a > 4 THEN region END"), "Text(\"eu\")");
    assert_eq!(value("CASE region WHEN 'us' THEN 7 END"), "Null");
    assert_eq!(
        value("CASE WHEN a = 5 THEN CASE n WHEN '7' THEN 1.5 END ELSE 0 END + 1"),
        "Float(2.5)"
    );
    assert_eq!(value("a > 4"), "Bool(true)");
    assert_eq!(value("missing > 4"), "Null");
    assert_eq!(value("9223372036854775807 + 1"), "Float(9.223372036854776e18)");
    assert_eq!(value("a"), "Int(5)");
    assert_eq!(value("'text'"), "Text(\"text\")");
}

#[test]
fn paths_go_to_the_body_access() {
    struct Fixed;
    impl BodyAccess for Fixed {
        fn path(&self, path: &Path) -> Operand<'_> {
            match (path.kind, &*path.text) {
                (PathKind::Json, "$.n") => Operand::Int(3),
                (PathKind::Xml, "/a/@b") => Operand::text("x"),
                _ => Operand::Null,
            }
        }
    }
    let given = given();
    let selector = Selector::parse(
        "json('$.n') = 3 AND XML('/a/@b') = 'x' AND json('$.n') > 2 AND json('$.q') IS NULL",
    )
    .unwrap();
    assert_eq!(selector.paths().len(), 3, "the same path is asked for in one place");
    assert!(selector.reads_body());
    assert_eq!(selector.matches(&given.input()), None, "without access a path is NULL");
    let input = Input { access: Some(&Fixed), ..given.input() };
    assert_eq!(selector.matches(&input), Some(true));
}

#[test]
fn errors_say_where() {
    let cases = [
        ("", "line 1, column 1: unexpected the end, expected a value"),
        ("a =", "line 1, column 4: unexpected the end, expected a value"),
        ("a = 1 b", "line 1, column 7: unexpected 'b', expected the end"),
        ("a =\n  AND 1", "line 2, column 3: unexpected 'AND', expected a value"),
        ("ä = 'x", "line 1, column 5: ' without an end"),
        ("a ? 1", "line 1, column 3: unexpected '?'"),
        ("(a = 1", "line 1, column 7: unexpected the end, expected ')'"),
        ("a IN (b)", "line 1, column 7: IN takes literals only"),
        ("a LIKE b", "line 1, column 8: unexpected 'b', expected a pattern in quotes"),
        ("a LIKE 'x' ESCAPE '!!'", "line 1, column 19: ESCAPE takes exactly one character"),
        ("a LIKE 'x!' ESCAPE '!'", "line 1, column 8: the pattern ends in its escape character"),
        ("a NOT = 1", "line 1, column 7: unexpected '=', expected IN, BETWEEN or LIKE after NOT"),
        ("a IS 1", "line 1, column 6: unexpected 1, expected NULL"),
        ("foo('x') = 1", "line 1, column 1: unknown function 'foo'"),
        ("json(x) = 1", "line 1, column 6: unexpected 'x', expected a path in quotes"),
        ("CASE WHEN a THEN 1", "line 1, column 19: unexpected the end, expected END"),
        ("a = 9223372036854775808", "line 1, column 5: 9223372036854775808 is too large"),
        (
            "a = 99999999999999999999",
            "line 1, column 5: '99999999999999999999' is not a whole number of 64 bits",
        ),
        (
            "a = 08",
            "line 1, column 5: '08' is not a whole number of 64 bits (a leading 0 makes it octal)",
        ),
        ("a = 5x", "line 1, column 5: 'x' right after a number"),
        ("a = 1e999", "line 1, column 5: '1e999' is not a number"),
        (
            "convert_string_expressions: a =",
            "line 1, column 32: unexpected the end, expected a value",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Selector::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |n: usize| "(".repeat(n) + "a = 5" + &")".repeat(n);
    assert!(Selector::parse(&nested(60)).is_ok());
    for deep in [nested(64), nested(20_000), "NOT ".repeat(70) + "a = 5", "-".repeat(70) + "a = 5"]
    {
        assert!(Selector::parse(&deep).unwrap_err().reason.contains("deeper"));
    }
    let sum = vec!["a"; 70].join(" + ") + " = 350";
    assert!(
        Selector::parse(&sum).unwrap_err().reason.contains("deeper"),
        "a long sum is a deep tree"
    );
    let chain = vec!["a = 5"; 5_000].join(" AND ");
    assert_eq!(given().ask(&chain), Some(true), "a long chain is not deep");
    assert!(Selector::parse(&" ".repeat(TEXT_MAX + 1)).unwrap_err().reason.contains("longer"));
    let body = vec!["body = 'x'"; BODY_USES_MAX + 1].join(" OR ");
    assert!(Selector::parse(&body).unwrap_err().reason.contains("times"));
}

#[test]
fn conditions_are_told_from_values() {
    for text in
        ["a = 5", "flag", "NOT a IN (1)", "a = 1 AND CASE WHEN b THEN c END", "TRUE", "NOT FALSE"]
    {
        assert!(Selector::parse(text).unwrap().is_condition(), "{text}");
    }
    for text in ["5", "'x'", "a + 1", "-a", "a = 1 AND 5", "CASE WHEN a THEN 1 ELSE 'x' END"] {
        assert!(!Selector::parse(text).unwrap().is_condition(), "{text}");
    }
}

#[test]
fn cut_texts_never_panic() {
    let text = "a NOT BETWEEN -1.5e3 AND 0x1F OR \"ü\" LIKE '%''_%' ESCAPE '\\' AND CASE json('$.ü') WHEN 1 THEN (b) END IS NOT NULL";
    assert!(Selector::parse(text).is_ok());
    for (at, _) in text.char_indices() {
        let _ = Selector::parse(&text[..at]);
        let _ = Selector::parse(&text[at..]);
    }
}
