//! Routes that lead in a circle: what one sends to is, through bindings of the configuration, what another watches, and
//! so on back to the first. Only what is the same for every message counts; failures (dead letters) do not.

use crate::config::{Loaded, Mistake};
use crate::fit::Topology;
use crate::places::Place;
use std::collections::{BTreeMap, VecDeque};

/// A route as far as it matters here.
struct Route<'a> {
    index: usize,
    name: &'a str,
    watches: Vec<Place>,
    /// Each with its number in `to`.
    to: Vec<(usize, Place)>,
}

/// A mistake for each circle.
pub fn check(loaded: &Loaded, topology: &Topology<'_>, mistakes: &mut Vec<Mistake>) {
    let topics = &topology.topic_exchange;
    let routes = loaded.routes.iter().map(|(index, spec)| {
        let watches = spec.from();
        let watches = watches.iter().filter_map(|(_, text)| Place::watched(text, topics));
        let to = spec.to();
        let to = to.iter().filter_map(|(at, text)| Some((*at, Place::destination(text, topics)?)));
        Route { index: *index, name: spec.name(), watches: watches.collect(), to: to.collect() }
    });
    let routes: Vec<Route<'_>> = routes.collect();
    // For each route: those that its results enter, and by which address of its `to`.
    let next: Vec<Vec<(usize, usize)>> = routes.iter().map(|a| fed(a, &routes, topology)).collect();
    let mut shown = vec![false; routes.len()];
    for (start, route) in routes.iter().enumerate() {
        if shown.get(start) == Some(&true) {
            continue;
        }
        let Some((by, circle)) = circle(start, &next) else { continue };
        let mut names = Vec::new();
        for at in circle {
            names.extend(routes.get(at).map(|route| route.name));
            if let Some(is_shown) = shown.get_mut(at) {
                *is_shown = true;
            }
        }
        names.push(route.name);
        let instead = match names.len() {
            ..=2 => "; mode = \"filter\" changes messages in their place",
            _ => "",
        };
        let reason = format!(
            "leads in a circle: {}; no message goes through a route twice, so results would pass the \
             first of these by{instead}",
            names.join(" -> ")
        );
        mistakes.push(loaded.mistake(format!("route[{}].to[{by}]", route.index), reason));
    }
}

fn fed(from: &Route<'_>, routes: &[Route<'_>], topology: &Topology<'_>) -> Vec<(usize, usize)> {
    let mut fed = Vec::new();
    for (number, place) in &from.to {
        for (at, route) in routes.iter().enumerate() {
            if route.watches.iter().any(|watch| topology.feeds(place, watch)) {
                fed.push((at, *number));
            }
        }
    }
    fed
}

/// A shortest way from `start` back to it: the address that it begins with, and the routes on it.
fn circle(start: usize, next: &[Vec<(usize, usize)>]) -> Option<(usize, Vec<usize>)> {
    // How each route was first entered: the one before it, and the number in that one's `to`.
    let mut entered: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for (to, by) in next.get(at).into_iter().flatten() {
            if entered.contains_key(to) {
                continue;
            }
            entered.insert(*to, (at, *by));
            open.push_back(*to);
        }
    }
    let mut way = Vec::new();
    let (mut at, mut first) = *entered.get(&start)?;
    while at != start {
        way.push(at);
        (at, first) = *entered.get(&at)?;
    }
    way.push(start);
    way.reverse();
    Some((first, way))
}
