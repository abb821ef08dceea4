//! Precedence, error texts, what must hold together, and that `docs/OPERATING.md` lists what the code knows.

use super::advertise::Bound;
use super::*;
use core::net::SocketAddr;

fn sources(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> Sources {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Sources { flags: owned(flags), environment: owned(environment), file: Some(("q.toml".to_owned(), file.to_owned())) }
}

fn load(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> Result<Config, String> {
    Config::load(&sources(flags, environment, file)).map_err(|error| error.to_string())
}

fn file(text: &str) -> Result<Config, String> {
    load(&[], &[], text)
}

fn refusal(result: Result<Config, String>) -> String {
    result.expect_err("this configuration is wrong")
}

const PEERS: &str = "peers = '1=a:9091,2=b:9091,3=c:9091'\n";

#[test]
fn nothing_set_is_a_cluster_of_one() {
    let config = file("").expect("defaults");
    assert_eq!((config.node_id, config.founds_as()), (None, Some(NodeId(1))));
    assert_eq!(config.listen.to_string(), "0.0.0.0:8091");
    assert_eq!(config.admin_listen.to_string(), "0.0.0.0:7091");
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:9091");
    assert_eq!((config.groups, config.replicas), (8, 1));
    assert_eq!((config.raft.heartbeat_ms, config.raft.election_timeout_ms), (150, 500));
    assert_eq!(config.memory_budget_bytes, 1 << 30);
    assert_eq!((config.storage.segment_bytes, config.storage.wal_bytes_target), (64 << 20, 1 << 30));
    assert_eq!(config.raft.batch_bytes_max, 256 << 10);
    assert_eq!(config.sharding, Sharding::ConsistentHash);
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    let text = "groups = 2\n[raft]\nheartbeat_ms = 20\n[storage]\nsegment_bytes = '8MiB'";
    assert_eq!(file(text).map(|c| (c.groups, c.raft.heartbeat_ms, c.storage.segment_bytes)), Ok((2, 20, 8 << 20)));
    let environment = [("QUORATE_GROUPS", "3"), ("QUORATE_RAFT__HEARTBEAT_MS", "30"), ("PATH", "/bin")];
    assert_eq!(load(&[], &environment, text).map(|c| (c.groups, c.raft.heartbeat_ms)), Ok((3, 30)));
    assert_eq!(load(&[("groups", "4")], &environment, text).map(|c| (c.groups, c.raft.heartbeat_ms)), Ok((4, 30)));
}

#[test]
fn founders_and_joiners() {
    let config = load(&[("node_id", "2")], &[], PEERS).expect("three founders");
    assert_eq!((config.node_id, config.replicas), (Some(NodeId(2)), 3));
    assert_eq!(config.peer_listen.to_string(), "0.0.0.0:9091");
    let config = file("join = 'a:9091'").expect("a joiner");
    assert_eq!(config.founds_as(), None);
    assert_eq!(config.peer_listen.to_string(), "0.0.0.0:9091");
}

#[test]
fn unknown_keys_name_the_nearest_right_one() {
    assert_eq!(
        refusal(file("[raft]\nhartbeat_ms = 1")),
        "unknown key `raft.hartbeat_ms` in q.toml; did you mean `raft.heartbeat_ms`?"
    );
    assert_eq!(
        refusal(load(&[], &[("QUORATE_DATADIR", "x")], "")),
        "unknown key QUORATE_DATADIR; did you mean QUORATE_DATA_DIR?"
    );
    assert_eq!(
        refusal(file("[seata.raft]\napply-btch = 1")),
        "unknown key `seata.raft.apply-btch` in q.toml; did you mean `seata.raft.apply-batch`?"
    );
    assert_eq!(refusal(file("[seata]\nport = 1")), "unknown key `seata.port` in q.toml");
    assert_eq!(refusal(file("threads = 4")), "unknown key `threads` in q.toml");
    assert_eq!(refusal(file("threads = [4]")), "unknown key `threads` in q.toml");
    assert_eq!(refusal(load(&[], &[("QUORATE_FOO", "x")], "")), "unknown key QUORATE_FOO");
    assert_eq!(refusal(file("[rafft]")), "unknown key `rafft` in q.toml; did you mean `raft`?");
    assert_eq!(
        refusal(file("[seata.raft.shardin]")),
        "unknown key `seata.raft.shardin` in q.toml; did you mean `seata.raft.sharding`?"
    );
    for known in ["raft", "groups_at", "console", "seata", "seata.raft.sharding"] {
        assert!(file(&format!("[{known}]")).is_ok(), "{known}");
    }
    assert!(refusal(file("groups = ")).starts_with("q.toml: not TOML: "));
}

#[test]
fn bad_values_name_the_key_and_what_would_be_right() {
    for (text, expected) in [
        ("groups = 0", "`groups` in q.toml = `0`: too small; the nearest right value is 1"),
        ("groups = 2000", "`groups` in q.toml = `2000`: too large; the nearest right value is 1024"),
        ("groups = 'many'", "`groups` in q.toml = `many`: not a whole number; 1 to 1024"),
        (
            "groups = 1.5",
            "`groups` in q.toml = `1.5`: a number with a point is no value of any key; write a text, a whole number, true or false",
        ),
        ("groups = [3]", "`groups` in q.toml = `3`: a list, and this key has one value; write it without brackets"),
        (
            "admin.token = ['sesame']",
            "`admin.token` in q.toml = `..`: a list, and this key has one value; write it without brackets",
        ),
        (
            "[seata.raft]\napply-batch = [3]",
            "`seata.raft.apply-batch` in q.toml = `3`: a list, and this key has one value; write it without brackets",
        ),
        (
            "cluster.name = 5",
            "`cluster.name` in q.toml = `5`: not in quotes, and this key is a text; write it in quotes",
        ),
        (
            "admin.token = 1234",
            "`admin.token` in q.toml = `..`: not in quotes, and this key is a text; write it in quotes",
        ),
        (
            "log = 'loud'",
            "`log` in q.toml = `loud`: `loud` is no LEVEL or TARGET=LEVEL: not one of off, error, warn, info, debug, trace",
        ),
        ("peers = '1=a:1,2'", "`peers` in q.toml = `1=a:1,2`: `2`: write it ID=HOST:PEER_PORT"),
        ("log_format = 'jsn'", "`log_format` in q.toml = `jsn`: not one of text, json; did you mean json?"),
        ("replicas = 4", "`replicas` in q.toml = `4`: not one of 1, 3, 5"),
        ("listen = 'localhost:80'", "`listen` in q.toml = `localhost:80`: not IP:PORT; write it like 127.0.0.1:80"),
        ("advertise = 'here'", "`advertise` in q.toml = `here`: no port; write here:PORT"),
        (
            "[memory]\nbudget_bytes = '64MB'",
            "`memory.budget_bytes` in q.toml = `64MB`: `MB` is no unit of size; write 64MiB",
        ),
        ("peers = 'a:1'", "`peers` in q.toml = `a:1`: `a:1`: write it ID=a:1"),
        (
            "peers = ' , '",
            "`peers` in q.toml = ` , `: empty; write ID=HOST:PEER_PORT,.. or leave the key out for a cluster of one",
        ),
        (
            "log = 'inof'",
            "`log` in q.toml = `inof`: `inof` is no LEVEL or TARGET=LEVEL: not one of off, error, warn, info, debug, \
             trace; did you mean info?",
        ),
        (
            "log = 'info,openraft=debgu'",
            "`log` in q.toml = `info,openraft=debgu`: `openraft=debgu` is no LEVEL or TARGET=LEVEL: not one of off, error, \
             warn, info, debug, trace; did you mean debug?",
        ),
        ("log = '=info'", "`log` in q.toml = `=info`: `=info`: no target; write it like quorate_server=debug"),
        (
            "advertise = '0.0.0.0:8091'",
            "`advertise` in q.toml = `0.0.0.0:8091`: 0.0.0.0 is for listening, nobody can connect to it; write an address \
             of this machine, like 10.0.0.1:8091",
        ),
        (
            "advertise = '[::]:1'",
            "`advertise` in q.toml = `[::]:1`: [::] is for listening, nobody can connect to it; write an address of this \
             machine, like 10.0.0.1:1",
        ),
        ("peers = '1=a:1,1=b:1'", "`peers` in q.toml = `1=a:1,1=b:1`: node 1 stands there twice"),
        ("data_dir = ''", "`data_dir` in q.toml = ``: empty; leave the key out for its default"),
    ] {
        assert_eq!(refusal(file(text)), expected);
    }
    assert!(refusal(load(&[("peers", "")], &[], "")).starts_with("--peers = ``: empty; "));
    assert!(refusal(load(&[], &[("QUORATE_PEERS", "")], "")).starts_with("QUORATE_PEERS = ``: empty; "));
    assert!(refusal(file("peers = []")).starts_with("`peers` in q.toml = ``: empty; "));
    for right in ["warn", "info,openraft=warn", "quorate_server::node=DEBUG, off"] {
        assert_eq!(load(&[("log", right)], &[], "").map(|config| config.log), Ok(right.to_owned()));
    }
    let refused = refusal(load(&[("node_id", "0")], &[], ""));
    assert_eq!(refused, "--node-id = `0`: too small; the nearest right value is 1");
    let long = format!("advertise = '{}:8091'", "h".repeat(40));
    assert!(refusal(file(&long)).ends_with("45 bytes; an XID has room for 44; use an IP address"));
}

#[test]
fn what_is_wrong_only_together() {
    let peers = |text: &str| refusal(file(&format!("{PEERS}{text}")));
    assert_eq!(
        peers(""),
        "node_id is missing (--node-id): with `peers` in q.toml a node must know which of them it is"
    );
    assert_eq!(peers("node_id = 4"), "`node_id` in q.toml = 4 is not among the peers; their numbers are 1, 2, 3");
    assert!(peers("join = 'a:9091'").contains("exclude each other"));
    assert!(refusal(file("join = 'a:9091'\nnode_id = 4")).contains("the cluster gives the number"));
    assert_eq!(
        peers("node_id = 1\nreplicas = 5"),
        "`replicas` in q.toml = 5 with 3 founders; the nearest right value is 3"
    );
    assert!(refusal(file("node_id = 1\npeers = '1=a:1,65=b:1'")).contains("nodes 1 and 65 are equal modulo 64"));
    assert_eq!(
        refusal(load(&[], &[("QUORATE_RAFT__HEARTBEAT_MS", "200")], "")),
        "raft.election_timeout_ms = 500 is below 3 heartbeats (QUORATE_RAFT__HEARTBEAT_MS = 200); the nearest right value is 600"
    );
    assert_eq!(
        refusal(file("[storage]\nsegment_bytes = 5000000")),
        "`storage.segment_bytes` in q.toml is no multiple of 4096; the nearest right value is 4884KiB"
    );
    assert_eq!(
        refusal(file("[storage]\nsegment_bytes = '1MiB'\n[raft]\nbatch_bytes_max = '1MiB'")),
        "`raft.batch_bytes_max` in q.toml is above a quarter of `storage.segment_bytes` in q.toml; the nearest right value is 256KiB"
    );
}

#[test]
fn explicit_sharding() {
    let table = "groups = 2\n[sharding]\nstrategy = 'explicit'\n[sharding.table]\n0-1023 = 1\n1024-4095 = 2";
    let Ok(Config { sharding: Sharding::Explicit(owners), .. }) = file(table) else { panic!("a whole table") };
    assert_eq!((owners.len(), owners[1023], owners[1024]), (4096, GroupId(1), GroupId(2)));
    let environment = [("QUORATE_SHARDING__TABLE", "0-4095=1"), ("QUORATE_SHARDING__STRATEGY", "explicit")];
    assert!(load(&[("groups", "1")], &environment, "").is_ok());
    let table = |ranges: &str| refusal(file(&format!("[sharding]\nstrategy = 'explicit'\ntable = '{ranges}'")));
    assert!(table("0-9=1").ends_with("slot 10 has no group; all of 0-4095 need one"));
    assert!(table("0-9=1,9=1").ends_with("`9=1`: slot 9 stands there twice"));
    assert!(table("0-4095=9").ends_with("group 9, but there are 8 groups"));
    assert!(table("0-4095=1").ends_with("group 2 gets no slot"));
    assert!(refusal(file("[sharding]\nstrategy = 'explicit'")).contains("needs sharding.table"));
    assert!(refusal(file("[sharding]\ntable = '0-4095=1'")).contains("explicit only"));
}

#[test]
fn seata_names_are_ours() {
    let text = "[seata.raft]\nmulti-raft-enabled = true\nsnapshot-interval = 600\napply-batch = 32\n\
                max-append-buffer-size = 262144\nmax-replicator-inflight-msgs = 8\nelection-timeout-ms = 2000\n\
                serialization = 'bincode'\n[seata.raft.sharding]\nstrategy = 'modulo'\ngroup-count = 3\n";
    let config = file(text).expect("Seata's names");
    assert_eq!((config.groups, config.sharding), (3, Sharding::Modulo));
    assert_eq!((config.raft.snapshot_interval_s, config.raft.batch_commands_max), (600, 32));
    assert_eq!((config.raft.batch_bytes_max, config.raft.batches_in_flight_max), (262_144, 8));
    assert_eq!(config.raft.election_timeout_ms, 2000);
}

#[test]
fn seata_metrics_are_wanted_by_either_name() {
    assert_eq!(file("").map(|config| config.seata_meters), Ok(false));
    assert_eq!(file("metrics.seata = true").map(|config| config.seata_meters), Ok(true));
    assert_eq!(load(&[], &[("QUORATE_METRICS__SEATA", "true")], "").map(|config| config.seata_meters), Ok(true));
    assert_eq!(file("[seata.metrics]\nenabled = true").map(|config| config.seata_meters), Ok(true));
    assert_eq!(
        refusal(file("metrics.seata = true\n[seata.metrics]\nenabled = false")),
        "`metrics.seata` in q.toml and `seata.metrics.enabled` in q.toml set the same thing; give one of them"
    );
    assert_eq!(
        refusal(file("[seata.metrics]\nenable = true")),
        "unknown key `seata.metrics.enable` in q.toml; did you mean `seata.metrics.enabled`?"
    );
    let port = refusal(file("[seata.metrics]\nexporter-prometheus-port = 9898"));
    assert!(port.starts_with("unknown key `seata.metrics.exporter-prometheus-port` in q.toml"), "{port}");
}

#[test]
fn seata_groups_have_places() {
    let at = |name: &str, nodes: &str| format!("[seata.raft.groups.{name}]\ndata-dir = 'd'\nserver-addr = '{nodes}'\n");
    let both = format!("node_id = 1\n{PEERS}{}{}", at("stock", "b:9091,a:9091,c:9091"), at("order", "c:9091"));
    let config = file(&both).expect("two groups");
    let named: Vec<(&str, Vec<u64>)> =
        config.groups_at.iter().map(|at| (at.name.as_str(), at.replicas.iter().map(|n| n.0).collect())).collect();
    assert_eq!(named, [("order", vec![3]), ("stock", vec![2, 1, 3])]);
    assert_eq!((config.groups, config.data_dir.as_str()), (2, "d"));
    let different = both.replacen("data-dir = 'd'", "data-dir = 'e'", 1);
    assert!(refusal(file(&different)).contains("all groups of a node share one folder"));
    let stranger = both.replace("server-addr = 'c:9091'", "server-addr = 'z:9091'");
    assert!(refusal(file(&stranger)).contains("z:9091 is not among the peers"));
    assert!(refusal(file(&format!("groups = 3\n{both}"))).contains("2 groups have names"));
}

#[test]
fn seata_names_and_ours_do_not_mix() {
    assert_eq!(
        refusal(file("groups = 2\n[seata.raft]\nsharding.group-count = 2")),
        "`groups` in q.toml and `seata.raft.sharding.group-count` in q.toml set the same thing; give one of them"
    );
    assert!(refusal(file("[seata.raft]\nserialization = 'jackson'")).contains("only bincode is possible here"));
    assert!(refusal(file("groups = 2\n[seata.raft]\nmulti-raft-enabled = false")).contains("allows one data group"));
    assert_eq!(file("[seata.raft]\nmulti-raft-enabled = false").map(|c| c.groups), Ok(1));
    assert!(refusal(file("[seata.raft]\nmulti-raft-enabled = 1")).contains("only true or false"));
}

fn advertised(text: &str, bound: [&str; 3], machine: Option<&str>) -> [String; 3] {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let bound = Bound { seata: address(bound[0]), admin: address(bound[1]), peer: address(bound[2]) };
    let machine = machine.map(|text| text.parse().expect("an ip"));
    let told = file(text).expect("right").advertised(bound, machine).expect("short enough");
    [told.seata, told.admin, told.peer]
}

#[test]
fn what_others_are_told() {
    let any = ["0.0.0.0:8091", "0.0.0.0:7091", "127.0.0.1:9091"];
    assert_eq!(advertised("", any, Some("10.1.2.3")), ["10.1.2.3:8091", "10.1.2.3:7091", "127.0.0.1:9091"]);
    assert_eq!(advertised("", any, None), ["127.0.0.1:8091", "127.0.0.1:7091", "127.0.0.1:9091"]);
    let one = ["10.9.9.9:8091", "0.0.0.0:7091", "0.0.0.0:9091"];
    assert_eq!(advertised("", one, Some("10.1.2.3")), ["10.9.9.9:8091", "10.9.9.9:7091", "10.9.9.9:9091"]);
    assert_eq!(advertised("advertise = 'tc.shop:80'", any, None), ["tc.shop:80", "tc.shop:7091", "127.0.0.1:9091"]);
    let six = ["[::1]:8091", "[::]:7091", "[::]:9091"];
    assert_eq!(advertised("", six, None), ["::1:8091", "[::1]:7091", "[::1]:9091"]);
    assert_eq!(advertised(&format!("node_id = 3\n{PEERS}"), any, None)[2], "c:9091");
}

#[test]
fn long_addresses_are_warned_about() {
    assert!(file("advertise = '10.0.0.1:8091'").expect("right").warnings().is_empty());
    let long = file("advertise = 'coordinator.shop.example:8091'").expect("right");
    assert_eq!(long.warnings().len(), 1);
}

/// Seata's older clients split `host:port` at the first colon. Written or not makes no difference to them.
#[test]
fn ipv6_addresses_are_warned_about() {
    let warnings = |text: &str| file(text).expect("right").warnings();
    for quiet in
        ["", "listen = '[::]:8091'", "listen = '127.0.0.1:8091'", "listen = '[::1]:8091'\nadvertise = 'tc:8091'"]
    {
        assert_eq!(warnings(quiet), Vec::<String>::new(), "{quiet}");
    }
    for one in ["advertise = '::1:8091'", "advertise = '[::1]:8091'", "listen = '[::1]:8091'"] {
        let [warning] = &warnings(one)[..] else { panic!("{one}: {:?}", warnings(one)) };
        assert!(warning.contains("is an IPv6 address: Java clients up to 2.0"), "{warning}");
        assert_eq!(warning.contains("follows from listen = [::1]:8091"), one.starts_with("listen"), "{warning}");
    }
    assert_eq!(warnings("listen = '[2001:db8:1:2:3:4:5:6]:8091'").len(), 2, "it is long, too");
}

#[test]
fn variables_of_a_kubernetes_service_are_passed_over() {
    let service = [
        ("QUORATE_SERVICE_HOST", "10.96.0.7"),
        ("QUORATE_SERVICE_PORT", "8091"),
        ("QUORATE_SERVICE_PORT_SEATA", "8091"),
        ("QUORATE_PORT", "tcp://10.96.0.7:8091"),
        ("QUORATE_PORT_8091_TCP", "tcp://10.96.0.7:8091"),
        ("QUORATE_PORT_8091_TCP_PROTO", "tcp"),
        ("QUORATE_PORT_8091_TCP_PORT", "8091"),
        ("QUORATE_PORT_8091_TCP_ADDR", "10.96.0.7"),
        ("QUORATE_ADMIN_SERVICE_HOST", "10.96.0.8"),
        ("QUORATE_ADMIN_PORT_7091_TCP", "tcp://10.96.0.8:7091"),
    ];
    let config = load(&[], &[&service[..], &[("QUORATE_GROUPS", "3")]].concat(), "").expect("a service of that name");
    assert_eq!((config.groups, config.passed_over.len()), (3, service.len()));
    let [warning] = &config.warnings()[..] else { panic!("{:?}", config.warnings()) };
    assert!(warning.starts_with("QUORATE_ADMIN_PORT_7091_TCP, ") && warning.contains("Kubernetes"), "{warning}");
    for (alone, value) in &service[1..8] {
        assert!(refusal(load(&[], &[(*alone, *value)], "")).starts_with(&format!("unknown key {alone}")), "{alone}");
    }
    for stranger in ["QUORATE_PORT_8091", "QUORATE_PORT_X_TCP", "QUORATE_PORT_8091_TCP_X", "QUORATE_SERVICES"] {
        let beside = [service[0], (stranger, "x")];
        assert!(refusal(load(&[], &beside, "")).starts_with(&format!("unknown key {stranger}")), "{stranger}");
    }
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let explicit = "groups = 2\nadvertise = '10.0.0.1:1'\nlog_format = 'json'\n[sharding]\nstrategy = 'explicit'\n\
                    table = '0-9=1,10-4095=2'\n[storage]\nwal_bytes_target = 300000001";
    let places = format!("node_id = 2\n{PEERS}replicas = 1\ngroups_at.one = 'c:9091'\ndata_dir = 'a \\ \"b\"'");
    for text in ["", explicit, &places, "metrics.seata = true", "join = 'a:9091'\n[sharding]\nstrategy = 'modulo'"] {
        let config = file(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(file(&config.to_toml()), Ok(config.clone()), "{}", config.to_toml());
    }
    let secret = file("admin.token = 'sesame'").expect("right");
    assert!(!secret.to_toml().contains("sesame"));
    let user = "[console]\nuser = 'ops'\npassword = 'sesame'\nsecret = 'sesame-sesame-sesame'";
    let secret = file(user).expect("right");
    assert!(!secret.to_toml().contains("sesame"));
    let console = secret.console.expect("a user");
    assert_eq!((console.user.as_str(), console.token_validity_ms), ("ops", 1_800_000));
    let error = refusal(file("console.user = 'ops'"));
    assert_eq!(error, "`console.user` in q.toml is there without console.password; set both, or neither");
    assert!(refusal(file("console.password = 'x'")).contains("without console.user"));
    assert!(refusal(file("console.secret = 'short'")).contains("16 characters or more"));
    let keys = file("auth.access_keys = 'shop=sesame, bank=a=b'").expect("right");
    assert_eq!(keys.access_keys.get("bank").map(String::as_str), Some("a=b"));
    assert!(!keys.to_toml().contains("sesame"));
    let refused = refusal(file("auth.access_keys = 'sesame'"));
    assert_eq!(refused, "`auth.access_keys` in q.toml = `..`: not ACCESS_KEY=SECRET_KEY,..");
}

/// `docs/OPERATING.md` has one row `` | `key` | default | meaning | `` per key.
#[test]
fn the_manual_lists_every_key() {
    let manual = include_str!("../../../docs/OPERATING.md");
    let mut rows = BTreeMap::new();
    let table = manual.lines().skip_while(|line| *line != "| key | default | meaning |").skip(2);
    for line in table.take_while(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [key, default, meaning] = cells[..] {
            rows.insert(key.trim_matches('`'), (default.trim_matches('`'), meaning));
        }
    }
    for key in keys::KEYS {
        let row = rows.remove(key.name).unwrap_or_else(|| panic!("OPERATING.md has no row for {}", key.name));
        assert_eq!(row, (key.unset.text(), key.meaning), "the row of {}", key.name);
    }
    rows.remove("groups_at.<name>").expect("a row for groups_at");
    assert!(rows.is_empty(), "OPERATING.md has rows for keys that do not exist: {rows:?}");
}

#[test]
fn the_manual_lists_every_exit_code() {
    let manual = include_str!("../../../docs/OPERATING.md");
    for code in crate::exit::ExitCode::ALL {
        let row = format!("| {} | ", code.number());
        assert!(manual.contains(&row), "OPERATING.md has no row for exit code {}", code.number());
    }
}
