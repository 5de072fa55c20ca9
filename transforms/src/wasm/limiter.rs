//! Limits of an instance's memories and tables.

use wasmtime::ResourceLimiter;

/// Largest number of table elements; runtimes of scripting languages need that many.
pub(super) const TABLE_ELEMENTS_MAX: usize = 60_000;
/// Core instances, memories and tables within one component.
pub(super) const INSTANCES_MAX: usize = 64;
pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const TABLES_MAX: usize = 32;

/// Limits all memories of an instance together.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_max: usize,
    used: usize,
    /// The module was refused memory; a later failure counts as lack of memory.
    pub refused: bool,
}

impl Limiter {
    pub(super) fn new(memory_max: usize) -> Self {
        Self { memory_max, used: 0, refused: false }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        match used <= self.memory_max {
            true => self.used = used,
            false => self.refused = true,
        }
        Ok(used <= self.memory_max)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}
