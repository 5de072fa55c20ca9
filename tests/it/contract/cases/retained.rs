//! §6, retained values: who sets them, who takes them away, and how each protocol reads them.

use crate::contract::case::{Case, Scene, Seen, next, quiet, script};
use crate::contract::peer::Wire::{self, A, M3, M5, S};
use std::time::Duration;

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Set by each, read by each.
    script(("k1.a k3.5", A, M5), "a value", |s| value(s, "t/{n} qos=1"), &[("body", "v"), ("retain", "true")]),
    script(("k1.a k3.s", A, S), "a value", |s| value(s, "/topic/t.{n} retained:true"),
        &[("body", "v"), ("mq.retained", "true"), ("retain", "true")]),
    script(("k1.3 k3.a", M3, A), "a value", |s| value(s, "amq.topic t.{n} x-retained=b:true"),
        &[("body", "v"), ("h.x-retained", "b:true"), ("h.x-mqtt-retain", "b:true")]),
    script(("k1.a k3.a", A, A), "a value", |s| value(s, "amq.topic t.{n} x-retained=b:true"),
        &[("body", "v"), ("h.x-retained", "b:true"), ("h.x-mqtt-retain", "b:true"), ("delivery_mode", "2")]),
    script(("k1.s k3.a", S, A), "a value", |s| value(s, "amq.topic t.{n} x-retained=b:true"), &[("body", "v"), ("h.x-retained", "b:true")]),
    script(("k1.5 k3.a", M5, A), "a value in a durable queue", |scene| {
        set(scene, M5, "v")?;
        scene.prepare("queue q{n} durable")?;
        scene.prepare("bind q{n} amq.topic t.{n} x-retained=b:true")?;
        next(&mut scene.reader(A, "queue q{n}")?)
    }, &[("body", "v"), ("h.x-retained", "b:true")]),
    script(("k1.5 k3.3", M5, M3), "a value", |s| value(s, "t/{n} qos=1"), &[("body", "v"), ("retain", "true")]),
    script(("k1.s k3.5", S, M5), "a value", |s| value(s, "t/{n} qos=1"), &[("body", "v"), ("retain", "true")]),
    script(("k1.5 k3.a", M5, A), "a value, not asked for", |s| silent(s, "amq.topic t.{n}"), &[("quiet", "true")]),
    script(("k1.5 k3.s", M5, S), "a value, not asked for", |s| silent(s, "/topic/t.{n}"), &[("quiet", "true")]),
    script(("k1.5 k3.5", M5, M5), "a value, retain handling 2", |s| silent(s, "t/{n} rh=2"), &[("quiet", "true")]),
    script(("k1.5 k3.5", M5, M5), "a value, retain handling 1, subscribed for the second time", |scene| {
        set(scene, scene.from, "v")?;
        let mut reader = scene.reader(M5, "t/{n} rh=1")?;
        next(&mut reader)?;
        reader.subscribe(&scene.fill("t/{n} rh=1"))?;
        Ok(scene.said(&[("quiet", &quiet(&mut reader)?.to_string())]))
    }, &[("quiet", "true")]),
    // Taken away by an empty body.
    script(("k2.a", A, M5), "an empty body", cleared, &[("quiet", "true")]),
    script(("k2.3", M3, M5), "an empty body", cleared, &[("quiet", "true")]),
    script(("k2.5", M5, M3), "an empty body", cleared, &[("quiet", "true")]),
    script(("k2.s", S, M5), "an empty body", cleared, &[("quiet", "true")]),
    // Wildcards.
    script(("k4", M5, M5), "by a wildcard", |s| value(s, "+/{n} qos=1"), &[("body", "v"), ("retain", "true")]),
    script(("k4", M5, A), "by a wildcard", |s| value(s, "amq.topic #.{n} x-retained=b:true"), &[("h.x-retained", "b:true")]),
    script(("k4", M5, S), "by a wildcard", |s| value(s, "/topic/*.{n} retained:true"), &[("mq.retained", "true")]),
    // They expire.
    script(("k5", M5, S), "a value that has expired", |scene| {
        scene.publish(M5, &[("topic", "t/{n}"), ("retain", "true"), ("body", "v"), ("expiry", "1")])?;
        std::thread::sleep(Duration::from_millis(1200));
        let mut reader = scene.reader(S, "/topic/t.{n} retained:true")?;
        Ok(scene.said(&[("quiet", &quiet(&mut reader)?.to_string())]))
    }, &[("quiet", "true")]),
];

/// Sets the value of this case's topic.
fn set(scene: &Scene<'_>, wire: Wire, body: &str) -> Result<(), String> {
    let said: &[(&str, &str)] = match wire {
        A => &[
            ("exchange", "amq.topic"),
            ("key", "t.{n}"),
            ("h.x-mqtt-retain", "b:true"),
            ("delivery_mode", "2"),
        ],
        M3 | M5 => &[("topic", "t/{n}"), ("retain", "true")],
        _ => &[("destination", "/topic/t.{n}"), ("retain", "true"), ("persistent", "true")],
    };
    let said: Vec<_> = said.iter().copied().chain([("body", body)]).collect();
    scene.publish(wire, &said).map(drop)
}

/// The value, read by somebody who comes later.
fn value(scene: &Scene<'_>, at: &str) -> Seen {
    set(scene, scene.from, "v")?;
    next(&mut scene.reader(scene.to, at)?)
}

/// Whether a later reader gets nothing.
fn silent(scene: &Scene<'_>, at: &str) -> Seen {
    set(scene, scene.from, "v")?;
    let quiet = quiet(&mut scene.reader(scene.to, at)?)?.to_string();
    Ok(scene.said(&[("quiet", quiet.as_str())]))
}

/// Set by another protocol, cleared by this one.
fn cleared(scene: &Scene<'_>) -> Seen {
    set(scene, scene.to, "v")?;
    set(scene, scene.from, "")?;
    let quiet = quiet(&mut scene.reader(scene.to, "t/{n}")?)?.to_string();
    Ok(scene.said(&[("quiet", quiet.as_str())]))
}
