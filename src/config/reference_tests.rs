//! The page and the types that values are read into are true to the table of keys.

use super::super::{meant, meant_protocols};
use super::*;
use expect_test::expect_file;
use figment::Figment;
use figment::error::Kind;
use serde::de::DeserializeOwned;

#[test]
fn the_page_is_written_from_the_table() {
    expect_file!["../../docs/CONFIGURATION.md"].assert_eq(&page());
}

/// The keys that a type reads, from what it says about a key that it does not know.
fn fields<T: DeserializeOwned>() -> Vec<&'static str> {
    let unknown = Figment::new().merge(("no such key", 1));
    let error = unknown.extract::<T>().err().expect("an unknown key is refused");
    let known = error.into_iter().find_map(|error| match error.kind {
        Kind::UnknownField(_, known) => Some(known.to_vec()),
        _ => None,
    });
    let mut known = known.expect("the error lists the known keys");
    known.sort_unstable();
    known
}

#[test]
fn the_table_and_the_types_have_the_same_keys() {
    use crossdock_transforms::{LimitSpec, OnErrorSpec, RouteSpec};
    let mut of_auth = [fields::<meant::Logins>(), fields::<meant::Tokens>()].concat();
    of_auth.sort_unstable();
    let mut of_listeners =
        [fields::<meant::Door>(), fields::<meant::Tls>(), fields::<meant_protocols::StompDoor>()]
            .concat();
    of_listeners.sort_unstable();
    let types = [
        ("listeners", of_listeners),
        ("memory", fields::<meant::Memory>()),
        ("store", fields::<meant::Store>()),
        ("vhost", fields::<meant::Vhost>()),
        ("log", fields::<meant::Log>()),
        ("metrics", fields::<meant::Metrics>()),
        ("limits", fields::<meant::Limits>()),
        ("limits.amqp", fields::<meant_protocols::Amqp>()),
        ("limits.mqtt", fields::<meant_protocols::Mqtt>()),
        ("limits.stomp", fields::<meant_protocols::Stomp>()),
        ("objects", fields::<meant::Objects>()),
        ("auth", of_auth),
        ("virtual_host", fields::<meant::VirtualHost>()),
        ("user", fields::<meant::User>()),
        ("queue", fields::<meant::Queue>()),
        ("exchange", fields::<meant::Exchange>()),
        ("binding", fields::<meant::Binding>()),
        ("plugin", fields::<meant::Plugin>()),
        ("plugin.limits", fields::<meant::PluginLimits>()),
        ("route", fields::<RouteSpec>()),
        ("route.on_error", fields::<OnErrorSpec>()),
        ("route.limits", fields::<LimitSpec>()),
    ];
    for (path, known) in types {
        let table = key_at(path).and_then(Key::inner).unwrap_or_default();
        let mut names: Vec<&str> = table.iter().map(|key| key.name).collect();
        names.sort_unstable();
        assert_eq!(names, known, "{path}");
    }
    let tables = ROOT.iter().filter(|key| key.inner().is_some()).count();
    assert_eq!(tables, 16, "a table of keys is not compared with its type");
}
