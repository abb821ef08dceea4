//! Tokio's tasks, and operating system threads.

use crate::task::Aborted;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// A handle to a task. Dropping it lets the task go on.
#[derive(Debug)]
pub struct JoinHandle<T>(Kind<T>);

#[derive(Debug)]
enum Kind<T> {
    Task(tokio::task::JoinHandle<T>),
    Thread(oneshot::Receiver<T>),
}

impl<T> JoinHandle<T> {
    /// Drops the task at its next wait. A task on a thread of its own cannot be aborted: close what it listens to.
    pub fn abort(&self) {
        match &self.0 {
            Kind::Task(task) => task.abort(),
            Kind::Thread(_) => {}
        }
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Kind::Task(task) => task.is_finished(),
            Kind::Thread(ended) => !ended.is_empty() || ended.is_terminated(),
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Kind::Task(task) => Pin::new(task).poll(context).map(|ended| match ended {
                Ok(value) => Ok(value),
                // Only without the panic hook, that is, in tests: the panic goes on in whoever waits.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(Aborted),
            }),
            Kind::Thread(ended) => Pin::new(ended).poll(context).map_err(|_| Aborted),
        }
    }
}

/// Starts a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    JoinHandle(Kind::Task(tokio::task::spawn(future)))
}

/// Runs a future on a thread of its own, where it may block. Its timers and tasks are those of the calling runtime.
pub fn spawn_owned_thread<F>(name: &str, future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may be waiting for the result.
        let _ = end.send(runtime.block_on(future));
    })?;
    Ok(JoinHandle(Kind::Thread(ended)))
}

/// Lets the other threads of the machine go first, once, if there are any that wait for a processor: for a thread of one's
/// own ([`spawn_owned_thread`]).
pub async fn yield_owned_thread() {
    std::thread::yield_now();
}

/// Lets the others go first, once.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}
