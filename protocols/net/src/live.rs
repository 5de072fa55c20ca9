//! Options that can be exchanged while connections are open.

use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;

/// What new connections are served with. Clones are the same handle.
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// A handle with these options.
    pub fn new(options: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(options)))
    }

    /// As they are now. A connection asks once, and goes on with what it began with.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// From now on new connections get these.
    pub fn replace(&self, options: Arc<T>) {
        self.0.store(options);
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.load().fmt(f)
    }
}
