//! Starting, stopping and crashing: who must finish, who is told to drop everything, and who noticed a failure.
//!
//! A stop has two stages. *Soft*: take nothing new in, finish what is under way. *Hard*: drop it; the store has all that
//! was accepted and the next start goes on. It must not know what the tasks do.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The handle that every long-lived task gets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    crashed: mpsc::UnboundedSender<Crash>,
    crashes: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Crash>>>,
}

/// A task that ended although nobody asked it to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` ended: {why}")]
pub struct Crash {
    /// Its name.
    pub task: &'static str,
    /// Its error or panic.
    pub why: String,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (crashed, crashes) = mpsc::unbounded_channel();
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: TaskTracker::new(),
            crashed,
            crashes: Arc::new(tokio::sync::Mutex::new(crashes)),
        }
    }
}

impl Lifecycle {
    /// Runs a task that must live until the soft stop. If it ends before, the host stops: half a host is worse than none.
    pub fn spawn<F, E>(&self, task: &'static str, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send,
    {
        let (hard, soft, crashed) = (self.hard.clone(), self.soft.clone(), self.crashed.clone());
        let inner = self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = hard.cancelled() => Ok(()),
                done = work => done.map_err(|e| e.to_string()),
            }
        });
        // The watcher is not tracked: it ends with the task.
        tokio::spawn(async move {
            let why = match inner.await {
                Ok(Ok(())) if soft.is_cancelled() => return,
                Ok(Ok(())) => "it returned".to_owned(),
                Ok(Err(why)) => why,
                Err(panic) => panic.to_string(),
            };
            let _ = crashed.send(Crash { task, why });
        });
    }

    /// For tasks that come and go (an attempt, a request): waited for at the stop.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Cancelled when the host begins to stop.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when everything is to be dropped.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Waits for the next task that crashes.
    pub async fn crash(&self) -> Crash {
        let mut crashes = self.crashes.lock().await;
        match crashes.recv().await {
            Some(crash) => crash,
            // `self` holds a sender, so the channel cannot close while somebody waits here.
            None => std::future::pending().await,
        }
    }

    /// Stops softly for up to `soft`, then hard for up to `hard`. `hurry` (a second signal) ends the soft stage early.
    /// Gives whether everything finished softly.
    pub async fn stop(&self, soft: Duration, hard: Duration, hurry: impl Future<Output = ()>) -> bool {
        self.soft.cancel();
        self.tasks.close();
        tokio::pin!(hurry);
        let finished = tokio::select! {
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(soft) => false,
            () = &mut hurry => false,
        };
        self.hard.cancel();
        if !finished {
            let _ = tokio::time::timeout(hard, self.tasks.wait()).await;
        }
        finished
    }
}

/// The signals to stop, SIGINT and SIGTERM. One that comes while nobody waits is kept for whoever waits next; two of the
/// same kind are then one, which is how the system counts them as well.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Takes both signals from now on: they no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told() {
        let life = Lifecycle::default();
        life.spawn("fragile", async { if true { panic!("broken") } else { Ok::<(), String>(()) } });
        let crash = life.crash().await;
        assert_eq!(crash.task, "fragile");
        assert!(crash.why.contains("broken"), "{}", crash.why);
    }

    #[tokio::test]
    async fn the_soft_stage_waits_and_the_hard_stage_does_not() {
        let life = Lifecycle::default();
        let soft = life.soft().clone();
        life.spawn("polite", async move {
            soft.cancelled().await;
            Ok::<(), String>(())
        });
        assert!(life.stop(Duration::from_secs(60), Duration::from_secs(1), std::future::pending()).await);

        let life = Lifecycle::default();
        life.spawn("deaf", std::future::pending::<Result<(), String>>());
        assert!(!life.stop(Duration::from_secs(60), Duration::from_secs(60), std::future::ready(())).await);
    }
}
