//! Mosquitto's password_file and acl_file, read as Mosquitto reads them, but for lines that it passes over with a
//! warning: those are mistakes here.

use super::{Access, Imported, ImportedUser, Mistake, Subject, TopicRule, all_or_nothing};
use crate::password::PasswordHash;
use crossdock_core::Name;
use std::collections::HashMap;

/// Longest filter, in bytes (MQTT 5 §1.5.4).
const FILTER_BYTES_MAX: usize = 65_535;

/// Reads a password_file: a line `user:hash` for each user, as `mosquitto_passwd` writes it.
pub fn password_file(contents: &[u8]) -> Result<Imported, Vec<Mistake>> {
    let (mut read, mut mistakes) = (Imported::default(), Vec::new());
    let mut lines_of = HashMap::new();
    for (number, line) in lines(contents) {
        match line.and_then(user) {
            Ok(user) => {
                if let Some(first) = lines_of.insert(user.name.clone(), number) {
                    let why = format!("the user {:?} has line {first} already", user.name);
                    mistakes.push(at(number, why));
                }
                read.users.push(user);
            }
            Err(why) => mistakes.push(at(number, why)),
        }
    }
    all_or_nothing(read, mistakes)
}

/// Reads an acl_file: lines `user NAME`, `topic [ACCESS] FILTER` and `pattern [ACCESS] FILTER`.
pub fn acl_file(contents: &[u8]) -> Result<Imported, Vec<Mistake>> {
    let (mut read, mut mistakes) = (Imported::default(), Vec::new());
    let mut subject = Subject::Anonymous;
    for (number, line) in lines(contents) {
        let mut rule = |subject: &Subject, rest: &str| {
            let (access, filter) = access_and_filter(rest)?;
            let (subject, filter) = (subject.clone(), filter.to_owned());
            read.topic_rules.push(TopicRule { subject, access, filter, line: number });
            Ok(())
        };
        let done = line.and_then(|line| {
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            match (word, rest.trim()) {
                ("user", "") => Err("`user` wants a name".to_owned()),
                ("user", name) => {
                    subject = Subject::User(Name::from(name));
                    Ok(())
                }
                ("topic", rest) => rule(&subject, rest),
                ("pattern", rest) => rule(&Subject::Everybody, rest),
                (word, _) => {
                    Err(format!("a line begins with user, topic or pattern, not {word:?}"))
                }
            }
        });
        mistakes.extend(done.err().map(|why| at(number, why)));
    }
    all_or_nothing(read, mistakes)
}

/// The lines that say something, with their numbers from 1, without the space around them.
fn lines(contents: &[u8]) -> impl Iterator<Item = (usize, Result<&str, String>)> {
    let numbered = (1..).zip(contents.split(|b| *b == b'\n'));
    let read = numbered.map(|(number, line)| {
        let line = std::str::from_utf8(line).map(str::trim);
        (number, line.map_err(|_| "the line is not UTF-8".to_owned()))
    });
    read.filter(|(_, line)| {
        !line.as_ref().is_ok_and(|line| line.is_empty() || line.starts_with('#'))
    })
}

fn at(number: usize, why: String) -> Mistake {
    Mistake::new(format!("line {number}"), why)
}

fn user(line: &str) -> Result<ImportedUser, String> {
    let (name, hash) = line.split_once(':').ok_or("a line has the form user:hash")?;
    let (name, hash) = (name.trim(), hash.trim());
    if name.is_empty() {
        return Err("the user's name is empty".to_owned());
    }
    if !hash.starts_with('$') {
        return Err("the password is not hashed: `mosquitto_passwd -U` does that".to_owned());
    }
    let password = PasswordHash::parse(hash).map_err(|why| why.to_string())?;
    let (name, password) = (Name::from(name), Some(password));
    Ok(ImportedUser { name, password, tags: Vec::new(), limits: Vec::new() })
}

/// `[ACCESS] FILTER`. As in Mosquitto, a filter with a space in it needs the access in front.
fn access_and_filter(rest: &str) -> Result<(Access, &str), String> {
    let (access, filter) = match rest.split_once([' ', '\t']) {
        None => (Access::ReadWrite, rest),
        Some((word, filter)) => {
            let access = match word {
                "read" => Access::Read,
                "write" => Access::Write,
                "readwrite" => Access::ReadWrite,
                "deny" => Access::Deny,
                _ => return Err(format!("{word:?} is not read, write, readwrite or deny")),
            };
            (access, filter.trim_start())
        }
    };
    if filter.is_empty() {
        return Err("the topic is missing".to_owned());
    }
    if filter.len() > FILTER_BYTES_MAX || filter.contains('\0') {
        return Err(format!("a topic has at most {FILTER_BYTES_MAX} bytes, none of them zero"));
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        // MQTT 5 [MQTT-4.7.1-1] [MQTT-4.7.1-2]
        if level.contains('#') && (level != "#" || !is_last) {
            return Err(format!(
                "`#` is the whole last level of a topic, and is not so in {filter:?}"
            ));
        }
        if level.contains('+') && level != "+" {
            return Err(format!("`+` is a whole level of a topic, and is not so in {filter:?}"));
        }
    }
    Ok((access, filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use crossdock_core::Secret;
    use sha2::{Digest, Sha512};

    fn hash(password: &str) -> String {
        let hash = Sha512::digest(format!("{password}salt"));
        format!("$6${}${}", BASE64_STANDARD.encode("salt"), BASE64_STANDARD.encode(hash))
    }

    fn shown(mistakes: Vec<Mistake>) -> Vec<String> {
        mistakes.iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn users_come_with_hashes_that_open() {
        let text = format!("# ours\nann:{}\r\n\n  bob : {}\n", hash("one"), hash("two"));
        let users = password_file(text.as_bytes()).expect("users").users;
        let names: Vec<&str> = users.iter().map(|user| &*user.name).collect();
        assert_eq!(names, ["ann", "bob"]);
        for (user, right) in users.iter().zip(["one", "two"]) {
            let hash = user.password.as_ref().expect("a hash");
            assert!(password::verify(hash, &Secret(Bytes::from_static(right.as_bytes()))));
            assert!(hash.is_legacy());
        }
        assert_eq!(password_file(b"").expect("no users"), Imported::default());
    }

    #[test]
    fn every_mistake_of_a_password_file_has_its_line() {
        let good = hash("one");
        let text = format!("ann:{good}\nbob\n:{good}\ncat:plain\n# x\ndan:$6$!$AAAA\nann:{good}\n");
        let mistakes =
            password_file(&[text.as_bytes(), b"\xff:x\n"].concat()).expect_err("mistakes");
        let shown = shown(mistakes);
        let expected = [
            "line 2: a line has the form user:hash",
            "line 3: the user's name is empty",
            "line 4: the password is not hashed: `mosquitto_passwd -U` does that",
            "line 6: the salt of the $6$ hash is not base64",
            "line 7: the user \"ann\" has line 1 already",
            "line 8: the line is not UTF-8",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown}");
            assert!(!shown.contains("plain"), "a password is printed: {shown}");
        }
    }

    #[test]
    fn rules_have_their_user_access_and_filter() {
        let text = b"topic read public/#\n\nuser ann lee\n topic sensors/+/t\ntopic deny a b/c\n\
                     pattern write up/%u/%c\n# x\ntopic write\t$SYS/x\nuser bob\ntopic readwrite #\n";
        let rules = acl_file(text).expect("rules").topic_rules;
        let user = |name: &str| Subject::User(Name::from(name));
        let expected = [
            (Subject::Anonymous, Access::Read, "public/#", 1),
            (user("ann lee"), Access::ReadWrite, "sensors/+/t", 4),
            (user("ann lee"), Access::Deny, "a b/c", 5),
            (Subject::Everybody, Access::Write, "up/%u/%c", 6),
            (user("ann lee"), Access::Write, "$SYS/x", 8),
            (user("bob"), Access::ReadWrite, "#", 10),
        ];
        let expected = expected.map(|(subject, access, filter, line)| {
            let filter = filter.to_owned();
            TopicRule { subject, access, filter, line }
        });
        assert_eq!(rules, expected);
    }

    #[test]
    fn every_mistake_of_an_acl_file_has_its_line() {
        let text =
            b"user\ntopic\ntopic reed a/b\ntopic read a/#/b\npattern a+/b\ngroup x\ntopic read \
                     x#\n\xff\ntopic ok\n";
        let shown = shown(acl_file(text).expect_err("mistakes"));
        let expected = [
            "line 1: `user` wants a name",
            "line 2: the topic is missing",
            "line 3: \"reed\" is not read, write, readwrite or deny",
            "line 4: `#` is the whole last level of a topic, and is not so in \"a/#/b\"",
            "line 5: `+` is a whole level of a topic, and is not so in \"a+/b\"",
            "line 6: a line begins with user, topic or pattern, not \"group\"",
            "line 7: `#` is the whole last level of a topic, and is not so in \"x#\"",
            "line 8: the line is not UTF-8",
        ];
        assert_eq!(shown, expected);
    }
}
