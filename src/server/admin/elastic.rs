//! Pages on which groups come and go, and slots are spread over them: what would move, and the wish that it does.

use std::collections::BTreeSet;

use hyper::StatusCode;
use quorate_core::cluster::command::{AddGroupV1, RangeV1, ReshardV1, StrategyV1};
use quorate_core::cluster::resharding::{Share, spread};
use quorate_core::cluster::{GroupKey, MetaCommand, Routing, rebalance};
use quorate_core::model::GroupId;
use quorate_core::txn::Counts;
use quorate_world::random;
use quorate_world::time::{Duration, timeout};
use serde::Serialize;

use super::AdminContext;
use super::route::{Answer, json, text};

/// Slots that move in a second while nothing else is to do, roughly: what a plan is told to take by.
const SLOTS_PER_S: usize = 200;
/// The picture here follows what the meta group has taken within this.
const PICTURE_PATIENCE: Duration = Duration::from_secs(5);

/// What a path of these asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elastic {
    /// `/quorate/v1/groups`: one more group.
    Add,
    /// `/quorate/v1/groups/7/remove`: its slots go to the others, then it goes.
    Remove(GroupId),
    /// `/quorate/v1/rebalance`: slots go where the strategy has them.
    Rebalance,
    /// `/quorate/v1/rebalance/stop`: no more of them.
    Stop,
}

/// Which of these a path is.
pub fn of_path(path: &str) -> Option<Elastic> {
    match path {
        "/quorate/v1/groups" => Some(Elastic::Add),
        "/quorate/v1/rebalance" => Some(Elastic::Rebalance),
        "/quorate/v1/rebalance/stop" => Some(Elastic::Stop),
        _ => {
            let group = path.strip_prefix("/quorate/v1/groups/")?.strip_suffix("/remove")?;
            group.parse().ok().map(|group| Elastic::Remove(GroupId(group)))
        }
    }
}

/// What would move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Plan {
    /// Slots.
    slots: usize,
    /// Slots that are on their way already.
    under_way: usize,
    /// Whether that is wished for, and goes on.
    is_wished: bool,
    /// Groups that go when they are empty.
    leaving: Vec<u32>,
    /// About how long it takes.
    seconds: usize,
    shares: Vec<PlannedShare>,
}

/// What would move from one group to another: slots, and about so much of what the group has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct PlannedShare {
    from: u32,
    to: u32,
    slots: usize,
    sessions: u64,
    row_locks: u64,
    bytes: u64,
}

/// Shows what would move if the slots were spread now, without these groups: `leaving=3,4`.
pub fn show_plan(context: &AdminContext, form: &str) -> Answer {
    let routing = context.routing.borrow().clone();
    let wished = routing.reshard();
    let mut leaving: BTreeSet<GroupId> = wished.map(|wish| wish.leaving.clone()).unwrap_or_default();
    match leaving_of(form) {
        Ok(others) => leaving.extend(others),
        Err(wrong) => return text(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
    }
    let strategy = wished.map_or(&context.strategy, |wish| &wish.strategy);
    let plan = match spread(strategy, &routing, &leaving) {
        Ok(plan) => plan,
        Err(error) => return text(StatusCode::CONFLICT, format!("{error}\n")),
    };
    let share = |share: Share| planned(&routing, share, (context.weigh)(share.from));
    json(&Plan {
        slots: plan.moves.len(),
        under_way: routing.migrations().count(),
        is_wished: wished.is_some(),
        leaving: leaving.iter().map(|group| group.0).collect(),
        seconds: plan.moves.len().div_ceil(SLOTS_PER_S),
        shares: plan.shares().into_iter().map(share).collect(),
    })
}

fn planned(routing: &Routing, Share { from, to, slots }: Share, has: Option<Counts>) -> PlannedShare {
    let owned = routing.slots_of(from).count().max(1) as u64;
    let part = |whole: fn(&Counts) -> u64| has.as_ref().map_or(0, |has| whole(has) * slots as u64 / owned);
    PlannedShare {
        from: from.0,
        to: to.0,
        slots,
        sessions: part(|has| has.sessions),
        row_locks: part(|has| has.row_locks),
        bytes: part(|has| has.bytes),
    }
}

fn leaving_of(form: &str) -> Result<Vec<GroupId>, String> {
    let listed = form.split('&').filter_map(|pair| pair.strip_prefix("leaving=")).flat_map(|list| list.split(','));
    let number = |text: &str| text.parse().map(GroupId).map_err(|_| format!("`{text}` is no group: leaving=3,4"));
    listed.filter(|text| !text.is_empty()).map(number).collect()
}

/// Has the meta group take the wish.
pub async fn wish(context: &AdminContext, asked: Elastic, form: &str) -> Answer {
    match asked {
        Elastic::Add => add(context, form).await,
        Elastic::Remove(group) => reshard(context, vec![group]).await,
        Elastic::Rebalance => match leaving_of(form) {
            Ok(leaving) => reshard(context, leaving).await,
            Err(wrong) => text(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
        },
        Elastic::Stop => {
            let wish = context.routing.borrow().reshard().map(|wish| wish.since);
            match wish {
                Some(since) => tell(context, MetaCommand::EndReshard(since), "no more slots start to move\n").await,
                None => text(StatusCode::OK, "no slots were to move\n"),
            }
        }
    }
}

async fn add(context: &AdminContext, form: &str) -> Answer {
    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let key = match field("key").map(key_of) {
        None => GroupKey(random::bytes16()),
        Some(Some(key)) => key,
        Some(None) => return text(StatusCode::BAD_REQUEST, "a key has 32 digits from 0 to f\n"),
    };
    let label = field("label").unwrap_or_default();
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return text(StatusCode::BAD_REQUEST, "a label is made of letters, digits, `-`, `_` and `.`\n");
    }
    let replicas = rebalance::place_new(&context.routing.borrow());
    tracing::info!(label, ?replicas, "an operator adds a group");
    let command = MetaCommand::AddGroup(AddGroupV1 { key, label: label.to_owned(), replicas });
    let picture = match (context.tell_meta)(command).await {
        Ok(picture) => picture,
        Err(why) => return text(why.status(), format!("{why}\n")),
    };
    let mut routing = context.routing.clone();
    let seen = routing.wait_until(|routing| routing.picture() >= picture);
    let group = match timeout(PICTURE_PATIENCE, seen).await {
        Ok(Ok(routing)) => routing.added_by(key),
        Ok(Err(_)) | Err(_) => None,
    };
    match group {
        Some(group) => text(
            StatusCode::OK,
            format!("group {group} is added; `quorate ctl rebalance` gives it its share of the slots\n"),
        ),
        None => text(StatusCode::OK, "a group is added; `quorate ctl group list` will show it\n"),
    }
}

fn key_of(text: &str) -> Option<GroupKey> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(|key| GroupKey(key.to_be_bytes()))
}

async fn reshard(context: &AdminContext, more: Vec<GroupId>) -> Answer {
    let (strategy, leaving) = {
        let routing = context.routing.borrow();
        let wish = routing.reshard();
        let mut leaving: BTreeSet<GroupId> = wish.map(|wish| wish.leaving.clone()).unwrap_or_default();
        leaving.retain(|group| routing.group(*group).is_some());
        leaving.extend(more);
        (wish.map_or(context.strategy.clone(), |wish| wish.strategy.clone()), leaving)
    };
    tracing::info!(?leaving, "an operator has the slots spread anew");
    let wish = ReshardV1 { strategy, leaving: leaving.into_iter().collect() };
    tell(
        context,
        MetaCommand::Reshard(wish),
        "slots move until all is as planned; `quorate ctl rebalance --dry-run` shows what is left\n",
    )
    .await
}

async fn tell(context: &AdminContext, command: MetaCommand, done: &'static str) -> Answer {
    match (context.tell_meta)(command).await {
        Ok(_) => text(StatusCode::OK, done),
        Err(why) => text(why.status(), format!("{why}\n")),
    }
}

/// How the configuration wants the slots spread.
pub fn strategy_of(table: Option<&[GroupId]>, is_modulo: bool) -> StrategyV1 {
    let Some(table) = table else {
        return if is_modulo { StrategyV1::Modulo } else { StrategyV1::ConsistentHash };
    };
    let mut ranges: Vec<RangeV1> = Vec::new();
    for (slot, group) in (0..).zip(table) {
        match ranges.last_mut().filter(|last| last.group == *group) {
            Some(last) => last.last = slot,
            None => ranges.push(RangeV1 { first: slot, last: slot, group: *group }),
        }
    }
    StrategyV1::Explicit(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(of_path("/quorate/v1/groups"), Some(Elastic::Add));
        assert_eq!(of_path("/quorate/v1/groups/7/remove"), Some(Elastic::Remove(GroupId(7))));
        assert_eq!(of_path("/quorate/v1/rebalance"), Some(Elastic::Rebalance));
        assert_eq!(of_path("/quorate/v1/rebalance/stop"), Some(Elastic::Stop));
        for wrong in ["/quorate/v1/groups/x/remove", "/quorate/v1/groups/7", "/quorate/v1/rebalance/"] {
            assert_eq!(of_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_leaving() {
        assert_eq!(leaving_of("leaving=3,4&x=1"), Ok(vec![GroupId(3), GroupId(4)]));
        assert_eq!(leaving_of("&leaving="), Ok(vec![]));
        assert!(leaving_of("leaving=three").expect_err("no number").contains("three"));
    }

    #[test]
    fn a_table_is_told_in_ranges() {
        let table = [1, 1, 2, 1].map(GroupId);
        let range = |first, last, group| RangeV1 { first, last, group: GroupId(group) };
        let ranges = vec![range(0, 1, 1), range(2, 2, 2), range(3, 3, 1)];
        assert_eq!(strategy_of(Some(&table), false), StrategyV1::Explicit(ranges));
        assert_eq!(strategy_of(None, true), StrategyV1::Modulo);
        assert_eq!(strategy_of(None, false), StrategyV1::ConsistentHash);
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert_eq!(key_of("000102030405060708090a0b0c0d0e0f").map(|key| key.0[15]), Some(15));
        assert_eq!((key_of("0f"), key_of(&"g".repeat(32))), (None, None));
    }
}
