//! Tasks that run until the broker closes.

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// The tasks of one broker.
#[derive(Default)]
pub struct Background {
    tasks: Mutex<Vec<JoinHandle<()>>>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Runs a task until the broker closes.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        // Few end before the broker does: workers of routes that changed.
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    /// Runs the committer: unlike the others it is waited for.
    pub fn spawn_committer(&self, task: impl Future<Output = ()> + Send + 'static) {
        *self.committer.lock() = Some(tokio::spawn(task));
    }

    /// Ends all tasks but the committer.
    pub fn abort(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// The committer's task, once.
    pub fn take_committer(&self) -> Option<JoinHandle<()>> {
        self.committer.lock().take()
    }
}
