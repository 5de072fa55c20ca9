//! The certificates of listeners, which are valid for a time only: which of them operators are warned of, and when. A
//! start and a reload refuse one that is not valid, so operators have to know before that one of a running broker ends.

use crate::listeners::Port;
use crossdock_console::{CertificateLook, Standing};
use crossdock_net::Listener;
use crossdock_net::tls::{CertificateTime, Moment, TlsHandle};
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
/// A certificate that ends within this many seconds is warned about.
const SOON: i64 = 14 * DAY;
/// Certificates are looked at this often: a reload may have exchanged them, and the system's clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What has to be done, whatever it is.
const CURE: &str = "put a new one into the file and send SIGHUP (crossdock ctl reload)";

/// The time by the system's clock, which is what the peers go by.
pub fn now() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// What is wrong with a certificate at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    EndsSoon,
    Expired,
    NotYetValid,
}

fn wrong(one: &CertificateTime, now: Moment) -> Option<Wrong> {
    match () {
        () if one.until < now => Some(Wrong::Expired),
        () if one.from > now => Some(Wrong::NotYetValid),
        () if one.until.0.saturating_sub(now.0) <= SOON => Some(Wrong::EndsSoon),
        () => None,
    }
}

/// Whom a certificate that is not valid shuts out.
fn shut_out(one: &CertificateTime) -> &'static str {
    match one.setting {
        "client_ca" => "clients whose certificates it signed are refused",
        _ => "clients that check it refuse the connection",
    }
}

/// In words; none: nothing is wrong.
fn words(one: &CertificateTime, now: Moment) -> Option<String> {
    let (file, number) = (one.file.display(), one.number);
    let (from, until, shut_out) = (one.from, one.until, shut_out(one));
    let left = one.until.0.saturating_sub(now.0);
    Some(match wrong(one, now)? {
        Wrong::EndsSoon => format!(
            "{file}: its certificate no. {number} expires on {until}, in {}; from then on {shut_out}, and \
             no start or reload takes the configuration: {CURE} before that",
            span(left)
        ),
        Wrong::Expired => format!(
            "{file}: its certificate no. {number} expired on {until}: {shut_out}, and no start or reload \
             takes the configuration: {CURE}"
        ),
        Wrong::NotYetValid => format!(
            "{file}: its certificate no. {number} is not valid before {from}: {shut_out}, and no start or \
             reload takes the configuration until then: look at the clock of this machine, or {CURE}"
        ),
    })
}

fn span(seconds: i64) -> String {
    match seconds {
        ..3_600 => "less than an hour".to_owned(),
        3_600..DAY => format!("{} h", seconds / 3_600),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / 3_600),
    }
}

/// A certificate of a listener as operators see it.
pub fn look(listener: &str, one: &CertificateTime, now: Moment) -> CertificateLook {
    let words = words(one, now).map(|words| format!("listener {listener}: {words}"));
    CertificateLook {
        file: one.file.display().to_string(),
        number: one.number,
        from_s: one.from.0,
        until_s: one.until.0,
        standing: match (wrong(one, now), words) {
            (Some(Wrong::EndsSoon), Some(words)) => Standing::Warning(words),
            (Some(_), Some(words)) => Standing::Trouble(words),
            _ => Standing::Good,
        },
    }
}

/// What is to be said of the files of a configuration that can be used: the setting, and what is wrong.
pub fn warnings(ports: &[Port]) -> Vec<(String, String)> {
    let now = now();
    let each = ports.iter().filter_map(|port| Some((&port.name, port.tls.as_ref()?)));
    let found = each.flat_map(|(name, tls)| {
        let key = move |setting: &str| format!("listeners.{name}.tls_{setting}");
        let files = tls.warnings.iter().map(move |one| (key(one.setting), one.to_string()));
        let times = tls.certificates.iter();
        let times = times.filter_map(move |one| Some((key(one.setting), words(one, now)?)));
        files.chain(times)
    });
    found.collect()
}

/// Which certificate was warned about: listener, file, number in it, and its end, which tells it from one in its place.
type Key = (String, String, usize, Moment);

/// Warns in the log, once a day each.
pub struct Watch {
    listeners: Vec<(String, TlsHandle)>,
    /// What was said last of those that something is wrong with, and when.
    said: HashMap<Key, (Wrong, Moment)>,
}

impl Watch {
    /// Over the certificates of these listeners, whatever they are exchanged for.
    pub fn over(listeners: &[Listener]) -> Self {
        let with_tls = listeners.iter().filter_map(|listener| {
            let spec = &listener.spec;
            Some((spec.name.to_string(), spec.tls.clone()?))
        });
        Self { listeners: with_tls.collect(), said: HashMap::new() }
    }

    /// Warns as long as the process lives.
    pub async fn run(mut self) {
        while !self.listeners.is_empty() {
            let now = now();
            let all = self.certificates();
            for (listener, one, wrong) in self.due(&all, now) {
                say(listener, one, wrong);
            }
            tokio::time::sleep(until_next_look(all.iter().map(|(_, one)| one), now)).await;
        }
    }

    fn certificates(&self) -> Vec<(String, CertificateTime)> {
        let each = self.listeners.iter().map(|(name, handle)| (name, handle.certificates()));
        each.flat_map(|(name, all)| all.into_iter().map(move |one| (name.clone(), one))).collect()
    }

    /// What has to be said at that time, and is said from then on. Of certificates that are not there any more nothing
    /// is kept.
    fn due<'a>(
        &mut self,
        all: &'a [(String, CertificateTime)],
        now: Moment,
    ) -> Vec<(&'a str, &'a CertificateTime, Wrong)> {
        let before = std::mem::take(&mut self.said);
        let mut due = Vec::new();
        for (listener, one) in all {
            let Some(wrong) = wrong(one, now) else { continue };
            let key = (listener.clone(), one.file.display().to_string(), one.number, one.until);
            let last = before.get(&key).copied();
            let is_said = last.is_some_and(|(said, at)| said == wrong && now.0 - at.0 < DAY);
            let said = match last {
                Some(last) if is_said => last,
                _ => {
                    due.push((listener.as_str(), one, wrong));
                    (wrong, now)
                }
            };
            self.said.insert(key, said);
        }
        due
    }
}

/// The time until the next one begins, ends, or ends soon; not longer than between two looks.
fn until_next_look<'a>(all: impl Iterator<Item = &'a CertificateTime>, now: Moment) -> Duration {
    let turns = all.flat_map(|one| [one.from.0, one.until.0 + 1, one.until.0 - SOON]);
    let seconds = turns.map(|turn| turn.saturating_sub(now.0)).filter(|left| *left > 0).min();
    let seconds = seconds.and_then(|left| u64::try_from(left).ok());
    seconds.map_or(LOOK_EVERY, |left| Duration::from_secs(left).min(LOOK_EVERY))
}

fn say(listener: &str, one: &CertificateTime, wrong: Wrong) {
    let (file, certificate) = (one.file.display(), one.number);
    match wrong {
        Wrong::EndsSoon => tracing::warn!(
            listener, %file, certificate, expires = %one.until,
            "a certificate of a listener expires soon: put a new one into its file and send SIGHUP"
        ),
        Wrong::Expired => tracing::warn!(
            listener, %file, certificate, expired = %one.until,
            "a certificate of a listener has expired: clients are refused or refuse it, and no start or \
             reload takes the configuration; put a new one into its file and send SIGHUP"
        ),
        Wrong::NotYetValid => tracing::warn!(
            listener, %file, certificate, begins = %one.from,
            "a certificate of a listener is not valid yet: clients are refused or refuse it, and no start or \
             reload takes the configuration; look at the clock of this machine"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(setting: &'static str, from: i64, until: i64) -> CertificateTime {
        let (from, until) = (Moment(from), Moment(until));
        CertificateTime { setting, file: "a.pem".into(), number: 1, from, until }
    }

    #[test]
    fn what_is_wrong_depends_on_the_time() {
        let one = certificate("certificate", 100, 100 + 30 * DAY);
        let at = |now: i64| wrong(&one, Moment(now));
        assert_eq!(at(99), Some(Wrong::NotYetValid));
        assert_eq!(at(100), None);
        assert_eq!(at(100 + 16 * DAY - 1), None);
        assert_eq!(at(100 + 16 * DAY), Some(Wrong::EndsSoon));
        assert_eq!(at(100 + 30 * DAY), Some(Wrong::EndsSoon), "it is valid in its last second");
        assert_eq!(at(101 + 30 * DAY), Some(Wrong::Expired));
    }

    #[test]
    fn words_say_what_happened_what_it_means_and_what_to_do() {
        let one = certificate("certificate", 0, 20 * DAY);
        let soon = words(&one, Moment(16 * DAY + 3_600)).expect("it ends soon");
        assert!(
            soon.contains(
                "a.pem: its certificate no. 1 expires on 1970-01-21 00:00 UTC, in 3 d 23 h"
            )
        );
        assert!(
            soon.contains("clients that check it refuse the connection") && soon.contains(CURE)
        );
        let authority = certificate("client_ca", 0, 20 * DAY);
        let ended = words(&authority, Moment(21 * DAY)).expect("it has ended");
        assert!(
            ended.contains("expired on 1970-01-21 00:00 UTC: clients whose certificates it signed")
        );
        assert_eq!(words(&one, Moment(DAY)), None);
    }

    #[test]
    fn each_is_said_once_a_day_and_when_it_gets_worse() {
        let mut watch = Watch { listeners: Vec::new(), said: HashMap::new() };
        let mut all = vec![("amqps".to_owned(), certificate("certificate", 0, 20 * DAY))];
        let mut due = |all: &[(String, CertificateTime)], now: i64| {
            let due = watch.due(all, Moment(now));
            due.into_iter().map(|(_, _, wrong)| wrong).collect::<Vec<Wrong>>()
        };
        assert_eq!(due(&all, 5 * DAY), []);
        let (first, end) = (6 * DAY, 20 * DAY + 1);
        assert_eq!(due(&all, first), [Wrong::EndsSoon]);
        assert_eq!(due(&all, first + DAY - 1), []);
        assert_eq!(due(&all, first + DAY), [Wrong::EndsSoon]);
        assert_eq!(due(&all, end - 2), [Wrong::EndsSoon]);
        assert_eq!(due(&all, end), [Wrong::Expired], "at once");
        assert_eq!(due(&all, end + DAY - 1), []);
        assert_eq!(due(&all, end + DAY), [Wrong::Expired]);
        all[0].1 = certificate("certificate", 0, 22 * DAY);
        assert_eq!(due(&all, end + DAY + 1), [Wrong::EndsSoon], "another one in its place");
        all.clear();
        assert_eq!(due(&all, end + DAY + 2), []);
        assert!(watch.said.is_empty(), "nothing is kept of what is gone");
    }

    #[test]
    fn the_next_look_is_when_something_changes() {
        let one = certificate("certificate", 0, 20 * DAY);
        let next = |now: i64| until_next_look(std::iter::once(&one), Moment(now)).as_secs();
        assert_eq!(next(DAY), 60);
        assert_eq!(next(6 * DAY - 5), 5);
        assert_eq!(next(20 * DAY - 3), 4);
        assert_eq!(next(21 * DAY), 60);
    }
}
