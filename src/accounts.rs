//! `crossdock user` and `crossdock session`: users, rights and owners of sessions in a stopped store. Nothing else in
//! it changes: no message expires, moves or is published. Users of the configuration are listed, and changed in the
//! file.

pub mod acts;
pub mod command;
mod import;

use crate::config::{Loaded, Mistake};
use crate::output::{complain, say};
use crate::plan::Plan;
use crate::{SHUTDOWN_TIME, Sources, serve, wiring};
use acts::{Held, Mistakes, shown};
use command::{ChownOrder, SessionCommand, UserCommand};
use crossdock_auth::Secrets;
use crossdock_auth::secrets::read_password;
use crossdock_core::store::Store;
use crossdock_core::{AccountSource, Actor, Broker, GUEST, RightsText};
use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a segment, and of spilled messages, of a store that is made to look at.
const SCRATCH_BYTES: (u64, u64) = (1 << 20, 0);

/// What a command needs of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// It has to be there.
    Store,
    /// It is made where there is none, so that users are there at the first start.
    Any,
    /// It is looked at if it is there, and none is made.
    Look,
}

/// An empty store to look at, where there is none. It goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Mistakes> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("crossdock-{}-{}", std::process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        // One that is there already is somebody else's.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map(|()| Self(path.clone())).map_err(|error| {
            let reason = format!("cannot create the folder {}: {error}", path.display());
            vec![Mistake::of_option("--dry-run", reason)]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            complain!("cannot remove the folder {}: {error}", self.0.display());
        }
    }
}

/// Runs `crossdock user`.
pub fn user(command: UserCommand) -> Result<ExitCode, Mistakes> {
    match command {
        UserCommand::List { sources } => at_rest(&sources, Needs::Store, list)?,
        UserCommand::Add { name, tags, no_password, sources } => {
            let verifiers = if no_password { Vec::new() } else { new_secrets()?.verifiers() };
            let tags = tags.iter().map(|tag| tag.as_str().into()).collect();
            let user = (&*name, tags, verifiers);
            at_rest(&sources, Needs::Any, async |broker, _| {
                say(acts::add((broker, &actor()), user).await)
            })?;
        }
        UserCommand::SetPassword { name, keep_previous, sources } => {
            let secrets = new_secrets()?;
            at_rest(&sources, Needs::Store, async |broker, _| {
                let act = (broker, &actor());
                say(acts::set_password(act, &name, (&secrets, keep_previous)).await)
            })?;
        }
        UserCommand::ForgetPrevious { name, sources } => {
            at_rest(&sources, Needs::Store, async |broker, _| {
                say(acts::forget_previous((broker, &actor()), &name).await)
            })?;
        }
        UserCommand::Delete { name, sources } => {
            at_rest(&sources, Needs::Store, async |broker, _| {
                say(acts::delete((broker, &actor()), &name).await)
            })?;
        }
        UserCommand::Rights(order) => {
            let rights = match order.none {
                true => None,
                false => Some(acts::read_rights(order.patterns())?),
            };
            at_rest(&order.sources, Needs::Store, async |broker, _| {
                let place = (&*order.name, &*order.vhost);
                say(acts::set_rights((broker, &actor()), place, rights).await)
            })?;
        }
        UserCommand::Import(order) => {
            let found = import::read(&order)?;
            let needs = if order.dry_run { Needs::Look } else { Needs::Any };
            at_rest(&order.sources, needs, async |broker, loaded| {
                import::import(broker, loaded, (found, &order)).await
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `crossdock session`.
pub fn session(command: SessionCommand) -> Result<ExitCode, Mistakes> {
    match command {
        SessionCommand::List { sources } => at_rest(&sources, Needs::Store, async |broker, _| {
            for one in broker.session_owners() {
                let (vhost, session) = (shown(&one.vhost), shown(&one.session));
                say!("{vhost} {session} {}", shown(&one.user));
            }
            Ok(())
        })?,
        SessionCommand::Chown(order) => {
            at_rest(&order.sources, Needs::Store, async |broker, loaded| {
                chown(broker, loaded, &order).await
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the stopped store, without ports, does the work and closes it.
fn at_rest(
    sources: &Sources,
    needs: Needs,
    work: impl AsyncFnOnce(&Broker, &Loaded) -> Result<(), Mistakes>,
) -> Result<(), Mistakes> {
    let (loaded, _) = crate::load(sources)?;
    let runtime = crate::runtime(&loaded, None)?;
    let plan = crate::plan(&loaded)?;
    let is_there = loaded.config.data_dir.join("store").is_dir();
    if needs == Needs::Store && !is_there {
        let reason = format!("there is no store in {}", loaded.config.data_dir.display());
        return Err(vec![loaded.mistake("data_dir", reason)]);
    }
    let scratch = match needs == Needs::Look && !is_there {
        true => Some(Scratch::new()?),
        false => None,
    };
    let store = match &scratch {
        Some(scratch) => {
            wiring::store(scratch.0.join("store"), SCRATCH_BYTES).map_err(|error| {
                vec![Mistake::of_option("--dry-run", format!("no store can be made: {error}"))]
            })?
        }
        None => stopped_store(&loaded)?,
    };
    let done = runtime.block_on(work_on(&plan, store, &loaded, work));
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    done
}

async fn work_on(
    plan: &Plan,
    store: Arc<dyn Store>,
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Broker, &Loaded) -> Result<(), Mistakes>,
) -> Result<(), Mistakes> {
    let broker = plan.recover_at_rest(store, loaded).await?;
    let done = work(&broker, loaded).await;
    serve::close(&broker).await;
    done
}

fn stopped_store(loaded: &Loaded) -> Result<Arc<dyn Store>, Mistakes> {
    crate::make_data_dir(loaded)?;
    let settings = &loaded.config.store;
    let sizes = (settings.segment_bytes.0, settings.spill_bytes.0);
    let dir = loaded.config.data_dir.join("store");
    wiring::store(dir, sizes).map_err(|error| {
        let hint = match error {
            wiring::OpenError::Locked { .. } => {
                ": a broker is running, and this command is for a stopped one; users can also be put \
                 into its configuration file, which SIGHUP has it read again"
            }
            _ => "",
        };
        vec![loaded.mistake("data_dir", format!("the store cannot be opened: {error}{hint}"))]
    })
}

/// Who does all this, for the audit.
fn actor() -> Actor {
    Actor { user: "operator".into(), from: "command line".into() }
}

/// Prints what was done.
fn say(done: Result<String, Mistakes>) -> Result<(), Mistakes> {
    done.map(|text| say!("{text}"))
}

/// Reads a password from standard input.
fn new_secrets() -> Result<Secrets, Mistakes> {
    if std::io::stdin().is_terminal() {
        complain!("type the password and press Enter; it is shown while you type");
    }
    let secrets = read_password(std::io::stdin().lock()).and_then(|new| Secrets::make(&new));
    secrets.map_err(|error| vec![Mistake::of_option("", error.detail())])
}

async fn list(broker: &Broker, _: &Loaded) -> Result<(), Mistakes> {
    for (account, source) in broker.users() {
        let source = match source {
            AccountSource::Configuration => "configuration",
            AccountSource::RunTime => "store",
        };
        let words = Held::of(&account).words();
        let secrets = if words.is_empty() { "no password".to_owned() } else { words.join(", ") };
        say!("{} ({source}): {secrets}", shown(&account.name));
        if !account.tags.is_empty() {
            let tags: Vec<String> = account.tags.iter().map(|tag| shown(tag)).collect();
            say!("  tags: {}", tags.join(" "));
        }
        for (vhost, rights) in &account.vhosts {
            say!("  in {}:{}", shown(vhost), rights_line(rights.text()));
        }
    }
    Ok(())
}

fn rights_line(text: &RightsText) -> String {
    let mut line = String::new();
    let lists = [("configure", &text.configure), ("write", &text.write), ("read", &text.read)];
    for (action, patterns) in lists {
        if !patterns.is_empty() {
            let patterns: Vec<String> = patterns.iter().map(|pattern| shown(pattern)).collect();
            line.push_str(&format!(" {action} {}", patterns.join(" ")));
        }
    }
    if let Some(all) = &text.regexes {
        let (configure, write, read) = (&all.configure, &all.write, &all.read);
        line.push_str(&format!(" regex configure {configure:?} write {write:?} read {read:?}"));
    }
    for one in &text.topics {
        let exchange = shown(&one.exchange);
        line.push_str(&format!(" keys of {exchange} write {:?} read {:?}", one.write, one.read));
    }
    if line.is_empty() { " nothing".to_owned() } else { line }
}

async fn chown(broker: &Broker, loaded: &Loaded, order: &ChownOrder) -> Result<(), Mistakes> {
    let mistake = |reason: String| vec![Mistake::of_option("", reason)];
    let (session, user) = match (order.words.as_slice(), &order.from) {
        ([session, user], None) => (Some(session), user),
        ([user], Some(_)) => (None, user),
        (_, None) => return Err(mistake("it takes SESSION USER, or --from OLD-USER USER".into())),
        (_, Some(_)) => {
            return Err(mistake("with --from it takes only the USER who gets all".into()));
        }
    };
    // Users of tokens and of plugins are in no list.
    let may_be_another = loaded.config.auth.lets_others_in();
    if user != GUEST && broker.user(user).is_none() && !may_be_another {
        return Err(mistake(format!("there is no user '{user}'")));
    }
    let is_meant = |vhost: &str, name: &str, owner: &str| match (session, &order.from) {
        (Some(session), _) => vhost == order.vhost && name == session,
        (None, from) => from.as_deref() == Some(owner) && owner != user,
    };
    let mut sessions = broker.session_owners();
    sessions.retain(|one| is_meant(&one.vhost, &one.session, &one.user));
    if let (Some(session), true) = (session, sessions.is_empty()) {
        let place = format!("in virtual host '{}'", order.vhost);
        return Err(mistake(format!(
            "there is no session '{session}' {place}: `crossdock session list` names them"
        )));
    }
    for one in &sessions {
        let place = (&one.vhost, &*one.session);
        let given = broker.give_session(&actor(), place, &user.as_str().into()).await;
        given.map_err(|error| mistake(error.detail().to_owned()))?;
        say!("session {} is {}'s now", shown(&one.session), shown(user));
    }
    if sessions.is_empty() {
        say!("there are no such sessions: nothing is changed");
    }
    Ok(())
}
