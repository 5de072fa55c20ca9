//! The mapping, its options, and what is refused.

use super::*;

fn with(options: &str, xml: &str) -> Result<String, String> {
    convert(xml, &Options::parse(options).unwrap())
}

fn check(options: &str, xml: &str, json: &str) {
    assert_eq!(with(options, xml).as_deref(), Ok(json), "{xml}");
}

#[test]
fn the_stock_example() {
    let options = r#"{"attributes":"plain","rename":{"id":"item_id"},"numbers":["stock"]}"#;
    check(options, r#"<item id="I101" stock="50"/>"#, r#"{"item_id":"I101","stock":50}"#);
    check(
        options,
        "<?xml version='1.0' encoding='UTF-8'?>\n<item stock='50' id='I101'></item>\n",
        r#"{"stock":50,"item_id":"I101"}"#,
    );
}

#[test]
fn elements_text_and_repetition() {
    check("{}", "<a/>", r#"{"a":null}"#);
    check("{}", "<a>x</a>", r#"{"a":"x"}"#);
    check("{}", "<a><b>1</b><c/><b>2</b></a>", r#"{"a":{"b":["1","2"],"c":null}}"#);
    check("{}", "<a k='v'>x</a>", r##"{"a":{"k":"v","#text":"x"}}"##);
    check("{}", "<a>\n  <b>  x </b>\n</a>", r#"{"a":{"b":"  x "}}"#);
    check("{}", "<p>one <b>two</b> three</p>", r##"{"p":{"b":"two","#text":["one "," three"]}}"##);
    check("{}", "<a id='1'><id>2</id></a>", r#"{"a":{"id":["1","2"]}}"#);
    check("{}", "<a><![CDATA[<x>&amp;]]> y</a>", r#"{"a":"<x>&amp; y"}"#);
    check("{}", "<a>x<!-- c -->y<?pi z?></a>", r#"{"a":"xy"}"#);
    check(
        "{}",
        "<a b='&lt;&#65;&#x42;&quot;'>&amp;&apos;&gt;</a>",
        r##"{"a":{"b":"<AB\"","#text":"&'>"}}"##,
    );
    check("{}", "\u{feff}<ä>ö</ä>", r#"{"ä":"ö"}"#);
}

#[test]
fn options_shape_the_result() {
    check(r#"{"attributes":"prefix:@"}"#, "<a k='v'><k>w</k></a>", r#"{"a":{"@k":"v","k":"w"}}"#);
    check(r#"{"attributes":"drop"}"#, "<a k='v'>x</a>", r#"{"a":"x"}"#);
    check(r#"{"root":"keep"}"#, "<a k='v'/>", r#"{"a":{"k":"v"}}"#);
    check(r#"{"root":"drop"}"#, "<a><b>x</b></a>", r#"{"b":"x"}"#);
    check(r#"{"arrays":["b"]}"#, "<a><b>x</b></a>", r#"{"a":{"b":["x"]}}"#);
    check(r#"{"text":"$"}"#, "<a k='v'>x</a>", r#"{"a":{"k":"v","$":"x"}}"#);
    check(r#"{"booleans":["b"]}"#, "<a><b>1</b><b> false </b></a>", r#"{"a":{"b":[true,false]}}"#);
    check(r#"{"attributes":"prefix:@","rename":{"id":"i"}}"#, "<a id='1'/>", r#"{"@i":"1"}"#);
    let numbers = r#"{"numbers":["n"],"root":"drop"}"#;
    for (text, json) in [
        ("50", "50"),
        ("-1.50", "-1.50"),
        ("007", "7"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1e+3"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (" 4 ", "4"),
        ("0", "0"),
        ("-0", "-0"),
    ] {
        let got = with(numbers, &format!("<n>{text}</n>")).unwrap();
        let same = got == json || got.parse::<f64>() == json.parse::<f64>() && got.contains('e');
        assert!(same, "{text} became {got}");
    }
    check(numbers, "<n unit='kg'>5</n>", r##"{"unit":"kg","#text":5}"##);
}

#[test]
fn namespaces_are_prefixes() {
    let xml = "<x:a xmlns:x='urn:1' x:k='v'><x:b>1</x:b></x:a>";
    check("{}", xml, r#"{"x:a":{"xmlns:x":"urn:1","x:k":"v","x:b":"1"}}"#);
    check(r#"{"namespaces":"strip"}"#, xml, r#"{"a":{"k":"v","b":"1"}}"#);
}

#[test]
fn refusals() {
    for (xml, reason) in [
        ("", "there is no element"),
        ("text", "text outside the root element"),
        ("<a>", "<a> is not closed"),
        ("<a><b></a></b>", "expected `</b>`"),
        ("<a/><b/>", "second root"),
        ("<a/>x", "outside"),
        ("<a/>&amp;", "outside"),
        ("<a b=1/>", "enclosed"),
        ("<a b='1' b='2'/>", "duplicate"),
        ("<a b='<'/>", "< in the value"),
        ("<1a/>", "not a name"),
        ("<a>&nbsp;</a>", "not one of the five"),
        ("<a b='&nbsp;'/>", "nbsp"),
        ("<a>&#0;</a>", ""),
        ("<a>&#1;</a>", "U+0001"),
        ("<a>\u{1}</a>", "U+0001"),
        ("<a>& b</a>", ""),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type"),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "not UTF-8"),
        ("<a><!-- -- --></a>", ""),
        ("<a", ""),
    ] {
        let error = with("{}", xml).expect_err(xml);
        assert!(error.contains(reason), "{xml}: {error}");
        assert!(error.contains("at byte") || error == "there is no element", "{error}");
    }
    let error = with(r#"{"numbers":["n"]}"#, "<n>abc</n>").unwrap_err();
    assert!(error.starts_with("n is to be a number, but is 'abc'"), "{error}");
    assert!(with(r#"{"numbers":["n"]}"#, "<n>NaN</n>").is_err());
    assert!(with(r#"{"booleans":["n"]}"#, "<n>yes</n>").is_err());
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
    assert!(with("{}", &deep(100)).is_ok());
    assert!(with("{}", &deep(101)).unwrap_err().contains("deeper"));
    assert!(with("{}", &"<a>".repeat(1_000_000)).unwrap_err().contains("deeper"));
}

#[test]
fn options_are_checked() {
    assert!(Options::parse(r#"{"atributes":"plain"}"#).unwrap_err().contains("unknown field"));
    assert!(Options::parse(r#"{"attributes":"prefix:"}"#).is_err());
    assert!(Options::parse(r#"{"root":"maybe"}"#).is_err());
    assert!(Options::parse("{}").is_ok());
}
