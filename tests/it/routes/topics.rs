//! Topics that begin with `$` are kept from everybody by every way in; retained values and routes.

use super::amqp::{Channel, short, table};
use super::mqtt::Client;
use super::publisher::{Answer, send};
use super::{KINDS, Kind, Look, Setup, Wrong, misbehave};
use crate::wire::eventually;
use crate::wire::stomp::Stomp;
use std::time::Duration;

#[test]
fn nobody_publishes_to_the_brokers_own_topics() {
    let mut setup = Setup::new();
    setup.exchange("mine", "topic").bind("mine", "#", "exchange:amq.topic");
    setup.hears("$SYS/#", "heard").queue("dead-letters");
    let inline = r#"steps = [{ set = { x = "'$SYS'" } }]"#;
    setup
        .route("computes", &[r#"from = ["topic:in/computed"]"#, inline, r#"to = ["topic:{x}/x"]"#]);
    let split = format!("steps = [{}]", misbehave());
    setup.route("module", &[r#"from = ["topic:in/module"]"#, &split, r#"to = ["topic:plain"]"#]);
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    let mut subscriber = Client::connect(broker.mqtt, 5, "subscriber");
    subscriber.subscribe("$SYS/#");
    subscriber.subscribe("+/end");
    // AMQP, to the topic tree itself: refused.
    let mut channel = Channel::connect(broker.amqp);
    channel.ask((85, 10), &[&[0]], (85, 11)).expect("confirms");
    channel.publish("amq.topic", "$SYS.x", false, b"amqp");
    let got = channel.answer(&[(60, 80), (60, 120)]);
    wrong.check("AMQP", &format!("refused, not {got:?}"), matches!(got, Ok((60, 120)) | Err(_)));
    // By way of an exchange of the client's own.
    let mut channel = Channel::connect(broker.amqp);
    channel.ask((85, 10), &[&[0]], (85, 11)).expect("confirms");
    channel.publish("mine", "$SYS.x", false, b"exchange to exchange");
    _ = channel.answer(&[(60, 80), (60, 120)]);
    // A binding of the client's own cannot open it either.
    let parts: [&[u8]; 6] =
        [&[0, 0], &short("amq.topic"), &short("mine"), &short("$SYS.#"), &[0], &table(&[])];
    let mut channel = Channel::connect(broker.amqp);
    channel.ask((85, 10), &[&[0]], (85, 11)).expect("confirms");
    _ = channel.ask((40, 30), &parts, (40, 31));
    channel.publish("mine", "$SYS.y", false, b"own binding");
    _ = channel.answer(&[(60, 80), (60, 120)]);
    let answer = send(&mut Stomp::connect(broker.stomp), "/topic/$SYS.x", "stomp", true);
    wrong.equal("STOMP", "the answer", answer, Answer::Refused("access_refused".to_owned()));
    let code = Client::connect(broker.mqtt, 5, "m").publish("$SYS/x", b"mqtt", false);
    wrong.equal("MQTT 5", "the PUBACK", code, Some(0x87));
    if let Ok(client) = Client::with_will(broker.mqtt, "w", "$SYS/x") {
        client.vanish();
    }
    let mut client = Client::connect(broker.mqtt, 5, "c");
    wrong.equal("route", "taken", client.publish("in/computed", b"computed", false), Some(0));
    let split = b"split topic:$SYS/x=module";
    wrong.equal("module", "taken", client.publish("in/module", split, false), Some(0));
    for case in ["route", "module"] {
        let kind = look.one("dead-letters").properties.header("mq.error.kind");
        wrong.equal(case, "the dead letter's kind", kind.as_deref(), Some("guest"));
    }
    client.publish("the/end", b"the end", false);
    // The will's way is short, but not known: nothing comes for a while either.
    std::thread::sleep(crate::wire::QUIET);
    let got = subscriber.receive(Duration::from_secs(10)).expect("the end");
    wrong.equal("MQTT $SYS/#", "the first message", got.0.as_str(), "the/end");
    wrong.equal("MQTT $SYS/#", "what follows", subscriber.receives_nothing(), Ok(()));
    wrong.equal("a bound queue", "what it heard", look.bodies("heard"), Vec::<String>::new());
}

/// What a new subscriber of the topic gets as its retained value.
fn retained(broker: &crate::broker::Broker, level: u8, topic: &str) -> Option<Vec<u8>> {
    let mut client = Client::connect(broker.mqtt, level, "reader");
    client.subscribe(topic);
    client.receive(Duration::from_millis(150)).map(|(_, body, _)| body)
}

#[test]
fn a_diverted_retained_publish_is_retained_as_its_output() {
    let mut setup = Setup::new();
    for kind in KINDS {
        for level in [4, 5] {
            let name = format!("{kind:?}/{level}");
            let from = format!(r#"from = ["topic:raw/{name}"]"#);
            let to = format!(r#"to = ["topic:out/{name}"]"#);
            let steps = match kind {
                Kind::Inline => kind.steps(),
                Kind::Wasm => format!("steps = [{}]", misbehave()),
            };
            setup.route(&format!("{kind:?}-{level}"), &[&from, &steps, &to]);
        }
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    for kind in KINDS {
        for level in [4, 5] {
            let name = format!("{kind:?}/{level}");
            let (raw, out) = (format!("raw/{name}"), format!("out/{name}"));
            let mut client = Client::connect(broker.mqtt, level, "sensor");
            _ = client.publish(&raw, b"21 degrees", true);
            let what = format!("the output is retained, {name}");
            let value = eventually(&what, || retained(&broker, level, &out));
            wrong.equal(&name, "the retained output", value, b"21 degrees".to_vec());
            wrong.equal(&name, "the raw value", retained(&broker, level, &raw), None);
            _ = client.publish(&raw, b"", true);
            let what = format!("the empty one clears the output, {name}");
            eventually(&what, || retained(&broker, level, &out).is_none().then_some(()));
            wrong.equal(&name, "the raw value", retained(&broker, level, &raw), None);
        }
    }
}
