//! How the business calls the business: a TM asks an RM, over the simulated network, to do a branch of a transaction.
//!
//! Two numbers and the XID go out, one byte comes back. No answer means nothing.

use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, Listener, SocketAddr};
use quorate_world::task;
use quorate_world::time::{Duration, timeout};
use std::future::Future;
use std::sync::Arc;

/// How long a caller waits.
pub const PATIENCE: Duration = Duration::from_secs(10);
const XID_BYTES_MAX: usize = 64;

/// What is asked: branch `branch` of transaction `op` of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Number of the transaction in the plan.
    pub op: u32,
    /// Number of the branch.
    pub branch: u32,
    /// The XID that goes with it.
    pub xid: String,
}

/// Calls, and says whether the branch is done. `None` without an answer.
pub async fn ask(address: SocketAddr, call: &Call) -> Option<bool> {
    timeout(PATIENCE, exchange(address, call)).await.ok()?.ok()
}

async fn exchange(address: SocketAddr, call: &Call) -> io::Result<bool> {
    let mut stream = net::connect(address).await?;
    let mut request = Vec::new();
    request.extend_from_slice(&call.op.to_le_bytes());
    request.extend_from_slice(&call.branch.to_le_bytes());
    request.push(call.xid.len() as u8);
    request.extend_from_slice(call.xid.as_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    Ok(stream.read_u8().await? == 1)
}

/// Serves calls, each in a task of its own, for ever.
pub async fn serve<F>(listener: Listener, work: impl Fn(Call) -> F + Send + Sync + 'static)
where
    F: Future<Output = bool> + Send + 'static,
{
    let work = Arc::new(work);
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let work = work.clone();
        task::spawn(async move {
            let Ok(call) = read(&mut stream).await else { return };
            let done = work(call).await;
            // A caller that is gone has drawn its own conclusion.
            let _ = stream.write_u8(u8::from(done)).await;
            let _ = stream.flush().await;
            // Kept open until the caller has read: it closes.
            let _ = timeout(PATIENCE, stream.read_u8()).await;
        });
    }
}

async fn read(stream: &mut net::Stream) -> io::Result<Call> {
    let op = stream.read_u32_le().await?;
    let branch = stream.read_u32_le().await?;
    let mut xid = vec![0; usize::from(stream.read_u8().await?).min(XID_BYTES_MAX)];
    stream.read_exact(&mut xid).await?;
    Ok(Call { op, branch, xid: String::from_utf8_lossy(&xid).into_owned() })
}
