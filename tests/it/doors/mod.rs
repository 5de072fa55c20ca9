//! Who is let in and what they may do, on the real program: users, rights, TLS and listeners.
//!
//! | file | what it shows |
//! |---|---|
//! | `house` | a broker with users, and the ways into it |
//! | `visitor` | one client of any protocol, and what is answered to what it tries |
//! | `logins` | who is let in from where: the first table of docs/guide/security-table.md |
//! | `deeds` | who may do what: its second table |
//! | `denied` | publishes that are not allowed and ask for no answer |
//! | `reload` | SIGHUP: rights that are taken away, users that come and go, files with mistakes |
//! | `tokens` | tokens in the place of passwords: their rights, and their end |
//! | `vhosts` | several virtual hosts |
//! | `changes` | SIGHUP: limits, topology and content routes; what counts from the next start; `crossdock diff` |
//! | `limits` | what one connection may do, each limit in its protocol's own word |
//! | `takeover` | many connections with one client identifier at once |
//! | `tls` | certificates: their mistakes, their replacement, the wrong port |
//! | `certificates` | certificates that end |
//! | `binds` | listeners with several addresses, IPv6, several protocols, behind a load balancer |
//! | `stomp_options` | what a listener can be set to for STOMP |
//! | `websocket` | the protocols inside WebSocket |

mod binds;
mod certificates;
mod changes;
mod deeds;
mod denied;
pub mod house;
mod limits;
mod logins;
mod reload;
mod scram;
mod stomp_options;
mod table;
mod takeover;
mod tls;
mod tokens;
mod vhosts;
mod visitor;
pub mod websocket;
