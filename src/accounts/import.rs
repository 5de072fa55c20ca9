//! `crossdock user import`: users of Mosquitto and RabbitMQ with their hashes and rights. What would give somebody more
//! rights than the other broker did is a mistake, and then nothing is changed. What else cannot be kept is left out,
//! and said.

use super::acts::{Mistakes, about, check_new, shown};
use super::command::ImportOrder;
use super::{actor, rights_line};
use crate::config::{Loaded, Mistake};
use crate::output::{complain, say};
use crossdock_auth::import::{
    Access, Imported, Permission, Subject, TopicPermission, TopicRule, acl_file, definitions,
    password_file,
};
use crossdock_core::{
    Account, AccountSource, Broker, GUEST, Name, NameRegexes, Rights, RightsText, Secret,
    TopicRegexes,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The files of a command line, read.
pub struct Found {
    imported: Imported,
    /// Where its permissions come from.
    files: Files,
}

/// The files' names, for mistakes.
struct Files {
    users: String,
    rules: String,
}

/// What is to be made, and what is not.
#[derive(Default)]
struct Draft {
    accounts: BTreeMap<Name, Account>,
    mistakes: Mistakes,
    /// What is left out, and gives nobody more for it.
    left_out: Vec<String>,
}

/// Reads the files. All mistakes in them are returned, each with its line.
pub fn read(order: &ImportOrder) -> Result<Found, Mistakes> {
    let mut mistakes = Vec::new();
    let mut all = Imported::default();
    let mut files = Files { users: String::new(), rules: String::new() };
    if let Some(path) = &order.rabbitmq_definitions {
        files = Files { users: path.display().to_string(), rules: path.display().to_string() };
        all = part(path, definitions, &mut mistakes);
    }
    if let Some(path) = &order.mosquitto_passwords {
        files.users = path.display().to_string();
        all.users = part(path, password_file, &mut mistakes).users;
    }
    if let Some(path) = &order.mosquitto_acl {
        files.rules = path.display().to_string();
        all.topic_rules = part(path, acl_file, &mut mistakes).topic_rules;
    }
    if files.users.is_empty() && files.rules.is_empty() {
        let reason = "say what to import: --mosquitto-passwords, --mosquitto-acl or \
                      --rabbitmq-definitions";
        mistakes.push(Mistake::of_option("", reason));
    }
    match mistakes.is_empty() {
        true => Ok(Found { imported: all, files }),
        false => Err(mistakes),
    }
}

type Reader = fn(&[u8]) -> Result<Imported, Vec<crossdock_auth::import::Mistake>>;

fn part(path: &Path, reader: Reader, mistakes: &mut Mistakes) -> Imported {
    let name = path.display().to_string();
    let contents = std::fs::metadata(path).and_then(|about| match about.len() {
        0..=FILE_BYTES_MAX => std::fs::read(path),
        _ => Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))),
    });
    match contents {
        Err(error) => mistakes.push(Mistake::of_option(&name, format!("cannot be read: {error}"))),
        Ok(contents) => match reader(&contents) {
            Ok(read) => return read,
            Err(found) => {
                mistakes.extend(found.iter().map(|one| Mistake::of_option(&name, one.to_string())))
            }
        },
    }
    Imported::default()
}

/// Makes the users, or none of them.
pub async fn import(
    broker: &Broker,
    loaded: &Loaded,
    (found, order): (Found, &ImportOrder),
) -> Result<(), Mistakes> {
    let vhost = Name::from(order.vhost.as_str());
    let Found { imported, files } = found;
    let mut draft = Draft::default();
    draft.users(broker, &imported, &files);
    match order.rabbitmq_definitions.is_some() {
        true => draft.permissions(&imported, &files),
        false => draft.rules(broker, (&imported.topic_rules, &files), &vhost),
    }
    draft.note_vhosts(broker, loaded);
    let Draft { accounts, mistakes, left_out } = draft;
    for note in &left_out {
        complain!("left out: {note}");
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let done = if order.dry_run { "would be imported" } else { "imported" };
    let accounts: Vec<Account> = accounts.into_values().collect();
    if !order.dry_run {
        let set = broker.set_users(&actor(), accounts.clone()).await;
        set.map_err(|error| about("", &error))?;
    }
    for account in &accounts {
        say!("user {} {done}", shown(&account.name));
        for (vhost, rights) in &account.vhosts {
            say!("  in {}:{}", shown(vhost), rights_line(rights.text()));
        }
    }
    say!("{} users {done}", accounts.len());
    Ok(())
}

impl Draft {
    fn mistake(&mut self, place: &str, reason: impl Into<String>) {
        self.mistakes.push(Mistake::of_option(place, reason));
    }

    fn users(&mut self, broker: &Broker, imported: &Imported, files: &Files) {
        for user in &imported.users {
            if *user.name == *GUEST {
                self.left_out.push("user guest: it is the broker's own here".to_owned());
                continue;
            }
            if let Err(reason) = check_new(broker, &user.name) {
                self.mistake(&files.users, reason);
                continue;
            }
            for (limit, value) in user.limits.iter().filter(|(_, value)| *value >= 0) {
                let user = &user.name;
                self.left_out.push(format!(
                    "{limit} = {value} of user '{user}': there is limits.connections_per_user for all, \
                     and no limit for one of them"
                ));
            }
            let verifiers = user.password.iter();
            let account = Account {
                name: user.name.clone(),
                tags: user.tags.clone(),
                verifiers: verifiers.map(|one| Secret(one.text().to_owned().into())).collect(),
                vhosts: BTreeMap::new(),
            };
            self.accounts.insert(account.name.clone(), account);
        }
    }

    /// RabbitMQ's: they are kept as they were sent.
    fn permissions(&mut self, imported: &Imported, files: &Files) {
        let mut texts: BTreeMap<(&str, &str), RightsText> = BTreeMap::new();
        for (index, permission) in imported.permissions.iter().enumerate() {
            let Permission { user, vhost, configure, write, read } = permission;
            let place = format!("{} permissions[{index}]", files.rules);
            if !self.knows(user, &place) {
                continue;
            }
            let (configure, write, read) = (configure.clone(), write.clone(), read.clone());
            let regexes = Some(NameRegexes { configure, write, read });
            let text = RightsText { regexes, ..RightsText::default() };
            if texts.insert((user, vhost), text).is_some() {
                self.mistake(&place, format!("user '{user}' has permissions in '{vhost}' already"));
            }
        }
        for (index, permission) in imported.topic_permissions.iter().enumerate() {
            let TopicPermission { user, vhost, exchange, write, read } = permission;
            let place = format!("{} topic_permissions[{index}]", files.rules);
            if !self.knows(user, &place) {
                continue;
            }
            if exchange.is_empty() {
                let reason = "it is for every exchange of topics, and one has to be named here";
                self.mistake(&place, reason);
                continue;
            }
            match texts.get_mut(&(&**user, &**vhost)) {
                Some(text) => text.topics.push(TopicRegexes {
                    exchange: exchange.as_str().into(),
                    write: write.clone(),
                    read: read.clone(),
                }),
                None => self.left_out.push(format!(
                    "{place}: user '{user}' has no permissions in virtual host '{vhost}'"
                )),
            }
        }
        for ((user, vhost), text) in texts {
            let place = format!("{}: user '{user}' in virtual host '{vhost}'", files.rules);
            self.allow((user, &vhost.into()), text, &place);
        }
    }

    /// Whether that user is imported; if not, that is a mistake, but for guest.
    fn knows(&mut self, user: &str, place: &str) -> bool {
        if user == GUEST {
            return false;
        }
        let is_known = self.accounts.contains_key(user);
        if !is_known {
            self.mistake(place, format!("there is no user '{user}' in the file"));
        }
        is_known
    }

    fn allow(&mut self, (user, vhost): (&str, &Name), text: RightsText, place: &str) {
        match Rights::parse(text) {
            Ok(rights) => {
                if let Some(account) = self.accounts.get_mut(user) {
                    account.vhosts.insert(vhost.clone(), Arc::new(rights));
                }
            }
            Err(mistakes) => mistakes.into_iter().for_each(|why| self.mistake(place, why)),
        }
    }

    /// Mosquitto's.
    fn rules(&mut self, broker: &Broker, (rules, files): (&[TopicRule], &Files), vhost: &Name) {
        self.add_known(broker, (rules, files));
        if files.rules.is_empty() {
            let names: Vec<String> = self.accounts.keys().map(|name| shown(name)).collect();
            if !names.is_empty() {
                let what =
                    "they have no rights until `crossdock user rights` says what they may do";
                self.left_out.push(format!("rights of {}: {what}", names.join(", ")));
            }
            return;
        }
        for rule in rules.iter().filter(|rule| rule.subject == Subject::Anonymous) {
            let place = format!("{}: line {}", files.rules, rule.line);
            self.left_out.push(format!(
                "{place} ({}): clients without a user are let in from this machine only, and may do \
                 everything there",
                rule.filter
            ));
        }
        let names: Vec<Name> = self.accounts.keys().cloned().collect();
        for name in names {
            let own: Vec<&TopicRule> = rules
                .iter()
                .filter(|rule| match &rule.subject {
                    Subject::User(user) => *user == name,
                    Subject::Everybody => true,
                    Subject::Anonymous => false,
                })
                .collect();
            let text = self.rights_of((&name, &own), &files.rules);
            self.allow((&name, vhost), text, &files.rules);
        }
    }

    /// Users that only the rules name have to be there.
    fn add_known(&mut self, broker: &Broker, (rules, files): (&[TopicRule], &Files)) {
        let all = broker.users();
        for rule in rules {
            let Subject::User(name) = &rule.subject else { continue };
            if self.accounts.contains_key(name) {
                continue;
            }
            let place = format!("{}: line {}", files.rules, rule.line);
            match all.iter().find(|(account, _)| account.name == *name) {
                Some((account, AccountSource::RunTime)) => {
                    self.accounts.insert(name.clone(), Account::clone(account));
                }
                Some((_, AccountSource::Configuration)) => {
                    let reason =
                        format!("user '{name}' is of the configuration: it is changed there");
                    self.mistake(&place, reason);
                }
                None => {
                    let reason =
                        format!("there is no user '{name}': it has no line in a password_file");
                    self.mistake(&place, reason);
                }
            }
        }
    }

    fn rights_of(&mut self, (user, rules): (&Name, &[&TopicRule]), file: &str) -> RightsText {
        let mut text = RightsText::default();
        for rule in rules {
            let place = format!("{file}: line {}", rule.line);
            if rule.access == Access::Deny {
                match rules.iter().find(|other| other.access != Access::Deny && meet(rule, other)) {
                    Some(other) => {
                        let reason = format!(
                            "`deny {}` takes something away that line {} allows user '{user}', and \
                             rights here only allow: narrow that line",
                            rule.filter, other.line
                        );
                        self.mistake(&place, reason);
                    }
                    None => self.left_out.push(format!(
                        "{place}: `deny {}` for user '{user}', who is not allowed that anyway",
                        rule.filter
                    )),
                }
                continue;
            }
            match pattern(rule) {
                Ok(pattern) => {
                    if matches!(rule.access, Access::Read | Access::ReadWrite) {
                        push_new(&mut text.read, &pattern);
                    }
                    if matches!(rule.access, Access::Write | Access::ReadWrite) {
                        push_new(&mut text.write, &pattern);
                    }
                }
                Err(reason) => self.mistake(&place, reason),
            }
        }
        text
    }

    fn note_vhosts(&mut self, broker: &Broker, loaded: &Loaded) {
        let mut there = broker.vhosts();
        there.extend(loaded.config.virtual_hosts.iter().map(|one| one.name.as_str().into()));
        let vhosts = self.accounts.values().flat_map(|account| account.vhosts.keys());
        let missing: std::collections::BTreeSet<Name> =
            vhosts.filter(|vhost| !there.contains(vhost)).cloned().collect();
        for vhost in missing {
            self.left_out.push(format!(
                "virtual host '{vhost}', where users have rights: add a [[virtual_host]] of that name"
            ));
        }
    }
}

fn push_new(list: &mut Vec<String>, pattern: &str) {
    if !list.iter().any(|known| known == pattern) {
        list.push(pattern.to_owned());
    }
}

/// The rule's filter as one of ours.
fn pattern(rule: &TopicRule) -> Result<String, String> {
    // In a `topic` line these are plain text, and braces are so everywhere.
    if rule.filter.contains(['{', '}']) {
        return Err(format!("'{}': a topic with braces cannot be said in a pattern", rule.filter));
    }
    let filter = match rule.subject {
        Subject::Everybody => rule.filter.replace("%u", "{username}").replace("%c", "{client_id}"),
        Subject::User(_) | Subject::Anonymous => rule.filter.clone(),
    };
    let pattern = format!("topic:{filter}");
    match crossdock_core::Pattern::parse(&pattern) {
        Ok(_) => Ok(pattern),
        Err(why) => Err(format!("'{}': {why}", rule.filter)),
    }
}

/// Whether some topic may match both: names that stand in patterns are any word.
fn meet(one: &TopicRule, other: &TopicRule) -> bool {
    let words = |rule: &TopicRule| -> Vec<String> {
        let is_pattern = rule.subject == Subject::Everybody;
        let word = |word: &str| match is_pattern && (word.contains("%u") || word.contains("%c")) {
            true => "+".to_owned(),
            false => word.to_owned(),
        };
        rule.filter.split('/').map(word).collect()
    };
    let (one, other) = (words(one), words(other));
    let mut at = 0;
    loop {
        match (one.get(at).map(String::as_str), other.get(at).map(String::as_str)) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) | (_, Some("+")) => {}
            (Some(a), Some(b)) if a != b => return false,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(subject: Subject, access: Access, filter: &str) -> TopicRule {
        TopicRule { subject, access, filter: filter.to_owned(), line: 1 }
    }

    #[test]
    fn filters_become_patterns_with_the_names_of_clients_in_them() {
        let of = |subject, filter| pattern(&rule(subject, Access::Read, filter));
        let user = || Subject::User("u".into());
        assert_eq!(of(user(), "a/+/#").as_deref(), Ok("topic:a/+/#"));
        assert_eq!(of(user(), "up/%u").as_deref(), Ok("topic:up/%u"), "plain text");
        let pattern = of(Subject::Everybody, "up/%u/x-%c/#");
        assert_eq!(pattern.as_deref(), Ok("topic:up/{username}/x-{client_id}/#"));
        assert!(of(user(), "a/{x}").is_err() && of(user(), "a/*").is_err());
    }

    #[test]
    fn a_deny_meets_what_it_would_take_away() {
        let user = |filter| rule(Subject::User("u".into()), Access::Deny, filter);
        let everybody = |filter| rule(Subject::Everybody, Access::Read, filter);
        for (one, other, meets) in [
            ("a/b", "a/b", true),
            ("a/b", "a/+", true),
            ("a/b", "#", true),
            ("a/b", "a/c", false),
            ("a/b", "a", false),
            ("a/b/#", "a/b", true),
            ("a/#", "b/#", false),
        ] {
            assert_eq!(meet(&user(one), &user(other)), meets, "{one} {other}");
            assert_eq!(meet(&user(other), &user(one)), meets, "{other} {one}");
        }
        assert!(meet(&user("up/ann"), &everybody("up/%u")));
        assert!(!meet(&user("up/%u"), &user("up/ann")), "plain text in both");
    }
}
