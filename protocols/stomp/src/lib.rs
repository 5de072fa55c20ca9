//! STOMP.
