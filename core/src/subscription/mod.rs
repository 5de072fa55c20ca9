//! Delivering, pure.
