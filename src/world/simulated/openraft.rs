//! openraft's view of the simulated world: our tasks, timers, clocks, chance and watch channel; its channels and locks
//! are tokio's, which wake in order.

use super::runtime::World;
use crate::task::{Aborted, JoinHandle};
use crate::time::{Duration, Elapsed, Instant, Sleep, Timeout};
use crate::watch;
use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{AsyncRuntime, OptionalSend, OptionalSync};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;

/// The simulated world as openraft's runtime.
pub struct SimulatedRuntime(World);

impl fmt::Debug for SimulatedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedRuntime")
    }
}

/// The chance of the machine whose code is running.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineRng;

impl rand::TryRng for MachineRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((super::random::u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(super::random::u64())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        for part in into.chunks_mut(8) {
            part.copy_from_slice(&super::random::u64().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

impl openraft_rt::Instant for Instant {
    fn now() -> Self {
        Instant::now()
    }
}

impl AsyncRuntime for SimulatedRuntime {
    type JoinError = Aborted;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = MachineRng;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        crate::task::spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        crate::time::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        crate::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        crate::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
        crate::time::timeout_at(deadline, future)
    }

    /// A panic ends the process, so nobody is left to ask.
    fn is_panic(_: &Aborted) -> bool {
        false
    }

    fn thread_rng() -> MachineRng {
        MachineRng
    }

    type Mpsc = openraft_rt_tokio::TokioMpsc;
    type Watch = OurWatch;
    type Oneshot = openraft_rt_tokio::TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = openraft_rt_tokio::TokioMutex<T>;

    fn new(_threads: usize) -> Self {
        SimulatedRuntime(World::new(1, super::sim::Options::default()))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    /// Inline: nothing may take real time here.
    async fn spawn_blocking<F, T>(call: F) -> Result<T, std::io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(call())
    }
}

/// [`crate::watch`] in openraft's words.
#[derive(Debug)]
pub struct OurWatch;

impl Watch for OurWatch {
    type Sender<T: OptionalSend + OptionalSync> = watch::Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = watch::Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (watch::Sender<T>, watch::Receiver<T>) {
        watch::channel(init)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<OurWatch, T> for watch::Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.receivers() == 0 {
            return Err(SendError(value));
        }
        watch::Sender::send(self, value);
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.modify_if(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> watch::Receiver<T> {
        watch::Sender::subscribe(self)
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<OurWatch, T> for watch::Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        watch::Receiver::changed(self).await.map_err(|watch::Closed| RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        watch::Receiver::borrow_and_update(self)
    }
}
