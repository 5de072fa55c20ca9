//! Reads one table of which parts may be wrong: notes every mistake, and makes of the rest what can be made. A
//! deserializer stops at the first mistake; here what it stopped at is taken out or replaced, and it is asked again.

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What stands in for a value that is needed and cannot be used, one after the other until one has the right type.
fn stand_ins() -> [Value; 4] {
    [Value::from(""), Value::from(Vec::<Value>::new()), Value::from(Dict::new()), Value::from(0)]
}

/// Reads `value`; `mistake` is called once for each place that something is wrong at. None: nothing fits the type.
pub fn read<T: DeserializeOwned>(
    mut value: Value,
    mut mistake: impl FnMut(&figment::Error),
) -> Option<T> {
    // The paths that the deserializer stopped at, each with how many stand-ins were tried there.
    let mut stops: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    loop {
        let error = match value.deserialize::<T>() {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let mut path = error.path.clone();
        if let Kind::MissingField(name) = &error.kind {
            path.push(name.to_string());
        }
        if !stops.contains_key(&path) {
            mistake(&error);
            stops.insert(path.clone(), 0);
            // What a table can do without is left out.
            if take_out(&mut value, &path) {
                continue;
            }
        }
        let tried = stops.entry(path.clone()).or_default();
        let stand_in = stand_ins().into_iter().nth(*tried);
        *tried += 1;
        if !stand_in.is_some_and(|stand_in| put(&mut value, &path, stand_in)) {
            return None;
        }
    }
}

/// Removes the named value of a table; false when there is none.
fn take_out(value: &mut Value, path: &[String]) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    match at(value, above) {
        Some(Value::Dict(_, dict)) => dict.remove(last).is_some(),
        _ => false,
    }
}

/// Sets a value of a table or list; false when there is no such table or list.
fn put(value: &mut Value, path: &[String], new: Value) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    match at(value, above) {
        Some(Value::Dict(_, dict)) => {
            dict.insert(last.clone(), new);
            true
        }
        Some(Value::Array(_, list)) => {
            let place = last.parse::<usize>().ok().and_then(|index| list.get_mut(index));
            place.map(|place| *place = new).is_some()
        }
        _ => false,
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Dict(_, dict) => dict.get_mut(name),
        Value::Array(_, list) => list.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_transforms::RouteSpec;

    fn read_route(text: &str) -> (Option<RouteSpec>, Vec<String>) {
        let table: Value = figment::Figment::new()
            .merge(<figment::providers::Toml as figment::providers::Format>::string(text))
            .extract()
            .expect("TOML");
        let mut found = Vec::new();
        let spec = read(table, |error| found.push(error.path.join(".")));
        (spec, found)
    }

    #[test]
    fn the_good_parts_of_a_bad_route_are_read() {
        let (spec, found) = read_route(
            "from = [5, \"topic:a\", true]\nto = \"queue:b\"\nmode = \"sideways\"\nzzz = 1\n\
             steps = [\"x\", { set = {} }]\nwhen = \"a = 1\"\n[on_error]\nretry = -1\nzz = 2\n\
             dead_letter = \"queue:d\"\n",
        );
        let spec = spec.expect("a route");
        assert_eq!((spec.name(), spec.from(), spec.to()), ("", vec![(1, "topic:a")], Vec::new()));
        assert_eq!(spec.dead_letter(), Some("queue:d"));
        let mut found = found;
        found.sort_unstable();
        // The first one is the missing name; wrong values are found when the route is compiled.
        assert_eq!(found, ["", "on_error.zz", "zzz"]);
    }

    #[test]
    fn it_ends_whatever_it_is_given() {
        let (spec, found) = read_route("name = []\nfrom = {}\non_error = 5\nlimits = [1]\n");
        assert_eq!((spec.is_some(), found.len()), (true, 0), "{found:?}");
        let mut calls = 0;
        assert!(read::<RouteSpec>(Value::from(5), |_| calls += 1).is_none());
        assert_eq!(calls, 1);
    }
}
