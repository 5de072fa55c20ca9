//! Tests of the configuration: every kind of mistake with its place, and who wins over whom.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file of its own for each test, removed at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-config-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the temporary folder is writable");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn load_text(text: &str) -> Result<Loaded, Vec<Mistake>> {
    let file = File::new(text);
    load(&Request { file: Some(&file.0), ..Request::default() })
}

/// The mistakes that reading finds.
fn found(request: &Request<'_>) -> Vec<String> {
    let mistakes = match load(request) {
        Ok(loaded) => loaded.all_mistakes(Vec::new()),
        Err(mistakes) => mistakes,
    };
    assert!(!mistakes.is_empty(), "there is a mistake");
    mistakes.iter().map(Mistake::to_string).collect()
}

/// The mistakes of a file, without the file's folder and name.
fn mistakes(text: &str) -> Vec<String> {
    let file = File::new(text);
    let request = Request { file: Some(&file.0), ..Request::default() };
    let prefix = format!("{}:", file.0.display());
    let shown = found(&request).into_iter();
    shown.map(|line| line.replace(&prefix, "")).collect()
}

#[test]
fn defaults_are_whole() {
    let loaded = load(&Request::default()).expect("the built-in values are well-formed");
    let config = loaded.config;
    assert_eq!(config.data_dir, PathBuf::from("data"));
    let names: Vec<&str> = config.listeners.keys().map(String::as_str).collect();
    assert_eq!(names, ["amqp", "metrics", "mqtt", "stomp", "ws-mqtt", "ws-stomp"]);
    assert_eq!(config.listeners["mqtt"].bind, Binds::One("127.0.0.1:1883".to_owned()));
    assert_eq!(config.memory.high, units::Share::Percent(60));
    assert_eq!(config.limits.message_bytes, units::Size(16 << 20));
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_mistake_is_found_with_its_place() {
    let found = mistakes(
        "data_dri = 5\n\
         [listeners.mqtt]\n\
         bind = \"localhost\"\n\
         protocols = [\"mqtt\", 5]\n\
         [limits]\n\
         message_bytes = \"5 apples\"\n\
         topic_separators = true\n\
         [log]\n\
         level = \"inof\"\n\
         [[queue]]\n\
         durable = \"yes\"\n",
    );
    assert_eq!(
        found,
        [
            "1:1 data_dri: unknown key; did you mean 'data_dir'?",
            "3:8 listeners.mqtt.bind: 'localhost' is not host:port or off",
            "4:22 listeners.mqtt.protocols[1]: expected a text, found a whole number",
            "6:17 limits.message_bytes: '5 apples' is not a size: a number with B, KiB, MiB, GiB or TiB",
            "7:20 limits.topic_separators: expected a whole number, found a boolean",
            "9:9 log.level: 'inof' is none of error, warn, info, debug, trace",
            "10:1 queue[0].name: is missing",
            "11:11 queue[0].durable: expected true or false, found a text",
        ]
    );
}

#[test]
fn a_size_has_a_most() {
    let found = mistakes("[limits]\nmessage_bytes = \"513MiB\"\n");
    assert_eq!(found, ["2:17 limits.message_bytes: must be at most 512 MiB"]);
}

#[test]
fn syntax_errors_have_a_place() {
    let found = mistakes("[memory]\nhigh = = 5\n");
    assert!(found[0].starts_with("2:"), "{found:?}");
    assert!(found[0].contains("not TOML"), "{found:?}");
}

#[test]
fn tables_are_tables_and_lists_are_lists() {
    let found = mistakes("memory = 5\nqueue = \"x\"\nroute = [1]\n");
    assert_eq!(
        found,
        [
            "1:10 memory: expected a table, found a whole number",
            "2:9 queue: expected a list of tables, found a text",
            "3:10 route[0]: expected a table, found a whole number",
        ]
    );
}

#[test]
fn unknown_keys_of_a_route_are_all_found() {
    let found = mistakes(
        "[[route]]\nnmae = \"r\"\nfrom = [\"queue:a\"]\nto = [\"queue:b\"]\nmoode = \"tap\"\n",
    );
    let about = |key: &str| found.iter().any(|line| line.contains(&format!("route[0].{key}: ")));
    assert!(about("nmae") && about("moode") && about("name"), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("5:1 ")), "{found:?}");
}

#[test]
fn all_keys_that_are_wrong_in_a_route_are_found() {
    let found = mistakes(
        "route = [\n1,\n{ name = 5, from = [\"queue:a\", 5, true], mode = \"sideways\",\n\
         on_error = { retry = -1, backoff = 3, zzz = 4 },\nto = 7, zzz = 8 },\n{ from = \"x\" } ]\n",
    );
    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        // Wrong values are found when the routes are compiled, in the same run.
        ["2:1 route[0]", "4:39 route[1].on_error.zzz", "5:9 route[1].zzz", "6:1 route[2].name"]
    );
}

#[test]
fn a_route_holds_no_dates_and_its_tables_are_tables() {
    let found = mistakes(
        "[[route]]\nname = \"r\"\nfrom = [\"queue:a\", 2026-11-29]\nto = [\"queue:b\"]\nlimits = []\n\
         steps = [{ set = { a = 10:00:00, b = [2026-11-29, 1] } }]\n[route.on_error]\nbackoff = 10:00:00\n",
    );
    let date = "expected a text, number, boolean, list or table, found a date or time";
    assert_eq!(
        found,
        [
            format!("3:20 route[0].from[1]: {date}"),
            "5:10 route[0].limits: expected a table, found a list".to_owned(),
            format!("6:24 route[0].steps[0].set.a: {date}"),
            format!("6:39 route[0].steps[0].set.b[0]: {date}"),
            format!("8:11 route[0].on_error.backoff: {date}"),
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_does_not_hide_the_command_line() {
    let file = File::new("[memory\n");
    let set = ["memory.high=5".to_owned()];
    let request = Request { file: Some(&file.0), set: &set, ..Request::default() };
    let found = found(&request);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].ends_with("memory.high: must be at least 1 MiB"), "{found:?}");
}

#[test]
fn an_unreadable_file_is_one_mistake() {
    let path = Path::new("/nonexistent/hub.toml");
    let request = Request { file: Some(path), ..Request::default() };
    let shown = found(&request);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with("/nonexistent/hub.toml: cannot be read: "), "{shown:?}");
}

#[test]
fn the_later_source_wins() {
    let file = File::new("[memory]\nhigh = \"1GiB\"\n[listeners.mqtt]\nbind = \"127.0.0.1:1\"\n");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let set = ["listeners.mqtt.bind=127.0.0.1:3".to_owned(), "memory.high=33554432".to_owned()];
    let request = Request {
        file: Some(&file.0),
        data_dir: Some("/elsewhere"),
        set: &set,
        environment: vec![
            variable("CROSSDOCK_LISTENERS__MQTT__BIND", "127.0.0.1:2"),
            variable("CROSSDOCK_LISTENERS__STOMP__BIND", "off"),
            variable("CROSSDOCK_LISTENERS__AMQP__PROTOCOLS", "amqp,mqtt"),
            variable("CROSSDOCK_MEMROY__HIGH", "5"),
            variable("HOME", "/root"),
        ],
    };
    let loaded = load(&request).expect("well-formed");
    let config = &loaded.config;
    let protocols = |name: &str| config.listeners[name].protocols.clone().unwrap_or_default();
    assert_eq!(config.listeners["mqtt"].bind, Binds::One("127.0.0.1:3".to_owned()));
    assert_eq!(protocols("mqtt"), ["mqtt"], "the rest of the table stays");
    assert_eq!(config.listeners["stomp"].bind, Binds::One("off".to_owned()));
    assert_eq!(protocols("amqp"), ["amqp", "mqtt"]);
    assert_eq!(config.memory.high, units::Share::Bytes(32 << 20));
    assert_eq!(config.data_dir, PathBuf::from("/elsewhere"));
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(
        loaded.warnings[0],
        "CROSSDOCK_MEMROY__HIGH in the environment names no key (did you mean 'memory.high'?); it is ignored"
    );
    let shown = loaded.mistake("listeners.mqtt.bind", "is in use").to_string();
    assert_eq!(shown, "--set listeners.mqtt.bind=127.0.0.1:3 listeners.mqtt.bind: is in use");
    let shown = loaded.mistake("listeners.amqp.bind", "is in use").to_string();
    assert_eq!(shown, "built-in listeners.amqp.bind: is in use");
    let shown = loaded.mistake("data_dir", "cannot be opened").to_string();
    assert_eq!(shown, "--data-dir: cannot be opened");
}

#[test]
fn bad_settings_of_the_command_line() {
    let set = [
        "memory.hihg=5",
        "lisseners.web.bidn=off",
        "zzz.high=5",
        "memory.high",
        "queue=x",
        "memory.high=5",
    ];
    let set = set.map(str::to_owned);
    let request = Request { set: &set, ..Request::default() };
    assert_eq!(
        found(&request),
        [
            "--set memory.hihg=5 memory.hihg: unknown key; did you mean 'memory.high'?",
            "--set lisseners.web.bidn=off lisseners.web.bidn: unknown key; did you mean 'listeners.web.bind'?",
            "--set zzz.high=5 zzz.high: unknown key",
            "--set memory.high: is not of the form KEY=VALUE",
            "--set queue=x queue: holds more than one value: set it in the file",
            "--set memory.high=5 memory.high: must be at least 1 MiB",
        ]
    );
}

#[test]
fn places_inside_inline_tables() {
    let loaded = load_text(
        "[[queue]]\nname = \"q\"\narguments = { x-max-length = 5, list = [true, { a = 1.5 }] }\n",
    );
    let loaded = loaded.expect("well-formed");
    let arguments = values(&loaded.config.declared.queues[0].arguments);
    assert_eq!(arguments.len(), 2);
    let shown = loaded.mistake("queue[0].arguments.x-max-length", "no").place.to_string();
    assert!(shown.ends_with(":3:15"), "{shown}");
}

#[test]
fn sizes_and_addresses() {
    use units::{Share, Size, address};
    assert_eq!(Size::parse("64MiB"), Ok(Size(64 << 20)));
    assert_eq!(Size::parse("10 kb"), Ok(Size(10_000)));
    assert_eq!(Size::parse("7"), Ok(Size(7)));
    assert!(Size::parse("").is_err());
    assert!(Size::parse("-1").is_err());
    assert!(Size::parse("99999999999999TiB").is_err());
    assert_eq!(Share::parse("60%"), Ok(Share::Percent(60)));
    assert!(Share::parse("0%").is_err() && Share::parse("101%").is_err());
    assert_eq!(Share::Percent(50).of(1000), 500);
    let topics = "amq.topic".into();
    let shown = |text: &str| address(text, &topics).map(|address| address.to_string());
    assert_eq!(shown("queue:a/b"), Ok("queue:a/b".to_owned()));
    assert_eq!(shown("topic:a/b"), Ok("exchange:amq.topic/a/b".to_owned()));
    assert_eq!(shown("exchange:x/k"), Ok("exchange:x/k".to_owned()));
    assert!(shown("stream:x").is_err() && shown("queue:").is_err() && shown("x").is_err());
}

#[test]
fn the_file_is_the_option_s_or_the_environment_s_or_the_usual_one() {
    let named = |text: &str| vec![("CROSSDOCK_CONFIG".to_owned(), text.to_owned())];
    let chosen = |option: Option<&str>, variables: &[(String, String)], is_there: bool| {
        let file = choose_file(option.map(Path::new), variables, |_| is_there);
        file.map(|file| file.display().to_string())
    };
    let usual = Some("/etc/crossdock/crossdock.toml".to_owned());
    assert_eq!(chosen(None, &[], true), usual);
    assert_eq!(chosen(None, &[], false), None);
    assert_eq!(chosen(None, &named("b.toml"), true), Some("b.toml".to_owned()));
    assert_eq!(chosen(None, &named(""), true), None);
    assert_eq!(chosen(Some("a.toml"), &named("b.toml"), true), Some("a.toml".to_owned()));
    let request = Request { environment: named("b.toml"), ..Request::default() };
    assert_eq!(load(&request).expect("well-formed").warnings, Vec::<String>::new());
}

#[test]
fn spans_are_read_with_their_unit() {
    for (text, ms) in [("200ms", 200), ("10s", 10_000), (" 5 m", 300_000), ("24h", 86_400_000)] {
        assert_eq!(Span::parse(text).map(Span::ms), Ok(ms), "{text}");
    }
    assert_eq!(Span::parse("7d").map(Span::ms), Ok(604_800_000));
    for bad in
        ["", "10", "s", "-1s", "1.5s", "1 week", "99999999999999999999s", "9999999999999999d"]
    {
        assert!(Span::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn values_that_mean_the_same_are_the_same() {
    for (key, one, other) in [
        ("limits.message_bytes", "1MiB", "1048576"),
        ("limits.login_time", "60s", "1m"),
        ("memory.high", "1GiB", "1073741824"),
        ("limits.mqtt.session_expiry_max", "1d", "24h"),
    ] {
        assert!(is_same(key, one, other), "{key}");
    }
    for (key, one, other) in [
        ("limits.message_bytes", "1MiB", "1MB"),
        ("memory.high", "60%", "50%"),
        ("vhost.dead_letter", "queue:1MiB", "queue:1048576"),
        ("log.level", "info", "warn"),
    ] {
        assert!(!is_same(key, one, other), "{key}");
    }
}
