//! Looks how much room the disk has left, and acts before it is full: begins are refused, then branches; and the groups make
//! snapshots, so that their log can go (storage notes, section 13).

use std::sync::Arc;

use quorate_storage::{Space, Storage};
use quorate_world::time::{self, Duration};

use super::groups::Groups;
use crate::coordinator::{Coordinator, DiskRoom};

const INTERVAL: Duration = Duration::from_secs(1);
/// Between two rounds of snapshots.
const SNAPSHOTS_EVERY: u32 = 30;

/// What is watched, and who is told.
pub struct SpaceWatch {
    /// The disk.
    pub storage: Storage,
    /// What is on it.
    pub groups: Arc<Groups>,
    /// Who begins transactions.
    pub coordinator: Arc<Coordinator>,
}

impl SpaceWatch {
    /// For ever. An error of the disk is the log's affair.
    pub async fn run(self) {
        let (mut before, mut looks) = (DiskRoom::Ample, 0_u32);
        loop {
            time::sleep(INTERVAL).await;
            let Ok(space) = self.storage.space().await else { continue };
            let is_behind = self.storage.is_behind();
            let now = room(space, is_behind);
            self.coordinator.note_disk_room(now);
            if now != before {
                tell(now, space, is_behind);
                (before, looks) = (now, 0);
            }
            if space >= Space::Low && looks.is_multiple_of(SNAPSHOTS_EVERY) {
                self.make_snapshots().await;
            }
            looks = looks.wrapping_add(1);
        }
    }

    async fn make_snapshots(&self) {
        quorate_core::sometimes!("snapshots_because_the_disk_is_nearly_full");
        for replica in self.groups.open().values() {
            replica.snapshot().await;
        }
    }
}

fn room(space: Space, is_behind: bool) -> DiskRoom {
    match space {
        Space::Ample if !is_behind => DiskRoom::Ample,
        Space::Ample | Space::Low => DiskRoom::Low,
        Space::Critical | Space::Full => DiskRoom::Critical,
    }
}

fn tell(now: DiskRoom, space: Space, is_behind: bool) {
    match now {
        DiskRoom::Ample => tracing::info!("the disk has room again: transactions begin as usual"),
        DiskRoom::Low => {
            tracing::warn!(
                ?space,
                is_behind,
                "the disk is nearly full or too slow: begins are refused; free some space"
            );
        }
        DiskRoom::Critical => {
            tracing::error!(?space, "the disk is full: begins and branches are refused; free some space");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_worth_as_much_as_one_that_is_nearly_full() {
        assert_eq!(room(Space::Ample, false), DiskRoom::Ample);
        assert_eq!(room(Space::Ample, true), DiskRoom::Low);
        assert_eq!(room(Space::Low, true), DiskRoom::Low);
        assert_eq!(room(Space::Critical, false), DiskRoom::Critical);
        assert_eq!(room(Space::Full, false), DiskRoom::Critical);
    }
}
