//! A protocol without a broker, for tests: what a connection wishes when something happens.

use crate::abi;
use crate::protocol::{Connection, Happened, Settled, Wishes};
use crate::values::text;
use std::ffi::c_void;

/// One of the [`Wishes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Write(Vec<u8>),
    LogIn { user: String, password: Vec<u8> },
    Publish { token: u64, address: String, body: Vec<u8>, durable: bool },
    Subscribe { token: u64, address: String, settles: bool },
    Unsubscribe { token: u64 },
    Settle { delivery: u64, how: Settled },
    Close,
}

/// Tells a connection what happened. What it wishes, and what the turn says.
pub fn turn(
    connection: &mut impl Connection,
    happened: Happened<'_>,
) -> (Vec<Wish>, Result<(), String>) {
    let mut wished: Vec<Wish> = Vec::new();
    let context = (&raw mut wished).cast();
    let result =
        connection.turn(happened, &mut Wishes::new(abi::Wishes { context, wish: Some(take) }));
    (wished, result)
}

unsafe extern "C" fn take(context: *mut c_void, wish: *const abi::Wish) -> i32 {
    // SAFETY: `turn` made the context, and `Wishes` calls this during that turn only, with a wish that is there.
    let (Some(wished), Some(it)) =
        (unsafe { (context.cast::<Vec<Wish>>().as_mut(), abi::read(wish)) })
    else {
        return 1;
    };
    // SAFETY: the same.
    let (address, bytes) = unsafe { (text(it.address).to_owned(), it.bytes.bytes().to_vec()) };
    wished.push(match it.kind {
        abi::WRITE => Wish::Write(bytes),
        abi::LOG_IN => Wish::LogIn { user: address, password: bytes },
        abi::PUBLISH => {
            let durable = it.flags & abi::DURABLE != 0;
            Wish::Publish { token: it.token, address, body: bytes, durable }
        }
        abi::SUBSCRIBE => {
            Wish::Subscribe { token: it.token, address, settles: it.flags & abi::SETTLES != 0 }
        }
        abi::UNSUBSCRIBE => Wish::Unsubscribe { token: it.token },
        abi::SETTLE => {
            let how = match it.flags {
                abi::RETURNED => Settled::Returned,
                abi::REJECTED => Settled::Rejected,
                _ => Settled::Accepted,
            };
            Wish::Settle { delivery: it.token, how }
        }
        abi::CLOSE => Wish::Close,
        _ => return 1,
    });
    0
}
