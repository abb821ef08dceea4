//! Byte streams.

use quorate_world::io::{AsyncReadExt, AsyncWriteExt, ErrorKind};
use quorate_world::net::{Listener, SocketAddr, Stream, connect, listen, local_ip, resolve};
use quorate_world::runtime::run_test;
use quorate_world::task::spawn;
use quorate_world::time::{Duration, sleep, timeout};

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

async fn pair() -> (Stream, Stream) {
    let listener = listen(anywhere()).await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let connecting = spawn(async move { connect(address).await.expect("connects") });
    let (accepted, peer) = listener.accept().await.expect("accepts");
    let connected = connecting.await.expect("ends");
    assert_eq!(connected.local_addr().expect("has an address"), peer);
    assert_eq!(connected.peer_addr().expect("has a peer"), address);
    assert_eq!(accepted.peer_addr().expect("has a peer"), peer);
    (connected, accepted)
}

#[test]
fn bytes_arrive_in_order_and_whole() {
    run_test(async {
        let (mut here, mut there) = pair().await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number * 7 / 3) as u8).collect();
        let expected = sent.clone();
        let writing = spawn(async move {
            for part in sent.chunks(70_001) {
                here.write_all(part).await.expect("writes");
            }
            here.shutdown().await.expect("says the end");
            here
        });
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.expect("reads to the end");
        assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
        writing.await.expect("ends");
    });
}

#[test]
fn shutdown_ends_one_direction_only() {
    run_test(async {
        let (mut here, mut there) = pair().await;
        here.write_all(b"question").await.expect("writes");
        here.shutdown().await.expect("says the end");
        let mut heard = Vec::new();
        there.read_to_end(&mut heard).await.expect("reads to the end");
        assert_eq!(heard, b"question");
        there.write_all(b"answer").await.expect("writes the other way");
        drop(there);
        heard.clear();
        here.read_to_end(&mut heard).await.expect("reads to the end");
        assert_eq!(heard, b"answer");
        assert!(here.write_all(b"more").await.is_err(), "writing after the end");
    });
}

#[test]
fn halves_live_apart_and_the_writer_says_the_end_when_dropped() {
    run_test(async {
        let (here, there) = pair().await;
        let (mut read_here, write_here) = here.split();
        let (mut read_there, mut write_there) = there.split();
        drop(write_here);
        let mut byte = [0];
        assert_eq!(read_there.read(&mut byte).await.expect("reads"), 0);
        write_there.write_all(b"x").await.expect("writes");
        read_here.read_exact(&mut byte).await.expect("reads");
        assert_eq!(&byte, b"x");
        drop(read_there);
        write_there.write_all(b"y").await.expect("writes still");
        drop(write_there);
        let mut rest = Vec::new();
        read_here.read_to_end(&mut rest).await.expect("reads to the end");
        assert_eq!(rest, b"y");
    });
}

#[test]
fn a_writer_waits_for_a_reader_who_does_not_read() {
    run_test(async {
        let (mut here, mut there) = pair().await;
        const MORE_THAN_BUFFERS: usize = 64 << 20;
        let writing = spawn(async move {
            let bytes = vec![1; MORE_THAN_BUFFERS];
            here.write_all(&bytes).await.expect("writes");
        });
        sleep(Duration::from_millis(200)).await;
        assert!(!writing.is_finished(), "64 MiB fit into nothing");
        let mut received = 0;
        let mut into = vec![0; 1 << 20];
        while received < MORE_THAN_BUFFERS {
            received += there.read(&mut into).await.expect("reads");
        }
        writing.await.expect("ends");
    });
}

#[test]
fn closing_with_unread_bytes_resets() {
    run_test(async {
        let (mut here, there) = pair().await;
        here.write_all(b"never read").await.expect("writes");
        sleep(Duration::from_millis(50)).await;
        drop(there);
        let mut byte = [0];
        let error = here.read(&mut byte).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn writing_to_one_who_has_left_fails_sooner_or_later() {
    run_test(async {
        let (mut here, there) = pair().await;
        drop(there);
        for _ in 0..1000 {
            if here.write_all(b"hello?").await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody said that nobody is there");
    });
}

#[test]
fn nobody_listens() {
    run_test(async {
        let listener = listen(anywhere()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        drop(listener);
        let error = connect(address).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_is_taken_until_its_listener_goes() {
    run_test(async {
        let first = listen(anywhere()).await.expect("listens");
        let address = first.local_addr().expect("has an address");
        let error = listen(address).await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(first);
        let again = listen(address).await.expect("free again");
        let connecting = spawn(connect(address));
        again.accept().await.expect("accepts");
        connecting.await.expect("ends").expect("connects");
    });
}

#[test]
fn a_listener_serves_many() {
    run_test(async {
        let listener = listen(anywhere()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        let server = spawn(serve(listener, 20));
        let clients: Vec<_> = (0..20u8)
            .map(|number| {
                spawn(async move {
                    let mut stream = connect(address).await.expect("connects");
                    stream.write_all(&[number]).await.expect("writes");
                    let mut answer = [0];
                    stream.read_exact(&mut answer).await.expect("reads");
                    assert_eq!(answer[0], number + 1);
                })
            })
            .collect();
        for client in clients {
            client.await.expect("ends");
        }
        server.await.expect("ends");
    });
}

async fn serve(listener: Listener, count: usize) {
    for _ in 0..count {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        spawn(async move {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.expect("reads");
            stream.write_all(&[byte[0] + 1]).await.expect("writes");
        });
    }
}

#[test]
fn a_read_can_be_given_up_and_tried_again() {
    run_test(async {
        let (mut here, mut there) = pair().await;
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(20), there.read(&mut byte)).await.is_err());
        here.write_all(b"z").await.expect("writes");
        there.read_exact(&mut byte).await.expect("reads");
        assert_eq!(&byte, b"z");
    });
}

#[test]
fn names_are_resolved() {
    run_test(async {
        assert_eq!(resolve("10.1.2.3:80").await.expect("an address"), "10.1.2.3:80".parse().expect("an address"));
        let local = resolve("localhost:7").await.expect("known");
        assert!(local.ip().is_loopback() && local.port() == 7);
        assert!(resolve("no-port").await.is_err());
        assert!(resolve("no.such.host.invalid:1").await.is_err());
        if let Some(ip) = local_ip() {
            assert!(!ip.is_loopback() && !ip.is_unspecified());
        }
    });
}
