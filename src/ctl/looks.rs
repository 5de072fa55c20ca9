//! What looks, and changes nothing.

use super::client::{Client, Failure};
use super::command::{Kind, Kinds, Look};
use super::{EXIT_REFUSED, print, screen, table};
use crate::output::complain;
use clap::ValueEnum;
use serde_json::Value as Json;
use std::process::ExitCode;

/// Runs one of them.
pub fn run(client: &Client, look: &Look, json: bool) -> Result<ExitCode, Failure> {
    match look {
        Look::List { kind, vhost } => list(client, *kind, vhost.as_deref(), json),
        Look::Show { kind, name, vhost } => show(client, *kind, (name, vhost.as_deref()), json),
        Look::Peek { queue, limit, from, meant, vhost } => {
            let limit = limit.to_string();
            let mut query = vec![
                ("queue", Some(queue.as_str())),
                ("limit", Some(limit.as_str())),
                ("from", from.as_deref()),
                ("vhost", vhost.as_deref()),
            ];
            query.extend(meant.conditions.iter().map(|text| ("where", Some(text.as_str()))));
            peek(client, &query, json)
        }
        Look::Audit => audit(client, json),
        Look::Alarms => alarms(client, json),
        Look::Health => health(client, json),
        Look::Status { seconds } => status(client, *seconds, json),
    }
}

/// A word of the command line, as the API names it.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REFUSED) }
}

fn is_true(json: &Json, field: &str) -> bool {
    json.get(field).and_then(Json::as_bool).unwrap_or(false)
}

/// The items of an answer.
pub fn items(json: &Json) -> &[Json] {
    json.get("items").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Calls `each` with every page of a list.
fn pages(
    client: &Client,
    kind: &str,
    vhost: Option<&str>,
    mut each: impl FnMut(&[Json]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let query = [("vhost", vhost), ("after", after.as_deref())];
        let page = client.get(&format!("/control/list/{kind}"), &query)?;
        each(items(&page))?;
        match page.get("next").and_then(Json::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// Prints a list, each page as it comes.
pub fn list(
    client: &Client,
    kind: Kinds,
    vhost: Option<&str>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let in_vhosts =
        matches!(kind, Kinds::Queues | Kinds::Exchanges | Kinds::Bindings | Kinds::Sessions);
    if vhost.is_some() && !in_vhosts {
        return Err(Failure::usage("--vhost is for queues, exchanges, bindings and sessions"));
    }
    let mut vhosts = vec![vhost.map(str::to_owned)];
    if in_vhosts && vhost.is_none() {
        vhosts.clear();
        pages(client, "vhosts", None, |page| {
            let names = page.iter().filter_map(|one| one.get("name").and_then(Json::as_str));
            vhosts.extend(names.map(|name| Some(name.to_owned())));
            Ok(())
        })?;
    }
    let kind = word(&kind);
    let mut table = table::Table::of(&kind);
    for vhost in &vhosts {
        pages(client, &kind, vhost.as_deref(), |page| match json {
            true => page.iter().try_for_each(|item| print(&format!("{item}\n"))),
            false => print(&table.rows(page)),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one object.
pub fn show(
    client: &Client,
    kind: Kind,
    (name, vhost): (&str, Option<&str>),
    json: bool,
) -> Result<ExitCode, Failure> {
    let path = format!("/control/show/{}", word(&kind));
    let found = client.get(&path, &[("name", Some(name)), ("vhost", vhost)])?;
    print(&if json { format!("{found}\n") } else { table::fields(&found) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a page of what a route remembers.
pub fn values(
    client: &Client,
    (route, prefix, from): (&str, &str, Option<&str>),
    json: bool,
) -> Result<ExitCode, Failure> {
    let query = [("name", Some(route)), ("prefix", Some(prefix)), ("after", from)];
    let page = client.get("/control/route-state", &query)?;
    if json {
        print(&format!("{page}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&table::Table::of("values").rows(items(&page)))?;
    if let Some(next) = page.get("next").and_then(Json::as_str) {
        complain!("there are more: --from {next}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a page of messages.
fn peek(client: &Client, query: &[(&str, Option<&str>)], json: bool) -> Result<ExitCode, Failure> {
    let page = client.get("/control/peek", query)?;
    if json {
        print(&format!("{page}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&table::Table::of("messages").rows(items(&page)))?;
    match page.get("unreadable").and_then(Json::as_u64) {
        None | Some(0) => {}
        Some(count) => complain!("{count} messages cannot be read from the store"),
    }
    if let Some(next) = page.get("next").and_then(Json::as_str) {
        complain!("there are more: --from {next}");
    }
    Ok(ExitCode::SUCCESS)
}

fn audit(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let found = client.get("/control/audit", &[])?;
    let lost = |field: &str| found.pointer(&format!("/losses/{field}")).and_then(Json::as_u64);
    let is_balanced = is_true(&found, "balanced");
    let is_well = is_balanced && lost("certain").unwrap_or_default() == 0;
    if json {
        print(&format!("{found}\n"))?;
        return Ok(code(is_well));
    }
    if is_balanced {
        print("every address balances: what came = what left + what waits\n")?;
    } else {
        let count = found.get("count").and_then(Json::as_u64).unwrap_or_default();
        print(&format!(
            "{count} addresses do not balance: messages were lost, or counted wrongly\n"
        ))?;
        print(&texts(&found))?;
    }
    if let (Some(count @ 1..), Some(losses)) = (lost("count"), found.get("losses")) {
        print(&format!(
            "{count} losses that nobody has accepted (crossdock ctl accept losses):\n"
        ))?;
        print(&texts(losses))?;
    }
    Ok(code(is_well))
}

/// The texts of all items, a line each.
fn texts(found: &Json) -> String {
    let each = items(found).iter().filter_map(|item| item.get("text").and_then(Json::as_str));
    each.map(|text| format!("{text}\n")).collect()
}

fn alarms(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let found = client.get("/control/alarms", &[])?;
    let is_well = items(&found).is_empty();
    if json {
        print(&format!("{found}\n"))?;
    } else if is_well {
        print("no alarms\n")?;
    } else {
        print(&texts(&found))?;
    }
    Ok(code(is_well))
}

fn health(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let found = client.get("/control/health", &[])?;
    let is_well = is_true(&found, "well");
    if json {
        print(&format!("{found}\n"))?;
    } else if is_well {
        print("ok\n")?;
    } else {
        let why = found.get("troubles").and_then(Json::as_array);
        let lines = why.into_iter().flatten().filter_map(Json::as_str);
        print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
    }
    Ok(code(is_well))
}

/// Prints one screen of everything.
pub fn status(client: &Client, seconds: u64, json: bool) -> Result<ExitCode, Failure> {
    let client = client.longer_by(seconds);
    let seconds = seconds.to_string();
    let found = client.get("/control/status", &[("seconds", Some(&seconds))])?;
    print(&if json { format!("{found}\n") } else { screen::status(&found) })?;
    Ok(code(is_true(&found, "well")))
}
