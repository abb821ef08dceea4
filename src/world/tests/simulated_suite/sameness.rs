//! Same seed, same run.

use crate::{echo_at, echo_machine, ip};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::connect;
use quorate_world::sim::{self, Digest, Latency, LinkState, Options};
use quorate_world::task::spawn;
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::{random, sync};
use std::collections::{BTreeSet, HashMap};

const MS: Duration = Duration::from_millis(1);

/// Talks to the echoes and writes down what it hears, for ever.
async fn talk(number: u8) {
    let disk = NodeDisk::open_root("data").expect("a root");
    let name = format!("heard-{:x}", random::u64());
    let file = disk.open(&name, OpenHow::CreateNew).await.expect("creates");
    let mut at = 0;
    loop {
        let other = 1 + random::below(3) as u8;
        let Ok(Ok(mut stream)) = timeout(300 * MS, connect(echo_at(other))).await else { continue };
        for _ in 0..random::below(20) {
            let size = 1 + random::below(3000) as usize;
            let text = vec![number; size];
            if stream.write_all(&text).await.is_err() {
                break;
            }
            let mut answer = vec![0; size];
            match timeout(500 * MS, stream.read_exact(&mut answer)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
            file.write_at(at, answer.into()).await.expect("writes");
            at += size as u64;
            file.sync_data().await.expect("syncs");
        }
        sleep(Duration::from_millis(random::below(30))).await;
    }
}

fn busy_world(seed: u64) -> Digest {
    let latency = Latency { tail_per_million: 5000, tail: 500 * MS, ..Latency::micros(100, 400) };
    let link = LinkState { latency, loss_per_million: 2000, reset_per_million: 1000, ..LinkState::CALM };
    let options = Options { link, clock_ppm_max: 500, wall_skew_ms_max: 1000, ..Options::default() };
    let run = sim::run(seed, options, || async {
        let echoes: Vec<_> = (1..=3).map(echo_machine).collect();
        let talkers: Vec<_> = (4..=6u8)
            .map(|number| {
                sim::add_machine(&format!("n{number}"), ip(number), move || async move {
                    let tasks: Vec<_> = (0..4).map(|_| spawn(talk(number))).collect();
                    for task in tasks {
                        task.await.expect("never ends");
                    }
                    0
                })
            })
            .collect();
        talkers.iter().for_each(|talker| talker.start());
        let all: Vec<_> = echoes.into_iter().chain(talkers).collect();
        let mut dice = sim::Dice::new(sim::seed(), "faults");
        for _ in 0..30 {
            sleep(Duration::from_millis(dice.between(10, 200))).await;
            let victim = all[dice.below(all.len() as u64) as usize];
            match dice.below(6) {
                0 => victim.restart(),
                1 => {
                    victim.power_fail();
                    sleep(Duration::from_millis(dice.between(1, 300))).await;
                    victim.start();
                }
                2 => {
                    victim.pause();
                    sleep(Duration::from_millis(dice.between(1, 300))).await;
                    victim.resume();
                }
                3 => sim::isolate(victim),
                4 => victim.set_clock_ppm(dice.below(100_000) as i64),
                _ => sim::heal_all(),
            }
        }
    });
    assert!(run.digest.events > 3000, "{:?}", run.digest);
    run.digest
}

#[test]
fn same_seed_same_hash_and_other_seed_other_hash() {
    let mut hashes = BTreeSet::new();
    for seed in 0..12 {
        let first = busy_world(seed);
        assert_eq!(first, busy_world(seed), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 12);
}

#[test]
fn the_order_of_hash_maps_is_the_seed_s() {
    let order = |seed| {
        let run = sim::run(seed, Options::default(), || async {
            let map: HashMap<u32, ()> = (0..100).map(|number| (number, ())).collect();
            map.into_keys().collect::<Vec<_>>()
        });
        run.output
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn a_trace_can_be_read() {
    let path = format!("{}/trace-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let options = Options { trace_path: Some(path.clone()), ..Options::default() };
    let run = sim::run(1, options, || async {
        echo_machine(1);
        sleep(MS).await;
        let mut stream = connect(echo_at(1)).await.expect("connects");
        stream.write_all(b"hello").await.expect("writes");
        stream.read_exact(&mut [0; 5]).await.expect("answers");
        sim::note("done");
    });
    let text = std::fs::read_to_string(&path).expect("was written");
    std::fs::remove_file(&path).expect("is there");
    assert_eq!(text.lines().count() as u64, run.digest.events);
    for word in ["Started", "Connected", "Sent", "Delivered", "Note", "done"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
}

#[test]
fn tasks_run_in_an_order_that_the_seed_decides() {
    let order = |seed| {
        let run = sim::run(seed, Options::default(), || async {
            let (tell, mut told) = sync::mpsc::channel(100);
            for number in 0..8 {
                let tell = tell.clone();
                spawn(async move { tell.send(number).await.expect("somebody listens") });
            }
            drop(tell);
            let mut order = Vec::new();
            while let Some(number) = told.recv().await {
                order.push(number);
            }
            order
        });
        run.output
    };
    assert_eq!(order(1), order(1));
    assert!((2..6).any(|seed| order(seed) != order(1)));
}
