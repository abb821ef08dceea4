//! The loops that make transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use quorate_core::model::{BranchId, BranchType, ExceptionCode};
use quorate_world::process::{Usage, say, usage_of};
use quorate_world::sync::Semaphore;
use quorate_world::task;
use quorate_world::time::{Duration, Instant, sleep, sleep_until};

use super::ledger::{Agreeable, Ledger};
use super::report::{Interval, Report};
use super::{LoadError, LoadOptions, Shape};
use crate::pool::{Application, Pool};
use crate::rm::{RegisterError, Resource, ResourceManager};
use crate::tm::{BeginError, Conclusion, TransactionManager, conclude_commit};

/// How a stock RM repeats a registration that met a row lock.
const LOCK_ATTEMPTS_MAX: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// So long nothing is said about a server that is not there.
const SILENT_PATIENCE: Duration = Duration::from_secs(1);
/// How long the last transactions may take to finish after the load has ended.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
/// Latencies are counted in microseconds up to ten minutes, to three digits.
const LATENCY_US_MAX: u64 = 600_000_000;

struct Bench {
    options: LoadOptions,
    tms: Vec<TransactionManager>,
    rms: Vec<ResourceManager>,
    resources: Vec<String>,
    ledger: Arc<Ledger>,
    latencies_us: Mutex<Histogram<u64>>,
    /// Of the interval that goes on.
    newest_us: Mutex<Histogram<u64>>,
    serial: AtomicU64,
    /// Nothing new is started once it is reached.
    end: Instant,
    counted_from: Instant,
}

/// Makes the load and measures it.
pub async fn run(options: LoadOptions) -> Result<Report, LoadError> {
    let bench = Arc::new(prepare(options).await?);
    let load = task::spawn(make_load(bench.clone()));
    let lines = bench.options.every.map(|every| task::spawn(say_intervals(bench.clone(), every)));
    sleep_until(bench.counted_from).await;
    let (before, usage_before) = (bench.ledger.counts(), usages(&bench.options.pids)?);
    sleep_until(bench.end).await;
    let (after, usage_after) = (bench.ledger.counts(), usages(&bench.options.pids)?);
    // A worker that panicked has ended the process.
    let _ = load.await;
    lines.iter().for_each(|lines| lines.abort());
    let drain_until = Instant::now() + DRAIN_PATIENCE;
    while bench.ledger.unfinished() > 0 && Instant::now() < drain_until {
        sleep(Duration::from_millis(10)).await;
    }
    let latencies_us = bench.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Report {
        measured: bench.options.measured,
        before,
        after,
        at_end: bench.ledger.counts(),
        unfinished: bench.ledger.unfinished(),
        latencies_us,
        usage_before,
        usage_after,
    })
}

fn usages(pids: &[u32]) -> Result<Vec<Usage>, LoadError> {
    let read =
        |pid: &u32| usage_of(*pid).map_err(|error| LoadError::NoProcess { pid: *pid, reason: error.to_string() });
    pids.iter().map(read).collect()
}

async fn prepare(options: LoadOptions) -> Result<Bench, LoadError> {
    let ledger = Arc::new(Ledger::default());
    let resources: Vec<String> = (0..options.shape.branches()).map(|n| format!("bench-resource-{n}")).collect();
    let mut tms = Vec::new();
    let mut rms = Vec::new();
    for _ in 0..options.connections.max(1) {
        let application = Application::new("quorate-bench", "default_tx_group");
        tms.push(TransactionManager::start(&options.servers, &application));
        if !resources.is_empty() {
            let agreeable: Arc<dyn Resource> = Arc::new(Agreeable(ledger.clone()));
            let owned: BTreeMap<_, _> = resources.iter().map(|id| (id.clone(), agreeable.clone())).collect();
            rms.push(ResourceManager::start(&options.servers, &application, owned));
        }
    }
    for pool in tms.iter().map(TransactionManager::pool).chain(rms.iter().map(ResourceManager::pool)) {
        connect(pool, options.survive).await?;
    }
    let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are right");
    let counted_from = Instant::now() + options.warm_up;
    Ok(Bench {
        end: counted_from + options.measured,
        counted_from,
        tms,
        rms,
        resources,
        ledger,
        newest_us: Mutex::new(latencies_us.clone()),
        latencies_us: Mutex::new(latencies_us),
        serial: AtomicU64::new(quorate_world::random::u64() >> 24),
        options,
    })
}

/// Waits for the servers, or for one of them, and says so where it takes long.
async fn connect(pool: &Pool, one_is_enough: bool) -> Result<(), LoadError> {
    let connected = async |patience| match one_is_enough {
        true => pool.pick(None, patience).await.is_ok(),
        false => pool.all_connected(patience).await.is_ok(),
    };
    if connected(SILENT_PATIENCE).await {
        return Ok(());
    }
    let (missing, limit_s) = (pool.missing().join(","), CONNECT_PATIENCE.as_secs());
    say(&format!("waiting for {missing}: not connected yet; tries again for {limit_s} s"));
    match connected(CONNECT_PATIENCE).await {
        true => Ok(()),
        false => Err(LoadError::NotConnected(pool.missing().join(","))),
    }
}

/// Says what each interval came to, until the load is over.
async fn say_intervals(bench: Arc<Bench>, every: Duration) {
    let began = Instant::now();
    let mut before = bench.ledger.counts();
    loop {
        sleep(every).await;
        let after = bench.ledger.counts();
        let mut newest_us = bench.newest_us.lock().unwrap_or_else(PoisonError::into_inner);
        say(&Interval { until: began.elapsed(), before, after, latencies_us: &newest_us }.to_string());
        newest_us.reset();
        before = after;
    }
}

async fn make_load(bench: Arc<Bench>) {
    match bench.options.rate {
        None => closed_loop(bench).await,
        Some(rate) => open_loop(bench, rate).await,
    }
}

async fn closed_loop(bench: Arc<Bench>) {
    let worker = |number: usize| {
        let bench = bench.clone();
        task::spawn(async move {
            while Instant::now() < bench.end {
                transaction(&bench, number, Instant::now()).await;
            }
        })
    };
    let workers: Vec<_> = (0..bench.options.in_flight.max(1)).map(worker).collect();
    for worker in workers {
        let _ = worker.await;
    }
}

async fn open_loop(bench: Arc<Bench>, rate: f64) {
    let places = Arc::new(Semaphore::new(bench.options.in_flight.max(1)));
    let started = Instant::now();
    for number in 0.. {
        let meant = started + Duration::from_secs_f64(number as f64 / rate);
        if meant >= bench.end {
            break;
        }
        sleep_until(meant).await;
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let bench = bench.clone();
        task::spawn(async move {
            transaction(&bench, number, meant).await;
            drop(place);
        });
    }
    // All places back: nothing is under way any more.
    let _ = places.acquire_many(bench.options.in_flight.max(1) as u32).await;
}

/// Why a transaction did not come to its commit.
enum CutOff {
    /// It was refused.
    Refused,
    /// A connection was lost, or nobody answered.
    Unanswered,
}

/// One transaction from begin to the answer of its commit. `meant` is when it should have started.
async fn transaction(bench: &Bench, number: usize, meant: Instant) {
    let tm = &bench.tms[number % bench.tms.len()];
    let (xid, branches) = loop {
        match begin(bench, tm, number).await {
            Ok(begun) => break begun,
            Err(CutOff::Unanswered) if bench.options.survive && Instant::now() < bench.end => bench.ledger.begin_anew(),
            Err(CutOff::Refused | CutOff::Unanswered) => return bench.ledger.fail(None),
        }
    };
    let count = branches.len();
    bench.ledger.expect(&xid, branches);
    match conclude_commit(tm.commit(&xid).await) {
        Conclusion::Committed => {
            bench.ledger.acknowledge(count);
            record(bench, meant);
        }
        Conclusion::RolledBack | Conclusion::Unknown => bench.ledger.fail(Some(&xid)),
    }
}

/// The first half: up to the commit.
async fn begin(bench: &Bench, tm: &TransactionManager, number: usize) -> Result<(String, BTreeSet<BranchId>), CutOff> {
    let xid = match tm.begin("bench", TRANSACTION_TIMEOUT_MS).await {
        Ok(xid) => xid,
        Err(error) => {
            // A server that refuses at once must not be asked in a tight loop.
            sleep(LOCK_PAUSE).await;
            return Err(match error {
                BeginError::Refused(_) => CutOff::Refused,
                BeginError::Call(_) => CutOff::Unanswered,
            });
        }
    };
    match register_all(bench, number, &xid).await {
        Ok(branches) => Ok((xid, branches)),
        Err(cut_off) => {
            tm.rollback(&xid).await;
            Err(cut_off)
        }
    }
}

fn record(bench: &Bench, meant: Instant) {
    if meant < bench.counted_from {
        return;
    }
    let us = u64::try_from(meant.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
    for latencies_us in [&bench.latencies_us, &bench.newest_us] {
        latencies_us.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(us);
    }
}

async fn register_all(bench: &Bench, number: usize, xid: &str) -> Result<BTreeSet<BranchId>, CutOff> {
    let mut branches = BTreeSet::new();
    for resource in &bench.resources {
        branches.insert(register(bench, number, xid, resource).await?);
    }
    Ok(branches)
}

/// Registers one branch as a stock RM does: again after a conflict, up to 30 times.
async fn register(bench: &Bench, number: usize, xid: &str, resource: &str) -> Result<BranchId, CutOff> {
    let rm = &bench.rms[number % bench.rms.len()];
    let serial = bench.serial.fetch_add(1, Ordering::Relaxed);
    let (kind, lock_keys) = match &bench.options.shape {
        Shape::At { keys, .. } => (BranchType::AT, keys.lock_keys(serial)),
        Shape::Tcc { .. } | Shape::Empty => (BranchType::TCC, String::new()),
    };
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match rm.register(xid, kind, resource, &lock_keys, "").await {
            Ok(branch) => return Ok(branch),
            Err(RegisterError::Refused { code: ExceptionCode::LockKeyConflict, .. }) => {
                bench.ledger.conflict();
                sleep(LOCK_PAUSE).await;
            }
            Err(RegisterError::Refused { .. }) => return Err(CutOff::Refused),
            Err(RegisterError::Call(_)) => return Err(CutOff::Unanswered),
        }
    }
    Err(CutOff::Refused)
}
