//! `crossdock status`: one screen.

use super::table::bytes;
use crate::accounts::acts::shown;
use crossdock_core::readable::span;
use serde_json::Value as Json;

/// Exchanges that are named whose publishes reached nobody.
const UNROUTABLE_MAX: usize = 3;

/// A field somewhere in the answer: `"disk/free_bytes"`.
fn number(status: &Json, path: &str) -> u64 {
    let value = status.pointer(&format!("/{path}"));
    value.and_then(Json::as_u64).unwrap_or_default()
}

fn text<'a>(json: &'a Json, field: &str) -> &'a str {
    json.get(field).and_then(Json::as_str).unwrap_or_default()
}

fn list<'a>(status: &'a Json, path: &str) -> &'a [Json] {
    let value = status.pointer(&format!("/{path}"));
    value.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The pairs of an object whose numbers are not 0: `amqp 3, mqtt 1`.
fn counted(status: &Json, path: &str) -> String {
    let all = status.pointer(&format!("/{path}")).and_then(Json::as_object);
    let some = all.into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0));
    some.map(|(name, count)| format!("{name} {count}")).collect::<Vec<String>>().join(", ")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A queue by name; its virtual host where that is not the usual one.
fn queue(one: &Json) -> String {
    match text(one, "vhost") {
        "/" => shown(text(one, "queue")),
        vhost => format!("{} in {}", shown(text(one, "queue")), shown(vhost)),
    }
}

/// The screen.
pub fn status(status: &Json) -> String {
    let uptime = status.get("uptime_s").and_then(Json::as_f64).unwrap_or_default();
    let mut out = format!(
        "crossdock {}  {}  pid {}  up {}\n",
        text(status, "version"),
        text(status, "node"),
        number(status, "pid"),
        span(uptime as u64)
    );
    match list(status, "troubles") {
        [] => out.push_str("all is well\n"),
        troubles => {
            out.push_str(&format!("NOT WELL: {}\n", troubles.len()));
            for trouble in troubles.iter().filter_map(Json::as_str) {
                out.push_str(&format!("  ! {trouble}\n"));
            }
        }
    }
    for warning in list(status, "warnings").iter().filter_map(Json::as_str) {
        out.push_str(&format!("  - {warning}\n"));
    }
    for (name, line) in lines(status) {
        out.push_str(&format!("{name:<13} {line}\n"));
    }
    out
}

fn lines(status: &Json) -> Vec<(&'static str, String)> {
    let by_protocol = counted(status, "connections/by_protocol");
    let mut connections = number(status, "connections/count").to_string();
    if !by_protocol.is_empty() {
        connections.push_str(&format!(" ({by_protocol})"));
    }
    let routes = match number(status, "routes/count") {
        0 => "none".to_owned(),
        count => {
            let more = [
                ("between_attempts", "of them to be tried again"),
                ("dead_lettered", "dead-lettered"),
            ];
            let more =
                more.map(|(field, words)| match number(status, &format!("routes/{field}")) {
                    0 => String::new(),
                    count => format!(", {count} {words}"),
                });
            let waiting = number(status, "routes/waiting");
            format!("{count}, {waiting} messages wait for them{}", more.concat())
        }
    };
    let memory = format!(
        "{} resident; {} of messages and objects, of {}",
        bytes(number(status, "memory/resident_bytes")),
        bytes(number(status, "memory/messages_bytes")),
        bytes(number(status, "memory/high_bytes"))
    );
    let disk = match number(status, "disk/total_bytes") {
        0 => "not looked at yet".to_owned(),
        total => format!(
            "{} free of {}; alarm under {}",
            bytes(number(status, "disk/free_bytes")),
            bytes(total),
            bytes(number(status, "disk/alarm_bytes"))
        ),
    };
    let files = format!(
        "{} of {} open",
        number(status, "descriptors/open"),
        number(status, "descriptors/max")
    );
    let mut lines = vec![
        ("connections", connections),
        ("logins", logins(status)),
        ("held back", or_none(held(status))),
        ("messages", messages(status)),
        ("grow unread", growing(status)),
        ("dead letters", dead(status)),
        ("lost", lost(status)),
        ("unroutable", unroutable(status)),
        ("routes", routes),
        ("memory", memory),
        ("disk", disk),
        ("files", files),
    ];
    lines.extend(delayed(status).map(|text| ("delayed", text)));
    lines.extend(unfinished(status).map(|text| ("unfinished", text)));
    lines.extend(storm(status).map(|text| ("storm", text)));
    lines.extend(moves(status).map(|text| ("moves", text)));
    lines
}

/// Logins that were refused in the last minutes.
fn logins(status: &Json) -> String {
    let count = number(status, "refused_logins/count");
    if count == 0 {
        return "none refused".to_owned();
    }
    let each = list(status, "refused_logins/most").iter().map(pair);
    let time = span(number(status, "refused_logins/seconds").max(1));
    format!("{count} refused in {time}: {}", each.collect::<Vec<String>>().join(", "))
}

/// A user, where one is known, the address, and how many.
fn pair(one: &Json) -> String {
    let (address, count) = (shown(text(one, "address")), number(one, "count"));
    match text(one, "user") {
        "" => format!("{address} {count}"),
        user => format!("{} from {address} {count}", shown(user)),
    }
}

/// Names that have to wait before their next login.
fn delayed(status: &Json) -> Option<String> {
    let each = list(status, "login_delays/longest").iter().map(|one| {
        let left = one.get("left_s").and_then(Json::as_f64).unwrap_or_default();
        format!(
            "{} from {} for {} more, after {} failures",
            shown(text(one, "user")),
            shown(text(one, "address")),
            span((left.ceil() as u64).max(1)),
            number(one, "failures")
        )
    });
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| {
        let count = number(status, "login_delays/count");
        format!("{count}: {}; to end it: crossdock ctl clear login-delay NAME", all.join(", "))
    })
}

/// Clients that were lost before their login was complete.
fn unfinished(status: &Json) -> Option<String> {
    let all = list(status, "logins_unfinished");
    let of = |left: bool, words: &str| {
        let some = all.iter().filter(|one| is(one, "left") == left);
        let each: Vec<String> = some
            .map(|one| {
                let (protocol, listener) = (text(one, "protocol"), shown(text(one, "listener")));
                format!("{protocol} at {listener} {}", number(one, "count"))
            })
            .collect();
        (!each.is_empty())
            .then(|| format!("{words} before they had logged in: {}", each.join(", ")))
    };
    let parts: Vec<String> = [of(true, "clients left"), of(false, "clients took too long")]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| format!("{}, since the start", parts.join("; ")))
}

/// Connections that come faster than usual.
fn storm(status: &Json) -> Option<String> {
    let arrivals = status.get("arrivals").filter(|arrivals| is(arrivals, "unusual"))?;
    let seconds = arrivals.get("seconds").and_then(Json::as_f64).unwrap_or_default();
    let (opened, away) = (number(arrivals, "opened"), number(arrivals, "turned_away"));
    let left = match number(arrivals, "left_early") {
        0 => String::new(),
        left => format!(", {left} left before they had logged in"),
    };
    let most: Vec<String> = list(status, "busiest/most").iter().map(pair).collect();
    let who = match most.is_empty() {
        true => String::new(),
        false => {
            let time = span(number(status, "busiest/seconds").max(1));
            format!("; in the last {time} most by {}", most.join(", "))
        }
    };
    Some(format!(
        "{opened} connections opened and {away} turned away in {seconds:.1} s{left}: clients come again and \
         again{who}"
    ))
}

/// The moves that run; none: there are none.
fn moves(status: &Json) -> Option<String> {
    let each = list(status, "moves").iter().map(|one| {
        if is(one, "drops") {
            let (id, from) = (number(one, "id"), shown(text(one, "from")));
            return format!("{id}: out of {from}, {} dropped", number(one, "moved"));
        }
        let to = match text(one, "to") {
            "" => "their origins".to_owned(),
            queue => shown(queue),
        };
        let moves = if is(one, "dry_run") { "would be moved" } else { "moved" };
        let (id, from) = (number(one, "id"), shown(text(one, "from")));
        format!("{id}: {from} to {to}, {} {moves}", number(one, "moved"))
    });
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| format!("{} run; {}", all.len(), all.join("; ")))
}

/// How much waits, as `list queues` adds up to.
fn messages(status: &Json) -> String {
    format!(
        "{} in {} queues: {} ready, {} unacked, {}{}",
        number(status, "queues/messages"),
        number(status, "queues/count"),
        number(status, "queues/ready"),
        number(status, "queues/unacked"),
        bytes(number(status, "queues/bytes")),
        match number(status, "queues/being_stored") {
            0 => String::new(),
            more => format!("; {more} more are being stored"),
        }
    )
}

/// What was lost, by why, and the queues that lost most of it.
fn lost(status: &Json) -> String {
    let by_why = or_none(counted(status, "lost"));
    let each = list(status, "lost_by_queue/largest").iter().map(|one| {
        let more = match number(one, "more") {
            0 => String::new(),
            more => format!(" (+{more} now)"),
        };
        format!("{} {}{more}", queue(one), number(one, "lost"))
    });
    let each: Vec<String> = each.collect();
    match each.is_empty() {
        true => by_why,
        false => format!("{by_why}; by queue: {}", each.join(", ")),
    }
}

/// How many publishes reached nobody, and the last ones.
fn unroutable(status: &Json) -> String {
    let count = number(status, "unroutable");
    if count == 0 {
        return "none".to_owned();
    }
    let each = list(status, "unroutable_last").iter().take(UNROUTABLE_MAX).map(|one| {
        let exchange = match text(one, "exchange") {
            "" => "(default)".to_owned(),
            name => shown(name),
        };
        let (key, user, ago) =
            (shown(text(one, "key")), shown(text(one, "user")), number(one, "ago_s"));
        format!("{exchange} key {key} by {user} {} ago", span(ago.max(1)))
    });
    let each: Vec<String> = each.collect();
    match each.is_empty() {
        true => count.to_string(),
        false => format!("{count}; the last: {}", each.join(", ")),
    }
}

fn is(json: &Json, field: &str) -> bool {
    json.get(field).and_then(Json::as_bool).unwrap_or_default()
}

fn held(status: &Json) -> String {
    match number(status, "publishers_held") {
        0 => String::new(),
        count => format!("{count} publishers"),
    }
}

fn growing(status: &Json) -> String {
    let count = number(status, "growing_unread/count");
    let each = list(status, "growing_unread/largest").iter().map(|one| {
        format!("{} +{} to {}", queue(one), number(one, "more"), number(one, "messages"))
    });
    match count {
        0 => "none".to_owned(),
        count => format!("{count}: {}", each.collect::<Vec<String>>().join(", ")),
    }
}

fn dead(status: &Json) -> String {
    let each = list(status, "dead_letters/largest")
        .iter()
        .map(|one| format!("{} {}", queue(one), number(one, "messages")));
    match number(status, "dead_letters/waiting") {
        0 => "none".to_owned(),
        count => format!("{count}: {}", each.collect::<Vec<String>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_screen_says_first_whether_all_is_well() {
        let answer = json!({
            "version": "1", "node": "n", "pid": 7, "uptime_s": 61.5, "troubles": [],
            "connections": { "count": 3, "by_protocol": { "amqp": 3, "mqtt": 0 } },
            "growing_unread": { "count": 1, "largest": [
                { "vhost": "/", "queue": "q", "more": 5, "messages": 9 } ] },
            "lost": { "expired": 3 },
            "lost_by_queue": { "count": 2, "largest": [
                { "vhost": "/", "queue": "q", "lost": 2, "more": 1 },
                { "vhost": "v", "queue": "d", "lost": 1, "more": 0 } ] },
            "unroutable": 7,
            "unroutable_last": [
                { "exchange": "", "key": "qq", "user": "ann", "ago_s": 70 } ],
            "queues": { "messages": 2, "count": 1, "ready": 2, "being_stored": 4 },
            "dead_letters": { "waiting": 2, "largest": [
                { "vhost": "v", "queue": "d", "messages": 2 } ] },
        });
        let shown = status(&answer);
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some("crossdock 1  n  pid 7  up 1 min 1 s"));
        assert_eq!(lines.next(), Some("all is well"));
        assert_eq!(lines.next(), Some("connections   3 (amqp 3)"));
        assert!(shown.contains("grow unread   1: q +5 to 9\n"), "{shown}");
        assert!(shown.contains("dead letters  2: d in v 2\n"), "{shown}");
        assert!(
            shown.contains("lost          expired 3; by queue: q 2 (+1 now), d in v 1\n"),
            "{shown}"
        );
        let last = "unroutable    7; the last: (default) key qq by ann 1 min 10 s ago\n";
        assert!(shown.contains(last), "{shown}");
        assert!(shown.contains("; 4 more are being stored\n"), "{shown}");
        assert!(!shown.contains("moves"), "{shown}");
        let moving = status(&json!({ "moves": [
            { "id": 3, "from": "dead", "to": "work", "moved": 7, "dry_run": false },
            { "id": 4, "from": "dead", "to_origin": true, "moved": 2, "dry_run": true } ] }));
        let line = "moves         2 run; 3: dead to work, 7 moved; \
                    4: dead to their origins, 2 would be moved\n";
        assert!(moving.contains(line), "{moving}");
        assert!(
            shown.contains("logins        none refused\n") && !shown.contains("storm"),
            "{shown}"
        );
        let stormy = status(&json!({
            "arrivals": { "seconds": 1.04, "opened": 90, "turned_away": 5, "left_early": 3,
                "unusual": true },
            "busiest": { "seconds": 14, "most": [
                { "user": "ann", "address": "10.0.0.1", "count": 700 },
                { "user": "", "address": "10.0.0.2", "count": 40 } ] },
            "login_delays": { "count": 1, "longest": [
                { "user": "ann", "address": "10.0.0.1", "failures": 9, "left_s": 12.2 } ] },
            "logins_unfinished": [
                { "listener": "ws-mqtt", "protocol": "mqtt", "count": 4, "left": true },
                { "listener": "amqp", "protocol": "amqp", "count": 1, "left": false } ],
            "refused_logins": { "count": 9, "seconds": 61, "most": [
                { "user": "ann", "address": "10.0.0.1", "count": 8 } ] } }));
        let lines = [
            "logins        9 refused in 1 min 1 s: ann from 10.0.0.1 8\n",
            "storm         90 connections opened and 5 turned away in 1.0 s, 3 left before they had \
             logged in: clients come again and again; in the last 14 s most by ann from 10.0.0.1 \
             700, 10.0.0.2 40\n",
            "delayed       1: ann from 10.0.0.1 for 13 s more, after 9 failures; to end it: crossdock \
             ctl clear login-delay NAME\n",
            "unfinished    clients left before they had logged in: mqtt at ws-mqtt 4; clients took too \
             long before they had logged in: amqp at amqp 1, since the start\n",
        ];
        assert!(lines.iter().all(|line| stormy.contains(line)), "{stormy}");
        let sick = status(&json!({ "troubles": ["the disk is full"], "warnings": ["it ends"] }));
        assert!(sick.contains("NOT WELL: 1\n  ! the disk is full\n  - it ends\n"), "{sick}");
    }
}
