//! What apply answers, as probes: which refusals and which turns a run has brought about. Beside the handlers, so that they
//! stay as they are.

use super::command::{Command, Decision, Operation, ReleaseScope};
use super::outcome::{Outcome, Refusal};
use super::status::{self, Direction};
use crate::model::GlobalStatus;

/// Notes the outcome of a command.
pub(super) fn note(command: &Command, outcome: &Outcome) {
    match (command, outcome) {
        (Command::Decide(decide), Outcome::Decided(status)) => decided(decide.decision, *status),
        (Command::Decide(decide), Outcome::Standing(status)) => stood(decide.decision, *status),
        (Command::Operate(operate), Outcome::Now(_)) => operated(operate.operation),
        (Command::Operate(_), Outcome::Standing(_)) => sometimes!("operator_met_an_end"),
        (Command::Report(_), Outcome::Decided(_)) => sometimes!("engine_decided"),
        (Command::Report(_), Outcome::Now(now)) if status::is_running(*now) => sometimes!("engine_turned_its_saga"),
        (Command::Report(_), Outcome::Now(_)) => sometimes!("engine_ended_its_saga"),
        (Command::RegisterBranch(register), Outcome::Registered) if register.with_locks => {
            sometimes!("branch_registered_with_its_locks_in_one_command");
        }
        (Command::RegisterBranchOnce(_), Outcome::RegisteredBefore(_)) => {
            sometimes!("request_met_the_branch_it_registered")
        }
        (Command::AcquireLocks(_), Outcome::Acquired) => sometimes!("locks_taken_in_another_group"),
        (Command::ReleaseLocks(release), Outcome::Released) => match release.scope {
            ReleaseScope::All => sometimes!("locks_of_a_transaction_released_in_another_group"),
            ReleaseScope::Branches(_) => sometimes!("locks_of_a_branch_released_in_another_group"),
        },
        (Command::RemoveBranch(_), Outcome::Done) => sometimes!("branch_removed_from_the_list"),
        (Command::ReportBranch(_), Outcome::Done) => sometimes!("branch_report_stored"),
        (Command::Retry(_), Outcome::Now(_)) => sometimes!("phase_two_goes_over_to_retrying"),
        (Command::Detach(_), Outcome::Now(_)) => sometimes!("commit_goes_on_behind_its_answer"),
        (Command::Fail(_), Outcome::Now(_)) => sometimes!("phase_two_failed_for_good"),
        (Command::GiveUp(_), Outcome::Now(_)) => sometimes!("phase_two_given_up"),
        (Command::End(_), Outcome::Now(now)) => ended(*now),
        (Command::CleanedUp(_), Outcome::Done | Outcome::Now(_)) => sometimes!("branch_was_cleaned_up"),
        (Command::Tick, Outcome::Done) => sometimes!("quiet_group_was_stamped"),
        (_, Outcome::Refused(refusal)) => refused(command, refusal),
        (_, _) => {}
    }
}

fn decided(decision: Decision, status: GlobalStatus) {
    match (decision, status) {
        (Decision::Commit, GlobalStatus::AsyncCommitting) => sometimes!("commit_decided_for_later"),
        (Decision::Commit, GlobalStatus::Committing) => sometimes!("commit_decided_in_order"),
        (Decision::Commit, _) => sometimes!("commit_came_after_the_deadline"),
        (Decision::Rollback, _) => sometimes!("rollback_decided"),
        (Decision::TimeoutRollback, _) => sometimes!("time_out_decided"),
    }
}

/// Somebody was faster.
fn stood(decision: Decision, status: GlobalStatus) {
    let commits = status::direction(status) == Some(Direction::Commit);
    match (decision, commits) {
        (Decision::Commit, true) => sometimes!("commit_asked_for_again"),
        (Decision::Commit, false) => sometimes!("commit_met_a_rollback"),
        (Decision::Rollback, true) => sometimes!("rollback_met_a_commit"),
        (Decision::Rollback, false) => sometimes!("rollback_asked_for_again"),
        (Decision::TimeoutRollback, true) => sometimes!("time_out_met_a_commit"),
        (Decision::TimeoutRollback, false) => sometimes!("time_out_met_a_rollback"),
    }
}

fn ended(now: GlobalStatus) {
    match now {
        GlobalStatus::Committed => sometimes!("ended_committed"),
        GlobalStatus::Rollbacked => sometimes!("ended_rolled_back"),
        GlobalStatus::TimeoutRollbacked => sometimes!("ended_timed_out"),
        _ => sometimes!("ended_otherwise"),
    }
}

fn operated(operation: Operation) {
    match operation {
        Operation::Stop => sometimes!("operator_stopped_a_transaction"),
        Operation::Start => sometimes!("operator_started_a_transaction"),
        Operation::Reopen => sometimes!("operator_reopened_a_transaction"),
        Operation::Delete => sometimes!("operator_deleted_a_transaction"),
        Operation::ForceDelete => sometimes!("operator_deleted_a_transaction_by_force"),
        Operation::StopBranch(_) => sometimes!("operator_stopped_a_branch"),
        Operation::StartBranch(_) => sometimes!("operator_started_a_branch"),
        Operation::CleanUp => sometimes!("operator_has_a_transaction_cleaned_up"),
        Operation::CleanUpBranch(_) => sometimes!("operator_has_a_branch_cleaned_up"),
        Operation::DropBranch(_) => sometimes!("operator_dropped_a_branch"),
    }
}

fn refused(command: &Command, refusal: &Refusal) {
    match command {
        Command::RegisterBranch(_) | Command::RegisterBranchOnce(_) => register_refused(refusal),
        Command::AcquireLocks(_) => acquire_refused(refusal),
        Command::Decide(_) => decide_refused(refusal),
        Command::ReportBranch(_) => report_refused(refusal),
        Command::Operate(_) => operate_refused(refusal),
        Command::Begin(_) | Command::BeginNear(_) => sometimes!("begin_refused"),
        Command::RemoveBranch(_) => sometimes!("removal_of_a_branch_refused"),
        Command::Retry(_) => sometimes!("retry_refused"),
        Command::Detach(_) => sometimes!("detach_refused"),
        Command::Fail(_) => sometimes!("failure_refused"),
        Command::End(_) => sometimes!("end_refused"),
        Command::GiveUp(_) => sometimes!("giving_up_refused"),
        Command::Report(_) => sometimes!("word_of_an_engine_refused"),
        Command::ReleaseLocks(_) => sometimes!("release_refused"),
        Command::Lead(_) => sometimes!("lead_of_an_old_tenure_refused"),
        Command::Found(_) => sometimes!("slots_were_founded_already"),
        Command::CleanedUp(_) => sometimes!("word_of_a_clean_up_refused"),
        Command::Forget(_) | Command::Tick => {}
        // No server moves slots yet.
        Command::FreezeSlot(_)
        | Command::InstallSlot(_)
        | Command::ActivateSlot(_)
        | Command::DropSlot(_)
        | Command::UnfreezeSlot(_)
        | Command::DiscardSlot(_) => {}
    }
}

fn register_refused(refusal: &Refusal) {
    match refusal {
        Refusal::NotOwner { .. } => sometimes!("register_refused_by_a_group_without_the_slot"),
        Refusal::OldTenure { .. } => sometimes!("register_refused_of_an_old_tenure"),
        Refusal::NotActive { .. } => sometimes!("register_refused_after_the_decision"),
        Refusal::NoSuchTransaction => sometimes!("register_refused_after_the_end"),
        Refusal::Conflict(_) => sometimes!("register_refused_for_a_lock"),
        Refusal::BadBranchId => sometimes!("register_refused_for_its_id"),
        Refusal::Limit { .. } => sometimes!("register_refused_at_a_bound"),
        _ => {}
    }
}

fn acquire_refused(refusal: &Refusal) {
    match refusal {
        Refusal::NotOwner { .. } => sometimes!("locks_refused_by_a_group_without_the_slot"),
        Refusal::NotActive { .. } => sometimes!("locks_refused_after_the_decision"),
        Refusal::NoSuchTransaction => sometimes!("locks_refused_after_the_end"),
        Refusal::Conflict(_) => sometimes!("locks_refused_for_another_holder"),
        Refusal::BadBranchId => sometimes!("locks_refused_for_other_rows"),
        _ => {}
    }
}

fn decide_refused(refusal: &Refusal) {
    match refusal {
        Refusal::NotDue { .. } => sometimes!("time_out_refused_as_too_early"),
        Refusal::NoSuchTransaction => sometimes!("decision_on_nothing_known"),
        Refusal::NotOwner { .. } => sometimes!("decision_refused_by_a_group_without_the_slot"),
        _ => {}
    }
}

fn report_refused(refusal: &Refusal) {
    match refusal {
        Refusal::NoSuchTransaction => sometimes!("branch_report_after_the_end"),
        Refusal::NoSuchBranch => sometimes!("branch_report_of_no_branch"),
        _ => {}
    }
}

fn operate_refused(refusal: &Refusal) {
    match refusal {
        Refusal::Illegal { .. } => sometimes!("operator_refused_by_the_status"),
        Refusal::BranchStands { .. } => sometimes!("operator_refused_by_the_branch"),
        Refusal::BeingDeleted => sometimes!("operator_refused_for_a_deletion"),
        Refusal::HoldsLocks => sometimes!("operator_refused_for_row_locks"),
        Refusal::Unsupported { .. } => sometimes!("operator_refused_for_a_step_of_a_saga"),
        Refusal::NoSuchTransaction => sometimes!("operator_refused_for_nothing_known"),
        Refusal::NoSuchBranch => sometimes!("operator_refused_for_no_branch"),
        _ => {}
    }
}
