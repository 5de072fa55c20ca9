//! The bytes of users and rights. docs/STORE.md has the tables. What a user may do is stored as it was written.

use super::ops::Op;
use crate::auth::{Account, Secret};
use crate::message::Name;
use crate::message::wire::{Put, Take};
use crate::rights::{NameRegexes, RightsText, TopicRegexes};
use bytes::Bytes;
use std::collections::BTreeMap;

/// An operation about users or virtual hosts, behind its code.
pub fn take_op(code: u8, input: &mut Bytes) -> Option<Op> {
    Some(match code {
        25 => Op::User(take_user(input)?),
        26 => Op::UserGone { name: input.take_name()? },
        27 => Op::Rights {
            user: input.take_name()?,
            vhost: input.take_name()?,
            rights: take_rights(input)?,
        },
        28 => Op::RightsGone { user: input.take_name()?, vhost: input.take_name()? },
        29 => Op::Vhost { name: input.take_name()? },
        _ => return None,
    })
}

pub fn put_user(out: &mut Vec<u8>, account: &Account) {
    out.text(&account.name);
    out.varint(account.tags.len() as u64);
    account.tags.iter().for_each(|tag| out.text(tag));
    out.varint(account.verifiers.len() as u64);
    account.verifiers.iter().for_each(|verifier| out.bytes(&verifier.0));
}

/// A user without rights.
fn take_user(input: &mut Bytes) -> Option<Account> {
    let name = input.take_name()?;
    let tags = take_list(input, Take::take_name)?;
    // Copied: they must not keep the bytes around them in memory.
    let secret = |i: &mut Bytes| i.take_bytes().map(|b| Secret(Bytes::copy_from_slice(&b)));
    let verifiers = take_list(input, secret)?;
    Some(Account { name, tags, verifiers, vhosts: BTreeMap::new() })
}

pub fn put_rights(out: &mut Vec<u8>, rights: &RightsText) {
    for list in [&rights.configure, &rights.write, &rights.read] {
        out.varint(list.len() as u64);
        list.iter().for_each(|text| out.text(text));
    }
    out.optional(rights.regexes.as_ref(), |out, all| {
        [&all.configure, &all.write, &all.read].into_iter().for_each(|text| out.text(text));
    });
    out.varint(rights.topics.len() as u64);
    for TopicRegexes { exchange, write, read } in &rights.topics {
        out.text(exchange);
        out.text(write);
        out.text(read);
    }
}

fn take_rights(input: &mut Bytes) -> Option<RightsText> {
    let text = |i: &mut Bytes| i.take_name().map(|name: Name| name.to_string());
    Some(RightsText {
        configure: take_list(input, text)?,
        write: take_list(input, text)?,
        read: take_list(input, text)?,
        regexes: input.take_optional(|i| {
            Some(NameRegexes { configure: text(i)?, write: text(i)?, read: text(i)? })
        })?,
        topics: take_list(input, |i| {
            Some(TopicRegexes { exchange: i.take_name()?, write: text(i)?, read: text(i)? })
        })?,
    })
}

fn take_list<T>(input: &mut Bytes, take: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count: usize = input.take_number()?;
    // Each takes a byte at least: a count that is too large takes no memory.
    let mut list = Vec::with_capacity(count.min(input.len()).min(1_024));
    for _ in 0..count {
        list.push(take(input)?);
    }
    Some(list)
}
