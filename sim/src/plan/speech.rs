//! How clients speak: which version they declare, whether they merge their requests, in which serializer and packed how.
//!
//! TMs, with the engine of Sagas beside them, may speak protobuf. RMs may not: it has no XA branches and no annotated Sagas
//! (protocol, section 4.2).

use quorate_client::{Application, Compressor, Speech};
use quorate_core::wire::{ClientVersion, protobuf};
use quorate_world::sim::Dice;
use quorate_world::time::Duration;
use serde::{Deserialize, Serialize};

/// One client. What is left out is as of a client that nothing is said about.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Speaks {
    /// The version that it declares, if not the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its requests wait so long for others, and leave with them in merged frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merges_ms: Option<u64>,
    /// It speaks protobuf.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub protobuf: bool,
    /// Number of its compressor; 0: none.
    #[serde(skip_serializing_if = "is_none")]
    pub compressor: u8,
}

fn is_none(compressor: &u8) -> bool {
    *compressor == 0
}

/// Without ids in their merged frames; answered in one frame, or in batches; answered one by one.
const VERSIONS: [&[&str]; 3] = [&["1.4.2"], &["1.5.2", "1.8.0", "2.2.0"], &["2.3.0", "2.5.0"]];

impl Speaks {
    /// Draws how a client speaks that is no usual one in `seed`.
    pub fn draw(seed: u64, client: &str, may_protobuf: bool) -> Speaks {
        let mut dice = Dice::new(seed, &format!("how {client} speaks"));
        let merges_ms = (dice.below(4) > 0).then(|| [1, 1, 20, 200][dice.below(4) as usize]);
        let versions = VERSIONS[[0, 1, 1, 2, 2][dice.below(5) as usize]];
        let version = Some(versions[dice.below(versions.len() as u64) as usize].to_owned());
        let protobuf = may_protobuf && dice.below(3) == 0;
        let packed = dice.below(4) == 0;
        let compressor = Compressor::ALL[dice.below(Compressor::ALL.len() as u64) as usize].code();
        Speaks { version, merges_ms, protobuf, compressor: if packed { compressor } else { 0 } }
    }

    /// An application that speaks so.
    pub fn application(&self, id: &str, service_group: &str) -> Application {
        let usual = Application::new(id, service_group);
        let serializer = if self.protobuf { protobuf::SERIALIZER } else { Speech::default().serializer };
        Application {
            version: self.version.clone().unwrap_or(usual.version),
            speech: Speech { serializer, compressor: self.compressor },
            merges: self.merges_ms.map(Duration::from_millis),
            ..usual
        }
    }

    /// In the words of which version it hears how a transaction stands.
    pub fn hears(&self) -> ClientVersion {
        // Protobuf has none beyond those of the oldest.
        if self.protobuf { ClientVersion::default() } else { self.application("", "").client_version() }
    }

    /// A request has left for certain.
    pub fn sends_within(&self) -> Duration {
        Duration::from_millis(1 + self.merges_ms.unwrap_or(0))
    }
}
