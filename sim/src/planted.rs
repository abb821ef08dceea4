//! The planted bugs by name: those that must be found, where, and by whom; and those that nobody has found yet.
//!
//! What each does stands in `docs/SIMULATION.md`. A tidy test compares the names with the code.

/// A planted bug, and the oracles that may find it.
pub type Planted = (&'static str, &'static [&'static str]);

/// Those that are looked for in the small world.
pub const BUGS: [Planted; 78] = [
    ("acknowledge_before_sync", &["D2"]),
    ("append_acknowledged_before_sync", &["D2"]),
    ("log_not_synced", &["D2"]),
    ("vote_not_awaited", &["D2"]),
    ("vote_forgotten_at_start", &["D", "D2"]),
    ("checkpoint_not_synced", &["D2"]),
    ("no_folder_sync", &["D2"]),
    ("last_batch_not_rewritten", &["D2"]),
    ("snapshot_not_synced", &["D2"]),
    ("snapshot_name_not_synced", &["D2"]),
    ("snapshot_cut_short", &["D2", "D3"]),
    ("applied_twice", &["D"]),
    ("read_without_quorum", &["C3", "C7"]),
    ("parked_answered_unknown", &["C1", "C3", "C7"]),
    ("commit_told_before_decided", &["C1"]),
    ("decide_before_commit", &["A3"]),
    ("phase_two_turned", &["A1", "A2"]),
    ("branch_forgotten", &["A6", "A8", "C4", "G2"]),
    ("lock_kept_at_end", &["B3"]),
    ("acknowledged_without_locks", &["B1"]),
    ("released_before_undo", &["B5"]),
    ("group_clock_is_the_wall_clock", &["A6"]),
    ("deadlines_forgotten_at_failover", &["G1"]),
    ("decisions_forgotten_at_failover", &["G1"]),
    ("deletions_forgotten_at_failover", &["G1"]),
    ("deleted_without_its_rm", &["A8", "C4", "G2"]),
    ("acknowledged_and_removed", &["A4"]),
    ("one_branch_goes_the_other_way", &["A1"]),
    ("saga_failure_heard_as_done", &["A7"]),
    ("second_row_not_locked", &["B2", "B10"]),
    ("release_not_repeated", &["B3"]),
    ("rollback_told_as_commit", &["C1"]),
    ("status_from_any_replica", &["C3", "C7"]),
    ("silence_is_taken_for_done", &["A6", "A8", "A13", "B5", "C4", "G2"]),
    ("snapshot_of_a_later_state", &["D", "D3"]),
    ("back_off_without_end", &["G1"]),
    ("stop_waits_for_all_connections", &["G3"]),
    ("only_the_first_row_is_locked", &["B4"]),
    ("second_row_not_undone", &["B6", "B10"]),
    ("stale_row_is_built_on", &["B11"]),
    ("conflict_is_waited_out", &["B7"]),
    ("branch_ids_dealt_twice", &["C2"]),
    ("late_end_commits_the_next", &["C5"]),
    ("resource_names_the_request", &["C5"]),
    ("slow_begin_is_refused", &["C6"]),
    ("late_child_is_refused", &["C6"]),
    ("silent_leader_is_answered_for", &["C7"]),
    // The mutants of the lock protocol.
    ("same_tenure_is_refused", &["LK6", "B7", "G1"]),
    ("new_leader_deals_ids_again", &["C2", "LK6"]),
    ("branches_join_after_the_decision", &["A4"]),
    ("first_branch_holds", &["B1", "B4"]),
    ("acknowledged_before_it_is_listed", &["A4"]),
    ("decision_is_not_looked_at", &["A4"]),
    ("given_up_and_acknowledged", &["B1", "LK6"]),
    ("new_leader_removes_branches", &["A4", "B5"]),
    ("stranger_acknowledges_a_release", &["LK4"]),
    ("audit_frees_what_rolls_back", &["LK6"]),
    ("two_groups_own_a_slot", &["LK2"]),
    ("time_out_ends_as_a_rollback", &["A5"]),
    ("failed_branch_is_asked", &["A10"]),
    ("refusal_is_asked_again", &["A11"]),
    ("annotated_step_is_committed", &["A10"]),
    ("given_up_early", &["A6"]),
    ("lock_query_sees_one_row", &["B8"]),
    ("second_row_not_asked_for", &["B10"]),
    ("lock_query_is_asked_by_nobody", &["B8"]),
    ("everybody_fails_fast", &["B9"]),
    ("lost_tm_is_not_looked_for", &["A12"]),
    ("undo_logs_are_asked_for_once", &["G7"]),
    ("merged_answers_turned", &["C1", "C5", "C6"]),
    ("batch_child_has_anothers_id", &["C1", "C5", "C6"]),
    ("given_up_lets_its_locks_go", &["B5"]),
    ("unknown_branch_is_taken_for_undone", &["A6", "A8"]),
    ("rollback_in_order_of_registration", &["A13"]),
    ("releases_of_a_commit_are_not_awaited", &["LK5"]),
    ("old_word_turns_a_saga", &["A5"]),
    ("any_key_is_let_in", &["C8"]),
    ("slow_reader_is_kept", &["G5"]),
];

/// Those that a small world hardly ever brings about.
pub const BUGS_OF_R1: [Planted; 3] = [
    ("orphan_locks_never_audited", &["B7", "G2"]),
    ("empty_rollback_leaves_no_fence", &["A9"]),
    ("tcc_registered_again", &["C5"]),
];

/// Those that need a world whose nodes come and go.
pub const BUGS_OF_R2: [Planted; 2] =
    [("left_replica_is_not_wiped", &["G3"]), ("drained_node_keeps_its_groups", &["G3"])];

/// Those that are not looked for: no world brings them about, or not often; `docs/SIMULATION.md` says which and why.
pub const NOT_LOOKED_FOR: [&str; 13] = [
    "audit_ignores_pending",
    "audit_ignores_the_fence",
    "audit_keeps_pending_for_ever",
    "delete_before_the_checkpoint",
    "fail_fast_is_old_news",
    "first_bad_is_the_end",
    "lead_is_not_awaited",
    "number_of_a_removed_node_is_given_again",
    "old_tenure_registers",
    "recycle_under_a_reader",
    "remove_forgets_the_log",
    "remove_forgets_the_vote",
    "unknown_told_as_refused",
];

/// The names of those that are looked for.
pub fn looked_for() -> impl Iterator<Item = &'static str> {
    BUGS.into_iter().chain(BUGS_OF_R1).chain(BUGS_OF_R2).map(|(name, _)| name)
}

/// All names. Any other would plant nothing, and the run would pass: it is refused.
pub fn names() -> impl Iterator<Item = &'static str> {
    looked_for().chain(NOT_LOOKED_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_stands_there_once() {
        let once: BTreeSet<&str> = names().collect();
        assert_eq!(once.len(), names().count());
    }
}
