//! An authenticator of a plugin, behind the core's seam: a login is one call of the plugin.

use crate::library::check_head;
use crate::plugin::Plugin;
use crate::sinks::{Items, on_one_line};
use async_trait::async_trait;
use crossdock_core::{
    Access, Credentials, Error, ForeignAuthenticator, Identity, Judgement, Login, Name, Rights,
    RightsText, Secret, Timestamp,
};
use crossdock_plugin::abi::{self, Answers, Head, View, Views};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

/// Bytes of a user's name.
const NAME_MAX: usize = 255;
/// Virtual hosts that somebody has rights in, and tags.
const RIGHTS_MAX: usize = 1_000;
const TAGS_MAX: usize = 100;
/// Texts of an answer, and bytes in them.
const TEXTS_MAX: usize = 20_000;
const BYTES_MAX: usize = 1 << 20;
/// In a text of a plugin a secret of that many bytes or more is replaced; a shorter one stands in many words, and the
/// whole text goes.
const SECRET_MIN: usize = 4;
const SHORT_SECRET: &[u8] = b"(the plugin's words are left out: a short secret stands in them)";

/// Asks a plugin who somebody is.
pub struct PluginAuthenticator {
    plugin: Arc<Plugin>,
    login: abi::Judge,
}

impl PluginAuthenticator {
    /// Of the authenticator that a plugin points to; what is wrong with it otherwise.
    pub fn read(plugin: &Arc<Plugin>, from: *const abi::Authenticator) -> Result<Self, String> {
        // SAFETY: the plugin's entry put it there, and it stays, by the contract.
        let it = unsafe { abi::read(from) }.ok_or("has no authenticator")?;
        check_head("CrossdockAuthenticator", it.head, size_of::<abi::Authenticator>())?;
        let login = it.login.ok_or("its authenticator has no function 'login'")?;
        Ok(Self { plugin: plugin.clone(), login })
    }
}

#[async_trait]
impl ForeignAuthenticator for PluginAuthenticator {
    fn name(&self) -> &str {
        &self.plugin.spec.name
    }

    async fn judge(&self, login: &Login) -> Result<Judgement, Error> {
        // The secret is not copied: the call has a share of what the adapter read, until it returns, whoever waits.
        let (judge, state, login) = (self.login, self.plugin.state(), login.clone());
        let called = self.plugin.call_later("login", move |error| {
            let state = state;
            let held = Held::of(&login.credentials);
            let passed = passed(&login, &held);
            let mut taken = Taken::default();
            let answers = Answers { context: (&raw mut taken).cast(), answer: Some(take) };
            let mut why = Items::of_error_with(held.secret.len());
            let sink = why.sink();
            // SAFETY: the plugin's function and state; all that is passed stays during the call.
            let status =
                unsafe { judge(state.0, &raw const passed, &raw const answers, &raw const sink) };
            let on_line = on_one_line(held.secret).into_bytes();
            why.pass_on(error, |text| without(without(text, held.secret), &on_line));
            (status, taken)
        });
        let (taken, refused) = called.await?;
        if let Some(why) = refused {
            return Ok(Judgement::Refused(why));
        }
        if let Some(wrong) = taken.wrong {
            return Err(self.plugin.end(format!("its call 'login' {wrong}")));
        }
        match taken.judgement {
            Some(judgement) => Ok(judgement),
            // Whoever forgets to answer lets nobody in.
            None => Err(self.plugin.end("its call 'login' gave no answer".to_owned())),
        }
    }
}

/// A text in which a secret does not stand, nor the beginning of one at its end, where it may have been cut. A plugin
/// that writes it into its errors does not bring it into the log.
fn without(text: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    if secret.is_empty() {
        return text;
    }
    let stands_there = text.windows(secret.len()).any(|window| window == secret);
    if secret.len() < SECRET_MIN {
        return if stands_there { SHORT_SECRET.to_vec() } else { text };
    }
    let (mut rest, mut out) = (&text[..], Vec::with_capacity(text.len()));
    while let Some(first) = rest.first() {
        if rest.starts_with(secret) || rest.len() >= SECRET_MIN && secret.starts_with(rest) {
            out.extend_from_slice(b"***");
            rest = rest.get(secret.len()..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    out
}

/// What of credentials is passed; it points to them.
struct Held<'a> {
    kind: u32,
    user: &'a str,
    secret: &'a [u8],
    subject: &'a str,
    common_names: Vec<View>,
    alternative_names: Vec<View>,
}

impl<'a> Held<'a> {
    fn of(credentials: &'a Credentials) -> Self {
        let views = |texts: &[String]| -> Vec<View> {
            texts.iter().map(|text| View::of(text.as_bytes())).collect()
        };
        let with = |kind: u32, user: &'a str, secret: &'a [u8]| Self {
            kind,
            user,
            secret,
            subject: "",
            common_names: Vec::new(),
            alternative_names: Vec::new(),
        };
        match credentials {
            Credentials::Anonymous => with(abi::ANONYMOUS, "", &[]),
            Credentials::Password { user, password: Secret(secret) } => {
                with(abi::PASSWORD, user, secret)
            }
            Credentials::Token { user, token: Secret(secret) } => with(abi::TOKEN, user, secret),
            Credentials::Certificate { user, names } => Self {
                subject: &names.subject,
                common_names: views(&names.common_names),
                alternative_names: views(&names.alternative_names),
                ..with(abi::CERTIFICATE, user, &[])
            },
        }
    }
}

/// A login, as it is passed; it points to both.
fn passed(login: &Login, held: &Held<'_>) -> abi::Login {
    let text = |text: &str| View::of(text.as_bytes());
    abi::Login {
        head: Head::of::<abi::Login>(),
        kind: held.kind,
        flags: if login.loopback { abi::LOOPBACK } else { 0 },
        user: text(held.user),
        secret: View::of(held.secret),
        subject: text(held.subject),
        common_names: Views::of(&held.common_names),
        alternative_names: Views::of(&held.alternative_names),
        peer: text(&login.peer),
        client: text(&login.client),
        virtual_host: text(login.vhost.as_deref().unwrap_or_default()),
    }
}

/// An answer that was taken.
#[derive(Default)]
struct Taken {
    judgement: Option<Judgement>,
    /// How the plugin breaks the contract.
    wrong: Option<String>,
}

unsafe extern "C" fn take(context: *mut c_void, answer: *const abi::Answer) -> i32 {
    // SAFETY: the context is that of a login, and the plugin uses it during its call only.
    let Some(taken) = (unsafe { context.cast::<Taken>().as_mut() }) else { return 1 };
    // SAFETY: an answer of the plugin, or null.
    let Some(it) = (unsafe { abi::read(answer) }) else {
        taken.wrong = Some("answered with a null pointer".to_owned());
        return 1;
    };
    if taken.judgement.is_some() {
        taken.wrong = Some("answered twice".to_owned());
        return 1;
    }
    // SAFETY: what it points to is there during this call, by the contract.
    match unsafe { judgement(&it) } {
        Ok(judgement) => taken.judgement = Some(judgement),
        Err(Wrong::Contract(why)) => {
            taken.wrong = Some(why);
            return 1;
        }
        // What it knows of one user is wrong: others log in.
        Err(Wrong::User(why)) => {
            taken.judgement = Some(Judgement::Refused(format!("what it says of the user: {why}")));
        }
    }
    0
}

/// What is wrong with an answer.
enum Wrong {
    Contract(String),
    User(String),
}

/// # Safety
/// What it points to is there.
unsafe fn judgement(it: &abi::Answer) -> Result<Judgement, Wrong> {
    if it.kind == abi::NOT_MINE {
        return Ok(Judgement::NotMine);
    }
    let mut budget = Budget { texts: TEXTS_MAX, bytes: BYTES_MAX };
    // SAFETY: the caller's promise, for all of them.
    let user = unsafe { budget.text(it.user)? };
    if user.len() > NAME_MAX || user.chars().any(char::is_control) {
        let why = format!("its name is longer than {NAME_MAX} bytes, or has control characters");
        return Err(Wrong::User(why));
    }
    // SAFETY: the same.
    let tags = unsafe { budget.texts(it.tags)? };
    if tags.len() > TAGS_MAX {
        return Err(Wrong::User(format!("it has more than {TAGS_MAX} tags")));
    }
    let access = match it.kind {
        abi::ACCOUNT => Access::Account,
        // SAFETY: the same.
        abi::USER => Access::Of(Arc::new(unsafe { rights(it, &mut budget)? })),
        kind => return Err(Wrong::Contract(format!("answered what there is not: {kind}"))),
    };
    let tags = tags.iter().map(|tag| Name::from(tag.as_str())).collect();
    let expires = (it.expires_ms > 0).then_some(Timestamp(it.expires_ms));
    let identity = Identity::of_account(user.as_str());
    Ok(Judgement::Accepted(Identity { tags, expires, access, ..identity }))
}

/// By virtual host.
///
/// # Safety
/// What it points to is there.
unsafe fn rights(
    it: &abi::Answer,
    budget: &mut Budget,
) -> Result<BTreeMap<Name, Arc<Rights>>, Wrong> {
    if it.rights_count > RIGHTS_MAX {
        let why = format!("it has rights in more than {RIGHTS_MAX} virtual hosts");
        return Err(Wrong::User(why));
    }
    let mut all = BTreeMap::new();
    // SAFETY: the caller's promise, for all of them.
    for one in unsafe { abi::read_all(it.rights, it.rights_count) } {
        // SAFETY: the same.
        let (vhost, text) = unsafe {
            let text = RightsText {
                configure: budget.texts(one.configure)?,
                write: budget.texts(one.write)?,
                read: budget.texts(one.read)?,
                ..RightsText::default()
            };
            (budget.text(one.virtual_host)?, text)
        };
        let rights = Rights::parse(text).map_err(|why| {
            Wrong::User(format!("its rights in virtual host '{vhost}': {}", why.join("; ")))
        })?;
        if all.insert(Name::from(vhost.as_str()), Arc::new(rights)).is_some() {
            return Err(Wrong::User(format!("its rights in virtual host '{vhost}' stand twice")));
        }
    }
    Ok(all)
}

/// What may still be copied of an answer.
struct Budget {
    texts: usize,
    bytes: usize,
}

impl Budget {
    /// # Safety
    /// It is there.
    unsafe fn text(&mut self, view: View) -> Result<String, Wrong> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { view.bytes() };
        let left = (self.texts.checked_sub(1)).zip(self.bytes.checked_sub(bytes.len()));
        let (texts, left) = left.ok_or_else(|| {
            Wrong::User(format!("it has more than {TEXTS_MAX} texts or {BYTES_MAX} bytes"))
        })?;
        (self.texts, self.bytes) = (texts, left);
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_| Wrong::User("a text is not UTF-8".to_owned()))
    }

    /// # Safety
    /// They are there.
    unsafe fn texts(&mut self, views: Views) -> Result<Vec<String>, Wrong> {
        // SAFETY: the caller's promise, for all of them.
        unsafe { views.all().iter().map(|view| self.text(*view)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_stand_in_a_text() {
        let said = |text: &str, secret: &str| {
            String::from_utf8(without(text.into(), secret.as_bytes())).expect("UTF-8")
        };
        assert_eq!(said("tried <hunter2>, <hunter2>", "hunter2"), "tried <***>, <***>");
        assert_eq!(said("cut off: hunt", "hunter2"), "cut off: ***");
        assert_eq!(said("cut off: hun", "hunter2"), "cut off: hun", "that little says nothing");
        assert_eq!(said("nothing of it", ""), "nothing of it");
        assert!(!said("it is abc", "abc").contains("abc"));
        assert_eq!(said("it is ab", "abc"), "it is ab");
    }
}
