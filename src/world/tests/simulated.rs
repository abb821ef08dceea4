//! What only the simulated world has: machines that die, links that break, disks that forget, and a seed that decides.

#![cfg(madsim)]

mod simulated_suite {
    pub mod clocks;
    pub mod disks;
    pub mod links;
    pub mod processes;
    pub mod sameness;
}

use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{IpAddr, Ipv4Addr, SocketAddr, listen};
use quorate_world::sim::{self, Machine};
use quorate_world::task::spawn;

/// The address of the machine of this number.
fn ip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

/// Where the echo of that machine listens.
fn echo_at(number: u8) -> SocketAddr {
    SocketAddr::new(ip(number), 7)
}

/// A machine that sends back what it hears.
fn echo_machine(number: u8) -> Machine {
    let machine = sim::add_machine(&format!("n{number}"), ip(number), || async {
        let listener = listen("0.0.0.0:7".parse().expect("an address")).await.expect("the port is free");
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            spawn(async move {
                let mut into = vec![0; 4096];
                while let Ok(count) = stream.read(&mut into).await
                    && count > 0
                {
                    if stream.write_all(&into[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    machine.start();
    machine
}

/// A machine that does nothing, for ever.
fn idle_machine(number: u8) -> Machine {
    let machine = sim::add_machine(&format!("n{number}"), ip(number), || async { std::future::pending().await });
    machine.start();
    machine
}
