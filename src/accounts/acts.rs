//! What is done to users, by `crossdock user` in a stopped store and by `crossdock ctl user` in a broker that runs.
//! Each act returns the line that says what was done.

use crate::config::Mistake;
use crossdock_auth::secrets::read_password;
use crossdock_auth::{PasswordHash, ScramKeys, Secrets};
use crossdock_console::UserChange;
use crossdock_core::{
    Account, AccountSource, Actor, Broker, Error, GUEST, Name, Pattern, Rights, RightsText, Secret,
};
use std::sync::Arc;

pub type Mistakes = Vec<Mistake>;

/// The broker, and who does it.
pub type Act<'a> = (&'a Broker, &'a Actor);

/// What an operator asks for while the broker runs.
pub async fn run(act: Act<'_>, change: UserChange) -> Result<String, Mistakes> {
    match change {
        UserChange::Add { name, tags, password } => {
            let verifiers = match password {
                Some(password) => secrets(password).await?.verifiers(),
                None => Vec::new(),
            };
            let tags = tags.iter().map(|tag| tag.as_str().into()).collect();
            add(act, (&name, tags, verifiers)).await
        }
        UserChange::SetPassword { name, password, keep_previous } => {
            let secrets = secrets(password).await?;
            set_password(act, &name, (&secrets, keep_previous)).await
        }
        UserChange::ForgetPrevious { name } => forget_previous(act, &name).await,
        UserChange::Delete { name } => delete(act, &name).await,
        UserChange::Rights { name, vhost, rights } => {
            let (configure, write, read) = (rights.configure, rights.write, rights.read);
            let text = RightsText { configure, write, read, ..RightsText::default() };
            set_rights(act, (&name, &vhost), Some(read_rights(text)?)).await
        }
        UserChange::NoRights { name, vhost } => set_rights(act, (&name, &vhost), None).await,
    }
}

/// What a password is verified by. It takes a core for a while, which is not one that serves connections.
async fn secrets(password: String) -> Result<Secrets, Mistakes> {
    let made = tokio::task::spawn_blocking(move || {
        read_password(password.as_bytes()).and_then(|new| Secrets::make(&new))
    });
    let mistake = |reason: &str| vec![Mistake::of_option("", reason)];
    match made.await {
        Ok(made) => made.map_err(|error| mistake(error.detail())),
        Err(error) => Err(mistake(&error.to_string())),
    }
}

/// A name on a line of its own kind: what would be several words, or no visible ones, is quoted.
pub fn shown(name: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '\\';
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

/// What the broker says about a user, as a mistake.
pub fn about(name: &str, error: &Error) -> Mistakes {
    let said = error.detail();
    let reason = match said.contains(&format!("'{name}'")) {
        true => said.to_owned(),
        false => format!("user '{name}': {said}"),
    };
    vec![Mistake::of_option("", reason)]
}

/// Makes a user, without rights.
pub async fn add(
    (broker, actor): Act<'_>,
    (name, tags, verifiers): (&str, Vec<Name>, Vec<Secret>),
) -> Result<String, Mistakes> {
    check_new(broker, name).map_err(|reason| vec![Mistake::of_option("", reason)])?;
    let set = broker.set_user(actor, &name.into(), tags, verifiers).await;
    set.map_err(|error| about(name, &error))?;
    Ok(format!("user {} is made; `user rights` says what it may do", shown(name)))
}

/// Why no user of that name can be made.
pub fn check_new(broker: &Broker, name: &str) -> Result<(), String> {
    if name == GUEST {
        return Err("guest is the broker's own, and may do everything from this machine".to_owned());
    }
    match broker.user(name) {
        Some(_) => Err(format!("there is a user '{name}' already")),
        None => Ok(()),
    }
}

/// What a user's verifiers are.
pub struct Held {
    passwords: Vec<Secret>,
    others: Vec<Secret>,
}

impl Held {
    /// Those of an account.
    pub fn of(account: &Account) -> Self {
        let is_password = |one: &Secret| {
            std::str::from_utf8(&one.0).is_ok_and(|text| PasswordHash::parse(text).is_ok())
        };
        let (passwords, others) = account.verifiers.iter().cloned().partition(is_password);
        Self { passwords, others }
    }

    /// As people read them.
    pub fn words(&self) -> Vec<String> {
        let passwords = ["password", "previous password"].into_iter().map(str::to_owned);
        let mut words: Vec<String> = passwords.take(self.passwords.len()).collect();
        for other in &self.others {
            let text = String::from_utf8_lossy(&other.0);
            words.extend(ScramKeys::parse(&text).map(|keys| keys.mechanism().name().to_owned()));
        }
        words
    }
}

/// The account of a user that can be changed here.
fn changeable(broker: &Broker, name: &str) -> Result<Arc<Account>, Mistakes> {
    let all = broker.users();
    let found = all.into_iter().find(|(account, _)| *account.name == *name);
    let reason = match found {
        Some((account, AccountSource::RunTime)) => return Ok(account),
        Some((_, AccountSource::Configuration)) => format!(
            "user '{name}' is of the configuration: it is changed there, and not by this command"
        ),
        None if name == GUEST => {
            "guest is the broker's own: its password is guest, from this machine only".to_owned()
        }
        None => format!("there is no user '{name}'"),
    };
    Err(vec![Mistake::of_option("", reason)])
}

/// Gives a user another password; `keep_previous`: the one of until now holds, too.
pub async fn set_password(
    (broker, actor): Act<'_>,
    name: &str,
    (secrets, keep_previous): (&Secrets, bool),
) -> Result<String, Mistakes> {
    let account = changeable(broker, name)?;
    let held = Held::of(&account);
    let mut verifiers = secrets.verifiers();
    let previous = held.passwords.first().filter(|_| keep_previous);
    if keep_previous && previous.is_none() {
        let reason = format!("user '{name}' has no password that could be kept");
        return Err(vec![Mistake::of_option("--keep-previous", reason)]);
    }
    verifiers.extend(previous.cloned());
    change((broker, actor), &account, verifiers).await?;
    Ok(match keep_previous {
        true => format!("user {}: both passwords hold until `user forget-previous`", shown(name)),
        false => format!("user {}: the new password holds", shown(name)),
    })
}

/// Ends the time in which two passwords hold.
pub async fn forget_previous((broker, actor): Act<'_>, name: &str) -> Result<String, Mistakes> {
    let account = changeable(broker, name)?;
    let Held { mut passwords, others } = Held::of(&account);
    if passwords.len() < 2 {
        let reason = format!("user '{name}' has no previous password");
        return Err(vec![Mistake::of_option("", reason)]);
    }
    passwords.truncate(1);
    change((broker, actor), &account, [passwords, others].concat()).await?;
    Ok(format!("user {}: only the new password holds", shown(name)))
}

async fn change(
    (broker, actor): Act<'_>,
    account: &Account,
    verifiers: Vec<Secret>,
) -> Result<(), Mistakes> {
    let (name, tags) = (&account.name, account.tags.clone());
    let set = broker.set_user(actor, name, tags, verifiers).await;
    set.map(drop).map_err(|error| about(name, &error))
}

/// Deletes a user with its rights.
pub async fn delete((broker, actor): Act<'_>, name: &str) -> Result<String, Mistakes> {
    let deleted = broker.delete_user(actor, name).await;
    deleted.map_err(|error| about(name, &error))?;
    Ok(format!("user {} is deleted", shown(name)))
}

/// The rights of a command line.
pub fn read_rights(text: RightsText) -> Result<Rights, Mistakes> {
    let lists =
        [("--configure", &text.configure), ("--write", &text.write), ("--read", &text.read)];
    let mut mistakes = Vec::new();
    for (option, patterns) in lists {
        for pattern in patterns {
            let reason = match Pattern::parse(pattern) {
                Ok(pattern) if pattern.can_match() => continue,
                Ok(_) => "it can never match anything: nobody would have that right".to_owned(),
                Err(reason) => reason,
            };
            mistakes.push(Mistake::of_option(option, format!("'{pattern}': {reason}")));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let rights = Rights::parse(text);
    rights.map_err(|all| all.into_iter().map(|why| Mistake::of_option("", why)).collect())
}

/// Lets a user into a virtual host with these rights; none: no more.
pub async fn set_rights(
    (broker, actor): Act<'_>,
    (name, vhost): (&str, &str),
    rights: Option<Rights>,
) -> Result<String, Mistakes> {
    changeable(broker, name)?;
    let vhost = Name::from(vhost);
    let place = (name, &vhost);
    let in_vhost = shown(&vhost);
    let Some(rights) = rights else {
        let was_there = broker.delete_rights(actor, place).await;
        return match was_there.map_err(|error| about(name, &error))? {
            true => Ok(format!("user {} may not enter {in_vhost} any more", shown(name))),
            false => Ok(format!("user {} might not enter {in_vhost} before", shown(name))),
        };
    };
    let set = broker.set_rights(actor, place, rights).await;
    set.map_err(|error| about(name, &error))?;
    let mut text = format!("user {}: its rights in virtual host {in_vhost} are set", shown(name));
    if !broker.vhosts().contains(&vhost) {
        text.push_str(&format!("\nthere is no virtual host {in_vhost} yet: see [[virtual_host]]"));
    }
    Ok(text)
}
