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
    check("{}", "<ä>ö</ä>", r#"{"ä":"ö"}"#);
    check(
        "{}",
        "<a>\r\nb\rc&#13;<b k='x\r\n y&#10;z'/></a>",
        r##"{"a":{"b":{"k":"x  y\nz"},"#text":"\nb\nc\r"}}"##,
    );
    check("{}", "<a>\u{a0}<b/></a>", "{\"a\":{\"b\":null,\"#text\":\"\u{a0}\"}}");
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

/// The documents of expat_cases.py, with `+` or `-` for what expat says without and with namespaces.
#[test]
fn expat_and_the_reader_agree() {
    let keep = Options::parse("{}").unwrap();
    let strip = Options::parse(r#"{"namespaces":"strip"}"#).unwrap();
    let mut differ = Vec::new();
    let mut read = 0;
    for line in include_str!("wellformed_cases.txt").lines() {
        let (verdict, shown) = line.split_once(' ').unwrap();
        let document = unescaped(shown);
        read += 1;
        for (options, expected) in [&keep, &strip].into_iter().zip(verdict.chars()) {
            let found = convert_body(&document, None, options);
            if found.is_ok() != (expected == '+') {
                differ.push(format!("{expected} {shown} {found:?}"));
            }
        }
    }
    assert!(read > 1_000, "the cases were not read: {read}");
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

fn unescaped(shown: &str) -> Vec<u8> {
    let mut parts = shown.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
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
        ("<a b=1/>", "without quotes"),
        ("<a b='1' b='2'/>", "duplicate"),
        ("<a b='<'/>", "< in the value"),
        ("<1a/>", "not a name"),
        ("<a>&nbsp;</a>", "not one of the five"),
        ("<a b='&nbsp;'/>", "nbsp"),
        ("<a>&#0;</a>", "&#0; is no character"),
        ("<a>&#1;</a>", "&#1; is no character"),
        ("<a>\u{1}</a>", "U+0001"),
        ("<a>& b</a>", "& that begins no reference"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type"),
        ("\n<?xml version='1.0'?><a/>", "not at the very beginning"),
        ("<?xml encoding='UTF-8' version='1.0'?><a/>", "no version"),
        ("<a>]]></a>", "]]> in text"),
        ("<a/>\u{a0}", "outside the root"),
        ("<a><!-- -- --></a>", "-- in a comment"),
        ("<a", "is not closed"),
    ] {
        let error = with("{}", xml).expect_err(xml);
        assert!(error.contains(reason), "{xml}: {error}");
        assert!(error.contains("at byte") || error == "there is no element", "{error}");
    }
}

#[test]
fn what_is_to_be_a_number_or_a_boolean_and_is_none_fails() {
    for text in [
        "abc", "NaN", "+-5", "-+5", "--5", "+ 5", "1.+5", "5e", "e5", ".", "-", "0x5", "٥", "1,5",
        "\u{a0}5",
    ] {
        let error = with(r#"{"numbers":["n"]}"#, &format!("<n>{text}</n>")).expect_err(text);
        assert!(error.starts_with("n is to be a number, but is '"), "{error}");
    }
    let error = with(r#"{"booleans":["n"]}"#, "<n>yes</n>").unwrap_err();
    assert!(error.starts_with("n is to be true or false, but is 'yes'"), "{error}");
    check(
        r#"{"numbers":["n"],"root":"drop"}"#,
        "<n>-98765432109876543210.0500</n>",
        "-98765432109876543210.0500",
    );
}

#[test]
fn stripped_names_are_what_options_name() {
    let xml =
        "<x:a xmlns:x='u' xmlns:y='v' y:n='1' b='0'><x:n>2</x:n><y:b>true</y:b><x:l>3</x:l></x:a>";
    let options = r#"{"namespaces":"strip","numbers":["n"],"booleans":["b"],"arrays":["l"],"rename":{"l":"list"}}"#;
    check(options, xml, r#"{"a":{"n":[1,2],"b":[false,true],"list":["3"]}}"#);
    let kept = r#"{"numbers":["x:n"],"arrays":["x:n","n"],"rename":{"x:n":"m"},"booleans":["n"]}"#;
    check(kept, "<a><x:n>2</x:n><n>1</n></a>", r#"{"a":{"m":[2],"n":[true]}}"#);
    let prefixed =
        r#"{"namespaces":"strip","attributes":"prefix:@","numbers":["n"],"rename":{"n":"m"}}"#;
    check(prefixed, "<a xmlns:x='u' x:n='1'/>", r#"{"@m":1}"#);
    for key in [r#""numbers":["x:n"]"#, r#""rename":{"x:n":"m"}"#, r#""arrays":["x:n"]"#] {
        let error = Options::parse(&format!(r#"{{"namespaces":"strip",{key}}}"#)).unwrap_err();
        assert!(error.starts_with("'x:n' has a prefix"), "{error}");
    }
    let strip = r#"{"namespaces":"strip"}"#;
    assert!(with(strip, "<x:a/>").unwrap_err().contains("the prefix of x:a is not declared"));
    let same = "<a xmlns:x='u' xmlns:y='u' x:k='1' y:k='2'/>";
    assert!(with(strip, same).unwrap_err().contains("duplicate attribute y:k"));
    assert!(with(strip, "<xmlns:a/>").is_err() && with("{}", "<x:a/>").is_ok());
}

#[test]
fn many_attributes_and_declarations_are_cheap() {
    let many: String = (0..20_000).map(|n| format!(" xmlns:n{n}='u{n}' n{n}:k='1'")).collect();
    let started = std::time::Instant::now();
    assert!(with(r#"{"namespaces":"strip"}"#, &format!("<a{many}/>")).is_ok());
    assert!(
        with("{}", &format!("<a{many} n7:k='2'/>"))
            .unwrap_err()
            .contains("duplicate attribute n7:k")
    );
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn documents_have_encodings() {
    let options = Options::parse("{}").unwrap();
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    let (le, be) = (u16::to_le_bytes, u16::to_be_bytes);
    let declared = |name: &str| {
        format!("<?xml version='1.0' encoding='{name}'?><a>\u{e9}\u{20ac}\u{1f600}</a>")
    };
    let plain = "<a>\u{e9}\u{20ac}\u{1f600}</a>";
    let full = Some("{\"a\":\"\u{e9}\u{20ac}\u{1f600}\"}");
    let latin = |name: &str, byte: &[u8]| {
        [format!("<?xml version='1.0' encoding='{name}'?><a>").as_bytes(), byte, b"</a>"].concat()
    };
    let cases: [(Vec<u8>, Option<&str>, Option<&str>); 24] = [
        (plain.into(), None, full),
        (format!("\u{feff}{plain}").into(), None, full),
        (format!("\u{feff}{plain}").into(), Some("text/xml; charset=iso-8859-1"), full),
        (utf16(plain, le), None, full),
        (utf16(plain, be), None, full),
        (utf16(&format!("\u{feff}{plain}"), le), None, full),
        (utf16(&format!("\u{feff}{plain}"), be), None, full),
        (utf16(&declared("UTF-16"), le), None, full),
        (utf16(&format!("\u{feff}{}", declared("utf-16")), be), None, full),
        (utf16(&format!("\u{feff}{}", declared("utf-8")), be), None, None),
        (utf16(plain, le), Some("text/xml;charset=utf-16le"), full),
        (
            utf16("\n<a>\u{e9}</a>", be),
            Some("text/xml;charset=\"UTF-16\""),
            Some("{\"a\":\"\u{e9}\"}"),
        ),
        (latin("ISO-8859-1", b"\xe9\x80"), None, Some("{\"a\":\"\u{e9}\u{80}\"}")),
        (latin("Latin1", b"\xe9"), None, Some("{\"a\":\"\u{e9}\"}")),
        (latin("windows-1252", b"\xe9\x80"), None, Some("{\"a\":\"\u{e9}\u{20ac}\"}")),
        (latin("ISO-8859-15", b"\xa4"), None, Some("{\"a\":\"\u{20ac}\"}")),
        (latin("Shift_JIS", b"\x83\x41"), None, Some("{\"a\":\"\u{30a2}\"}")),
        (latin("UTF-8", b"\xe9"), None, None),
        (latin("us-ascii", b"\xe9"), None, None),
        (latin("UTF-16", b"x"), None, None),
        (latin("klingon", b"x"), None, None),
        (latin("UTF-8", b"\xe9"), Some("text/xml; charset=ISO-8859-1"), Some("{\"a\":\"\u{e9}\"}")),
        (b"<a>\xe9</a>".to_vec(), Some("application/xml;x=y; Charset='x'"), None),
        (b"<a>\xe9</a>".to_vec(), Some("application/xml"), None),
    ];
    for (body, content_type, expected) in cases {
        let found = convert_body(&body, content_type, &options);
        assert_eq!(found.as_deref().ok(), expected, "{} {found:?}", String::from_utf8_lossy(&body));
    }
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
