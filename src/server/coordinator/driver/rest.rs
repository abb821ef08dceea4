//! The pause after a failed attempt: longer each time, cut short when an RM for the resource appears, when one answers what
//! it was asked before, or when an operator wants it. Where no RM is there at all, the branch is parked until one comes.
//!
//! Where the way to an RM broke that had been at work for a while, and its process is still there by another way, the branch
//! is *held*: for as long again as it had been out. Its answer may come by that way, and asked at once the RM would do all of it
//! twice, after a node's death with all that it had been asked through that node.

use quorate_core::model::{BranchId, BranchStatus};
use quorate_core::phase_two::back_off::back_off_ms;
use quorate_world::random;
use quorate_world::select::{Either3, select2, select3};
use quorate_world::time::{Duration, sleep};

use super::super::message::Untold;
use super::{Drive, view};

/// A parked branch looks again after this time, though nothing appeared.
const PARKED: Duration = Duration::from_secs(60);

/// A branch that was out for less is asked again as usual.
const HELD_MIN: Duration = Duration::from_secs(1);
/// Held at most.
const HELD_MAX: Duration = Duration::from_secs(15);

/// Why a branch rests otherwise than after an answer or a silence.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// Nobody was there.
    Alone,
    /// It had no turn: it waited long enough, and has not troubled anybody.
    Busy,
    /// The way broke under the question, which had been out for so long.
    Lost(Duration),
}

impl Why {
    /// After what came of it, so long after it was asked.
    pub fn of(told: Result<BranchStatus, Untold>, after: Duration) -> Option<Why> {
        match told {
            Err(Untold::NoChannel) => {
                quorate_core::sometimes!("branch_has_nobody_to_ask");
                Some(Why::Alone)
            }
            Err(Untold::Busy) => Some(Why::Busy),
            Err(Untold::Lost) if after >= HELD_MIN => Some(Why::Lost(after.min(HELD_MAX))),
            Ok(_) | Err(Untold::Silent | Untold::Lost) => None,
        }
    }
}

impl Drive {
    /// The pause of a branch. Holds nothing of the driver, so that several may rest side by side.
    pub(super) fn rest(&self, branch: BranchId) -> impl Future<Output = ()> + Send + use<> {
        let coordinator = self.coordinator.clone();
        let why = self.rests.get(&branch).copied();
        let attempts = if matches!(why, Some(Why::Busy)) { 1 } else { self.run.attempts(branch) };
        let pause = Duration::from_millis(back_off_ms(attempts, random::u64()));
        let (request, gives_up_ms) = self.tenure.replica.read(|state| {
            let session = state.session(self.transaction);
            let gives_up_ms = session.and_then(|session| self.run.gives_up_ms(session));
            (view::request(state, self.transaction, branch), gives_up_ms)
        });
        let left = match (gives_up_ms, self.tenure.clock_ms()) {
            (Some(gives_up_ms), Ok(clock_ms)) => Duration::from_millis(gives_up_ms.saturating_sub(clock_ms)),
            (_, _) => Duration::MAX,
        };
        let (pause, parked_pause) = (pause.min(left), PARKED.min(left));
        let (nudge, nudges) = (self.tenure.nudge(self.transaction), self.nudges);
        async move {
            let Some(request) = request else { return };
            let nudged = nudge.rung_since(nudges);
            let appearance = coordinator.channels.appearance(&request.resource);
            let appeared = appearance.notified();
            let rest = coordinator.asked.rest(branch);
            let heard = rest.heard();
            if coordinator.asked.heard_late(branch, request.way) {
                quorate_core::sometimes!("late_answer_came_before_the_rest");
                return;
            }
            let any_application = request.any_application();
            let nobody = || coordinator.channels.best(&request.resource, &request.client, any_application).is_none();
            let pause = match why {
                // One that is there all the same has come meanwhile, or cannot be told: then a pause like any other.
                Some(Why::Alone) if nobody() => {
                    quorate_core::sometimes!("branch_is_parked_until_its_rm_comes");
                    coordinator.counters.phase_two_parked.one();
                    parked_pause
                }
                Some(Why::Lost(open_for)) if !nobody() => {
                    quorate_core::sometimes!("branch_is_held_while_its_rm_may_be_at_work");
                    _ = select3(heard, nudged, sleep(open_for.min(left))).await;
                    return;
                }
                Some(Why::Alone | Why::Busy | Why::Lost(_)) | None => pause,
            };
            let pause = if quorate_world::bug!("back_off_without_end") { pause * 10_000 } else { pause };
            match select3(select2(appeared, heard), nudged, sleep(pause)).await {
                Either3::First(_) => quorate_core::sometimes!("rest_of_a_branch_is_cut_short"),
                Either3::Second(()) => quorate_core::sometimes!("operator_cuts_the_rest_of_a_branch_short"),
                Either3::Third(()) => {}
            }
        }
    }
}
