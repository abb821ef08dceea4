//! Carries out that slots move from group to group (lock protocol, section 7): which slots is wished in the meta group
//! (`cluster::resharding`), by which steps follows from its picture and from how a group stands to a slot.
//!
//! The leader of the meta group starts some slots at a time, gives up what comes no further, and removes groups that have been
//! emptied ([`plan`]). The leader of each group takes the steps of its own group ([`follow`]): the source freezes, thaws, drops; the
//! target fetches the copy, installs it, says so, has the slot switched, and serves it. A step that was taken is found taken by the
//! next leader, one that comes late is refused in apply, and what the picture knows nothing of any more is tidied up.
//!
//! A request for a slot on its way finds no owner and parks where it came in, like one for a group without a leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_core::cluster::command::AttemptV1;
use quorate_core::cluster::{MetaCommand, Migration, Phase, Routing};
use quorate_core::codec;
use quorate_core::model::{Epoch, GroupId, Slot};
use quorate_core::txn::command::{InstallSlotV1, SlotStepV1};
use quorate_core::txn::{Command, Outcome, Ownership, Refusal, Transactions};
use quorate_raft::Replica;
use quorate_world::select::{Either3, select3};
use quorate_world::sync::Notify;
use quorate_world::time::{self, Duration, Instant};
use quorate_world::{task, watch};

use super::message::CopyAskV1;
use super::seat::Seat;
use crate::coordinator::Coordinator;
use crate::peer::{Kind, Peers};

/// Slots that one group has in hand at a time, as source or as target.
const IN_HAND_MAX: usize = 32;
/// Slots of all groups that are on their way at a time.
const MOVING_MAX: usize = 64;
/// A step that was not taken is tried again after this.
const PAUSE: Duration = Duration::from_millis(20);
/// A chunk is asked for again after this.
const CHUNK_PATIENCE: Duration = Duration::from_secs(2);
/// A source is given so long to freeze a slot before the asker looks again.
pub const FREEZE_PATIENCE: Duration = Duration::from_millis(500);
/// An attempt that has not come to its switch after so long is given up.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// No slot goes to or from a group for so long after an attempt with it was given up.
const SHUNNED: Duration = Duration::from_secs(30);

/// What the leader of a group has to do about a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing changes in it any more.
    Freeze,
    /// Get the copy from there, and keep it.
    Install { source: GroupId },
    /// The copy is whole: say so, and have the slot switched.
    Switch,
    /// Serve it.
    Activate,
    /// It is another group's: forget what is here, and say so.
    Drop,
    /// Serve it again, and say so.
    Unfreeze,
    /// Throw the copy away.
    Discard,
}

/// The step that is due, and the attempt that it is a step of.
fn due(routing: &Routing, group: GroupId, slot: Slot, stands: Ownership) -> Option<(Step, AttemptV1)> {
    let moving = routing.migration(slot).copied().filter(|migration| concerns(migration, group));
    if let Some(left) = left_over(stands).filter(|left| moving.is_none_or(|moving| moving.epoch != *left)) {
        // Of an attempt that this picture does not know yet nothing can be said.
        let known = left <= routing.last_epoch();
        let step = tidied(routing, slot, stands, left).filter(|_| known)?;
        return Some((step, AttemptV1 { slot, epoch: left }));
    }
    let Migration { source, target: _, epoch, phase } = moving?;
    let step = match (group == source, phase, stands) {
        (true, Phase::Started, Ownership::Active(_)) => Step::Freeze,
        (true, Phase::Switched, _) => Step::Drop,
        (true, Phase::Aborting, _) => Step::Unfreeze,
        (true, Phase::Started | Phase::Installed, _) => return None,
        (false, Phase::Started, Ownership::Passive(_)) => Step::Switch,
        (false, Phase::Started, Ownership::None | Ownership::Installing { .. }) => Step::Install { source },
        (false, Phase::Installed, _) => Step::Switch,
        (false, Phase::Switched, Ownership::Passive(_)) => Step::Activate,
        (false, Phase::Aborting, Ownership::Passive(_) | Ownership::Installing { .. }) => Step::Discard,
        (false, Phase::Started | Phase::Switched | Phase::Aborting, _) => return None,
    };
    Some((step, AttemptV1 { slot, epoch }))
}

fn concerns(migration: &Migration, group: GroupId) -> bool {
    migration.source == group || migration.target == group
}

/// The attempt that has left the slot as it stands.
fn left_over(stands: Ownership) -> Option<Epoch> {
    match stands {
        Ownership::None | Ownership::Active(_) => None,
        Ownership::Passive(attempt) | Ownership::Frozen { attempt, .. } | Ownership::Installing { attempt, .. } => {
            Some(attempt)
        }
    }
}

/// What is due for an attempt of which the picture has no record any more: it has come to its end one way or the other.
fn tidied(routing: &Routing, slot: Slot, stands: Ownership, attempt: Epoch) -> Option<Step> {
    let owned = routing.epoch_of(slot)?;
    Some(match stands {
        Ownership::Frozen { .. } if owned >= attempt => Step::Drop,
        Ownership::Frozen { .. } => Step::Unfreeze,
        Ownership::Passive(_) if owned == attempt => Step::Activate,
        Ownership::Passive(_) | Ownership::Installing { .. } => Step::Discard,
        Ownership::None | Ownership::Active(_) => return None,
    })
}

/// What moving slots needs of its node.
pub struct Slots {
    /// Where words about attempts go.
    pub seat: Arc<Seat>,
    /// Where copies come from.
    pub peers: Arc<Peers>,
    /// Is told of slots that come.
    pub coordinator: Arc<Coordinator>,
    /// The picture.
    pub routing: watch::Receiver<Routing>,
}

/// The slots that a leader has in hand.
#[derive(Default)]
struct InHand {
    slots: Mutex<BTreeSet<Slot>>,
    /// Rings when one is put down.
    put_down: Notify,
}

impl InHand {
    fn take(&self, slot: Slot) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.len() < IN_HAND_MAX && slots.insert(slot)
    }

    fn put_down(&self, slot: Slot) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        self.put_down.notify_one();
    }
}

impl Slots {
    /// Takes the steps of a group while this node leads it. Until the replica stops.
    pub async fn follow(self: Arc<Self>, replica: Arc<Replica<Transactions>>) {
        let (mut leadership, mut picture) = (replica.leadership(), self.routing.clone());
        let in_hand = Arc::new(InHand::default());
        loop {
            if leadership.wait_until(|now| now.leading).await.is_err() {
                return;
            }
            let routing = picture.borrow_and_update().clone();
            for (step, attempt) in self.all_due(&routing, &replica) {
                if in_hand.take(attempt.slot) {
                    task::spawn(self.clone().hold(replica.clone(), step, attempt, in_hand.clone()));
                }
            }
            match select3(picture.changed(), leadership.changed(), in_hand.put_down.notified()).await {
                Either3::First(Err(watch::Closed)) | Either3::Second(Err(watch::Closed)) => return,
                Either3::First(Ok(())) | Either3::Second(Ok(())) | Either3::Third(()) => {}
            }
        }
    }

    fn all_due(&self, routing: &Routing, replica: &Replica<Transactions>) -> Vec<(Step, AttemptV1)> {
        let group = replica.group();
        replica.read(|state| {
            let told = routing.migrations_of(group).map(|(slot, _)| slot);
            let slots: BTreeSet<Slot> = told.chain(state.unsettled()).collect();
            slots.into_iter().filter_map(|slot| due(routing, group, slot, state.ownership(slot))).collect()
        })
    }

    async fn hold(
        self: Arc<Self>,
        replica: Arc<Replica<Transactions>>,
        step: Step,
        attempt: AttemptV1,
        in_hand: Arc<InHand>,
    ) {
        quorate_world::linger!("step_of_a_migration_is_taken_late");
        if !self.take(&replica, step, attempt).await {
            time::sleep(PAUSE).await;
        }
        in_hand.put_down(attempt.slot);
    }

    /// Whether there is no use in waiting before the next look.
    async fn take(&self, replica: &Arc<Replica<Transactions>>, step: Step, attempt: AttemptV1) -> bool {
        let AttemptV1 { slot, epoch } = attempt;
        let here = SlotStepV1 { slot, epoch };
        match step {
            Step::Freeze => propose(replica, Command::FreezeSlot(here)).await,
            Step::Install { source } => self.install(replica, source, attempt).await,
            Step::Switch => {
                let said = self.say(MetaCommand::MigrationInstalled(attempt)).await;
                said && self.say(MetaCommand::SwitchSlot(attempt)).await
            }
            Step::Activate => {
                let taken = propose(replica, Command::ActivateSlot(here)).await;
                self.coordinator.slots_came(replica.group());
                taken
            }
            Step::Drop => {
                let taken = propose(replica, Command::DropSlot(here)).await;
                taken && self.say(MetaCommand::MigrationDone(attempt)).await
            }
            Step::Unfreeze => {
                let taken = propose(replica, Command::UnfreezeSlot(here)).await;
                self.coordinator.slots_came(replica.group());
                taken && self.say(MetaCommand::MigrationUndone(attempt)).await
            }
            Step::Discard => propose(replica, Command::DiscardSlot(here)).await,
        }
    }

    /// Refused, the attempt is somewhere else by now, which the picture will say.
    async fn say(&self, word: MetaCommand) -> bool {
        self.seat.insist(word).await.is_ok()
    }

    /// Fetches the copy, chunk by chunk, and installs it.
    async fn install(&self, replica: &Arc<Replica<Transactions>>, source: GroupId, attempt: AttemptV1) -> bool {
        let AttemptV1 { slot, epoch } = attempt;
        let mut chunk = match replica.read(|state| state.ownership(slot)) {
            Ownership::Installing { attempt, chunks } if attempt == epoch => chunks,
            _ => 0,
        };
        loop {
            let Some(copy) = self.fetch(source, CopyAskV1 { slot, epoch, chunk }).await else { return false };
            match replica.propose(Command::InstallSlot(copy)).await {
                Ok(Outcome::Slot(Ownership::Installing { chunks, .. })) => chunk = chunks,
                Ok(Outcome::Slot(Ownership::Passive(_))) => return true,
                Ok(Outcome::Refused(Refusal::ChunkExpected { chunk: expected })) => chunk = expected,
                Ok(outcome) => {
                    tracing::warn!(group = %replica.group(), %slot, %epoch, ?outcome, "a copy of a slot was not taken");
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    /// A chunk from whichever carrier of the source has one.
    async fn fetch(&self, source: GroupId, ask: CopyAskV1) -> Option<InstallSlotV1> {
        let CopyAskV1 { slot, epoch, chunk } = ask;
        if let Some(copy) = self.coordinator.slot_copy(source, (slot, epoch), chunk, FREEZE_PATIENCE).await {
            return Some(copy);
        }
        let body = Bytes::from(codec::encode(&ask).ok()?);
        let carriers = self.routing.borrow().replicas(source);
        for node in carriers.into_iter().filter(|node| *node != self.coordinator.node()) {
            let answer = self.peers.call(node, Kind::SlotCopy, source, body.clone(), CHUNK_PATIENCE).await;
            match answer.ok().and_then(|answer| codec::decode(&answer).ok()) {
                Some(Command::InstallSlot(copy)) if (copy.slot, copy.epoch, copy.chunk) == (slot, epoch, chunk) => {
                    return Some(copy);
                }
                Some(_) | None => {}
            }
        }
        None
    }
}

async fn propose(replica: &Replica<Transactions>, command: Command) -> bool {
    match replica.propose(command).await {
        Ok(Outcome::Slot(_)) => true,
        Ok(outcome) => {
            tracing::debug!(group = %replica.group(), ?outcome, "a step of a migration was not taken");
            false
        }
        Err(_) => false,
    }
}

/// While this node leads the meta group: starts what is wished for, gives up what comes no further, and removes groups that are
/// empty. For ever.
pub async fn plan(seat: Arc<Seat>, mut routing: watch::Receiver<Routing>, election_timeout: Duration) {
    let mut attempts = Attempts::default();
    loop {
        let picture = routing.borrow_and_update().clone();
        let leads = seat.replica().leadership().borrow().leading;
        let moves = leads && (picture.reshard().is_some() || picture.migrations().next().is_some());
        if moves {
            for command in attempts.wishes(&picture, Instant::now()) {
                tracing::debug!(?command, "moving slots");
                // Lost on the way, it is wished again in the next round.
                let _ = seat.replica().propose(command).await;
            }
        } else {
            attempts = Attempts::default();
        }
        let changed = match picture.cluster() {
            Some(_) if moves || !leads => time::timeout(election_timeout, routing.changed()).await.unwrap_or(Ok(())),
            Some(_) | None => routing.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// What a leader of the meta group knows of attempts.
#[derive(Default)]
struct Attempts {
    /// Since when each is under way.
    since: BTreeMap<AttemptV1, Instant>,
    /// With which groups one came no further, and when it was given up.
    shunned: BTreeMap<GroupId, Instant>,
}

impl Attempts {
    fn wishes(&mut self, routing: &Routing, now: Instant) -> Vec<MetaCommand> {
        let open = |(slot, migration): (Slot, &Migration)| {
            let waits = matches!(migration.phase, Phase::Started | Phase::Installed);
            waits.then_some((AttemptV1 { slot, epoch: migration.epoch }, *migration))
        };
        let open: BTreeMap<AttemptV1, Migration> = routing.migrations().filter_map(open).collect();
        self.since.retain(|attempt, _| open.contains_key(attempt));
        self.shunned.retain(|_, since| now.saturating_duration_since(*since) < SHUNNED);
        let mut wishes = Vec::new();
        for (attempt, migration) in open {
            let since = *self.since.entry(attempt).or_insert(now);
            if now.saturating_duration_since(since) > ATTEMPT_MAX {
                quorate_core::sometimes!("migration_comes_no_further");
                self.shunned.extend([(migration.source, now), (migration.target, now)]);
                wishes.push(MetaCommand::AbortMigration(attempt));
            }
        }
        let Some(wish) = routing.reshard() else { return wishes };
        let Ok(mut plan) = wish.plan(routing) else { return wishes };
        let is_through = plan.is_empty() && routing.migrations().next().is_none();
        plan.moves.retain(|wanted| !self.shunned.contains_key(&wanted.from) && !self.shunned.contains_key(&wanted.to));
        let room = MOVING_MAX.saturating_sub(routing.migrations().count());
        wishes.extend(plan.due(routing, room).filter(|_| room > 0).map(MetaCommand::StartMigrations));
        let mut emptied: Vec<MetaCommand> = wish.emptied(routing).map(MetaCommand::RemoveGroup).collect();
        if is_through && emptied.is_empty() {
            emptied.push(MetaCommand::EndReshard(wish.since));
        }
        wishes.extend(emptied);
        wishes
    }
}

#[cfg(test)]
mod tests;
