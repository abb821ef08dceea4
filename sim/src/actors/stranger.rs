//! Somebody who has no key, or a wrong one, and wants to be let in all the same, now and then and at any node: as a TM, or as an RM of the
//! bank's own resources.

use super::{node_ip, signature};
use crate::plan::knobs::ACCESS_KEY;
use crate::plan::ms;
use crate::scene::Scene;
use crate::seen::Seen;
use quorate_client::{Connection, Speech};
use quorate_core::wire::{Message, Registration};
use quorate_world::net::{IpAddr, Ipv4Addr, SocketAddr};
use quorate_world::sim::Dice;
use quorate_world::time::{Duration, sleep, wall_ms};
use std::sync::Arc;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Further from all clocks than any window reaches.
const DAYS_3_MS: u64 = 3 * 86_400_000;

/// The machine's address.
pub fn ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 5))
}

/// The process.
pub async fn run(scene: Arc<Scene>) -> i32 {
    let mut dice = Dice::new(scene.plan.options.schedule, "what the stranger tries");
    loop {
        sleep(ms(dice.between(500, 15_000))).await;
        let node = 1 + dice.below(u64::from(scene.plan.options.nodes)) as u32;
        let (how, extra_data) = extra_data(&mut dice);
        let application_id = ["bank-1", "shop-1", "lazy"][dice.below(3) as usize].to_owned();
        let service_group = "default_tx_group".to_owned();
        let registration = Registration { version: "2.3.0".to_owned(), application_id, service_group, extra_data };
        let register = match dice.below(2) {
            0 => Message::RegisterTm(registration),
            _ => Message::RegisterRm { registration, resource_ids: "at-1,tcc-1".to_owned() },
        };
        let address = SocketAddr::new(node_ip(node), 8091);
        let Ok(connection) = Connection::open(address, Speech::default(), Arc::new(|_| {})).await else { continue };
        let answer = connection.call(&register, PATIENCE).await;
        if let Ok(Message::RegisterTmResult(result) | Message::RegisterRmResult(result)) = answer {
            scene.note(&format!("a stranger with {how} at n{node} is told {}", result.identified));
            scene.saw(Seen::Admitted { node, how, admitted: result.identified });
        }
    }
}

/// What he shows, in words and as it is sent.
fn extra_data(dice: &mut Dice) -> (&'static str, String) {
    let (key, secret) = ACCESS_KEY;
    let now_ms = wall_ms();
    match dice.below(4) {
        0 => ("nothing", String::new()),
        1 => ("a wrong secret", signature((key, "guessed"), ip(), now_ms)),
        2 => ("a key that there is none of", signature(("nobody", secret), ip(), now_ms)),
        _ => ("a signature of another day", signature((key, secret), ip(), now_ms.saturating_sub(DAYS_3_MS))),
    }
}
