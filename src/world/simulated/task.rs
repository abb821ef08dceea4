//! Tasks of simulated processes.

use super::process::{ExitMarker, panicked};
use super::{HARNESS, Identity, act_as, identity, try_with};
use crate::task::Aborted;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project_lite::pin_project! {
    /// A future that knows whose it is, and whose panic ends that process instead of the simulation.
    pub(crate) struct Scoped<F> {
        identity: Identity,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let _acting = act_as(*this.identity);
            let mut future = this.future;
            if *this.identity == HARNESS {
                future.set(None);
                return;
            }
            // The process is over, or this task is: what its destructors ask for cannot matter any more.
            let dropped = catch_unwind(AssertUnwindSafe(|| future.set(None)));
            if let Err(panic) = dropped && !panic.is::<ExitMarker>() {
                panicked(*this.identity, panic.as_ref());
            }
        }
    }
}

impl<F> Scoped<F> {
    pub fn new(identity: Identity, future: F) -> Scoped<F> {
        Scoped { identity, future: Some(future) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _acting = act_as(*this.identity);
        let Some(future) = this.future.as_pin_mut() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(poll) => poll,
            Err(panic) if *this.identity == HARNESS => resume_unwind(panic),
            Err(panic) => {
                if !panic.is::<ExitMarker>() {
                    panicked(*this.identity, panic.as_ref());
                }
                // The process has ended, so the executor drops this task when it meets it next.
                Poll::Pending
            }
        }
    }
}

/// A handle to a task. Dropping it lets the task go on.
#[derive(Debug)]
pub struct JoinHandle<T>(madsim::task::JoinHandle<T>);

impl<T> JoinHandle<T> {
    /// Drops the task at its next wait.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Aborted)
    }
}

/// Starts a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // The executor keeps a record of every task there ever was until somebody counts them.
    const SWEEP_EVERY_TASKS: u64 = 4096;
    let sweep = try_with(|state| {
        state.tasks_spawned += 1;
        state.tasks_spawned.is_multiple_of(SWEEP_EVERY_TASKS)
    });
    if sweep == Some(true) {
        madsim::runtime::Handle::current().metrics().num_tasks();
    }
    JoinHandle(madsim::task::spawn(Scoped::new(identity(), future)))
}

/// Runs a future that may block: a task like any other, since nothing blocks here.
pub fn spawn_owned_thread<F>(_name: &str, future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(spawn(future))
}

/// Lets the others go first, once.
pub async fn yield_owned_thread() {
    yield_now().await;
}

/// Lets the others go first, once.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
