//! Starts the log: where it goes, in which form, and how the level is changed later.

use crate::config::{Config, Loaded, LogFormat};
use crate::log_file::{LogFile, Output};
use crate::{log_file, log_line, panics};
use std::io::IsTerminal;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// The log that was started.
pub struct Log {
    /// Changes what is logged from now on.
    pub set_level: Box<dyn Fn(&str) + Send>,
    /// The file that it goes to.
    pub file: Option<Arc<LogFile>>,
}

/// Sends the log to its file, if one is configured. One that cannot be opened is a mistake of the configuration.
pub fn to_its_place(loaded: &mut Loaded) -> Log {
    let log = &loaded.config.log;
    let Some(path) = &log.file else { return to_standard_error(&loaded.config) };
    let lost_line = match log.format {
        LogFormat::Text => log_line::lost_as_text,
        LogFormat::Json => log_line::lost_as_json,
    };
    match LogFile::open(path, lost_line) {
        Ok(file) => start(&loaded.config, Some(Arc::new(file))),
        Err(error) => {
            let reason = format!(
                "the log cannot be written to {}: {error}; its folder has to be there, and the broker's \
                 user has to be allowed to write in it",
                path.display()
            );
            loaded.mistakes.push(loaded.mistake("log.file", reason));
            to_standard_error(&loaded.config)
        }
    }
}

/// Notes a mistake where the log's file cannot be opened, whoever tries. Nothing is opened: the broker may be another
/// user, and its file somebody's who watches it.
pub fn check_place(loaded: &mut Loaded) {
    let Some(path) = &loaded.config.log.file else { return };
    if let Err(why) = log_file::check_place(path) {
        let reason = format!("the log cannot be written to {}: {why}", path.display());
        loaded.mistakes.push(loaded.mistake("log.file", reason));
    }
}

/// Sends the log to standard error: that of commands, which may be somebody else's than the broker's file is.
pub fn to_standard_error(config: &Config) -> Log {
    start(config, None)
}

fn start(config: &Config, file: Option<Arc<LogFile>>) -> Log {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log.level))
        .with_ansi(file.is_none() && std::io::stderr().is_terminal())
        .with_writer(Output(file.clone()));
    let set_level: Box<dyn Fn(&str) + Send> = match config.log.format {
        LogFormat::Text => {
            let builder = builder.fmt_fields(log_line::fields()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            // It fails where nothing is logged any more.
            Box::new(move |level| drop(handle.reload(EnvFilter::new(level))))
        }
        LogFormat::Json => {
            let builder = builder.event_format(log_line::JsonLine).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| drop(handle.reload(EnvFilter::new(level))))
        }
    };
    panics::watch();
    Log { set_level, file }
}
