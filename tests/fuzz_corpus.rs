//! The fuzz targets' bodies over their corpora, and over a fixed number of spoiled copies of them: what every machine
//! can run, with or without a fuzzer.
#![allow(clippy::disallowed_methods)] // reads files of the repository, not of a node

use std::fs;
use std::path::PathBuf;

#[path = "../fuzz/bodies/packed.rs"]
mod packed;
#[path = "../fuzz/bodies/wire.rs"]
mod wire;

/// Spoiled copies of each seed.
const SPOILED: u64 = 40;

#[test]
fn frames() {
    run("frames", wire::frames);
}

#[test]
fn messages() {
    run("messages", wire::messages);
}

#[test]
fn packed_bodies() {
    run("packed", packed::packed);
}

fn run(target: &str, body: fn(&[u8])) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the corpus is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "{target} has a corpus");
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a readable file")).collect();
    for (number, seed) in seeds.iter().enumerate() {
        body(seed);
        let mut chance = Chance(number as u64 + 1);
        for _ in 0..SPOILED {
            let other = &seeds[chance.below(seeds.len())];
            body(&spoiled(seed, other, &mut chance));
        }
    }
}

/// A copy with one to four changes of the kinds a fuzzer makes.
fn spoiled(seed: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        match (bytes.get_mut(at), chance.below(6)) {
            (Some(byte), 0) => *byte = chance.below(256) as u8,
            (Some(byte), 1) => *byte ^= 1 << chance.below(8),
            (Some(byte), 2) => *byte = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            (_, 3) => bytes.truncate(at),
            (_, 4) => bytes.insert(at, chance.below(256) as u8),
            _ => {
                let from = chance.below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    bytes
}

/// The same numbers every time (xorshift64).
struct Chance(u64);

impl Chance {
    /// Below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}
