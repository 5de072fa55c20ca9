//! What differs between two states of one user, for people: which right, tag, virtual host; of passwords only that they
//! differ.

use crossdock_core::{Account, Rights};
use std::collections::BTreeSet;
use std::fmt::Display;

/// `tags + operator; in '/': write - topic:a, + topic:b`.
pub fn between(old: &Account, new: &Account) -> String {
    let mut parts = Vec::new();
    if old.verifiers != new.verifiers {
        parts.push("password".to_owned());
    }
    parts.extend(list("tags", &old.tags, &new.tags));
    let names: BTreeSet<_> = old.vhosts.keys().chain(new.vhosts.keys()).collect();
    for name in names {
        match (old.vhosts.get(name), new.vhosts.get(name)) {
            (Some(_), None) => parts.push(format!("may not enter virtual host '{name}' any more")),
            (before, Some(after)) => {
                let before = before.map(|rights| &**rights);
                let changed = rights(before, after);
                match before {
                    Some(_) if changed.is_empty() => {}
                    Some(_) => parts.push(format!("in '{name}': {changed}")),
                    None => parts.push(format!("may enter virtual host '{name}': {changed}")),
                }
            }
            (None, None) => {}
        }
    }
    parts.join("; ")
}

fn rights(old: Option<&Rights>, new: &Rights) -> String {
    let nothing = Default::default();
    let (old, new) = (old.map_or(&nothing, Rights::text), new.text());
    let lists = [
        list("configure", &old.configure, &new.configure),
        list("write", &old.write, &new.write),
        list("read", &old.read, &new.read),
    ];
    lists.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What is gone and what is new in a list; none: neither.
fn list<T: Display + PartialEq>(name: &str, old: &[T], new: &[T]) -> Option<String> {
    let gone = old.iter().filter(|one| !new.contains(one)).map(|one| format!(" - {one}"));
    let added = new.iter().filter(|one| !old.contains(one)).map(|one| format!(" + {one}"));
    let all: String = gone.chain(added).collect();
    (!all.is_empty()).then(|| format!("{name}{all}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_core::{RightsText, Secret};
    use std::sync::Arc;

    fn ann(tags: &[&str], write: &[&str], vhosts: &[&str]) -> Account {
        let write = write.iter().map(|text| (*text).to_owned()).collect();
        let rights = Rights::parse(RightsText { write, ..RightsText::default() });
        let rights = Arc::new(rights.expect("well-formed"));
        Account {
            name: "ann".into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            verifiers: Vec::new(),
            vhosts: vhosts.iter().map(|vhost| ((*vhost).into(), rights.clone())).collect(),
        }
    }

    #[test]
    fn what_has_changed_is_named() {
        let old = ann(&["a", "b"], &["topic:x", "topic:y"], &["/", "old"]);
        let new = ann(&["b", "c"], &["topic:y", "queue:z"], &["/", "new"]);
        let said = "tags - a + c; in '/': write - topic:x + queue:z; may enter virtual host 'new': \
                    write + topic:y + queue:z; may not enter virtual host 'old' any more";
        assert_eq!(between(&old, &new), said);
        assert_eq!(between(&old, &old), "");
        let other = Account { verifiers: vec![Secret("hash".into())], ..old.clone() };
        assert_eq!(between(&old, &other), "password");
    }
}
