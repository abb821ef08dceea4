//! What must hold for any bytes in the place of what is stored: commands of the log, records of snapshots.
#![allow(dead_code)] // each target uses one of them

use quorate_core::cluster::{Meta, MetaBatch};
use quorate_core::codec::{self, CodecError, Persisted};
use quorate_core::model::{Epoch, Slot, Term};
use quorate_core::txn::command::{BeginV1, FoundV1, LeadV1};
use quorate_core::txn::{Batch, Command, Outcome, Stamp, Transactions};

/// `data` is a kind and an encoded value. What can be read can be written, and both ways to read agree; a batch has an
/// outcome for every command, in any state, and leaves the state whole.
pub fn commands(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 4 {
        0 => _ = rewrite::<Command>(bytes).map(|command| apply(Batch { stamp: stamp(9), commands: vec![command] })),
        1 => _ = rewrite::<Batch>(bytes).map(apply),
        2 => _ = rewrite::<Outcome>(bytes),
        _ => {
            if let Some(batch) = rewrite::<MetaBatch>(bytes) {
                let mut meta = Meta::new();
                let outcomes = meta.apply(&batch);
                assert_eq!(outcomes.len(), batch.commands.len());
                reload_meta(&meta);
            }
        }
    }
}

/// `data` is a kind of group and records: table and length in two bytes each, then the record. Whatever is loaded can be
/// stored and loaded again, and goes on.
pub fn snapshots(data: &[u8]) {
    let Some((kind, mut bytes)) = data.split_first() else { return };
    let mut records = Vec::new();
    while let Some(([t0, t1, l0, l1], rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(rest.len());
        let (record, rest) = rest.split_at(length);
        records.push((u16::from_be_bytes([*t0, *t1]), record.to_vec()));
        bytes = rest;
    }
    if kind % 2 == 1 {
        if let Ok(meta) = Meta::load(records) {
            reload_meta(&meta);
        }
        return;
    }
    let Ok(mut state) = Transactions::load(records) else { return };
    reload(&state);
    let name = || "x".to_owned();
    let begin = BeginV1 { address: name(), application: name(), service_group: name(), name: name(), timeout_ms: 1 };
    let lead = Command::Lead(LeadV1 { tenure: Term(u64::MAX), block: 8 });
    let commands = vec![Command::Tick, lead, Command::Begin(begin)];
    assert_eq!(state.apply(&Batch { stamp: stamp(u64::MAX), commands }).len(), 3);
    reload(&state);
}

fn stamp(clock_ms: u64) -> Stamp {
    Stamp { clock_ms, wall_ms: 0 }
}

fn rewrite<T: Persisted + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let Ok(value) = codec::decode::<T>(bytes) else {
        assert!(codec::decode_canonical::<T>(bytes).is_err());
        return None;
    };
    let again = codec::encode(&value).expect("its own form is no longer than another");
    assert_eq!(codec::decode::<T>(&again).as_ref(), Ok(&value));
    match codec::decode_canonical::<T>(bytes) {
        Ok(_) => assert_eq!(again, bytes),
        Err(error) => {
            assert_eq!(error, CodecError::NotCanonical);
            assert_ne!(again, bytes);
        }
    }
    Some(value)
}

fn apply(batch: Batch) {
    let found = FoundV1 { slots: (0..4_096).map(Slot).collect(), epoch: Epoch(1), sequence: 1_000 };
    let lead = LeadV1 { tenure: Term(1), block: 100 };
    let mut state = Transactions::new();
    state.apply(&Batch { stamp: stamp(1), commands: vec![Command::Found(found), Command::Lead(lead)] });
    for mut state in [Transactions::new(), state] {
        let outcomes = state.apply(&batch);
        assert_eq!(outcomes.len(), batch.commands.len());
        if let Err(what) = state.check_invariants() {
            panic!("{what} after {batch:?}");
        }
    }
}

fn reload(state: &Transactions) {
    let records: Vec<_> = state.tables().collect();
    let again = Transactions::load(records.clone()).expect("its own records");
    assert!(again == *state, "loaded otherwise than stored");
    assert_eq!(again.tables().collect::<Vec<_>>(), records);
}

fn reload_meta(meta: &Meta) {
    let records: Vec<_> = meta.tables().collect();
    let again = Meta::load(records.clone()).expect("its own records");
    assert_eq!(again.tables().collect::<Vec<_>>(), records);
}
