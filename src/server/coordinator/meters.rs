//! Transactions counted as Seata's metrics count them, where they are led. What counts as what is decided in
//! `quorate_core::meters`; here are the clock, the lock, and the look at what is active.
//!
//! Off unless an operator wants it: then nothing is looked at, and no lock taken. What happens while a leader changes may be
//! missed, because nobody hears its outcome; what is active is counted from the state and is right under any leader.

use std::collections::BTreeMap;
use std::sync::Mutex;

use quorate_core::meters::{self, Labels, PairFigures, STEP_S, is_active};
use quorate_core::model::{GlobalStatus, Slot, TransactionId};
use quorate_world::task;
use quorate_world::time::Instant;

use super::context::Coordinator;
use super::guard::locked;
use super::tenure::Tenure;

/// What this node has counted; nothing while it does not count.
pub struct Meters(Option<On>);

struct On {
    started: Instant,
    counted: Mutex<meters::Meters>,
}

/// A transaction before a step.
pub struct Before {
    labels: Labels,
    status: GlobalStatus,
    begun_clock_ms: u64,
    before_ms: u64,
    at: Instant,
}

impl Meters {
    /// Meters that count, or not.
    pub fn new(counts: bool) -> Meters {
        Meters(counts.then(|| On { started: Instant::now(), counted: Mutex::default() }))
    }

    /// How a transaction stands before a step that may count as something; nothing if nobody counts.
    pub fn before(&self, tenure: &Tenure, transaction: TransactionId) -> Option<Before> {
        self.0.as_ref()?;
        tenure.replica.read(|state| {
            let session = state.session(transaction)?;
            let (status, begun_clock_ms, before_ms) = (session.status, session.begun_clock_ms, session.before_ms);
            Some(Before { labels: Labels::of(session), status, begun_clock_ms, before_ms, at: Instant::now() })
        })
    }

    /// The step is done, and it stands so now.
    pub fn after(&self, tenure: &Tenure, before: Option<Before>, now: GlobalStatus) {
        let (Some(on), Some(before)) = (&self.0, before) else { return };
        let events = meters::events(before.status, now);
        if events.is_empty() {
            return;
        }
        let step_ms = u64::try_from(before.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Without a clock it took no time: the leadership went a moment ago.
        let since_begin_ms = tenure.clock_ms().unwrap_or(0).saturating_sub(before.begun_clock_ms);
        let since_begin_ms = since_begin_ms.saturating_add(before.before_ms);
        let step = on.step();
        let mut counted = locked(&on.counted);
        for event in events {
            let took_ms = if event.is_from_begin() { since_begin_ms } else { step_ms };
            counted.count(before.labels.clone(), *event, took_ms, step);
        }
    }
}

impl On {
    fn step(&self) -> u64 {
        self.started.elapsed().as_secs() / STEP_S
    }
}

impl Coordinator {
    /// Whether transactions are counted as Seata counts them.
    pub fn counts_as_seata(&self) -> bool {
        self.meters.0.is_some()
    }

    /// What was counted, and what is active in the groups led here. Slot by slot, so that no group waits for long; others go
    /// first between two of them.
    pub async fn seata_figures(&self) -> Vec<PairFigures> {
        let Some(on) = &self.meters.0 else { return Vec::new() };
        let mut active: BTreeMap<Labels, u64> = BTreeMap::new();
        for tenure in self.led.tenures() {
            let slots: Vec<Slot> = tenure.replica.read(|state| state.slots().map(|(slot, _)| slot).collect());
            for slot in slots {
                let of_slot = active_in(&tenure, slot);
                if !of_slot.is_empty() {
                    let mut counted = locked(&on.counted);
                    for (labels, count) in of_slot {
                        *active.entry(counted.place(labels)).or_default() += count;
                    }
                }
                task::yield_now().await;
            }
        }
        let step = on.step();
        locked(&on.counted).figures(&active, step)
    }
}

fn active_in(tenure: &Tenure, slot: Slot) -> BTreeMap<Labels, u64> {
    tenure.replica.read(|state| {
        let mut active = BTreeMap::new();
        for session in state.sessions_in(slot).filter(|session| is_active(session.status)) {
            *active.entry(Labels::of(session)).or_default() += 1;
        }
        active
    })
}
