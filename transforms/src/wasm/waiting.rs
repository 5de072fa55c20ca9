//! Waiting within the deadline. The epoch stops a module that computes, not one that sleeps in the host, so the two
//! functions of `wasi:io/poll` that sleep are replaced by ones that respect the deadline.

use super::instance::InstanceState;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime::{Result, Trap};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, Host, HostPollable};

/// Pause between two checks whether something is ready.
const LOOK: Duration = Duration::from_millis(1);
/// Largest number of pollables in one call.
const WAITED_FOR_MAX: usize = 256;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> Result<()> {
    linker.allow_shadowing(true);
    let added = poll::add_to_linker::<InstanceState, HasSelf<InstanceState>>(linker, |state| state);
    linker.allow_shadowing(false);
    added
}

/// Nothing was ready: sleeps for one pause, or ends the call at its deadline.
fn sleep(until: Instant) -> Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Trap::Interrupt.into());
    }
    thread::sleep(LOOK.min(left));
    Ok(())
}

impl Host for InstanceState {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        if pollables.is_empty() || pollables.len() > WAITED_FOR_MAX {
            return Err(wasmtime::Error::msg("the module polls an empty or too long list"));
        }
        loop {
            let mut ready = Vec::new();
            for (index, pollable) in (0u32..).zip(&pollables) {
                if HostPollable::ready(&mut self.table, Resource::new_borrow(pollable.rep()))? {
                    ready.push(index);
                }
            }
            if !ready.is_empty() {
                return Ok(ready);
            }
            sleep(self.until)?;
        }
    }
}

impl HostPollable for InstanceState {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        HostPollable::ready(&mut self.table, pollable)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        while !HostPollable::ready(&mut self.table, Resource::new_borrow(pollable.rep()))? {
            sleep(self.until)?;
        }
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        HostPollable::drop(&mut self.table, pollable)
    }
}
