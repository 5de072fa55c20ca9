//! What changes something: each is one request.

use super::client::{Client, Failure};
use super::command::{
    Accept, Act, Arguments, BindOrder, Clear, Close, Declare, Delete, DropOrder, Kind, Kinds,
    MoveOrder, PublishOrder, RightsOrder, Route, Stop, User,
};
use super::{EXIT_REFUSED, looks, print};
use crate::output::complain;
use crossdock_auth::secrets::read_password;
use serde_json::{Map, Value as Json, json};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

/// Bytes of a body, at most: with a third more in a request, and headers, it is less than 1 MiB.
const BODY_MAX: usize = 700 << 10;

/// Runs one of them.
pub fn run(client: &Client, act: Act, json: bool) -> Result<ExitCode, Failure> {
    let client = match &act {
        Act::Backup { .. }
        | Act::Move(_)
        | Act::Drop(_)
        | Act::Route { what: Route::Drain { .. } } => &client.waiting_for_work(),
        _ => client,
    };
    let (path, order) = match act {
        Act::User { what: User::List } => return looks::list(client, Kinds::Users, None, json),
        Act::Route { what: Route::Status { name: None } } => {
            return looks::list(client, Kinds::Routes, None, json);
        }
        Act::Route { what: Route::Status { name: Some(name) } } => {
            return looks::show(client, Kind::Route, (&name, None), json);
        }
        Act::Route { what: Route::Values { route, prefix, from } } => {
            return looks::values(client, (&route, &prefix, from.as_deref()), json);
        }
        act => request(act)?,
    };
    let answer = client.post(&format!("/control/{path}"), &order)?;
    print(&if json { format!("{answer}\n") } else { said(path, &answer) })?;
    let count = |field: &str| answer.get(field).and_then(Json::as_u64).unwrap_or_default();
    let troubles = texts(&answer, "troubles");
    troubles.iter().for_each(|trouble| complain!("{trouble}"));
    // Of a move that was stopped it is no matter what had stayed.
    let has_left = count("left") > 0 && path != "stop-move";
    let is_well = !has_left && troubles.is_empty() && answer.get("stopped").is_none();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REFUSED) })
}

/// The act's name in the API, and what it is told.
fn request(act: Act) -> Result<(&'static str, Json), Failure> {
    Ok(match act {
        Act::Declare { what } => declare(what)?,
        Act::Delete { what: Delete::Queue { name, if_unused, if_empty, vhost } } => {
            let order = json!({ "name": name, "if_unused": if_unused, "if_empty": if_empty });
            ("delete-queue", in_vhost(order, vhost))
        }
        Act::Delete { what: Delete::Exchange { name, if_unused, vhost } } => {
            ("delete-exchange", in_vhost(json!({ "name": name, "if_unused": if_unused }), vhost))
        }
        Act::Delete { what: Delete::Session { name, vhost } } => {
            ("delete-session", in_vhost(json!({ "name": name }), vhost))
        }
        Act::Bind(order) => ("bind", bind(order)?),
        Act::Unbind(order) => ("unbind", bind(order)?),
        Act::Purge { queue, vhost } => ("purge", in_vhost(json!({ "name": queue }), vhost)),
        Act::Move(order) => ("move", moving(order)?),
        Act::Accept { what: Accept::Losses { upto } } => ("accept-losses", json!({ "upto": upto })),
        Act::Drop(order) => ("drop", dropping(order)?),
        Act::Stop { what: Stop::Move { id } } => ("stop-move", json!({ "id": id })),
        Act::Clear { what: Clear::LoginDelay { name } } => {
            ("clear-login-delay", json!({ "name": name }))
        }
        Act::Close { what: Close::Connection { number, reason } } => {
            let order = json!({ "number": number });
            ("close-connection", with(order, "reason", reason))
        }
        Act::Publish(order) => ("publish", publish(order)?),
        Act::User { what } => ("change-user", user(what)?),
        Act::Route { what: Route::Drain { route, to } } => {
            ("drain-route", with(json!({ "name": route }), "to", to))
        }
        Act::Route { what: Route::Forget { route } } => {
            ("forget-route-state", json!({ "name": route }))
        }
        Act::Route { what: Route::Promote { route, yes } } => {
            ("promote-route", json!({ "name": route, "anyway": yes }))
        }
        Act::Route { what: Route::Status { .. } | Route::Values { .. } } => {
            return Err(Failure::usage("it is looked at"));
        }
        Act::Backup { folder, keep } => {
            let folder = std::path::absolute(&folder)
                .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
            ("backup", with(json!({ "folder": folder }), "keep", keep))
        }
        Act::LogLevel { level } => ("log-level", json!({ "level": level })),
        Act::Reload => ("reload", json!({})),
        Act::Drain => ("drain", json!({})),
        Act::Shutdown => ("shutdown", json!({})),
    })
}

/// An order with one field more, if it is given.
fn with(mut order: Json, name: &str, value: Option<impl Into<Json>>) -> Json {
    if let (Some(object), Some(value)) = (order.as_object_mut(), value) {
        object.insert(name.to_owned(), value.into());
    }
    order
}

fn in_vhost(order: Json, vhost: Option<String>) -> Json {
    with(order, "vhost", vhost)
}

/// `NAME=VALUE` as a field; what is JSON is read as such.
fn pairs(given: &[String], option: &str) -> Result<Map<String, Json>, Failure> {
    let mut all = Map::new();
    for pair in given {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("{option} {pair}: is not of the form NAME=VALUE")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        all.insert(name.to_owned(), value);
    }
    Ok(all)
}

fn with_arguments(order: Json, more: Arguments) -> Result<Json, Failure> {
    let arguments = pairs(&more.arguments, "--argument")?;
    Ok(in_vhost(with(order, "arguments", Some(arguments)), more.vhost))
}

fn declare(what: Declare) -> Result<(&'static str, Json), Failure> {
    match what {
        Declare::Queue { name, transient, auto_delete, more } => {
            let order = json!({ "name": name, "transient": transient, "auto_delete": auto_delete });
            Ok(("declare-queue", with_arguments(order, more)?))
        }
        Declare::Exchange { name, kind, transient, auto_delete, internal, more } => {
            let order = json!({
                "name": name, "type": kind, "transient": transient, "auto_delete": auto_delete,
                "internal": internal,
            });
            Ok(("declare-exchange", with_arguments(order, more)?))
        }
    }
}

fn bind(order: BindOrder) -> Result<Json, Failure> {
    let BindOrder { source, destination, key, more } = order;
    let (kind, name) = match destination.split_once(':') {
        Some((kind @ ("queue" | "exchange"), name)) if !name.is_empty() => (kind, name),
        _ => {
            let why = format!("'{destination}' is not queue:NAME or exchange:NAME");
            return Err(Failure::usage(why));
        }
    };
    let order = json!({ "source": source, "key": key });
    with_arguments(with(order, kind, Some(name)), more)
}

fn moving(order: MoveOrder) -> Result<Json, Failure> {
    let conditions = order.meant.conditions;
    let is_all = conditions.is_empty();
    if is_all && order.limit.is_none() && !order.yes && !order.dry_run {
        let why = "there is no --where and no --limit: every message is meant. Say --yes, or look first with \
                   --dry-run";
        return Err(Failure::usage(why));
    }
    let asked = json!({
        "from": order.source, "to_origin": order.to_origin, "where": conditions,
        "all": is_all && order.yes, "dry_run": order.dry_run,
    });
    let asked = with(asked, "to", order.destination);
    let asked = with(asked, "limit", order.limit);
    let asked = with(asked, "begin", order.from);
    Ok(in_vhost(with(asked, "per_second", order.per_second), order.vhost))
}

fn dropping(order: DropOrder) -> Result<Json, Failure> {
    let conditions = order.meant.conditions;
    let is_all = conditions.is_empty() && order.limit.is_none() && order.offset.is_none();
    if is_all && !order.yes && !order.dry_run {
        let why = "no --where, --offset or --limit is given: every message is meant. Say --yes, or look \
                   first with --dry-run";
        return Err(Failure::usage(why));
    }
    let asked = json!({
        "from": order.queue, "where": conditions, "all": is_all && order.yes,
        "dry_run": order.dry_run,
    });
    let asked = with(asked, "limit", order.limit);
    Ok(in_vhost(with(asked, "offset", order.offset), order.vhost))
}

fn publish(order: PublishOrder) -> Result<Json, Failure> {
    let body = match (&order.body, &order.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(file)) => {
            let opened = std::fs::File::open(file);
            opened.and_then(bounded).map_err(|error| unread(file, &error))?
        }
        (None, None) => bounded(std::io::stdin().lock())
            .map_err(|error| unread(Path::new("standard input"), &error))?,
    };
    if body.len() > BODY_MAX {
        return Err(Failure::usage(format!("the body has more than {BODY_MAX} bytes")));
    }
    let asked = json!({
        "address": order.address,
        "headers": pairs(&order.headers, "--header")?,
        "transient": order.transient,
        "retain": order.retain,
    });
    let asked = match String::from_utf8(body) {
        Ok(text) => with(asked, "body", Some(text)),
        Err(error) => with(asked, "body_base64", Some(base64(error.as_bytes()))),
    };
    let asked = with(asked, "content_type", order.content_type);
    let asked = with(asked, "message_id", order.message_id);
    let asked = with(asked, "priority", order.priority);
    Ok(in_vhost(with(asked, "ttl_ms", order.ttl), order.vhost))
}

fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.take(BODY_MAX as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

fn unread(file: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: cannot be read: {error}", file.display()))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn user(what: User) -> Result<Json, Failure> {
    Ok(match what {
        User::List => return Err(Failure::usage("a list is looked at")),
        User::Add { name, tags, no_password } => {
            let order = json!({ "change": "add", "name": name, "tags": tags });
            with(order, "password", if no_password { None } else { Some(password()?) })
        }
        User::SetPassword { name, keep_previous } => json!({
            "change": "set-password", "name": name, "password": password()?,
            "keep_previous": keep_previous,
        }),
        User::ForgetPrevious { name } => json!({ "change": "forget-previous", "name": name }),
        User::Delete { name } => json!({ "change": "delete", "name": name }),
        User::Rights(RightsOrder { name, none: true, vhost, .. }) => {
            json!({ "change": "no-rights", "name": name, "vhost": vhost })
        }
        User::Rights(RightsOrder { name, configure, write, read, vhost, .. }) => json!({
            "change": "rights", "name": name, "vhost": vhost,
            "rights": { "configure": configure, "write": write, "read": read },
        }),
    })
}

/// Reads a password from standard input.
fn password() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        complain!("type the password and press Enter; it is shown while you type");
    }
    let secret = read_password(std::io::stdin().lock());
    let secret = secret.map_err(|error| Failure::usage(error.detail()))?;
    let text = String::from_utf8(secret.0.to_vec());
    text.map_err(|_| Failure::usage("the password is not UTF-8, and clients could not send it"))
}

fn texts(answer: &Json, field: &str) -> Vec<String> {
    let all = answer.get(field).and_then(Json::as_array).into_iter().flatten();
    all.filter_map(Json::as_str).map(str::to_owned).collect()
}

/// What works now, and until when.
fn promoted(answer: &Json) -> String {
    let mut lines = String::new();
    for promoted in texts(answer, "promoted") {
        lines.push_str(&format!("{promoted}\n"));
    }
    lines.push_str(
        "It is so until this route changes in the configuration or the broker starts: name the new module \
         there, with `wasm` and without `shadow`; that does not end its probation\n",
    );
    lines
}

/// What was done, as people read it.
fn said(path: &str, answer: &Json) -> String {
    let count = |field: &str| answer.get(field).and_then(Json::as_u64).unwrap_or_default();
    let is = |field: &str| answer.get(field).and_then(Json::as_bool).unwrap_or_default();
    let text = |field: &str| answer.get(field).and_then(Json::as_str).unwrap_or_default();
    match path {
        "declare-queue" | "declare-exchange" if is("created") => "made\n".to_owned(),
        "declare-queue" | "declare-exchange" => {
            "it was there already, and is the same\n".to_owned()
        }
        "delete-queue" => format!("deleted, and {} messages with it\n", count("messages")),
        "delete-exchange" => "deleted\n".to_owned(),
        "delete-session" => {
            let told = if is("was_connected") { "; its client is told to end" } else { "" };
            format!("ended, and {} messages with it{told}\n", count("messages"))
        }
        "bind" if is("changed") => "bound\n".to_owned(),
        "bind" => "it was bound already\n".to_owned(),
        "unbind" => "unbound\n".to_owned(),
        "purge" => format!("{} messages dropped\n", count("messages")),
        "clear-login-delay" => {
            let addresses = count("addresses");
            format!("it need not wait any longer, at {addresses} addresses\n")
        }
        "close-connection" => "the connection is told to end\n".to_owned(),
        "publish" => "published and stored\n".to_owned(),
        "change-user" => format!("{}\n", text("text")),
        "promote-route" => promoted(answer),
        "forget-route-state" => format!("{} keys are forgotten\n", count("keys")),
        "drain-route" => {
            let (moved, dead, left) = (count("moved"), count("dead_lettered"), count("left"));
            let queue = match left {
                0 => "its queue is deleted".to_owned(),
                left => {
                    format!("{left} stay: there is no room where they go, nor for dead letters")
                }
            };
            format!("{moved} messages moved, {dead} dead-lettered; {queue}\n")
        }
        "backup" => {
            let mut lines = format!(
                "{}: {} bytes copied and checked, {} shared with the backup before\n",
                text("folder"),
                count("copied_bytes"),
                count("reused_bytes")
            );
            for removed in texts(answer, "removed") {
                lines.push_str(&format!("{removed}: removed\n"));
            }
            lines
        }
        "accept-losses" => format!("{} losses are not shown any more\n", count("accepted")),
        "move" => moved(answer),
        "drop" => dropped(answer),
        "stop-move" => format!(
            "stopped: {} messages were moved, everything else is where it was\n",
            count("moved")
        ),
        "log-level" => "set, until the configuration is read again\n".to_owned(),
        "reload" => reloaded(answer),
        "drain" => {
            "no connections are taken any more, and the clients of open ones are asked to close\n"
                .to_owned()
        }
        "shutdown" => "the broker is stopping\n".to_owned(),
        _ => format!("{answer}\n"),
    }
}

/// What has changed in the configuration.
fn reloaded(answer: &Json) -> String {
    let changes = answer.get("changes").and_then(Json::as_u64).unwrap_or_default();
    let mut lines = format!("the configuration was read again: {changes} changes\n");
    for change in texts(answer, "what") {
        // One line for each, whatever the names are.
        lines.push_str(&format!("  {}\n", change.replace(char::is_control, "\u{fffd}")));
    }
    lines
}

/// A report of what was dropped.
fn dropped(answer: &Json) -> String {
    let count = |field: &str| answer.get(field).and_then(Json::as_u64).unwrap_or_default();
    let (matched, dropped, left) = (count("matched"), count("dropped"), count("left"));
    let is_dry = answer.get("dry_run").and_then(Json::as_bool).unwrap_or_default();
    let mut lines = match is_dry {
        true => format!("nothing was dropped: {dropped} of {matched} that are meant would be\n"),
        false => format!("{matched} messages are meant: {dropped} were dropped, {left} stay\n"),
    };
    let stayed = answer.get("stayed").and_then(Json::as_object).into_iter().flatten();
    stayed.for_each(|(why, count)| lines.push_str(&format!("  {count} stay: {why}\n")));
    if let Some(why) = answer.get("stopped").and_then(Json::as_str) {
        lines.push_str(&format!("stopped before its end: {why}\n"));
    }
    lines
}

/// A report of a move.
fn moved(answer: &Json) -> String {
    let count = |field: &str| answer.get(field).and_then(Json::as_u64).unwrap_or_default();
    let (matched, moved, left) = (count("matched"), count("moved"), count("left"));
    let is_dry = answer.get("dry_run").and_then(Json::as_bool).unwrap_or_default();
    let mut lines = match is_dry {
        true => format!(
            "nothing was moved: {matched} messages are meant, {moved} would move, {left} would stay\n"
        ),
        false if moved == 0 => {
            format!("nothing was moved: {matched} messages are meant, {left} stay\n")
        }
        false => format!("{matched} messages are meant: {moved} were moved, {left} stay\n"),
    };
    let words = match is_dry {
        true => [("to", "would go to"), ("stayed", "would stay:")],
        false => [("to", "went to"), ("stayed", "stay:")],
    };
    for (field, word) in words {
        let each = answer.get(field).and_then(Json::as_object).into_iter().flatten();
        each.for_each(|(what, count)| {
            // Clients chose the addresses.
            let what = what.escape_debug();
            lines.push_str(&format!("  {count} {word} {what}\n"));
        });
        if field == "to" && count("elsewhere") > 0 {
            lines.push_str(&format!("  {} {word} other addresses\n", count("elsewhere")));
        }
    }
    if count("to_routes") > 0 {
        lines.push_str(&format!(
            "  {} of them {} content routes, which may fail on them again: crossdock ctl route status\n",
            count("to_routes"),
            if is_dry { "would wait for" } else { "wait for" }
        ));
    }
    if let Some(why) = answer.get("stopped").and_then(Json::as_str) {
        lines.push_str(&format!("stopped before its end: {why}\n"));
    }
    if let Some(next) = answer.get("next").and_then(Json::as_str) {
        lines.push_str(&format!("there may be more: --from {next}\n"));
    }
    lines
}
