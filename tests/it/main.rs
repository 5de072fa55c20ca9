//! Black-box tests: the real process, over real sockets. The clients in `wire` say exactly what a test
//! wants said, right or wrong; the programs of examples/ are the real clients.

mod blocking;
mod broker;
mod config;
mod crossing;
mod examples;
mod hostile;
mod restart;
mod start;
mod supplier;
mod wire;
