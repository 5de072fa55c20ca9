//! The users, permissions and topic permissions of RabbitMQ's definitions, as `rabbitmqctl export_definitions` and the
//! management API write them. Other parts of the file are not looked at here.

use super::{Imported, ImportedUser, Mistake, Permission, TopicPermission, all_or_nothing};
use crate::password::PasswordHash;
use crossdock_core::Name;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Reads these three parts of a definitions file, for one vhost or for all of them.
pub fn definitions(contents: &[u8]) -> Result<Imported, Vec<Mistake>> {
    let file: Map<String, Value> = serde_json::from_slice(contents).map_err(|why| {
        // The library's text ends with the place; here the place stands in front.
        let text = why.to_string();
        let end = text.rfind(" at line ").unwrap_or(text.len());
        let why_alone = text.get(..end).unwrap_or_default();
        vec![Mistake::new(
            format!("line {}", why.line()),
            format!("this is no JSON object: {why_alone}"),
        )]
    })?;
    let mut mistakes = Vec::new();
    let mut places = HashMap::new();
    let new_user = |value: &Value, at: usize| {
        let user = user(value)?;
        match places.insert(user.name.clone(), at) {
            None => Ok(user),
            Some(first) => Err(format!("the user {:?} is users[{first}] already", user.name)),
        }
    };
    let users = read(&file, "users", new_user, &mut mistakes);
    let permissions = read(&file, "permissions", plain::<Permission>, &mut mistakes);
    let topic_permissions =
        read(&file, "topic_permissions", plain::<TopicPermission>, &mut mistakes);
    let topic_rules = Vec::new();
    all_or_nothing(Imported { users, topic_rules, permissions, topic_permissions }, mistakes)
}

/// The items of one part. A part that is not there has none.
fn read<T>(
    file: &Map<String, Value>,
    part: &str,
    mut item: impl FnMut(&Value, usize) -> Result<T, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    let items = match file.get(part) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            mistakes.push(Mistake::new(part, "this is no list"));
            return Vec::new();
        }
    };
    let mut read = Vec::with_capacity(items.len());
    for (value, at) in items.iter().zip(0..) {
        match item(value, at) {
            Ok(item) => read.push(item),
            Err(why) => mistakes.push(Mistake::new(format!("{part}[{at}]"), why)),
        }
    }
    read
}

fn plain<T: for<'de> Deserialize<'de>>(value: &Value, _: usize) -> Result<T, String> {
    T::deserialize(value).map_err(|why| why.to_string())
}

/// A user as RabbitMQ writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    /// Base64; empty for a user without a password.
    #[serde(default)]
    password_hash: String,
    hashing_algorithm: Option<String>,
    /// A list, or, before RabbitMQ 3.8, words with commas between them.
    #[serde(default)]
    tags: Value,
    #[serde(default)]
    limits: Map<String, Value>,
}

fn user(value: &Value) -> Result<ImportedUser, String> {
    let written: Written = plain(value, 0)?;
    if written.name.is_empty() {
        return Err("the user's name is empty".to_owned());
    }
    let limits = written.limits.iter().map(|(name, limit)| {
        let value = limit.as_i64().ok_or_else(|| format!("the limit {name} is no whole number"))?;
        match &**name {
            "max-connections" | "max-channels" => Ok((name.clone(), value)),
            _ => Err(format!("the limit {name} is not known")),
        }
    });
    Ok(ImportedUser {
        password: password(&written)?,
        tags: tags(&written.tags).ok_or("tags are a list of words, or words with commas")?,
        limits: limits.collect::<Result<_, String>>()?,
        name: Name::from(written.name),
    })
}

/// None: they are neither a list of words nor one text.
fn tags(written: &Value) -> Option<Vec<Name>> {
    let words: Vec<&str> = match written {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<_>>()?,
        Value::String(text) => text.split(',').map(str::trim).collect(),
        _ => return None,
    };
    Some(words.into_iter().filter(|tag| !tag.is_empty()).map(Name::from).collect())
}

/// The hash, if it is of the algorithm that the user is said to have.
fn password(written: &Written) -> Result<Option<PasswordHash>, String> {
    let text = written.password_hash.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let hash = PasswordHash::parse(text).map_err(|why| why.to_string())?;
    // Users from before RabbitMQ 3.6 have no algorithm: their hashes are MD5, and refused by their length.
    match (written.hashing_algorithm.as_deref(), hash.rabbitmq_algorithm()) {
        (None, _) | (Some("rabbit_password_hashing_sha256"), Some("sha256")) => Ok(Some(hash)),
        (Some("rabbit_password_hashing_sha512"), Some("sha512")) => Ok(Some(hash)),
        (Some(named), _) => Err(format!("the password hash is not of the algorithm {named}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password;
    use bytes::Bytes;
    use crossdock_core::Secret;

    /// The example of RabbitMQ's documentation: the password is `test12`.
    const HASH: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

    fn shown(mistakes: Vec<Mistake>) -> Vec<String> {
        mistakes.iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn users_and_permissions_are_read_as_rabbitmq_writes_them() {
        let text = format!(
            r#"{{"rabbitmq_version": "4.1.0", "queues": [],
            "users": [
              {{"name": "ann", "password_hash": "{HASH}", "limits": {{"max-connections": 5}},
                "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"]}},
              {{"name": "bob", "password_hash": "", "tags": "monitoring, policymaker"}},
              {{"name": "cat", "tags": ""}}],
            "permissions": [{{"user": "ann", "vhost": "/", "configure": ".*", "write": "^a", "read": ""}}],
            "topic_permissions": [
              {{"user": "ann", "vhost": "/", "exchange": "amq.topic", "write": "^a", "read": ".*"}}]}}"#
        );
        let read = definitions(text.as_bytes()).expect("definitions");
        let of = |at: usize| {
            let user: &ImportedUser = &read.users[at];
            let tags: Vec<&str> = user.tags.iter().map(|tag| &**tag).collect();
            (&*user.name, user.password.is_some(), tags.join("+"), user.limits.clone())
        };
        let limits = vec![("max-connections".to_owned(), 5)];
        assert_eq!(of(0), ("ann", true, "administrator".to_owned(), limits));
        assert_eq!(of(1), ("bob", false, "monitoring+policymaker".to_owned(), vec![]));
        assert_eq!(of(2), ("cat", false, String::new(), vec![]));
        let hash = read.users[0].password.as_ref().expect("a hash");
        assert!(password::verify(hash, &Secret(Bytes::from_static(b"test12"))));
        let permission = &read.permissions[0];
        assert_eq!((&*permission.write, &*permission.read), ("^a", ""));
        assert_eq!(read.topic_permissions[0].exchange, "amq.topic");
    }

    #[test]
    fn a_file_without_these_parts_has_no_users() {
        assert_eq!(definitions(b"{}").expect("nothing"), Imported::default());
    }

    #[test]
    fn every_mistake_has_its_place() {
        let sha512 = "rabbit_password_hashing_sha512";
        let text = format!(
            r#"{{"users": [
              {{"name": "ann", "password_hash": "{HASH}"}},
              {{"name": ""}},
              {{"password_hash": "{HASH}"}},
              {{"name": "b", "password_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
              {{"name": "c", "password_hash": "{HASH}", "hashing_algorithm": "{sha512}"}},
              {{"name": "d", "tags": 7}},
              {{"name": "e", "limits": {{"max-speed": 7}}}},
              {{"name": "f", "colour": 7}},
              {{"name": "ann"}}],
            "permissions": [{{"user": "ann", "vhost": "/", "write": "", "read": ""}}],
            "topic_permissions": {{}}}}"#
        );
        let shown = shown(definitions(text.as_bytes()).expect_err("mistakes"));
        let expected = [
            "users[1]: the user's name is empty",
            "users[2]: missing field `name`",
            "users[3]: RabbitMQ's MD5 hashes are not taken",
            "users[4]: the password hash is not of the algorithm rabbit_password_hashing_sha512",
            "users[5]: tags are a list of words, or words with commas",
            "users[6]: the limit max-speed is not known",
            "users[7]: unknown field `colour`",
            "users[8]: the user \"ann\" is users[0] already",
            "permissions[0]: missing field `configure`",
            "topic_permissions: this is no list",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown}");
            assert!(!shown.contains(HASH));
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_its_line() {
        let shown = |text: &str| shown(definitions(text.as_bytes()).expect_err("mistakes"));
        let cut = shown("{\n\"users\": [\n");
        assert!(cut[0].starts_with("line 3: this is no JSON object: EOF"), "{cut:?}");
        assert!(!cut[0].contains(" at line "), "{cut:?}");
        assert!(shown("[]")[0].contains("no JSON object"));
        assert_eq!(shown(&"[".repeat(100_000)).len(), 1);
    }
}
