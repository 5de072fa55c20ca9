//! `crossdock check-config FILE --routes`: the routes as the broker would run them, as a table, and which of them meet
//! at one address in what order.

use crate::places::{Place, meet};
use crossdock_core::filter::hidden;
use crossdock_core::transform::{AfterFailure, ContentRoute, Cost, Mode, OnError, Order};
use crossdock_core::{Address, Name};
use crossdock_transforms::RouteSpec;
use std::fmt::Write;

/// Between two columns.
const GAP: &str = "  ";

const HEADS: [&str; 9] =
    ["route", "mode", "priority", "runs", "workers", "order", "watches", "sends to", "on error"];

/// A route as configured and as compiled.
pub struct Shown<'a> {
    pub spec: &'a RouteSpec,
    pub route: &'a ContentRoute,
}

/// The tables. `dead_letter` is for routes without an address of their own.
pub fn routes(all: &[Shown<'_>], dead_letter: &Address, topic_exchange: &Name) -> String {
    if all.is_empty() {
        return "no routes\n".to_owned();
    }
    let mut page = table(all, dead_letter);
    for Shown { route, .. } in all.iter().filter(|shown| shown.route.topics.computed > 0) {
        let (name, computed) = (&route.name, route.topics.computed);
        let of = if computed == 1 { "a topic that is" } else { "topics that are" };
        let _ = writeln!(
            page,
            "\n{name} sends to {of} computed from the message ({computed}): retained values there cannot be \
             cleared through the route"
        );
    }
    page.push_str(&meetings(all, topic_exchange));
    page
}

fn table(all: &[Shown<'_>], dead_letter: &Address) -> String {
    let head: Vec<Vec<String>> = HEADS.iter().map(|head| vec![(*head).to_owned()]).collect();
    let rows = all.iter().map(|shown| row(shown, dead_letter));
    let rows: Vec<Vec<Vec<String>>> = [head].into_iter().chain(rows).collect();
    let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at)).flatten();
    let width = |at: usize| cells(at).map(|text| text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut page = String::new();
    for row in &rows {
        let lines = row.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..lines {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let text = cell.get(number).map_or("", String::as_str);
                let _ = write!(line, "{text:width$}{GAP}");
            }
            page.push_str(line.trim_end());
            page.push('\n');
        }
    }
    page
}

/// The cells of a row, each of several lines.
fn row(shown: &Shown<'_>, dead_letter: &Address) -> Vec<Vec<String>> {
    let Shown { spec, route } = shown;
    let one = |text: &str| vec![text.to_owned()];
    let (runs, workers, order) = match route.transform.cost() {
        Cost::Inline => ("inline", "-".to_owned(), "-"),
        Cost::Queued => (
            "queued",
            route.concurrency.to_string(),
            match route.order {
                Order::Relaxed => "relaxed",
                Order::Strict => "strict",
            },
        ),
    };
    let to = match route.mode {
        Mode::Filter => one("(where it was going)"),
        Mode::Divert | Mode::Tap => owned(spec.to()),
    };
    let required = route.required.then(|| "(required)".to_owned());
    vec![
        one(&route.name),
        one(mode(route.mode)),
        one(&match route.mode {
            Mode::Filter => route.priority.to_string(),
            Mode::Divert | Mode::Tap => "-".to_owned(),
        }),
        one(runs),
        vec![workers],
        one(order),
        owned(spec.from()),
        to.into_iter().chain(required).collect(),
        on_error(&route.on_error, dead_letter),
    ]
}

fn owned(texts: Vec<(usize, &str)>) -> Vec<String> {
    texts.into_iter().map(|(_, text)| text.to_owned()).collect()
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Divert => "divert",
        Mode::Tap => "tap",
        Mode::Filter => "filter",
    }
}

fn on_error(policy: &OnError, dead_letter: &Address) -> Vec<String> {
    let retries = (policy.retry > 0).then(|| {
        let times = if policy.retry == 1 { "retry" } else { "retries" };
        format!("{} {times}, after {:?}; then", policy.retry, policy.backoff)
    });
    let then = match policy.then {
        AfterFailure::DeadLetter => {
            format!("dead-letter to {}", policy.dead_letter.as_ref().unwrap_or(dead_letter))
        }
        AfterFailure::Pass => "pass".to_owned(),
        AfterFailure::Drop => "drop".to_owned(),
        AfterFailure::Reject => "reject".to_owned(),
    };
    retries.into_iter().chain([then]).collect()
}

/// For each address that is watched by several routes: who takes a message in what order.
fn meetings(all: &[Shown<'_>], topic_exchange: &Name) -> String {
    let mut page = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for (_, text) in all.iter().flat_map(|shown| shown.spec.from()) {
        let Some(place) = Place::watched(text, topic_exchange) else { continue };
        if seen.contains(&text) {
            continue;
        }
        seen.push(text);
        // Each route, and where it watches if that is another pattern that has topics in common.
        let mut met: Vec<(&ContentRoute, Option<&str>)> = Vec::new();
        for Shown { spec, route } in all {
            let mut from = spec.from().into_iter().map(|(_, other)| other);
            let other = match from.clone().any(|other| other == text) {
                true => Some(None),
                false => from.find(|other| overlap(&place, other, topic_exchange)).map(Some),
            };
            met.extend(other.map(|other| (*route, other)));
        }
        if met.len() > 1 {
            let _ = writeln!(page, "\nat {text}:");
            page.push_str(&order_of(&mut met));
        }
    }
    page
}

fn overlap(place: &Place, other: &str, topic_exchange: &Name) -> bool {
    Place::watched(other, topic_exchange).is_some_and(|other| {
        let is_topic = place.exchange.as_ref() == Some(topic_exchange);
        let is_hidden = hidden(&place.key, &other.key) || hidden(&other.key, &place.key);
        other.exchange == place.exchange
            && match place.exchange {
                Some(_) => meet(&place.key, &other.key) && !(is_topic && is_hidden),
                None => place.key == other.key,
            }
    })
}

/// Filters one after the other, then every divert and tap, then ordinary routing.
fn order_of(met: &mut [(&ContentRoute, Option<&str>)]) -> String {
    // A stable sort: filters of one priority stay in the order of the file.
    met.sort_by_key(|(route, _)| match route.mode {
        Mode::Filter => (0, -i64::from(route.priority)),
        Mode::Divert | Mode::Tap => (1, 0),
    });
    let filters = met.iter().filter(|(route, _)| route.mode == Mode::Filter).count();
    let mut lines = String::new();
    for (at, (route, other)) in met.iter().enumerate() {
        let place = other.map(|other| format!(", where it is also {other}")).unwrap_or_default();
        // Diverts and taps get the result of the filters at the same time.
        let step = at.min(filters) + 1;
        let _ = writeln!(lines, "  {step}. {} {}{place}", mode(route.mode), route.name);
    }
    let last = filters + 1 + usize::from(met.len() > filters);
    let after = match met.iter().any(|(route, _)| route.mode == Mode::Divert) {
        true => "its queues and subscribers, unless a divert took it",
        false => "its queues and subscribers",
    };
    let _ = writeln!(lines, "  {last}. {after}");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_core::transform::{StepFailure, Topics, Transform, Verdict, Watch};
    use crossdock_core::{Formats, Message};
    use expect_test::expect_file;
    use std::sync::Arc;
    use std::time::Duration;

    struct Nothing(Cost);

    impl Transform for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }

        fn cost(&self) -> Cost {
            self.0
        }

        fn wants(&self, _: &Message, _: &Formats) -> bool {
            true
        }

        fn apply(
            &self,
            _: &Message,
            _: u32,
            _: &Formats,
            _: &mut Vec<Message>,
        ) -> Result<Verdict, StepFailure> {
            Ok(Verdict::Pass)
        }
    }

    fn route(
        name: &str,
        mode: Mode,
        from: &[&str],
        to: &[&str],
        cost: Cost,
    ) -> (RouteSpec, ContentRoute) {
        let spec = serde_json::json!({ "name": name, "from": from, "to": to });
        let watches: Vec<Watch> = Vec::new();
        let transform = Arc::new(Nothing(cost));
        let route = ContentRoute::new(name.into(), watches, mode, transform);
        (serde_json::from_value(spec).expect("a route"), route)
    }

    #[test]
    fn routes_are_shown_with_the_order_they_run_in() {
        let mut routes = [
            route("audit", Mode::Tap, &["topic:orders/#"], &["queue:audit"], Cost::Inline),
            route(
                "convert",
                Mode::Divert,
                &["topic:orders/eu", "queue:in"],
                &["queue:out", "topic:orders/{region}"],
                Cost::Queued,
            ),
            route("late", Mode::Filter, &["topic:orders/+"], &[], Cost::Inline),
            route("early", Mode::Filter, &["topic:orders/eu"], &[], Cost::Inline),
            route("alone", Mode::Tap, &["queue:alone"], &["exchange:x/k"], Cost::Inline),
        ];
        let [(_, audit), (_, convert), _, (_, early), (_, alone)] = &mut routes;
        audit.on_error.then = AfterFailure::Drop;
        convert.on_error.retry = 3;
        convert.on_error.backoff = Duration::from_millis(1500);
        convert.on_error.dead_letter = Some(Address::queue("bad"));
        (convert.concurrency, convert.order) = (4, Order::Strict);
        convert.topics = Topics { constant: Vec::new(), computed: 1 };
        early.priority = 7;
        alone.required = true;
        let all: Vec<Shown<'_>> =
            routes.iter().map(|(spec, route)| Shown { spec, route }).collect();
        let page = super::routes(&all, &Address::queue("dead-letters"), &"amq.topic".into());
        expect_file!["show_tests.txt"].assert_eq(&page);
        assert_eq!(super::routes(&[], &Address::queue("d"), &"amq.topic".into()), "no routes\n");
    }
}
