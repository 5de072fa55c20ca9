//! A protocol of a plugin, behind the core's seam: turns of a connection are calls of the plugin.

use crate::library::check_head;
use crate::plugin::{Object, Plugin, Pointer};
use async_trait::async_trait;
use bytes::Bytes;
use crossdock_core::dialog::{Delivered, Dialog, Happened, Settled, Speaker, Wish};
use crossdock_core::{Error, ErrorKind};
use crossdock_plugin::abi::{self, Head, View, Wishes};
use std::ffi::c_void;
use std::sync::Arc;

/// Wishes of one turn, and bytes in them, at most.
const WISHES_MAX: usize = 10_000;
const BYTES_MAX: usize = 64 << 20;

/// Speaks a plugin's protocol.
pub struct PluginSpeaker {
    name: &'static str,
    plugin: Arc<Plugin>,
    open: abi::Open,
    turn: abi::Turn,
    close: abi::Free,
}

impl PluginSpeaker {
    /// Of the protocol that a plugin points to; what is wrong with it otherwise.
    pub fn read(plugin: &Arc<Plugin>, from: *const abi::Protocol) -> Result<Self, String> {
        // SAFETY: the plugin's entry put it there, and it stays, by the contract.
        let it = unsafe { abi::read(from) }.ok_or("has no protocol")?;
        check_head("CrossdockProtocol", it.head, size_of::<abi::Protocol>())?;
        let missing = |name: &str| format!("its protocol has no function '{name}'");
        // SAFETY: a text of the library, which stays.
        let name = String::from_utf8_lossy(unsafe { it.name.bytes() }).into_owned();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            return Err(format!(
                "the protocol's name '{name}' is not 1 to 32 lower-case letters, digits and '-'"
            ));
        }
        Ok(Self {
            // The protocol is there as long as the process.
            name: Box::leak(name.into_boxed_str()),
            plugin: plugin.clone(),
            open: it.open.ok_or_else(|| missing("open"))?,
            turn: it.turn.ok_or_else(|| missing("turn"))?,
            close: it.close.ok_or_else(|| missing("close"))?,
        })
    }
}

#[async_trait]
impl Speaker for PluginSpeaker {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn open(&self, peer: &str) -> Result<Box<dyn Dialog>, Error> {
        let (open, state, peer) = (self.open, self.plugin.state(), peer.to_owned());
        let opened = self.plugin.call_later("open", move |error| {
            let (state, mut connection) = (state, std::ptr::null_mut());
            let peer = View::of(peer.as_bytes());
            // SAFETY: the plugin's function; all that is passed stays during the call.
            let status = unsafe { open(state.0, peer, &raw mut connection, error) };
            (status, Pointer(connection))
        });
        let (connection, refused) = opened.await?;
        if let Some(why) = refused {
            return Err(invalid(why));
        }
        let object = Object::new(&self.plugin, connection, Some(self.close), None);
        Ok(Box::new(Talk { plugin: self.plugin.clone(), turn: self.turn, object }))
    }
}

/// One connection.
struct Talk {
    plugin: Arc<Plugin>,
    turn: abi::Turn,
    object: Arc<Object>,
}

#[async_trait]
impl Dialog for Talk {
    async fn turn(&mut self, happened: Vec<Happened>) -> (Vec<Wish>, Result<(), Error>) {
        // The call has the object until it returns, so that it is freed after it, whoever waits.
        let (turn, object) = (self.turn, self.object.clone());
        let called = self.plugin.call_later("turn", move |error| {
            let passed: Vec<abi::Happened> = happened.iter().map(passed).collect();
            let mut taken = Taken::default();
            let wishes = Wishes { context: (&raw mut taken).cast(), wish: Some(take) };
            // SAFETY: the plugin's function and object, which has one turn at a time; all that is passed stays during
            // the call.
            let status = unsafe {
                turn(object.pointer(), passed.as_ptr(), passed.len(), &raw const wishes, error)
            };
            (status, taken)
        });
        match called.await {
            // A refusal ends the connection only, and what was wished before it is done.
            Ok((taken, refused)) => match taken.wrong.or(refused) {
                Some(why) => (taken.wishes, Err(invalid(why))),
                None => (taken.wishes, Ok(())),
            },
            Err(error) => (Vec::new(), Err(error)),
        }
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, why.into())
}

/// What happened, as it is passed; it points to what it was made of.
fn passed(happened: &Happened) -> abi::Happened {
    let nothing = abi::Happened {
        head: Head::of::<abi::Happened>(),
        kind: 0,
        status: abi::OK,
        flags: 0,
        token: 0,
        delivery: 0,
        address: View::of(&[]),
        bytes: View::of(&[]),
    };
    let why = |error: &Error| View::of(error.detail().as_bytes());
    let judged = |kind: u32, token: u64, result: &Result<(), Error>| match result {
        Ok(()) => abi::Happened { kind, token, ..nothing },
        Err(error) => {
            let (status, bytes) = (abi::REFUSED, View::of(error.detail().as_bytes()));
            abi::Happened { kind, token, status, bytes, ..nothing }
        }
    };
    match happened {
        Happened::Bytes(bytes) => {
            abi::Happened { kind: abi::BYTES, bytes: View::of(bytes), ..nothing }
        }
        Happened::LoggedIn(result) => judged(abi::LOGGED_IN, 0, result),
        Happened::Published(token, result) => judged(abi::PUBLISHED, *token, result),
        Happened::Subscribed(token, result) => judged(abi::SUBSCRIBED, *token, result),
        Happened::Unsubscribed(token, error) => {
            let (kind, token, bytes) = (abi::UNSUBSCRIBED, *token, why(error));
            abi::Happened { kind, token, bytes, ..nothing }
        }
        Happened::Delivered(Delivered { subscription, delivery, address, body, redelivered }) => {
            abi::Happened {
                kind: abi::DELIVERED,
                token: *subscription,
                delivery: *delivery,
                flags: if *redelivered { abi::REDELIVERED } else { 0 },
                address: View::of(address.as_bytes()),
                bytes: View::of(body),
                ..nothing
            }
        }
        Happened::Ending(error) => {
            abi::Happened { kind: abi::ENDING, bytes: why(error), ..nothing }
        }
    }
}

/// Wishes that were taken.
#[derive(Default)]
struct Taken {
    wishes: Vec<Wish>,
    bytes: usize,
    /// Why no more are taken.
    wrong: Option<String>,
}

unsafe extern "C" fn take(context: *mut c_void, wish: *const abi::Wish) -> i32 {
    // SAFETY: the context is that of a turn, and the plugin uses it during its call only.
    let Some(taken) = (unsafe { context.cast::<Taken>().as_mut() }) else { return 1 };
    // SAFETY: a wish of the plugin, or null.
    let Some(it) = (unsafe { abi::read(wish) }) else { return 1 };
    // SAFETY: views of the plugin, valid during this call.
    let (address, bytes) = unsafe { (it.address.bytes(), it.bytes.bytes()) };
    if taken.wrong.is_some() {
        return 1;
    }
    taken.bytes += address.len() + bytes.len();
    if taken.wishes.len() >= WISHES_MAX || taken.bytes > BYTES_MAX {
        taken.wrong = Some(format!(
            "the plugin wishes more in one turn than {WISHES_MAX} things and {BYTES_MAX} bytes"
        ));
        return 1;
    }
    match wished(&it, String::from_utf8_lossy(address).into_owned(), bytes) {
        Some(wish) => {
            taken.wishes.push(wish);
            0
        }
        None => {
            taken.wrong = Some(format!("the plugin wishes what there is not: {}", it.kind));
            1
        }
    }
}

fn wished(it: &abi::Wish, address: String, bytes: &[u8]) -> Option<Wish> {
    let (token, flags) = (it.token, it.flags);
    let bytes = Bytes::copy_from_slice(bytes);
    Some(match it.kind {
        abi::WRITE => Wish::Write(bytes),
        abi::LOG_IN => Wish::LogIn { user: address.into(), password: bytes },
        abi::PUBLISH => {
            Wish::Publish { token, address, body: bytes, durable: flags & abi::DURABLE != 0 }
        }
        abi::SUBSCRIBE => Wish::Subscribe { token, address, settles: flags & abi::SETTLES != 0 },
        abi::UNSUBSCRIBE => Wish::Unsubscribe { token },
        abi::SETTLE => {
            let how = match flags {
                abi::ACCEPTED => Settled::Accepted,
                abi::RETURNED => Settled::Returned,
                abi::REJECTED => Settled::Rejected,
                _ => return None,
            };
            Wish::Settle { delivery: token, how }
        }
        abi::CLOSE => Wish::Close,
        _ => return None,
    })
}
