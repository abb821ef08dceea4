//! Branch ids from blocks that the leader has reserved in the log (lock protocol, rule 2).
//!
//! Ids are dealt in order and never again; a block dies with its tenure.

use std::collections::VecDeque;

use quorate_core::model::{BranchId, Slot};
use quorate_core::txn::IdBlock;

/// The blocks at hand.
#[derive(Default, Debug)]
pub struct Dealer {
    blocks: VecDeque<IdBlock>,
    /// Size of the last block reserved, to know what a quarter is.
    size: u32,
    reserving: bool,
}

impl Dealer {
    /// Deals from this block first.
    pub fn new(mut block: IdBlock) -> Dealer {
        if quorate_world::bug!("new_leader_deals_ids_again") {
            block.first = block.first.saturating_sub(block.count.into());
        }
        Dealer { blocks: VecDeque::from([block]), size: block.count, reserving: false }
    }

    /// The next id, for a transaction in `slot`.
    pub fn deal(&mut self, slot: Slot) -> Option<BranchId> {
        while let Some(block) = self.blocks.front_mut() {
            if block.count == 0 {
                self.blocks.pop_front();
                continue;
            }
            let sequence = block.first;
            if !(quorate_world::bug!("branch_ids_dealt_twice") && block.count.is_multiple_of(2)) {
                block.first += 1;
            }
            block.count -= 1;
            return BranchId::mint(sequence, slot);
        }
        None
    }

    /// True once when less than a quarter of a block is left: the caller reserves the next one and says
    /// [`Dealer::reserved`].
    pub fn should_reserve(&mut self) -> bool {
        let left: u64 = self.blocks.iter().map(|block| u64::from(block.count)).sum();
        let low = left < u64::from(self.size / 4).max(1);
        let begin = low && !self.reserving;
        self.reserving |= low;
        begin
    }

    /// What became of the reservation.
    pub fn reserved(&mut self, block: Option<IdBlock>) {
        self.reserving = false;
        if let Some(block) = block {
            self.size = block.count;
            self.blocks.push_back(block);
        }
    }

    /// Forgets what is left.
    pub fn drop_blocks(&mut self) {
        self.blocks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_never_again() {
        let mut dealer = Dealer::new(IdBlock { first: 100, count: 8 });
        let mut dealt = Vec::new();
        while let Some(id) = dealer.deal(Slot(7)) {
            assert_eq!(id.slot(), Slot(7));
            dealt.push(id.sequence());
            if dealer.should_reserve() {
                dealer.reserved((dealt.len() < 10).then_some(IdBlock { first: 200, count: 8 }));
            }
        }
        assert_eq!(dealt, (100..108).chain(200..208).collect::<Vec<u64>>());
    }

    #[test]
    fn one_reservation_at_a_time_also_after_a_failed_one() {
        let mut dealer = Dealer::new(IdBlock { first: 1, count: 1 });
        assert!(!dealer.should_reserve());
        dealer.deal(Slot(0));
        assert!(dealer.should_reserve());
        assert!(!dealer.should_reserve());
        dealer.reserved(None);
        assert!(dealer.should_reserve());
        assert_eq!(dealer.deal(Slot(0)), None);
    }
}
