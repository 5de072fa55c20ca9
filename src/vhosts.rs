//! Virtual hosts of the configuration beside the default one. Each is made once, and is stored with all that is in it:
//! one that is not named any more stays, so that a slip in the file loses nothing.

use crate::config::{Loaded, Mistake};
use crossdock_core::{Actor, Broker, Name};
use std::collections::BTreeSet;

/// Checks their names.
pub fn check(loaded: &Loaded, default: &Name, mistakes: &mut Vec<Mistake>) {
    let mut names = BTreeSet::from([&**default]);
    for (index, vhost) in loaded.config.virtual_hosts.iter().enumerate() {
        let reason = match vhost.name.as_str() {
            "" => "must not be empty".to_owned(),
            name if name.contains('\0') => "must not contain a zero character".to_owned(),
            // AMQP says it in a short string.
            name if name.len() > 255 => "has more than 255 bytes".to_owned(),
            name if name == &**default => format!("'{name}' is always there: see [vhost]"),
            name if !names.insert(name) => format!("another virtual host is named '{name}' too"),
            _ => continue,
        };
        mistakes.push(loaded.mistake(format!("virtual_host[{index}].name"), reason));
    }
}

/// Makes those that are not there yet. `from`: when that is, for the audit.
pub async fn make(broker: &Broker, loaded: &Loaded, from: &str) -> Result<(), Vec<Mistake>> {
    let actor = Actor { user: "configuration".into(), from: from.into() };
    for (index, vhost) in loaded.config.virtual_hosts.iter().enumerate() {
        let made = broker.add_vhost(&actor, &vhost.name.as_str().into()).await;
        made.map_err(|error| {
            let key = format!("virtual_host[{index}].name");
            vec![loaded.mistake(key, format!("cannot be made: {error}"))]
        })?;
    }
    Ok(())
}
