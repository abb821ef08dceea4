//! Simpler plans: each function proposes plans with less in them, the boldest first. Whether one still fails is for the
//! shrinker to find out.
//!
//! Money is never made: what a branch or a step that goes would have moved, the last of those that stay moves.

use crate::plan::Plan;
use crate::plan::knobs::Knobs;
use crate::plan::operations::{Operation, PlannedBranch, balance};
use crate::plan::swarm::{Class, Level};

/// Transactions and faults, as one list: what can be left out by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// The transaction at this place.
    Operation(usize),
    /// The fault at this place.
    Fault(usize),
}

/// Everything that can be left out.
pub fn items(plan: &Plan) -> Vec<Item> {
    let faults = (0..plan.faults.len()).map(Item::Fault);
    faults.chain((0..plan.operations.len()).map(Item::Operation)).collect()
}

/// The plan without these.
pub fn without(plan: &Plan, items: &[Item]) -> Plan {
    let stays = |item: Item| !items.contains(&item);
    let operations = plan.operations.iter().enumerate().filter(|(place, _)| stays(Item::Operation(*place)));
    let faults = plan.faults.iter().enumerate().filter(|(place, _)| stays(Item::Fault(*place)));
    Plan {
        operations: operations.map(|(_, operation)| operation.clone()).collect(),
        faults: faults.map(|(_, fault)| *fault).collect(),
        ..plan.clone()
    }
}

/// Nothing that begins later than the failure can be its cause.
pub fn until(plan: &Plan, failed_at_ms: u64) -> Plan {
    let mut plan = plan.clone();
    plan.operations.retain(|operation| operation.at_ms <= failed_at_ms);
    plan.faults.retain(|fault| fault.from_ms <= failed_at_ms);
    plan.options.safety_ms = plan.options.safety_ms.min(failed_at_ms.max(1));
    plan
}

/// Smaller worlds: one node, one group, few clients, right clocks, nobody who meddles.
pub fn worlds(plan: &Plan) -> Vec<Plan> {
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        plan
    };
    let groups = |groups: u32| with(&|plan| plan.options.groups = groups.min(plan.options.groups));
    let clock_rates = |plan: &Plan| plan.faults.iter().any(|fault| fault.class == Class::ClockRate);
    let level = |class: Class| plan.options.level(class);
    vec![
        with(&|plan| {
            (plan.options.nodes, plan.options.groups) = (1, 1);
        }),
        with(&|plan| plan.options.nodes = 1),
        groups(1),
        groups(2),
        groups(3),
        with(&|plan| plan.options.operator = false),
        with(&few_clients),
        with(&|plan| {
            (plan.options.clock_ppm_max, plan.options.wall_skew_ms_max) = (0, 0);
        }),
        with(&|plan| plan.options.hibernate_ms = 0),
        with(&|plan| plan.options.snapshot_interval_s = 0),
        with(&|plan| plan.options.linger_per_million = 0),
        with(&|plan| plan.options.knobs = Knobs::default()),
        with(&|plan| plan.options.knobs.narrow = false),
        with(&|plan| plan.options.knobs.access_keys = false),
        with(&|plan| plan.options.knobs.forces = false),
        with(&|plan| plan.options.knobs.budget_bytes = 0),
        with(&|plan| {
            let options = &mut plan.options;
            (options.log_entries_kept, options.lost_tm_ms, options.undo_logs_ms) = (1_000, 0, 0);
            (options.batch_commands_max, options.batches_in_flight_max) = (512, 4);
        }),
        with(&|plan| {
            let options = &mut plan.options;
            (options.tm_speech, options.rm_speech, options.batch_results) = (Vec::new(), Vec::new(), false);
        }),
        with(&|plan| {
            plan.options.ring = 0;
            plan.operations.retain(|operation| operation.ring.is_none());
        }),
        with(&|plan| plan.options.tm_speech.clear()),
        with(&|plan| plan.options.rm_speech.clear()),
        with(&|plan| {
            let options = &mut plan.options;
            (options.xaer_nota_ms, options.commit_retry_ms) = (60_000, 0);
            (options.rollback_retry_ms, options.unlocks) = (0, false);
        }),
        // What is left of the swarm says how wrong clocks go.
        with(&|plan| match clock_rates(plan) {
            true => plan.options.swarm = vec![(Class::ClockRate, level(Class::ClockRate))],
            false => plan.options.swarm.clear(),
        }),
        with(&|plan| plan.options.swarm.retain(|(_, level)| *level == Level::Heavy)),
    ]
}

fn few_clients(plan: &mut Plan) {
    (plan.options.tms, plan.options.rms) = (1, 2);
    plan.options.tm_speech.truncate(1);
    plan.options.rm_speech.truncate(2);
    for operation in &mut plan.operations {
        operation.tm = 0;
        operation.branches.iter_mut().for_each(|branch| branch.rm %= 2);
    }
}

/// Less time: everything earlier, faults shorter, and an end right after the last of it.
pub fn times(plan: &Plan) -> Vec<Plan> {
    let first = plan.operations.iter().map(|operation| operation.at_ms);
    let first = first.chain(strikes(plan)).min().unwrap_or(0);
    let last = plan.operations.iter().map(|operation| operation.at_ms).chain(strikes(plan)).max().unwrap_or(0);
    let ends_after = |ms: u64| {
        let mut plan = plan.clone();
        plan.options.safety_ms = plan.options.safety_ms.min(last + ms);
        plan
    };
    vec![
        moved(plan, |at_ms| (at_ms - first) / 16 + 100),
        moved(plan, |at_ms| (at_ms - first) / 4 + 500),
        moved(plan, |at_ms| at_ms - first + 500),
        moved(plan, |at_ms| at_ms / 2),
        ends_after(1_000),
        ends_after(10_000),
    ]
}

fn strikes(plan: &Plan) -> impl Iterator<Item = u64> + '_ {
    plan.faults.iter().filter(|fault| fault.class != Class::Founding).map(|fault| fault.from_ms)
}

/// Every moment of the plan elsewhere, and never later.
fn moved(plan: &Plan, to: impl Fn(u64) -> u64) -> Plan {
    let mut plan = plan.clone();
    for operation in &mut plan.operations {
        operation.at_ms = to(operation.at_ms).min(operation.at_ms);
    }
    for fault in plan.faults.iter_mut().filter(|fault| fault.class != Class::Founding) {
        fault.from_ms = to(fault.from_ms).min(fault.from_ms);
    }
    plan
}

/// One transaction or fault simpler, for each and in every way.
pub fn details(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (place, operation) in plan.operations.iter().enumerate() {
        for simpler in simpler_operations(operation) {
            let mut plan = plan.clone();
            plan.operations[place] = simpler;
            plans.push(plan);
        }
    }
    for (place, fault) in plan.faults.iter().enumerate() {
        for lasts_ms in [fault.lasts_ms / 8, fault.lasts_ms / 2] {
            let mut plan = plan.clone();
            plan.faults[place].lasts_ms = lasts_ms;
            plans.push(plan);
        }
    }
    plans.retain(|simpler| simpler != plan);
    plans
}

fn simpler_operations(operation: &Operation) -> Vec<Operation> {
    let with = |change: &dyn Fn(&mut Operation)| {
        let mut operation = operation.clone();
        change(&mut operation);
        operation
    };
    let calm = |branch: &mut PlannedBranch| {
        (branch.fails, branch.retries, branch.slow_ms, branch.rm_death) = (false, 0, 0, None);
        (branch.tries_again, branch.word, branch.refuses) = (false, None, 0);
        (branch.asks_rows, branch.holds_on) = (false, false);
    };
    let mut simpler = vec![
        with(&|operation| {
            operation.asks_ms.clear();
            (operation.tm_death, operation.thinks_ms) = (None, 0);
            operation.branches.iter_mut().for_each(calm);
        }),
        with(&|operation| operation.asks_ms.clear()),
        with(&|operation| operation.asks_ms.truncate(1)),
        with(&|operation| operation.tm_death = None),
        with(&|operation| operation.thinks_ms = 0),
        with(&|operation| operation.branches.iter_mut().for_each(calm)),
        with(&|operation| operation.saga.iter_mut().for_each(|saga| saga.retries = 0)),
    ];
    if operation.saga.is_some() && !operation.branches.is_empty() {
        simpler.push(with(&|operation| operation.branches.clear()));
        simpler.push(with(&|operation| operation.saga = None));
    }
    // A swap in the ring has three branches.
    let may_lose = if operation.ring.is_some() { 0 } else { operation.branches.len() };
    for place in 0..may_lose {
        simpler.push(with(&|operation| {
            operation.branches.remove(place);
            balance(&mut operation.branches);
        }));
    }
    for place in 1..operation.saga.as_ref().map_or(0, |saga| saga.steps.len()) {
        simpler.push(with(&|operation| {
            let Some(saga) = &mut operation.saga else { return };
            let (_, delta) = saga.steps.remove(place);
            saga.steps[place - 1].1 += delta;
            saga.fails_at = saga.fails_at.map(|at| at.min(saga.steps.len() - 1));
        }));
    }
    simpler
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SIZES;

    #[test]
    fn what_is_proposed_is_simpler_and_makes_no_money() {
        for seed in 0..10 {
            let plan = Plan::draw(seed, SIZES[1]);
            let all = worlds(&plan).into_iter().chain(times(&plan)).chain(details(&plan));
            for proposed in all.chain([until(&plan, 9_000), without(&plan, &[Item::Operation(0), Item::Fault(0)])]) {
                assert!(proposed.operations.iter().all(|operation| operation.delta() == 0));
                assert!(proposed.operations.len() <= plan.operations.len());
                assert!(proposed.options.safety_ms <= plan.options.safety_ms);
                assert!(proposed.operations.iter().all(|operation| operation.tm < proposed.options.tms));
            }
        }
    }

    #[test]
    fn what_is_left_out_leaves_the_rest_alone() {
        let plan = Plan::draw(3, SIZES[1]);
        let less = without(&plan, &[Item::Operation(1), Item::Operation(4)]);
        assert_eq!(less.operations.len(), plan.operations.len() - 2);
        assert_eq!(less.operation(5), plan.operation(5));
        assert_eq!(less.operation(4), None);
        assert_eq!(less.faults, plan.faults);
    }
}
