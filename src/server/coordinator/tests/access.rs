//! Registrations where access keys are asked for.

use quorate_core::model::BranchStatus;
use quorate_core::wire::{Decoded, Head, Message, MessageKind, Registration, RegistrationResult, ResultPart, Version};
use quorate_world::runtime::run_test;
use quorate_world::time::wall_ms;

use super::super::Access;
use super::super::access::sign;
use super::ONE;
use super::client::Client;
use super::cluster::{Cluster, Given};

const WINDOW_MS: u64 = 300_000;

async fn guarded(name: &str) -> Cluster {
    let secrets = [("key".to_owned(), "secret".to_owned())].into();
    let access = Access { secrets, window_ms: WINDOW_MS };
    Cluster::given(name, &ONE, 1, Given { access, ..Given::default() }).await
}

fn unsigned() -> Registration {
    Registration {
        version: "2.3.0".into(),
        application_id: "shop".into(),
        service_group: "default_tx_group".into(),
        extra_data: String::new(),
    }
}

/// As a Java client with this secret would at this time.
fn signed(secret: &str, stamp_ms: u64) -> Registration {
    let digest = sign(secret, "default_tx_group", "10.1.0.1", stamp_ms);
    let extra_data = format!(
        "ak=key\ndigest={digest}\ntimestamp={stamp_ms}\nauthVersion=V4\nvgroup=default_tx_group\nip=10.1.0.1\n"
    );
    Registration { extra_data, ..unsigned() }
}

async fn register_tm(client: &Client, registration: Registration) -> RegistrationResult {
    match client.ask(Message::RegisterTm(registration)).await {
        Some(Message::RegisterTmResult(result)) => result,
        other => panic!("{other:?}"),
    }
}

async fn register_rm(client: &Client, registration: Registration) -> RegistrationResult {
    match client.ask(Message::RegisterRm { registration, resource_ids: "db".into() }).await {
        Some(Message::RegisterRmResult(result)) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_no_key_stays_outside() {
    run_test(async {
        let mut cluster = guarded("outside").await;
        for (registration, why) in [
            (unsigned(), "asks for an access key"),
            (signed("guessed", wall_ms()), "do not fit"),
            (signed("secret", wall_ms() - 2 * WINDOW_MS), "away from the server's clock"),
        ] {
            let client = cluster.connect(ONE[0]);
            let refused = register_tm(&client, registration).await;
            // Version 1 carries no other text than this one, and clients show it.
            assert!(!refused.identified && refused.version.contains(why), "{refused:?}");
            let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "buy".into() };
            assert_eq!(client.ask(begin).await, None, "hung up on");
        }
        let tm = cluster.connect(ONE[0]);
        let accepted = register_tm(&tm, signed("secret", wall_ms())).await;
        assert!(accepted.identified, "{accepted:?}");
        tm.begin(60_000).await;
        cluster.end().await;
    });
}

/// Java RMs sign nothing: their TM speaks for them.
#[test]
fn an_rm_comes_in_with_its_tm() {
    run_test(async {
        let mut cluster = guarded("with-its-tm").await;
        let rm = cluster.connect(ONE[0]);
        let refused = register_rm(&rm, unsigned()).await;
        assert!(refused.version.contains("no transaction manager of this application"), "{refused:?}");
        let tm = cluster.connect(ONE[0]);
        assert!(register_tm(&tm, signed("secret", wall_ms())).await.identified);
        assert!(register_rm(&rm, unsigned()).await.identified);
        let other = Registration { application_id: "bank".into(), ..unsigned() };
        assert!(!register_rm(&cluster.connect(ONE[0]), other).await.identified, "another application");
        assert!(register_rm(&cluster.connect(ONE[0]), signed("secret", wall_ms())).await.identified);
        tm.hang_up();
        assert!(!register_rm(&cluster.connect(ONE[0]), unsigned()).await.identified, "its TM has gone");
        let xid = cluster.tm_with(ONE[0], signed("secret", wall_ms())).await.begin(60_000).await;
        rm.at(&xid, "db", "t:1").await.expect("it stays registered");
        cluster.end().await;
    });
}

#[test]
fn answers_of_strangers_count_for_nothing() {
    run_test(async {
        let mut cluster = guarded("stranger").await;
        let stranger = cluster.connect(ONE[0]);
        let before = stranger.coordinator.counts();
        let answer = Message::BranchCommitResult {
            result: ResultPart::success(),
            xid: "h:1:7".into(),
            branch_id: quorate_core::model::BranchId(7),
            status: BranchStatus::PhaseTwo_Committed,
        };
        let head = Head::new(Version::V1, MessageKind::Response, 1);
        stranger.coordinator.receive(&stranger.channel, Decoded::Message(head, answer)).await;
        let after = stranger.coordinator.counts();
        assert_eq!((after.rejected, after.answers_unknown), (before.rejected + 1, before.answers_unknown));
        cluster.end().await;
    });
}
