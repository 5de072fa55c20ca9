//! The functions of the contract around an [`Authenticator`].

use super::{guard, nothing, object};
use crate::abi::{self, Head, Sink, View, Views};
use crate::authenticator::{Answer, Authenticator, Login, User};
use std::ffi::c_void;
use std::time::{SystemTime, UNIX_EPOCH};

/// The table of an authenticator.
pub const fn authenticator<A: Authenticator>() -> abi::Authenticator {
    abi::Authenticator { head: Head::of::<abi::Authenticator>(), login: Some(login::<A>) }
}

unsafe extern "C" fn login<A: Authenticator>(
    state: *mut c_void,
    login: *const abi::Login,
    answers: *const abi::Answers,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `login`.
        let (authenticator, login, answers) =
            unsafe { (object::<A>(state)?, abi::read(login), answers.as_ref()) };
        let (login, answers) = (login.ok_or_else(nothing)?, answers.ok_or_else(nothing)?);
        // SAFETY: the same. What this SDK does not know is somebody else's.
        let answer = match unsafe { Login::of(&login) } {
            Some(login) => authenticator.login(&login)?,
            None => Answer::NotMine,
        };
        give(&answer, answers);
        Ok(())
    })
}

fn give(answer: &Answer, answers: &abi::Answers) {
    let nobody = User::default();
    let (kind, name, expires, user) = match answer {
        Answer::NotMine => (abi::NOT_MINE, "", None, &nobody),
        Answer::Account { user, expires } => (abi::ACCOUNT, user.as_str(), *expires, &nobody),
        Answer::User(user) => (abi::USER, user.name.as_str(), user.expires, user),
    };
    let views = |texts: &[String]| -> Vec<View> {
        texts.iter().map(|text| View::of(text.as_bytes())).collect()
    };
    let held: Vec<[Vec<View>; 3]> = user
        .rights
        .iter()
        .map(|one| [views(&one.configure), views(&one.write), views(&one.read)])
        .collect();
    let rights = user.rights.iter().zip(&held).map(|(one, [configure, write, read])| abi::Rights {
        head: Head::of::<abi::Rights>(),
        virtual_host: View::of(one.virtual_host.as_bytes()),
        configure: Views::of(configure),
        write: Views::of(write),
        read: Views::of(read),
    });
    let rights: Vec<abi::Rights> = rights.collect();
    let tags = views(&user.tags);
    let passed = abi::Answer {
        head: Head::of::<abi::Answer>(),
        kind,
        user: View::of(name.as_bytes()),
        expires_ms: expires.map_or(0, milliseconds),
        tags: Views::of(&tags),
        rights: rights.as_ptr(),
        rights_count: rights.len(),
    };
    if let Some(take) = answers.answer {
        // SAFETY: the broker's function during its call; what is passed stays meanwhile. One that is too much is the
        // broker's to judge.
        unsafe { take(answers.context, &raw const passed) };
    }
}

/// Since 1970. What is before that is over, as 1 is; what no number reaches is far away.
fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX).max(1)
}
