//! What does not fit together is a mistake, each kind with its place; what does fit is none.

use crate::config::{Request, load};
use crate::plan::plan;
use crate::routes::Purpose;
use std::sync::atomic::{AtomicU32, Ordering};

/// The mistakes of a configuration file, without the file's name.
fn mistakes(text: &str) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("crossdock-fit-{}-{number}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).expect("the temporary folder is writable");
    let loaded = load(&Request { file: Some(&file), ..Request::default() });
    std::fs::remove_file(&file).expect("it was written");
    let found = plan(&loaded.expect("TOML"), Purpose::Check).err().unwrap_or_default();
    let prefix = format!("{}:", file.display());
    found.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect()
}

/// A route with these values; the rest of the table may follow.
fn route(name: &str, from: &str, to: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nfrom = [{from}]\nto = [{to}]\n")
}

#[test]
fn what_fits_is_no_mistake() {
    let good = [
        "[[exchange]]\nname = \"amq.topic\"\ntype = \"topic\"\n",
        "[[exchange]]\nname = \"e\"\ntype = \"headers\"\narguments = { alternate-exchange = \"amq.fanout\" }\n\
         [[queue]]\nname = \"q\"\n[[binding]]\nsource = \"e\"\nto = \"queue:q\"\narguments = { a = 1 }\n\
         [[binding]]\nsource = \"e\"\nto = \"queue:q\"\narguments = { a = 2 }\n\
         [[binding]]\nsource = \"amq.topic\"\nkey = \"a/#\"\nto = \"exchange:e\"\n",
        "[[queue]]\nname = \"q\"\narguments = { x-dead-letter-exchange = \"\", x-dead-letter-routing-key = \"d\" }\n\
         [[queue]]\nname = \"d\"\narguments = { x-dead-letter-exchange = \"amq.topic\" }\n",
        // A queue that a route sends to is declared.
        "[[queue]]\nname = \"q\"\narguments = { x-dead-letter-exchange = \"\", x-dead-letter-routing-key = \"out\" }\n\
         [[route]]\nname = \"r\"\nfrom = [\"queue:anything\", \"exchange:amq.direct/#\"]\nto = [\"queue:out\"]\n",
        "[vhost]\ndollar_topics = [\"$aws/+/shadow\"]\n[[route]]\nname = \"r\"\n\
         from = [\"topic:$aws/#\"]\nto = [\"topic:$aws/{a}/shadow\", \"exchange:amq.headers/$k\"]\n",
    ];
    for text in good {
        assert_eq!(mistakes(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn names_that_are_the_brokers_cannot_be_declared() {
    let found = mistakes(
        "[[queue]]\nname = \"route/r\"\n[[queue]]\nname = \"amq.q\"\n[[exchange]]\nname = \"amq.e\"\n\
         type = \"topic\"\n[[exchange]]\nname = \"amq.topic\"\ntype = \"fanout\"\n[[exchange]]\n\
         name = \"amq.direct\"\ntype = \"direct\"\narguments = { alternate-exchange = \"amq.fanout\" }\n",
    );
    assert_eq!(
        found,
        [
            "2:1 queue[0].name: queues named route/… are the broker's own, for what waits for routes",
            "4:1 queue[1].name: queue name 'amq.q' contains reserved prefix 'amq.*'",
            "6:1 exchange[0].name: exchange name 'amq.e' contains reserved prefix 'amq.*'",
            "9:1 exchange[1].name: the broker declares 'amq.topic' itself, with type = 'topic'",
            "12:1 exchange[2].name: the broker declares 'amq.direct' itself, with alternate-exchange = none",
        ]
    );
}

#[test]
fn declarations_lead_to_what_there_is() {
    let found = mistakes(
        "[limits]\ntopic_bytes = 5\n\
         [[queue]]\nname = \"a\"\narguments = { x-dead-letter-exchange = \"\", x-dead-letter-routing-key = \"b\" }\n\
         [[queue]]\nname = \"c\"\narguments = { x-dead-letter-exchange = \"x\" }\n\
         [[queue]]\nname = \"d\"\narguments = { x-dead-letter-exchange = \"amq.topic\", x-dead-letter-routing-key = \"$a\" }\n\
         [[exchange]]\nname = \"e\"\ntype = \"direct\"\narguments = { alternate-exchange = \"x\" }\n\
         [[binding]]\nsource = \"x\"\nto = \"queue:q\"\n[[binding]]\nsource = \"\"\nto = \"queue:route/r\"\n\
         [[binding]]\nsource = \"amq.fanout\"\nto = \"exchange:x\"\nkey = \"123456\"\n\
         [[binding]]\nsource = \"e\"\nto = \"queue:a\"\narguments = { a = 1 }\n\
         [[binding]]\nsource = \"e\"\nto = \"queue:a\"\narguments = { a = 1 }\n",
    );
    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "5:44 queue[0].arguments.x-dead-letter-routing-key",
            "8:15 queue[1].arguments.x-dead-letter-exchange",
            "11:53 queue[2].arguments.x-dead-letter-routing-key",
            "15:15 exchange[0].arguments.alternate-exchange",
            "17:1 binding[0].source",
            "18:1 binding[0].to",
            "20:1 binding[1].source",
            "21:1 binding[1].to",
            "24:1 binding[2].to",
            "25:1 binding[2].key",
            "29:1 binding[3].arguments",
            "30:1 binding[4]",
            "33:1 binding[4].arguments",
        ],
        "{found:#?}"
    );
}

#[test]
fn arguments_that_would_not_be_understood_are_mistakes() {
    let found = mistakes(
        "[[exchange]]\nname = \"e\"\ntype = \"headers\"\narguments = { alternate-exchange = 5 }\n\
         [[binding]]\nsource = \"e\"\nto = \"exchange:amq.topic\"\narguments = { x-match = \"every\" }\n\
         [[binding]]\nsource = \"e\"\nto = \"exchange:amq.topic\"\narguments = { x-match = 1 }\n\
         [[binding]]\nsource = \"e\"\nto = \"exchange:amq.topic\"\narguments = { x-match = \"any-with-x\" }\n",
    );
    assert_eq!(
        found,
        [
            "4:15 exchange[0].arguments.alternate-exchange: not a string",
            "8:15 binding[0].arguments.x-match: is none of all, any, all-with-x, any-with-x",
            "12:15 binding[1].arguments.x-match: is none of all, any, all-with-x, any-with-x",
        ]
    );
}

#[test]
fn routes_watch_and_send_to_what_there_is() {
    let text = "[vhost]\ndead_letter = \"exchange:x/k\"\ndollar_topics = [\"$aws/#\"]\n[limits]\n\
         topic_separators = 3\n[[route]]\nname = \"r\"\nfrom = [\"exchange:x\", \"topic:$foo/#\", \
         \"topic:$SYS/x\", \"topic:$aws/x\", \"topic:a/+/+/+/+/#\", \"queue:route/r\", \"exchange:amq.topic/$x\"]\n\
         to = [\"exchange:z/k\", \"topic:$foo/{a}\", \"queue:route/{a}\", \"topic:1/2/3/4/5\", \"exchange:z\", \"queue:amq.q\"]\n\
         on_error = { dead_letter = \"exchange:x/y\" }\n";
    let found = mistakes(text);
    let keys: Vec<&str> = found.iter().filter_map(|line| line.split([' ', ':']).nth(2)).collect();
    assert_eq!(
        keys,
        [
            "vhost.dead_letter",
            "route[0].from[0]",
            "route[0].from[1]",
            "route[0].from[2]",
            "route[0].from[4]",
            "route[0].from[5]",
            "route[0].from[6]",
            "route[0].to[0]",
            "route[0].to[1]",
            "route[0].to[2]",
            "route[0].to[3]",
            "route[0].to[4]",
            "route[0].to[5]",
            "route[0].on_error.dead_letter",
        ],
        "{found:#?}"
    );
    assert!(found[2].contains("vhost.dollar_topics"), "{}", found[2]);
}

#[test]
fn routes_in_a_circle_are_named() {
    let bindings = "[[exchange]]\nname = \"in\"\ntype = \"direct\"\n[[exchange]]\nname = \"all\"\ntype = \"fanout\"\n\
         [[queue]]\nname = \"q\"\n[[binding]]\nsource = \"in\"\nkey = \"k\"\nto = \"exchange:all\"\n\
         [[binding]]\nsource = \"all\"\nto = \"queue:q\"\n";
    let cases = [
        (
            route("a", "\"queue:a\"", "\"queue:a\""),
            Some("route[0].to[0]: leads in a circle: a -> a;"),
        ),
        (
            route("a", "\"topic:x/#\"", "\"queue:other\", \"topic:y\"")
                + &route("b", "\"topic:+\"", "\"queue:c\"")
                + &route("c", "\"queue:c\"", "\"topic:x\""),
            Some("route[0].to[1]: leads in a circle: a -> b -> c -> a;"),
        ),
        // Through an exchange that is bound to an exchange that is bound to the queue.
        (
            route("a", "\"queue:q\"", "\"topic:y\"")
                + &route("b", "\"topic:y\"", "\"exchange:in/k\""),
            Some("route[0].to[0]: leads in a circle: a -> b -> a;"),
        ),
        (
            route("a", "\"queue:q\"", "\"topic:y\"")
                + &route("b", "\"topic:y\"", "\"exchange:in/other\""),
            None,
        ),
        // What is computed, and what has failed, does not count.
        (route("a", "\"topic:a/+\"", "\"topic:a/{b}\""), None),
        (
            route("a", "\"queue:a\"", "\"queue:b\"") + "on_error = { dead_letter = \"queue:a\" }\n",
            None,
        ),
        // Every key goes everywhere.
        (
            route("a", "\"queue:q\"", "\"exchange:all\""),
            Some("route[0].to[0]: leads in a circle: a -> a;"),
        ),
        (
            route("a", "\"queue:a\"", "\"queue:b\"") + &route("b", "\"queue:b\"", "\"queue:c\""),
            None,
        ),
    ];
    for (text, expected) in cases {
        let found = mistakes(&format!("{text}{bindings}"));
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{text}"),
            Some(expected) => {
                assert!(found.len() == 1 && found[0].contains(expected), "{text}\n{found:#?}");
            }
        }
    }
    let two = route("a", "\"queue:a\"", "\"queue:b\"")
        + &route("b", "\"queue:b\"", "\"queue:a\", \"queue:c\"")
        + &route("c", "\"queue:c\"", "\"queue:b\"");
    let found = mistakes(&two);
    assert!(found.len() == 2 && found[1].contains("c -> b -> c"), "{found:#?}");
}
