//! What a token says that its user may do: scopes as RabbitMQ has them, `ACTION:VHOST/NAME` or `ACTION:VHOST/NAME/KEY`.
//!
//! | part | what it is |
//! |---|---|
//! | ACTION | `configure`, `write` or `read` |
//! | VHOST, NAME | a virtual host; a queue or an exchange, the default one being `amq.default` |
//! | KEY | a routing key of the exchange NAME, words between dots; not there: every key |
//!
//! `*` is any run of characters, `%2F` a slash. They become RabbitMQ's regular expressions, so that they mean what they
//! mean there. Other scopes are somebody else's.

use crossdock_core::{Action, Name, NameRegexes, Rights, RightsText, TopicRegexes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A text with `*` in it for any run of characters: what stands between, decoded.
#[derive(Debug)]
struct Glob(Vec<String>);

#[derive(Debug)]
struct Scope<'a> {
    text: &'a str,
    action: Action,
    vhost: Glob,
    name: Glob,
    /// None: every key.
    key: Option<Glob>,
}

/// The rights by virtual host, of those that there are. The error says which scope is wrong.
pub fn rights(scopes: &[String], vhosts: &[Name]) -> Result<BTreeMap<Name, Arc<Rights>>, String> {
    let mut read = Vec::new();
    for text in scopes {
        read.extend(Scope::parse(text).map_err(|why| format!("the scope '{text}': {why}"))?);
    }
    let mut all = BTreeMap::new();
    for vhost in vhosts {
        let here: Vec<&Scope<'_>> = read.iter().filter(|one| one.vhost.matches(vhost)).collect();
        if here.is_empty() {
            continue;
        }
        let text = rights_text(&here)?;
        let rights = Rights::parse(text).map_err(|mistakes| mistakes.join("; "))?;
        all.insert(vhost.clone(), Arc::new(rights));
    }
    Ok(all)
}

fn rights_text(scopes: &[&Scope<'_>]) -> Result<RightsText, String> {
    let names = |action: Action| {
        expression(scopes.iter().filter(|one| one.action == action).map(|one| &one.name))
    };
    let regexes = NameRegexes {
        configure: names(Action::Configure),
        write: names(Action::Write),
        read: names(Action::Read),
    };
    let mut exchanges = BTreeSet::new();
    for scope in scopes.iter().filter(|one| one.key.is_some()) {
        let exchange = scope.name.fixed().ok_or_else(|| {
            let text = scope.text;
            format!("the scope '{text}': with a key the exchange has to be named without '*'")
        })?;
        exchanges.insert(exchange);
    }
    let every = Glob(vec![String::new(), String::new()]);
    let topics = exchanges.into_iter().map(|exchange| {
        let keys = |action: Action| {
            let here = scopes.iter().filter(|o| o.action == action && o.name.matches(exchange));
            expression(here.map(|one| one.key.as_ref().unwrap_or(&every)))
        };
        let (write, read) = (keys(Action::Write), keys(Action::Read));
        TopicRegexes { exchange: exchange.into(), write, read }
    });
    Ok(RightsText { regexes: Some(regexes), topics: topics.collect(), ..RightsText::default() })
}

/// A regular expression for all texts that one of these matches. Without any it is empty, and nothing matches it.
fn expression<'a>(globs: impl Iterator<Item = &'a Glob>) -> String {
    let texts: BTreeSet<String> = globs.map(Glob::expression).collect();
    match texts.is_empty() {
        true => String::new(),
        false => format!("^(?:{})$", texts.into_iter().collect::<Vec<_>>().join("|")),
    }
}

impl<'a> Scope<'a> {
    /// None: it is somebody else's.
    fn parse(text: &'a str) -> Result<Option<Self>, String> {
        let action = match text.split_once(':') {
            Some(("configure", rest)) => (Action::Configure, rest),
            Some(("write", rest)) => (Action::Write, rest),
            Some(("read", rest)) => (Action::Read, rest),
            _ => return Ok(None),
        };
        let (action, rest) = action;
        let mut parts = rest.split('/');
        let (Some(vhost), Some(name), key, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it is not VHOST/NAME or VHOST/NAME/KEY; a slash in one is %2F".to_owned());
        };
        let key = key.map(Glob::parse).transpose()?.filter(|key| !key.is_everything());
        Ok(Some(Self { text, action, vhost: Glob::parse(vhost)?, name: Glob::parse(name)?, key }))
    }
}

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        text.split('*').map(decoded).collect::<Result<_, _>>().map(Self)
    }

    /// It is nothing but `*`.
    fn is_everything(&self) -> bool {
        self.0.len() > 1 && self.0.iter().all(String::is_empty)
    }

    /// The text without `*` in it; none when it has some.
    fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), Some(last)) = (self.0.split_first(), self.0.last()) else {
            return false;
        };
        if rest.is_empty() {
            return first == text;
        }
        let inner = text.strip_prefix(&**first).and_then(|inner| inner.strip_suffix(&**last));
        let Some(mut inner) = inner else { return false };
        // What is between comes in its order, each part at the first place where it is found.
        for part in rest.iter().take(rest.len() - 1) {
            match inner.split_once(&**part) {
                Some((_, behind)) => inner = behind,
                None => return false,
            }
        }
        true
    }

    fn expression(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|part| literal(part)).collect();
        parts.join("(?s:.*)")
    }
}

/// `%2F` is a slash.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}': a percent sign has two hexadecimal digits behind it");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = digit().zip(digit()).ok_or_else(wrong)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| format!("'{text}' is not UTF-8"))
}

/// A regular expression for just this text.
fn literal(text: &str) -> String {
    let mut expression = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(character) {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(scopes: &[&str]) -> Result<BTreeMap<Name, Arc<Rights>>, String> {
        let scopes: Vec<String> = scopes.iter().map(|text| (*text).to_owned()).collect();
        rights(&scopes, &["/".into(), "orders".into()])
    }

    #[test]
    fn scopes_become_expressions_in_the_virtual_hosts_that_they_name() {
        let found = all(&["read:%2F/q.1", "read:*/inv*", "write:orders/amq.topic/a.*", "openid"]);
        let found = found.expect("scopes");
        let text = |vhost: &str| found.get(vhost).expect("it may enter").text().clone();
        let (root, orders) = (text("/"), text("orders"));
        let names = root.regexes.expect("expressions");
        assert_eq!(names.read, r"^(?:inv(?s:.*)|q\.1)$");
        assert_eq!((&*names.write, &*names.configure), ("", ""));
        assert!(root.topics.is_empty());
        let names = orders.regexes.expect("expressions");
        assert_eq!((&*names.read, &*names.write), ("^(?:inv(?s:.*))$", r"^(?:amq\.topic)$"));
        let topics = orders.topics.first().expect("one exchange");
        assert_eq!(&*topics.exchange, "amq.topic");
        assert_eq!((&*topics.write, &*topics.read), (r"^(?:a\.(?s:.*))$", ""));
        assert!(all(&["openid", "tag:administrator"]).expect("none of ours").is_empty());
        assert!(all(&["read:other/*"]).expect("of another virtual host").is_empty());
    }

    #[test]
    fn a_key_that_is_everything_narrows_nothing_and_the_widest_scope_counts() {
        let found = all(&["write:*/*/*", "write:*/x/a"]).expect("scopes");
        let text = found.get("/").expect("it may enter").text().clone();
        let [topics] = text.topics.as_slice() else { panic!("one exchange: {text:?}") };
        assert_eq!(topics.write, "^(?:(?s:.*)(?s:.*)|a)$".replace("(?s:.*)(?s:.*)", "(?s:.*)"));
    }

    #[test]
    fn wrong_scopes_are_named() {
        for (scope, why) in [
            ("read:q", "VHOST/NAME"),
            ("read:a/b/c/d", "VHOST/NAME"),
            ("write:%2/q", "percent"),
            ("write:%ff/q", "UTF-8"),
            ("write:*/*/a.b", "without '*'"),
        ] {
            let error = all(&[scope]).expect_err(scope);
            assert!(error.contains(why) && error.contains(scope), "{error}");
        }
    }

    #[test]
    fn globs_match_as_their_expressions_do() {
        for (glob, text, is_it) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a", "ab", false),
            ("%2F", "/", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(Glob::parse(glob).expect("a glob").matches(text), is_it, "{glob} {text}");
        }
    }
}
