//! The pause after a failed attempt: longer each time, cut short when an RM for the resource appears, when one answers what
//! it was asked before, or when an operator wants it. Where no RM is there at all, the branch is parked until one comes.

use quorate_core::model::BranchId;
use quorate_core::phase_two::back_off::back_off_ms;
use quorate_world::random;
use quorate_world::select::{Either3, select2, select3};
use quorate_world::time::{Duration, sleep};

use super::{Drive, view};

/// A parked branch looks again after this time, though nothing appeared.
const PARKED: Duration = Duration::from_secs(60);

impl Drive {
    /// The pause of a branch. Holds nothing of the driver, so that several may rest side by side.
    pub(super) fn rest(&self, branch: BranchId) -> impl Future<Output = ()> + Send + use<> {
        let coordinator = self.coordinator.clone();
        let parked = self.alone.contains(&branch);
        let pause = Duration::from_millis(back_off_ms(self.run.attempts(branch), random::u64()));
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
            let sooner = select2(appeared, heard);
            let any_application = request.any_application();
            let nobody = || coordinator.channels.best(&request.resource, &request.client, any_application).is_none();
            // One that is there all the same has come meanwhile, or cannot be told: then a pause like any other.
            let parked = parked && nobody();
            if parked {
                quorate_core::sometimes!("branch_is_parked_until_its_rm_comes");
                coordinator.counters.phase_two_parked.one();
            }
            let pause = if parked { parked_pause } else { pause };
            let pause = if quorate_world::bug!("back_off_without_end") { pause * 10_000 } else { pause };
            match select3(sooner, nudged, sleep(pause)).await {
                Either3::First(_) => quorate_core::sometimes!("rest_of_a_branch_is_cut_short"),
                Either3::Second(()) => quorate_core::sometimes!("operator_cuts_the_rest_of_a_branch_short"),
                Either3::Third(()) => {}
            }
        }
    }
}
