//! AMQP 0-9-1 methods that are sent in bursts, without a reply: the next method with a reply is the barrier.

use super::amqp::{Field, Out};

const NO_WAIT: u8 = 1;

/// Arguments of a declaration or binding.
pub type Arguments<'a> = &'a [(String, Field)];

/// queue.declare. `bits`: 2 durable, 4 exclusive, 8 auto-delete.
pub fn declare(queue: &str, bits: u8, arguments: Arguments<'_>) -> Vec<u8> {
    Out::method(50, 10).u16(0).short(queue).u8(bits | 16).table(arguments).frame(1)
}

/// queue.delete.
pub fn delete(queue: &str) -> Vec<u8> {
    Out::method(50, 40).u16(0).short(queue).u8(4).frame(1)
}

/// exchange.declare of a transient exchange.
pub fn exchange(name: &str, kind: &str) -> Vec<u8> {
    let declare = Out::method(40, 10).u16(0).short(name).short(kind);
    declare.u8(16).table(&[]).frame(1)
}

/// exchange.delete.
pub fn delete_exchange(name: &str) -> Vec<u8> {
    Out::method(40, 20).u16(0).short(name).u8(2).frame(1)
}

/// queue.bind.
pub fn bind(queue: &str, exchange: &str, key: &str, arguments: Arguments<'_>) -> Vec<u8> {
    let bind = Out::method(50, 20).u16(0).short(queue).short(exchange).short(key);
    bind.u8(NO_WAIT).table(arguments).frame(1)
}

/// exchange.bind.
pub fn bind_exchange(to: &str, from: &str) -> Vec<u8> {
    let bind = Out::method(40, 30).u16(0).short(to).short(from).short("");
    bind.u8(NO_WAIT).table(&[]).frame(1)
}

/// basic.consume without acknowledgements.
pub fn consume(queue: &str, tag: &str) -> Vec<u8> {
    Out::method(60, 20).u16(0).short(queue).short(tag).u8(2 | 8).table(&[]).frame(1)
}

/// basic.cancel.
pub fn cancel(tag: &str) -> Vec<u8> {
    Out::method(60, 30).short(tag).u8(NO_WAIT).frame(1)
}
