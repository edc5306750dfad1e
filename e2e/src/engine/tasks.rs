//! Tasks that somebody waits for.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// Spawned tasks, counted.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    count: Arc<watch::Sender<usize>>,
}

struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Runs a task that is counted until its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.count.send_modify(|count| *count += 1);
        let running = Running(self.count.clone());
        tokio::spawn(async move {
            let _running = running;
            task.await;
        });
    }

    /// Waits until none is running.
    pub(super) async fn wait(&self) {
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn waiting_ends_with_the_last_task_even_when_one_panics() {
        let tasks = Tasks::new();
        let (go, gone) = oneshot::channel::<()>();
        tasks.spawn(async {
            let _ = gone.await;
        });
        tasks.spawn(async { assert!(std::hint::black_box(false), "on purpose") });
        let wait = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        drop(go);
        assert!(wait.await.is_ok());
    }
}
