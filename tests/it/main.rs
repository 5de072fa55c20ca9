//! Black-box tests: the real process, over real sockets. The clients in `wire` say exactly what a test
//! wants said, right or wrong; the programs of examples/ are the real clients.

mod blocking;
mod broker;
mod config;
mod contract;
mod crash;
mod crossing;
mod disk;
mod disk_full;
mod durable;
mod durable_trace;
mod examples;
mod hostile;
mod restart;
mod start;
mod supplier;
mod tools;
mod wire;
