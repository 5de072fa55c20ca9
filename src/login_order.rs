//! Who decides logins, by `auth.order`: the broker's own users, and authenticators of plugins.

use crate::config::{self, Loaded, Logins, Mistake};
use crate::plugins::Plugins;
use crossdock_auth::Turn;
use std::collections::BTreeSet;

/// A mistake for each name in the order that cannot be there, as far as that is known without the plugins.
pub fn check_names(loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
    let (order, plugins) = (&loaded.config.auth.logins.order, &loaded.config.plugins);
    if order.is_empty() {
        let reason =
            "names nobody: no client could log in. 'own' stands for the broker's own users";
        mistakes.push(loaded.mistake("auth.order", reason));
    }
    let mut names = BTreeSet::new();
    for (index, name) in order.iter().enumerate() {
        let known = || plugins.iter().map(|plugin| plugin.name.as_str());
        let reason = if !names.insert(name) {
            format!("'{name}' stands twice")
        } else if name == Logins::OWN || known().any(|known| known == name) {
            continue;
        } else {
            let near = config::suggestion(name, known().chain([Logins::OWN]));
            let meant = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            format!("there is no [[plugin]] named '{name}'{meant}")
        };
        mistakes.push(loaded.mistake(format!("auth.order[{index}]"), reason));
    }
}

/// The same, with what the plugins bring. Those that are not loaded, as after a reload, are not looked at.
pub fn check(loaded: &Loaded, plugins: &Plugins, mistakes: &mut Vec<Mistake>) {
    let before = mistakes.len();
    check_names(loaded, mistakes);
    // A name that is misspelled is not said twice.
    let are_names_good = mistakes.len() == before;
    let order = &loaded.config.auth.logins.order;
    for (index, name) in order.iter().enumerate() {
        let Some(plugin) = plugins.find(name) else { continue };
        if name != Logins::OWN && plugin.authenticator().is_none() {
            let brings = plugin.look().brings.join(", ");
            let reason = format!("the plugin '{name}' brings {brings}, and no authenticator");
            mistakes.push(loaded.mistake(format!("auth.order[{index}]"), reason));
        }
    }
    for (index, configured) in loaded.config.plugins.iter().enumerate() {
        let name = &configured.name;
        let plugin = plugins.find(name).filter(|plugin| plugin.authenticator().is_some());
        let reason = match plugin {
            None => continue,
            Some(_) if name == Logins::OWN => {
                "'own' stands for the broker's own users in auth.order: the plugin needs another name"
                    .to_owned()
            }
            Some(_) if are_names_good && !order.contains(name) => format!(
                "the plugin decides logins, and auth.order does not name it: nobody would ask it. \
                 auth.order = [\"own\", \"{name}\"] has it asked about whom the broker's own users are not"
            ),
            Some(_) => continue,
        };
        mistakes.push(loaded.mistake(format!("plugin[{index}].name"), reason));
    }
}

/// Those who decide, where the order has no mistake.
pub fn turns(loaded: &Loaded, plugins: &Plugins) -> Vec<Turn> {
    let each = loaded.config.auth.logins.order.iter().filter_map(|name| {
        if name == Logins::OWN {
            return Some(Turn::Own);
        }
        Some(Turn::Foreign(plugins.find(name)?.authenticator()?.clone()))
    });
    each.collect()
}
