//! Black-box tests: the real process, over real sockets. The clients in `wire` send exactly the bytes that a test
//! chooses, right or wrong; the programs of examples/ use real clients.

mod accounts;
mod backup;
mod blocking;
mod broker;
mod bug_classes;
mod config;
mod contract;
mod crash;
mod crossing;
mod ctl;
mod disk;
mod disk_full;
mod doors;
mod drain;
mod durable;
mod durable_trace;
mod examples;
mod floods;
mod hostile;
mod limits;
mod logs;
mod metrics;
mod modules;
mod output;
mod planted_fault;
mod plugins;
mod restart;
mod routes;
mod slow;
mod start;
mod supplier;
mod tools;
mod upgrade;
mod watching;
mod wire;
