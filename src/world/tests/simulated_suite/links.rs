//! Links.

use crate::{echo_at, echo_machine};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt, ErrorKind};
use quorate_world::net::{Stream, connect};
use quorate_world::sim::{self, FaultClass, HARNESS, Latency, LinkState, Options};
use quorate_world::task::spawn;
use quorate_world::time::{Duration, Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

async fn echo(stream: &mut Stream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[test]
fn a_partition_is_silence_and_the_heal_brings_what_was_said() {
    for seed in 0..20 {
        sim::run(seed, Options::default(), move || async move {
            let machine = echo_machine(1);
            let mut stream = connect(echo_at(1)).await.expect("connects");
            assert_eq!(echo(&mut stream, b"before").await.expect("answers"), b"before");
            sim::isolate(machine);
            let silent = timeout(20 * SECOND, echo(&mut stream, b"during")).await;
            assert!(silent.is_err(), "something came through: {silent:?}");
            sim::heal_all();
            let mut answer = [0; 6];
            match timeout(20 * SECOND, stream.read_exact(&mut answer)).await.expect("hears something in time") {
                Ok(_) => assert_eq!(&answer, b"during"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
            assert!(sim::counters()[&FaultClass::LinkBlocked] > 0);
        });
    }
}

#[test]
fn one_way_means_one_way() {
    sim::run(1, Options { link: calm_heal(), ..Options::default() }, || async {
        let machine = echo_machine(1);
        let mut stream = connect(echo_at(1)).await.expect("connects");
        sim::block(machine, HARNESS);
        assert!(timeout(SECOND, echo(&mut stream, b"one")).await.is_err());
        sim::unblock(machine, HARNESS);
        // It had been heard at once: the answer needs one retransmission only.
        let mut answer = [0; 3];
        timeout(2 * SECOND, stream.read_exact(&mut answer)).await.expect("in time").expect("answers");
        assert_eq!(&answer, b"one");
    });
}

fn calm_heal() -> LinkState {
    LinkState { reset_after_block_per_million: 0, ..LinkState::CALM }
}

#[test]
fn a_writer_into_a_partition_is_held_up_by_its_window() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        let mut stream = connect(echo_at(1)).await.expect("connects");
        sim::partition(&[HARNESS], &[machine]);
        let writing = timeout(10 * SECOND, stream.write_all(&vec![0; 8 << 20])).await;
        assert!(writing.is_err(), "8 MiB fit into a partition");
    });
}

#[test]
fn acknowledgements_need_the_way_back() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", crate::ip(1), || async {
            let listener = quorate_world::net::listen(echo_at(1)).await.expect("listens");
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut into = vec![0; 65_536];
            while stream.read(&mut into).await.expect("reads") > 0 {}
            0
        });
        machine.start();
        sleep(MS).await;
        let mut stream = connect(echo_at(1)).await.expect("connects");
        sim::block(machine, HARNESS);
        let writing = timeout(10 * SECOND, stream.write_all(&vec![0; 8 << 20])).await;
        assert!(writing.is_err(), "8 MiB went out and nothing came back");
        sim::unblock(machine, HARNESS);
        timeout(10 * SECOND, stream.write_all(&vec![0; 8 << 20])).await.expect("in time").expect("goes on");
    });
}

#[test]
fn connecting_into_a_partition_hangs_and_comes_through_after_the_heal() {
    sim::run(3, Options::default(), || async {
        let machine = echo_machine(1);
        sim::isolate(machine);
        assert!(timeout(10 * SECOND, connect(echo_at(1))).await.is_err());
        let connecting = spawn(connect(echo_at(1)));
        sleep(2 * SECOND).await;
        sim::heal_all();
        let mut stream = timeout(10 * SECOND, connecting).await.expect("in time").expect("ends").expect("connects");
        assert_eq!(echo(&mut stream, b"late").await.expect("answers"), b"late");
        assert!(sim::counters()[&FaultClass::ConnectHang] >= 2);
    });
}

#[test]
fn the_kernel_gives_up_in_the_end() {
    sim::run(3, Options::default(), || async {
        let begun = Instant::now();
        let nobody = "10.9.9.9:1".parse().expect("an address");
        let error = timeout(400 * SECOND, connect(nobody)).await.expect("in time").expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() > 60 * SECOND);
    });
}

#[test]
fn messages_take_their_time_each_way() {
    let slow = Latency::new(40 * MS, Duration::ZERO);
    sim::run(1, Options::default(), move || async move {
        let machine = echo_machine(1);
        sim::change_link(HARNESS, machine, |link| link.latency = slow);
        let begun = Instant::now();
        let mut stream = connect(echo_at(1)).await.expect("connects");
        echo(&mut stream, b"x").await.expect("answers");
        let took = begun.elapsed();
        assert!(took >= 80 * MS && took < 90 * MS, "{took:?}");
    });
}

#[test]
fn latencies_below_a_millisecond_are_kept() {
    sim::run(
        1,
        Options { link: LinkState { latency: Latency::micros(50, 0), ..LinkState::CALM }, ..Options::default() },
        || async {
            echo_machine(1);
            sleep(MS).await;
            let mut stream = connect(echo_at(1)).await.expect("connects");
            let begun = Instant::now();
            for _ in 0..10 {
                echo(&mut stream, b"x").await.expect("answers");
            }
            let took = begun.elapsed();
            assert!(took >= MS && took < 2 * MS, "{took:?}");
        },
    );
}

#[test]
fn a_narrow_line_takes_longer() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        sim::change_link(HARNESS, machine, |link| link.bytes_per_second = Some(100_000));
        let mut stream = connect(echo_at(1)).await.expect("connects");
        let begun = Instant::now();
        echo(&mut stream, &[5; 50_000]).await.expect("answers");
        let took = begun.elapsed();
        assert!(took >= 500 * MS && took < 700 * MS, "{took:?}");
        assert!(sim::counters().contains_key(&FaultClass::LinkBandwidth));
    });
}

#[test]
fn loss_is_delay_but_never_disorder() {
    sim::run(
        1,
        Options { link: LinkState { loss_per_million: 100_000, ..LinkState::CALM }, ..Options::default() },
        || async {
            echo_machine(1);
            sleep(MS).await;
            let mut stream = connect(echo_at(1)).await.expect("connects");
            for number in 0..200u32 {
                let text = number.to_be_bytes();
                assert_eq!(echo(&mut stream, &text).await.expect("answers"), text);
            }
            assert!(sim::counters()[&FaultClass::LinkLoss] > 10);
            assert!(sim::now() > 2 * SECOND);
        },
    );
}

#[test]
fn connections_break_at_the_given_rate() {
    sim::run(
        1,
        Options { link: LinkState { reset_per_million: 50_000, ..LinkState::CALM }, ..Options::default() },
        || async {
            echo_machine(1);
            sleep(MS).await;
            let mut broken = 0;
            for _ in 0..100 {
                let mut stream = connect(echo_at(1)).await.expect("connects");
                for _ in 0..5 {
                    if echo(&mut stream, b"x").await.is_err() {
                        broken += 1;
                        break;
                    }
                }
            }
            assert!(broken > 10 && broken < 90, "{broken}");
        },
    );
}

#[test]
fn bits_are_turned_over_at_the_given_rate() {
    sim::run(
        1,
        Options { link: LinkState { corrupt_per_million: 100_000, ..LinkState::CALM }, ..Options::default() },
        || async {
            echo_machine(1);
            sleep(MS).await;
            let mut stream = connect(echo_at(1)).await.expect("connects");
            let mut wrong = 0;
            for _ in 0..100 {
                wrong += usize::from(echo(&mut stream, &[0; 64]).await.expect("answers") != [0; 64]);
            }
            assert!(wrong > 5 && wrong < 50, "{wrong}");
            assert!(sim::counters()[&FaultClass::LinkCorruption] as usize >= wrong);
        },
    );
}

#[test]
fn connections_can_be_broken_on_purpose() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        sleep(MS).await;
        let mut stream = connect(echo_at(1)).await.expect("connects");
        echo(&mut stream, b"x").await.expect("answers");
        assert_eq!(sim::reset_connections(HARNESS, machine), 1);
        let error = echo(&mut stream, b"x").await.expect_err("broken");
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    });
}

#[test]
fn one_message_can_be_delayed_by_its_number() {
    let took = |nth: Option<u64>| {
        let options =
            Options { link: LinkState { latency: Latency::micros(100, 0), ..LinkState::CALM }, ..Options::default() };
        let run = sim::run(1, options, move || async move {
            let machine = echo_machine(1);
            sleep(MS).await;
            if let Some(nth) = nth {
                sim::delay_message(HARNESS, machine, nth, 70 * MS);
            }
            let mut stream = connect(echo_at(1)).await.expect("connects");
            let begun = Instant::now();
            for _ in 0..3 {
                echo(&mut stream, b"x").await.expect("answers");
            }
            assert_eq!(sim::messages(HARNESS, machine), 4, "a knock and three bytes");
            begun.elapsed()
        });
        run.output
    };
    assert!(took(None) < 2 * MS);
    assert!(took(Some(3)) > 70 * MS && took(Some(3)) < 72 * MS);
    assert!(took(Some(5)) < 2 * MS, "beyond the last");
}
