//! `crossdock store backup` and `crossdock store restore`.

use crate::config::{Loaded, Mistake};
use crate::output::{complain, say};
use crate::{EXIT_MISTAKES, Sources, wiring};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use wiring::{BackupOptions, RestoreOptions};

/// Exit code: the store is damaged, or an old backup could not be removed.
const EXIT_FOUND: u8 = 1;

/// What `crossdock store backup` is told.
#[derive(Debug, Args)]
pub struct BackupOrder {
    /// The folder of backups; made if it is not there. Each backup is a folder in it, and takes from the one before
    /// what has not changed.
    dir: PathBuf,
    /// Remove the oldest backups in it afterwards, so that this many are left. Not given: all stay.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    #[command(flatten)]
    sources: Sources,
}

/// What `crossdock store restore` is told.
#[derive(Debug, Args)]
pub struct RestoreOrder {
    /// A backup, or a folder of backups, of which the newest is taken.
    dir: PathBuf,
    /// There may be a store: it is moved aside, and stays.
    #[arg(long)]
    replace: bool,
    /// Restore a damaged backup; what the damaged parts held is lost.
    #[arg(long)]
    accept_damage: bool,
    #[command(flatten)]
    sources: Sources,
}

/// Backs up the store of the data directory.
pub fn backup(order: &BackupOrder) -> Result<ExitCode, Vec<Mistake>> {
    let loaded = load(&order.sources)?;
    let alarm = loaded.config.store.disk_free_alarm.map(|size| size.0);
    let options = BackupOptions { keep: order.keep.map(|keep| keep as usize), leave_free: alarm };
    let store = loaded.config.data_dir.join("store");
    let made = match wiring::backup(&store, &order.dir, options) {
        Ok(made) => made,
        Err(error) => {
            complain!("there is no new backup: {error}");
            return Ok(ExitCode::from(EXIT_MISTAKES));
        }
    };
    let copied = &made.copied;
    say!(
        "{}: a backup of all that was stored up to entry {}",
        made.folder.display(),
        copied.upto.0
    );
    say!(
        "{} files of {} bytes copied and checked, {} of {} bytes shared with the backup before",
        copied.copied_files,
        copied.copied_bytes,
        copied.reused_files,
        copied.reused_bytes
    );
    for folder in &made.removed {
        say!("{}: removed", folder.display());
    }
    for finding in &copied.damage {
        complain!("the store is damaged, and so is the backup: {finding}");
    }
    if let Some(why) = &made.not_removed {
        complain!("the backup is made, but an old one could not be removed: {why}");
    }
    let is_well = copied.damage.is_empty() && made.not_removed.is_none();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

/// Restores the store of the data directory.
pub fn restore(order: &RestoreOrder) -> Result<ExitCode, Vec<Mistake>> {
    let loaded = load(&order.sources)?;
    let store = loaded.config.data_dir.join("store");
    let options = RestoreOptions { replace: order.replace, accept_damage: order.accept_damage };
    crate::make_data_dir(&loaded)?;
    let restored = match wiring::restore(&order.dir, &store, options) {
        Ok(restored) => restored,
        Err(error) => {
            complain!("{error}");
            return Ok(ExitCode::from(EXIT_MISTAKES));
        }
    };
    say!(
        "{}: restored from {}, up to entry {}, {} bytes",
        store.display(),
        restored.backup.display(),
        restored.upto.0,
        restored.bytes
    );
    if let Some(aside) = &restored.aside {
        say!(
            "{}: the store that was there before; remove it when nobody needs it",
            aside.display()
        );
    }
    for finding in &restored.damage {
        complain!("the backup is damaged, and so is the store: {finding}");
    }
    if !restored.damage.is_empty() {
        complain!(
            "a start that refuses the damage takes it once it is told to: crossdock serve --accept-damage"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration. With a mistake in it the data directory may be another one than is meant.
fn load(sources: &Sources) -> Result<Loaded, Vec<Mistake>> {
    let (loaded, _) = crate::load(&sources.clone().with_file())?;
    match loaded.mistakes.is_empty() {
        true => Ok(loaded),
        false => Err(loaded.mistakes),
    }
}
