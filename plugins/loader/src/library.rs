//! From a file to a plugin: the library is opened, its mark is read, and only then is anything of it called.

use crate::authenticator::PluginAuthenticator;
use crate::exchange::{Kind, Maker};
use crate::plugin::{Look, Plugin, Pointer, Spec};
use crate::protocol::PluginSpeaker;
use crate::transform::Transform;
use crate::{file, pool};
use crossdock_core::dialog::Speaker;
use crossdock_core::step::StepMaker;
use crossdock_core::{ForeignAuthenticator, ForeignKind};
use crossdock_plugin::abi::{self, Entry, Head, Host, PluginAbi, View};
use libloading::Library;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opening a library runs what it does when it is opened: it gets as many times the time of a call.
const OPEN_TIMES: u32 = 10;
/// No struct of the contract will ever be larger.
const STRUCT_MAX: u32 = 64 << 10;

/// A library hangs while it is opened, and holds the lock of all that are opened and closed.
static STUCK: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn _exit(code: c_int) -> !;
}

/// Ends the process at once if a library hangs while it is opened: the ordinary end would wait for it for ever.
pub fn exit_if_stuck(code: u8) {
    if STUCK.load(Ordering::Relaxed) {
        // SAFETY: it never returns, and takes any number.
        unsafe { _exit(c_int::from(code)) }
    }
}

/// Why a plugin is not loaded. It says which key of its section is to blame: `path`, `sha256`, `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    pub key: &'static str,
    pub reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// A plugin that is loaded and has started.
#[derive(Clone)]
pub struct Loaded {
    plugin: Arc<Plugin>,
    speaker: Option<Arc<dyn Speaker>>,
    authenticator: Option<Arc<dyn ForeignAuthenticator>>,
    steps: Option<Arc<dyn StepMaker>>,
}

impl Loaded {
    /// As it is configured.
    pub fn spec(&self) -> &Spec {
        &self.plugin.spec
    }

    /// As operators see it.
    pub fn look(&self) -> Look {
        self.plugin.look()
    }

    /// The protocol that it speaks, if it does.
    pub fn speaker(&self) -> Option<&Arc<dyn Speaker>> {
        self.speaker.as_ref()
    }

    /// What decides logins in it, if anything does.
    pub fn authenticator(&self) -> Option<&Arc<dyn ForeignAuthenticator>> {
        self.authenticator.as_ref()
    }

    /// What makes steps of content routes of its transform, if it brings one.
    pub fn steps(&self) -> Option<&Arc<dyn StepMaker>> {
        self.steps.as_ref()
    }
}

/// Loads a plugin, starts it, and makes known what it brings. It stays in the process, whatever comes of it.
pub fn load(spec: &Spec) -> Result<Loaded, LoadError> {
    let wrong = |reason: String| error("path", spec, &reason);
    let real = checked(spec)?;
    let opened = open(&real, spec).map_err(wrong)?;
    let plugin = Arc::new(Plugin::new(spec.clone()));
    let entered = enter(&plugin, opened).map_err(wrong)?;
    start(&plugin, &entered)?;
    let (mut brings, mut speaker) = (Vec::new(), None);
    if !entered.exchange_kind.is_null() {
        let kind = Kind::read(entered.exchange_kind).map_err(wrong)?;
        let name = kind.name.clone();
        let maker = Maker::new(&plugin, kind);
        let provided = ForeignKind::provide(&name, Arc::new(maker));
        provided.map_err(|error| wrong(error.detail().to_owned()))?;
        brings.push(format!("exchange:{name}"));
    }
    if !entered.protocol.is_null() {
        let read = PluginSpeaker::read(&plugin, entered.protocol).map_err(wrong)?;
        brings.push(format!("protocol:{}", read.name()));
        speaker = Some(Arc::new(read) as Arc<dyn Speaker>);
    }
    let mut authenticator = None;
    if !entered.authenticator.is_null() {
        let read = PluginAuthenticator::read(&plugin, entered.authenticator).map_err(wrong)?;
        brings.push("authenticator".to_owned());
        authenticator = Some(Arc::new(read) as Arc<dyn ForeignAuthenticator>);
    }
    let mut steps = None;
    if !entered.transform.is_null() {
        let read = Transform::read(&plugin, entered.transform).map_err(wrong)?;
        brings.push("transform".to_owned());
        steps = Some(Arc::new(read) as Arc<dyn StepMaker>);
    }
    let _ = plugin.brings.set(brings);
    Ok(Loaded { plugin, speaker, authenticator, steps })
}

/// Checks the file of a plugin, and loads nothing.
pub fn check_file(spec: &Spec) -> Result<(), LoadError> {
    checked(spec).map(|_| ())
}

/// The real path of a file that may be loaded.
fn checked(spec: &Spec) -> Result<PathBuf, LoadError> {
    let real = file::check(&spec.path).map_err(|reason| error("path", spec, &reason))?;
    let hash = spec.sha256.as_deref().map_or(Ok(()), |wanted| file::check_hash(&real, wanted));
    hash.map_err(|reason| error("sha256", spec, &reason))?;
    file::check_whole(&real).map_err(|reason| error("path", spec, &reason))?;
    Ok(real)
}

fn error(key: &'static str, spec: &Spec, reason: &str) -> LoadError {
    LoadError { key, reason: format!("{}: {reason}", spec.path.display()) }
}

/// The entry of a library whose mark is good.
#[derive(Clone, Copy)]
struct Opened {
    entry: Entry,
    kinds: u32,
}

fn open(real: &Path, spec: &Spec) -> Result<Opened, String> {
    if STUCK.load(Ordering::Relaxed) {
        return Err("is not opened, because another library hangs while it is opened".to_owned());
    }
    let time = spec.call_time * OPEN_TIMES;
    let pool = pool::Pool::new(&format!("plugin-{}", spec.name), 1, time);
    let real: PathBuf = real.to_owned();
    let opened = pool.call(move || {
        // SAFETY: what the library does when it is opened is trusted as the whole of it is: its file is checked.
        let library = unsafe { Library::new(&real) };
        library.map_err(|error| {
            // What the linker says stands behind what was asked of it.
            let reason = std::error::Error::source(&error).map(|reason| format!(": {reason}"));
            format!("is no library that can be loaded: {error}{}", reason.unwrap_or_default())
        })
    });
    let library = opened.map_err(|_| {
        STUCK.store(true, Ordering::Relaxed);
        format!("opening it did not end within {} ms", time.as_millis())
    })??;
    // It is never unloaded: threads may run in it, and pointers into it are kept.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: the symbol is data. Only the mark's magic, and then its head, is read before it is known to be one.
    let mark = unsafe { library.get::<*const PluginAbi>(b"CROSSDOCK_PLUGIN_ABI\0") };
    let mark =
        mark.map_err(|_| "is no plugin: it has no symbol CROSSDOCK_PLUGIN_ABI".to_owned())?;
    // SAFETY: the address of a symbol of a library that stays.
    let kinds = check_mark(unsafe { mark.read_unaligned() })?;
    // SAFETY: what the mark promises.
    let entry = unsafe { library.get::<Entry>(b"crossdock_plugin_entry_v1\0") };
    let entry = entry.map_err(|_| "has no symbol crossdock_plugin_entry_v1".to_owned())?;
    Ok(Opened { entry: *entry, kinds })
}

/// What the library has, if its mark is one of this version.
fn check_mark(mark: PluginAbi) -> Result<u32, String> {
    if mark.magic != abi::MAGIC {
        return Err(
            "is no plugin: its CROSSDOCK_PLUGIN_ABI does not begin with XDOCKPLG".to_owned()
        );
    }
    check_head("CROSSDOCK_PLUGIN_ABI", mark.head, size_of::<PluginAbi>())?;
    let known =
        abi::KIND_EXCHANGE | abi::KIND_PROTOCOL | abi::KIND_AUTHENTICATOR | abi::KIND_TRANSFORM;
    match (mark.kinds & known, mark.kinds & !known) {
        (_, unknown) if unknown != 0 => Err(format!(
            "brings what this version of Crossdock does not know (kinds {:#x}): use a newer broker",
            mark.kinds
        )),
        (0, _) => Err("says that it brings nothing (kinds 0)".to_owned()),
        (kinds, _) => Ok(kinds),
    }
}

/// Whether a struct of the plugin can be used: of this major version, and with all that this version began with.
pub fn check_head(name: &str, head: Head, least: usize) -> Result<(), String> {
    if head.abi_major != abi::MAJOR {
        let ours = abi::MAJOR;
        return Err(format!(
            "{name} is of version {} of the contract, and this broker has {ours}: build it for that",
            head.abi_major
        ));
    }
    let size = head.struct_size;
    if (size as usize) < least {
        return Err(format!("{name} has {size} bytes, and version 1.0 began with {least}"));
    }
    if size > STRUCT_MAX {
        return Err(format!("{name} has {size} bytes, and none has more than {STRUCT_MAX}"));
    }
    Ok(())
}

/// What the entry filled, copied.
struct Entered {
    start: Option<abi::Start>,
    exchange_kind: *const abi::ExchangeKind,
    protocol: *const abi::Protocol,
    authenticator: *const abi::Authenticator,
    transform: *const abi::Transform,
}

/// Has the library fill the struct of its plugin.
fn enter(plugin: &Arc<Plugin>, opened: Opened) -> Result<Entered, String> {
    let host: &'static Host = Box::leak(Box::new(Host {
        head: Head::of::<Host>(),
        // The name stays, as the library does.
        context: Box::into_raw(Box::new(plugin.spec.name.clone())).cast(),
        log: Some(log),
    }));
    let filled = plugin.call("entry", move |_| {
        let mut out = Filled(abi::Plugin {
            head: Head::of::<abi::Plugin>(),
            name: View::of(&[]),
            version: View::of(&[]),
            start: None,
            exchange_kind: std::ptr::null(),
            protocol: std::ptr::null(),
            authenticator: std::ptr::null(),
            transform: std::ptr::null(),
        });
        // SAFETY: the mark says that it is such a function; the host stays, and `out` has the size that its head says.
        let status = unsafe { (opened.entry)(host, &raw mut out.0) };
        (status, out)
    });
    let Filled(filled) = filled.map_err(|error| error.detail().to_owned())?;
    // Whatever is behind the optional end is zero when the plugin does not know it.
    let least = std::mem::offset_of!(abi::Plugin, exchange_kind);
    check_head("CrossdockPlugin", filled.head, least)?;
    // SAFETY: a struct of this process, whose head was just checked.
    let filled = unsafe { abi::read(&raw const filled) }.ok_or("fills nothing")?;
    // SAFETY: texts of the library, which stay.
    let text = |view: View| unsafe { String::from_utf8_lossy(view.bytes()).into_owned() };
    let _ = plugin.title.set((text(filled.name), text(filled.version)));
    if opened.kinds & abi::KIND_EXCHANGE != 0 && filled.exchange_kind.is_null() {
        return Err("says that it brings an exchange kind, and has none".to_owned());
    }
    if opened.kinds & abi::KIND_PROTOCOL != 0 && filled.protocol.is_null() {
        return Err("says that it brings a protocol, and has none".to_owned());
    }
    if opened.kinds & abi::KIND_AUTHENTICATOR != 0 && filled.authenticator.is_null() {
        return Err("says that it brings an authenticator, and has none".to_owned());
    }
    if opened.kinds & abi::KIND_TRANSFORM != 0 && filled.transform.is_null() {
        return Err("says that it brings a transform, and has none".to_owned());
    }
    let abi::Plugin { start, exchange_kind, protocol, authenticator, transform, .. } = filled;
    Ok(Entered { start, exchange_kind, protocol, authenticator, transform })
}

/// What an entry filled, on its way from the thread that called it.
struct Filled(abi::Plugin);

// SAFETY: its pointers lead into the library, which stays, and may be used from any thread by the contract.
unsafe impl Send for Filled {}

fn start(plugin: &Arc<Plugin>, entered: &Entered) -> Result<(), LoadError> {
    let path = plugin.spec.path.display();
    let with = plugin.spec.with.clone();
    let Some(start) = entered.start else {
        let reason = format!("{path}: has no function 'start'");
        return Err(LoadError { key: "path", reason });
    };
    let started = plugin.call("start", move |error| {
        let mut state = std::ptr::null_mut();
        // SAFETY: the plugin's function; the text stays during the call.
        let status = unsafe { start(View::of(with.as_bytes()), &raw mut state, error) };
        (status, Pointer(state))
    });
    match started {
        Ok(state) => {
            let _ = plugin.state.set(state);
            Ok(())
        }
        Err(error) if plugin.out_of_use().is_none() => {
            let reason = format!("{path}: does not start: {}", error.detail());
            Err(LoadError { key: "with", reason })
        }
        Err(error) => Err(LoadError { key: "path", reason: error.detail().to_owned() }),
    }
}

/// Writes a line of a plugin to the log.
unsafe extern "C" fn log(context: *mut c_void, level: u32, text: View) {
    // SAFETY: the context is the name that `enter` leaked; the text is a view of the plugin.
    let (name, text) = unsafe { (context.cast::<String>().as_ref(), text.bytes()) };
    let (Some(name), text) = (name, String::from_utf8_lossy(text.get(..4_096).unwrap_or(text)))
    else {
        return;
    };
    match level {
        abi::LOG_ERROR => tracing::error!(plugin = name, %text, "a plugin reports an error"),
        abi::LOG_WARN => tracing::warn!(plugin = name, %text, "a plugin warns"),
        abi::LOG_INFO => tracing::info!(plugin = name, %text, "a plugin says something"),
        _ => tracing::debug!(plugin = name, %text, "a plugin says something"),
    }
}
