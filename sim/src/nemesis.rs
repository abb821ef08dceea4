//! Carries out the planned faults, and heals everything at the end.
//!
//! Each fault is a task that waits for its time, looks for somebody to strike (drawn by its number among those who can
//! be struck at that moment), strikes, waits, and takes back what it did. Faults overlap: a block is taken back when the
//! last of them that wanted it is over. To add a class: `plan::swarm::Class`, its habit in `plan::faults`, an arm in
//! [`Nemesis::strike`], a line in `docs/SIMULATION.md`.

use crate::chronicle::Kind as About;
use crate::cluster::Cluster;
use crate::damage::DiskDamage;
use crate::plan::faults::Fault;
use crate::plan::ms;
use crate::plan::swarm::{Class, Level};
use crate::scene::Scene;
use quorate_core::model::GroupId;
use quorate_world::sim::{self, Dice, DiskFaults, Latency, LinkState, Machine};
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, sleep};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

type Link = (Machine, Machine);

/// See the page.
pub struct Nemesis {
    scene: Arc<Scene>,
    cluster: Arc<Cluster>,
    clients: Vec<Machine>,
    /// How wrong clocks ran at first.
    usual_ppm: BTreeMap<Machine, i64>,
    /// By how many faults a link is blocked now.
    blocks: Mutex<BTreeMap<Link, u32>>,
    damage: DiskDamage,
}

impl Nemesis {
    /// Over this cluster and its clients.
    pub fn new(scene: Arc<Scene>, cluster: Arc<Cluster>, clients: Vec<Machine>) -> Arc<Nemesis> {
        let all = cluster.machines.iter().chain(&clients);
        let usual_ppm = all.map(|machine| (*machine, machine.clock_ppm())).collect();
        let (blocks, damage) = (Mutex::default(), DiskDamage::default());
        Arc::new(Nemesis { scene, cluster, clients, usual_ppm, blocks, damage })
    }

    /// Starts a task for each planned fault.
    pub fn begin(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let start = |fault: &Fault| {
            let (nemesis, fault) = (self.clone(), *fault);
            task::spawn(async move {
                nemesis.scene.until(fault.from_ms).await;
                nemesis.strike(&fault).await;
            })
        };
        self.scene.plan.faults.iter().filter(|fault| fault.class != Class::Founding).map(start).collect()
    }

    /// Takes everything back: links, disks, clocks, and every process runs.
    pub fn heal(&self) {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        sim::heal_all();
        sim::set_linger(0);
        let (link, disk) = (self.scene.plan.options.link(), self.scene.plan.options.disk());
        for from in self.everybody() {
            for to in self.everybody() {
                sim::set_link(from, to, link);
            }
        }
        for (machine, ppm) in &self.usual_ppm {
            machine.resume();
            machine.set_clock_ppm(*ppm);
        }
        self.damage.repair(&self.scene);
        for machine in &self.cluster.machines {
            machine.disk().set_speed(disk);
            machine.disk().set_faults(DiskFaults::default());
            self.cluster.start(*machine);
        }
    }

    fn everybody(&self) -> Vec<Machine> {
        self.cluster.machines.iter().chain(&self.clients).copied().collect()
    }

    async fn strike(&self, fault: &Fault) {
        let lasts = ms(fault.lasts_ms);
        let mut dice = Dice::new(u64::from(fault.pick), "strike");
        match fault.class {
            Class::Kill => self.kill(Class::Kill, &mut dice, lasts).await,
            Class::PowerFailure => self.cut_power(&mut dice, lasts).await,
            Class::Pause => self.pause(&mut dice, lasts).await,
            Class::Partition => {
                let links = self.two_halves(&mut dice);
                self.block(Class::Partition, links, lasts).await;
            }
            Class::OneWay => {
                let links = self.one_way(&mut dice);
                self.block(Class::OneWay, links, lasts).await;
            }
            Class::IsolateLeader => {
                let leader = self.a_leader(&mut dice);
                let links = self.around(leader, |_| true);
                self.block(Class::IsolateLeader, links, lasts).await;
            }
            Class::SlowLinks => self.slow_links(&mut dice, lasts).await,
            Class::Resets => self.reset(&mut dice),
            Class::SlowDisk => self.slow_disk(&mut dice, lasts).await,
            Class::ClockRate => self.clock_rate(&mut dice, lasts).await,
            Class::ClockJump => self.clock_jump(&mut dice),
            Class::Membership => self.change_membership(&mut dice),
            Class::Slots => self.reshard(&mut dice),
            Class::LongAbsence => self.kill(Class::LongAbsence, &mut dice, lasts).await,
            Class::DiskDamage => self.damage.strike(&self.scene, &self.cluster, &mut dice, lasts).await,
            Class::FullDisk => self.full_disk(&mut dice, lasts).await,
            // The machines `mover` and `lazy` see to it, and clients do the rest.
            Class::Transfer | Class::SlowReader => {}
            Class::TmDeath | Class::RmDeath | Class::Hiccup | Class::Founding | Class::SlowRm => {}
        }
    }

    /// A node that runs; waits for one if there is none.
    async fn victim(&self, dice: &mut Dice) -> Machine {
        loop {
            let running: Vec<Machine> =
                self.cluster.machines.iter().copied().filter(|machine| machine.is_running()).collect();
            if !running.is_empty() {
                return running[dice.below(running.len() as u64) as usize];
            }
            sleep(ms(100)).await;
        }
    }

    async fn kill(&self, class: Class, dice: &mut Dice, lasts: Duration) {
        let victim = self.victim(dice).await;
        victim.kill();
        self.struck(class, &[victim], lasts, "is killed");
        sleep(lasts).await;
        self.cluster.start(victim);
    }

    async fn cut_power(&self, dice: &mut Dice, lasts: Duration) {
        let first = self.victim(dice).await;
        let more = [0, 0, 1, 2][dice.below(4) as usize];
        let others = self.cluster.machines.iter().copied().filter(|machine| *machine != first).take(more);
        let victims: Vec<Machine> = std::iter::once(first).chain(others).collect();
        if dice.below(2) == 0 {
            // Disks that stop just before have much that is written and not synced.
            let dying = ms(dice.between(20, 800));
            victims.iter().for_each(|victim| victim.disk().stall(dying));
            sleep(dying).await;
        }
        for victim in &victims {
            victim.power_fail();
        }
        self.struck(Class::PowerFailure, &victims, lasts, "lose power");
        for victim in victims {
            sleep(lasts / (1 + dice.below(3) as u32)).await;
            self.cluster.start(victim);
        }
    }

    async fn pause(&self, dice: &mut Dice, lasts: Duration) {
        let victim = self.victim(dice).await;
        victim.pause();
        self.struck(Class::Pause, &[victim], lasts, "stands still");
        sleep(lasts).await;
        victim.resume();
    }

    /// All machines in two parts: no node in one of them has more than its luck.
    fn two_halves(&self, dice: &mut Dice) -> Vec<Link> {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let alone = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        for machine in self.everybody() {
            let is_node = self.cluster.machines.contains(&machine);
            let here = if is_node { machine == alone } else { dice.below(2) == 0 };
            if here { one.push(machine) } else { other.push(machine) }
        }
        let pairs = one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to)));
        pairs.flat_map(|(from, to)| [(from, to), (to, from)]).collect()
    }

    /// To a node or from it nothing passes, for other nodes or for everybody.
    fn one_way(&self, dice: &mut Dice) -> Vec<Link> {
        let node = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        let out = dice.below(2) == 0;
        let nodes_only = dice.below(2) == 0;
        let links = self.around(node, |other| !nodes_only || self.cluster.machines.contains(&other));
        links.into_iter().filter(|(from, _)| (*from == node) == out).collect()
    }

    fn around(&self, node: Machine, with: impl Fn(Machine) -> bool) -> Vec<Link> {
        let others = self.everybody().into_iter().filter(|other| *other != node && with(*other));
        others.flat_map(|other| [(node, other), (other, node)]).collect()
    }

    fn a_leader(&self, dice: &mut Dice) -> Machine {
        let group = GroupId(dice.below(u64::from(self.scene.plan.options.groups) + 1) as u32);
        let leader = self.scene.watch().ghost.leaders.get(&group).map(|(_, node)| *node);
        leader.and_then(|leader| self.scene.machine_of(leader)).unwrap_or(self.cluster.machines[0])
    }

    async fn block(&self, class: Class, links: Vec<Link>, lasts: Duration) {
        self.change_blocks(&links, |count| count + 1);
        let (of, text) = around_whom(&links);
        self.struck(class, &of, lasts, &text);
        sleep(lasts).await;
        self.change_blocks(&links, |count| count.saturating_sub(1));
    }

    fn change_blocks(&self, links: &[Link], change: impl Fn(u32) -> u32) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        for link in links {
            let count = blocks.entry(*link).or_default();
            let before = *count;
            *count = change(before);
            match (before, *count) {
                (0, 1) => sim::block(link.0, link.1),
                (1, 0) => sim::unblock(link.0, link.1),
                _ => {}
            }
        }
    }

    async fn slow_links(&self, dice: &mut Dice, lasts: Duration) {
        let node = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        let latency = Latency {
            mean_extra: ms(dice.between(1, 60)),
            tail_per_million: dice.between(1_000, 50_000) as u32,
            tail: ms(dice.between(100, 5_000)),
            ..self.scene.plan.options.link().latency
        };
        let loss_per_million = [0, 0, 2_000, 30_000][dice.below(4) as usize];
        let bytes_per_second = [None, None, Some(8_000), Some(200_000)][dice.below(4) as usize];
        let links = self.around(node, |_| true);
        self.change_links(&links, |link| LinkState { latency, loss_per_million, bytes_per_second, ..link });
        let text = format!(
            "has slow links: {:?} on average, {loss_per_million} in a million lost, {bytes_per_second:?} bytes a second",
            latency.mean_extra
        );
        self.struck(Class::SlowLinks, &[node], lasts, &text);
        sleep(lasts).await;
        let usual = self.scene.plan.options.link();
        self.change_links(&links, |link| LinkState { blocked: link.blocked, ..usual });
    }

    fn change_links(&self, links: &[Link], change: impl Fn(LinkState) -> LinkState) {
        for (from, to) in links {
            sim::change_link(*from, *to, |link| *link = change(*link));
        }
    }

    fn reset(&self, dice: &mut Dice) {
        let all = self.everybody();
        let node = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        let others: Vec<Machine> = all.into_iter().filter(|other| *other != node).collect();
        let other = others[dice.below(others.len() as u64) as usize];
        sim::reset_connections(node, other);
        self.struck(Class::Resets, &[node, other], Duration::ZERO, "lose their connections");
    }

    async fn slow_disk(&self, dice: &mut Dice, lasts: Duration) {
        let machine = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        if dice.below(3) == 0 {
            machine.disk().stall(lasts.min(ms(8_000)));
        } else {
            let slow_sync = ms(dice.between(20, 2_000));
            let slow_sync_per_million = dice.between(50_000, 1_000_000) as u32;
            let faults = machine.disk().faults();
            machine.disk().set_faults(DiskFaults { slow_sync, slow_sync_per_million, ..faults });
        }
        self.struck(Class::SlowDisk, &[machine], lasts, "has a slow disk");
        sleep(lasts).await;
        let faults = machine.disk().faults();
        machine.disk().set_faults(DiskFaults { slow_sync: Duration::ZERO, slow_sync_per_million: 0, ..faults });
    }

    /// Somebody else fills it, all or nearly all. Two disks that are full at a time may be what a quorum needs: then it waits.
    async fn full_disk(&self, dice: &mut Dice, lasts: Duration) {
        let machine = self.cluster.machines[dice.below(self.cluster.machines.len() as u64) as usize];
        let left_bytes = [0, 300 << 10, 2 << 20, 2 << 20, 512 << 20][dice.below(5) as usize];
        let capacity_bytes = Some(machine.disk().used_bytes() + left_bytes);
        let faults = machine.disk().faults();
        machine.disk().set_faults(DiskFaults { capacity_bytes, ..faults });
        self.struck(Class::FullDisk, &[machine], lasts, &format!("has a disk with {left_bytes} free bytes"));
        sleep(lasts).await;
        let faults = machine.disk().faults();
        machine.disk().set_faults(DiskFaults { capacity_bytes: None, ..faults });
        // It may have found no room to start.
        self.cluster.start(machine);
    }

    async fn clock_rate(&self, dice: &mut Dice, lasts: Duration) {
        let machine = self.anybody(dice);
        let most = match self.level(Class::ClockRate) {
            Level::Off | Level::Light => 500,
            Level::Heavy => 100_000,
        };
        let ppm = dice.between(0, 2 * most) as i64 - most as i64;
        machine.set_clock_ppm(ppm);
        self.struck(Class::ClockRate, &[machine], lasts, &format!("has a clock that is wrong by {ppm} ppm"));
        sleep(lasts).await;
        machine.set_clock_ppm(self.usual_ppm.get(&machine).copied().unwrap_or(0));
    }

    fn clock_jump(&self, dice: &mut Dice) {
        const HOUR_MS: u64 = 3_600_000;
        let by_ms = dice.between(0, 2 * HOUR_MS) as i64 - HOUR_MS as i64;
        let machine = self.anybody(dice);
        machine.move_wall_clock_ms(by_ms);
        self.struck(Class::ClockJump, &[machine], Duration::ZERO, &format!("has its wall clock moved by {by_ms} ms"));
    }

    /// The fourth node joins first, or a founder loses its disk. What is wished of nodes then, a steward tells the cluster.
    fn change_membership(&self, dice: &mut Dice) {
        let Some((spare, called)) = self.cluster.spare() else { return };
        if dice.below(4) == 0 && self.lose_disk(dice) {
            return;
        }
        if !called {
            self.cluster.call_spare();
            return self.struck(Class::Membership, &[spare], Duration::ZERO, "joins");
        }
        let node = 1 + dice.below(self.cluster.machines.len() as u64) as usize;
        let word = match dice.below(8) {
            0 => "remove",
            1 => "replace",
            2..5 => "drain",
            _ => "undrain",
        };
        // Only the fourth may go for good: clients know the others.
        let goes = matches!(word, "remove" | "replace");
        let machine = if goes { spare } else { self.cluster.machines[node - 1] };
        // It may never have come so far, or have gone.
        let Some(number) = self.scene.node_at(machine) else { return };
        let word = if word == "replace" && !self.scene.may_lose_a_disk() { "remove" } else { word };
        if goes {
            self.cluster.dismiss_spare(word == "replace");
        }
        if word == "replace" {
            machine.kill();
        }
        self.scene.watch().wishes.push_back(format!("nodes/{number}/{word}"));
        self.struck(Class::Membership, &[machine], Duration::ZERO, &format!("is to be asked: {word}"));
    }

    /// A group is added, or one is emptied and removed, or slots are spread over what there is. A steward tells the cluster.
    fn reshard(&self, dice: &mut Dice) {
        let founded = self.scene.plan.options.groups;
        let wish = match dice.below(8) {
            0..3 => "groups".to_owned(),
            // One that was never added is refused.
            3 => format!("groups/{}/remove", 1 + dice.below(u64::from(founded) + 3)),
            4 => "rebalance/stop".to_owned(),
            _ => "rebalance".to_owned(),
        };
        self.struck(Class::Slots, &[], Duration::ZERO, &format!("is to be asked: {wish}"));
        self.scene.watch().wishes.push_back(wish);
    }

    /// A founder is gone with its disk. Once the steward has said so, it comes back at its address with an empty one.
    fn lose_disk(&self, dice: &mut Dice) -> bool {
        let founders = self.scene.plan.options.nodes;
        let machine = self.cluster.machines[dice.below(u64::from(founders)) as usize];
        // Two others keep what all three agreed on.
        let Some(number) = self.scene.node_at(machine).filter(|_| founders >= 3) else { return false };
        if !self.scene.may_lose_a_disk() {
            return false;
        }
        self.cluster.lose_disk(machine);
        let (cluster, scene, back_ms) = (self.cluster.clone(), self.scene.clone(), dice.between(0, 20_000));
        let wish = format!("nodes/{number}/replace");
        scene.watch().wishes.push_back(wish.clone());
        // Not among the faults, which end with the heal.
        task::spawn(async move {
            while scene.watch().wishes.contains(&wish) {
                sleep(ms(200)).await;
            }
            sleep(ms(back_ms)).await;
            scene.tell(About::Process, &[machine.name()], Duration::ZERO, "has an empty disk and is to join");
            cluster.return_empty(machine);
        });
        self.struck(Class::Membership, &[machine], Duration::ZERO, "loses its disk");
        true
    }

    fn anybody(&self, dice: &mut Dice) -> Machine {
        let all = self.everybody();
        all[dice.below(all.len() as u64) as usize]
    }

    /// It has happened.
    fn struck(&self, class: Class, who: &[Machine], lasts: Duration, text: &str) {
        self.scene.strikes(class, lasts);
        let lanes: Vec<String> = who.iter().map(|machine| machine.name()).collect();
        self.scene.tell(About::Fault, &lanes, lasts, text);
    }

    fn level(&self, class: Class) -> Level {
        self.scene.plan.options.level(class)
    }
}

/// In whose middle blocked links are: the machine that all of them share, or those of one side.
fn around_whom(links: &[Link]) -> (Vec<Machine>, String) {
    let name = |machines: &BTreeSet<Machine>| {
        let names: Vec<String> = machines.iter().map(|machine| machine.name()).collect();
        names.join(", ")
    };
    let Some((from, to)) = links.first() else { return (Vec::new(), "are cut off from nobody".to_owned()) };
    let senders: BTreeSet<Machine> = links.iter().map(|(from, _)| *from).collect();
    let receivers: BTreeSet<Machine> = links.iter().map(|(_, to)| *to).collect();
    if senders.len() == 1 && receivers.len() > 1 {
        return (vec![*from], format!("is not heard by {}", name(&receivers)));
    }
    if receivers.len() == 1 && senders.len() > 1 {
        return (vec![*to], format!("does not hear {}", name(&senders)));
    }
    let here: BTreeSet<Machine> = links.iter().filter(|(_, other)| other == to).map(|(one, _)| *one).collect();
    let there: BTreeSet<Machine> = senders.difference(&here).copied().collect();
    (here.iter().copied().collect(), format!("are cut off from {}", name(&there)))
}

/// Strikes nodes while they found the cluster, and starts them again.
pub fn disturb_founding(scene: &Arc<Scene>, cluster: &Arc<Cluster>) {
    for fault in scene.plan.faults.iter().filter(|fault| fault.class == Class::Founding) {
        let (scene, cluster, fault) = (scene.clone(), cluster.clone(), *fault);
        task::spawn(async move {
            sleep(ms(fault.from_ms)).await;
            let mut dice = Dice::new(u64::from(fault.pick), "strike");
            let machine = cluster.machines[dice.below(cluster.machines.len() as u64) as usize];
            let struck = if dice.below(2) == 0 { machine.kill() } else { machine.power_fail() };
            if struck {
                scene.fired(Class::Founding);
                scene.tell(About::Fault, &[machine.name()], ms(fault.lasts_ms), "falls while the cluster is founded");
            }
            sleep(ms(fault.lasts_ms)).await;
            cluster.start(machine);
        });
    }
}
