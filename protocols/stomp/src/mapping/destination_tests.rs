//! The table of docs/SEMANTICS.md §1, row STOMP, both ways.

use super::*;

fn door() -> Door {
    Door {
        anycast_prefixes: vec!["jms.queue.".into()],
        multicast_prefixes: vec!["jms.topic.".into()],
        ..Door::default()
    }
}

fn sent(text: &str) -> Destination {
    parse(text, Usage::Send, None, &door()).unwrap()
}

fn topic(key: &str) -> Destination {
    Destination::Topic(key.into())
}

fn pattern(text: &str) -> String {
    match parse(text, Usage::Subscribe, None, &door()).unwrap() {
        Destination::Topic(key) => key.to_string(),
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn both_separator_habits_name_the_same_topic() {
    for (text, key) in [
        ("/topic/sensors/city1/temp", "sensors/city1/temp"),
        ("/topic/sensors.city1.temp", "sensors/city1/temp"),
        ("/topic/a.b/c", "a.b/c"),
        ("/topic/one", "one"),
        ("/topic/a%2Eb", "a.b"),
        ("/topic/a.b%2Fc", "a/b.c"),
        ("/topic/a.b%2fc", "a/b.c"),
        ("/topic/%25.%2A.%2B.%23.%3E", "%/*/+/#/>"),
        ("/topic/100%.x", "100%/x"),
        ("/topic/%41%zz%", "%41%zz%"),
        ("/topic//a", "/a"),
        ("/topic/.a", "/a"),
        ("/topic/a..b", "a//b"),
        ("/topic/größe.x", "größe/x"),
        ("/topic/a*b.c+d", "a*b/c+d"),
    ] {
        assert_eq!(sent(text), topic(key), "{text}");
    }
    // The AMQP key of that address, by the swap every exchange key goes through.
    let Destination::Topic(key) = sent("/topic/a.b%2Fc") else { panic!("a topic") };
    assert_eq!(key.swapped(), Key::from("a.b/c"));
}

#[test]
fn wildcards_are_for_subscribers() {
    for (text, key) in [
        ("/topic/sensors.*.temp", "sensors/+/temp"),
        ("/topic/sensors/+/temp", "sensors/+/temp"),
        ("/topic/sensors.#", "sensors/#"),
        ("/topic/sensors.>", "sensors/#"),
        ("/topic/#.temp", "#/temp"),
        ("/topic/>.temp", ">/temp"),
        ("/topic/a.%2A", "a/*"),
        ("/topic/a.%3E", "a/>"),
        ("/topic/*", "+"),
        ("/topic/$SYS/#", "$SYS/#"),
    ] {
        assert_eq!(pattern(text), key, "{text}");
    }
    for text in ["/topic/a.*", "/topic/a/+", "/topic/#", "/topic/a.>"] {
        assert!(parse(text, Usage::Send, None, &door()).is_err(), "{text}");
    }
    for text in ["/topic/a.%2B", "/topic/%23"] {
        assert!(parse(text, Usage::Subscribe, None, &door()).is_err(), "{text}");
    }
}

#[test]
fn queues_and_exchanges() {
    for (text, destination) in [
        ("/queue/orders.eu", Destination::Queue("orders.eu".into())),
        ("/queue/orders/eu", Destination::Queue("orders/eu".into())),
        ("/queue/orders%2Feu", Destination::Queue("orders/eu".into())),
        ("/queue/a%252Fb%2Ec", Destination::Queue("a%2Fb%2Ec".into())),
        ("/queue/a,b", Destination::Queue("a,b".into())),
        ("/amq/queue/mqtt/c1", Destination::Existing("mqtt/c1".into())),
        ("/reply-queue/amq.gen-1", Destination::Reply("amq.gen-1".into())),
        ("/remote-temp-queue/x", Destination::Reply("x".into())),
        ("/remote-temp-topic/x.y", topic("x/y")),
        ("/temp-queue/r/1", Destination::TempQueue("r/1".into())),
        ("/temp-topic/r", Destination::TempTopic("r".into())),
        ("jms.queue.a.b", Destination::Queue("a.b".into())),
        ("jms.topic.a.b", topic("a/b")),
    ] {
        assert_eq!(sent(text), destination, "{text}");
    }
    let exchange = |exchange: &str, key: &str| Destination::Exchange {
        exchange: exchange.into(),
        key: key.into(),
    };
    assert_eq!(sent("/exchange/x"), exchange("x", ""));
    assert_eq!(sent("/exchange/x/a.b/c"), exchange("x", "a/b.c"));
    assert_eq!(sent("/exchange/a%2Fb/k"), exchange("a/b", "k"));
    for bad in ["", "/", "/queue/", "/topic/", "/exchange//k", "/nowhere/x", "/orders"] {
        assert!(parse(bad, Usage::Send, None, &door()).is_err(), "{bad:?}");
    }
}

#[test]
fn plain_names_are_queues_unless_a_type_says_otherwise() {
    for name in ["orders.eu", "a/b", "queue/x", "a,b"] {
        assert_eq!(sent(name), Destination::Queue(name.into()));
    }
    let of = |cast| parse("orders.eu", Usage::Send, Some(cast), &door()).unwrap();
    assert_eq!(of(Cast::Any), Destination::Queue("orders.eu".into()));
    assert_eq!(of(Cast::Multi), topic("orders/eu"));
    assert!(Cast::parse("BOTH").is_err());
}

#[test]
fn composites_split_where_destinations_begin() {
    assert_eq!(parts("/queue/a,/topic/b.c").unwrap(), ["/queue/a", "/topic/b.c"]);
    assert_eq!(parts("/queue/a, /queue/b").unwrap(), ["/queue/a", "/queue/b"]);
    assert_eq!(parts("/queue/a,b").unwrap(), ["/queue/a,b"]);
    assert!(parts(&vec!["/queue/a"; 40].join(",")).is_err());
}

#[test]
fn dollar_topics() {
    assert_eq!(sent("/topic/$q/orders.eu"), Destination::Existing("orders.eu".into()));
    assert_eq!(sent("/topic/$reply/q/a%252Fb"), Destination::Reply("a/b".into()));
    let delayed = Destination::Delayed { seconds: 5, topic: "a/b".into() };
    assert_eq!(sent("/topic/$delayed/5/a/b"), delayed);
    // The core says no to it, unless it is configured as an ordinary topic.
    assert_eq!(sent("/topic/$SYS/x"), Destination::Topic("$SYS/x".into()));
    for (text, usage) in [
        ("/topic/$share/g/f", Usage::Send),
        ("/topic/$share/g/f", Usage::Subscribe),
        ("/topic/$reply/q/x", Usage::Subscribe),
        ("/topic/$delayed/5/$SYS", Usage::Send),
        ("/topic/$delayed/x/a", Usage::Send),
    ] {
        assert!(parse(text, usage, None, &door()).is_err(), "{text}");
    }
}

#[test]
fn what_is_rendered_names_the_same_again() {
    let at = |exchange: &str, key: &str| Address::new(exchange.into(), key.into());
    for (address, text) in [
        (Address::queue("orders.eu"), "/queue/orders.eu"),
        (Address::queue("a/b"), "/queue/a/b"),
        (Address::queue("a%2Fb"), "/queue/a%252Fb"),
        (Address::queue("50%"), "/queue/50%"),
        (at("amq.topic", "sensors/city1/temp"), "/topic/sensors.city1.temp"),
        (at("amq.topic", "a.b/c"), "/topic/a.b/c"),
        (at("amq.topic", "a.b"), "/topic/a%2Eb"),
        (at("amq.topic", "one"), "/topic/one"),
        (at("amq.topic", "/a"), "/topic/.a"),
        (at("amq.topic", "a//b.c"), "/topic/a//b.c"),
        (at("amq.topic", "a/*"), "/topic/a.%2A"),
        (at("amq.topic", "a/>"), "/topic/a.%3E"),
        (at("amq.topic", "a%2Eb/50%"), "/topic/a%252Eb.50%"),
        (at("x", "a/b.c"), "/exchange/x/a.b/c"),
        (at("x/y", ""), "/exchange/x%2Fy"),
    ] {
        assert_eq!(render(&address, "amq.topic"), text);
        let back = match sent(text) {
            Destination::Queue(name) => Address::queue(&name),
            Destination::Topic(key) => Address::new("amq.topic".into(), key),
            Destination::Exchange { exchange, key } => Address::new(exchange.into(), key),
            other => panic!("{other:?}"),
        };
        assert_eq!(back, address, "{text}");
    }
    // Published wildcards are only shown.
    assert_eq!(render(&at("amq.topic", "a/+/#"), "amq.topic"), "/topic/a.%2A.%23");
}

#[test]
fn virtual_topics() {
    assert_eq!(virtual_topic("Consumer.A.VirtualTopic.orders"), Some("VirtualTopic.orders"));
    assert_eq!(virtual_topic("Consumer.A.B.VirtualTopic.>"), Some("VirtualTopic.>"));
    assert_eq!(virtual_topic("Consumer..VirtualTopic.x"), None);
    assert_eq!(virtual_topic("VirtualTopic.orders"), None);
}

#[test]
fn patterns_of_queues() {
    for wild in ["a.>", ">", "*", "a.*.b", "*.b"] {
        assert!(is_wild(wild), "{wild}");
    }
    for plain in
        ["a.b", "a>", "a*b", "a.#", "Consumer.A.VirtualTopic.>", "Consumer.A.VirtualTopic.*"]
    {
        assert!(!is_wild(plain), "{plain}");
    }
}
