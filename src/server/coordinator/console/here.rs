//! What the leader of a group shows of it.
//!
//! A list looks at everything there is, so it does so in a clone, which shares all that nobody changes meanwhile, and
//! lets others go first now and then.

use std::sync::Arc;

use quorate_core::console::{Listing, LockFilter, LockKey, LockRow, SessionFilter, SessionKey, SessionRow};
use quorate_core::model::{GroupId, Slot, TransactionId};
use quorate_core::txn::Transactions;
use quorate_world::task::yield_now;
use quorate_world::time;

use super::super::context::Coordinator;
use super::super::message::Response;
use super::super::tenure::{Lost, Tenure};
use super::{ConsoleAnswer, ConsoleAsk};

/// Slots looked at before others go first.
const SLOTS_AT_A_TIME: usize = 32;

impl Coordinator {
    /// Serves what an operator asked some node about this group.
    pub(in super::super) async fn serve_console(&self, group: GroupId, ask: ConsoleAsk) -> Response {
        let Some(tenure) = self.led.tenure(group) else { return self.elsewhere(group) };
        match shown(&tenure, ask).await {
            Ok(answer) => Response::Console(answer),
            Err(Lost) => self.elsewhere(group),
        }
    }
}

async fn shown(tenure: &Arc<Tenure>, ask: ConsoleAsk) -> Result<ConsoleAnswer, Lost> {
    // What was ever answered is seen (semantics, W14).
    tenure.confirm().await?;
    let clock_ms = tenure.clock_ms()?;
    let state = tenure.replica.read(Transactions::clone);
    Ok(match ask {
        ConsoleAsk::Sessions(filter, reach) => {
            ConsoleAnswer::Sessions(sessions(&state, &filter, reach, clock_ms).await)
        }
        ConsoleAsk::ShowSessions(wanted, room) => {
            ConsoleAnswer::SessionRows(session_rows(tenure, &state, &wanted, room, clock_ms))
        }
        ConsoleAsk::Locks(filter, reach) => ConsoleAnswer::Locks(locks(&state, &filter, reach, clock_ms).await),
        ConsoleAsk::HasBranch(transaction, branch) => {
            let found = state.session(transaction).and_then(|session| session.branches.get(&branch));
            ConsoleAnswer::HasBranch(found.is_some_and(|branch| !branch.fate.is_settled()))
        }
        ConsoleAsk::ShowLocks(keys) => ConsoleAnswer::LockRows(
            keys.iter()
                .filter_map(|key| state.held_row(key.slot, key.transaction, key.branch, key.place))
                .map(|held| LockRow::of(&held, tenure.group, clock_ms))
                .collect(),
        ),
    })
}

async fn sessions(state: &Transactions, filter: &SessionFilter, reach: u32, clock_ms: u64) -> Listing<SessionKey> {
    let mut listing = Listing::new(reach);
    for some in slots(state).chunks(SLOTS_AT_A_TIME) {
        for session in
            some.iter().flat_map(|slot| state.sessions_in(*slot)).filter(|session| filter.fits(session, clock_ms))
        {
            listing.take(SessionKey::of(session));
        }
        yield_now().await;
    }
    listing
}

async fn locks(state: &Transactions, filter: &LockFilter, reach: u32, clock_ms: u64) -> Listing<LockKey> {
    let wall_ms = time::wall_ms();
    let mut listing = Listing::new(reach);
    for some in slots(state).chunks(SLOTS_AT_A_TIME) {
        for held in some.iter().flat_map(|slot| state.rows_in(*slot)) {
            // The group's clock says how long ago, this node's wall what the time was.
            let since_wall_ms = wall_ms.saturating_sub(clock_ms.saturating_sub(held.since_ms));
            if filter.fits(&held, since_wall_ms) {
                listing.take(LockKey::of(&held));
            }
        }
        yield_now().await;
    }
    listing
}

fn session_rows(
    tenure: &Tenure,
    state: &Transactions,
    wanted: &[TransactionId],
    room: u32,
    clock_ms: u64,
) -> Vec<SessionRow> {
    let mut room = room as usize;
    let sessions = wanted.iter().filter_map(|transaction| state.session(*transaction));
    let row = |session| SessionRow::of(session, tenure.group, clock_ms, &mut room);
    let mut rows: Vec<SessionRow> = sessions.map(row).collect();
    for row in &mut rows {
        row.troubles = tenure.troubles(row.xid.transaction);
    }
    rows
}

fn slots(state: &Transactions) -> Vec<Slot> {
    state.slots().map(|(slot, _)| slot).collect()
}
