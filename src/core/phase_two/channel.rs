//! Which channel a branch's phase two goes to: the order of Seata's server (protocol, section 5.3).

use crate::model::BranchType;

/// A process that holds a channel, or held one: `application:ip:port` as its RM registered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Client<'a> {
    /// Application id.
    pub application: &'a str,
    /// Its address; IPv6 has colons.
    pub ip: &'a str,
    /// Port of the channel.
    pub port: u16,
}

/// How well a channel suits a branch; the least is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Preference {
    /// The channel that registered the branch.
    SameClient,
    /// The same application on the same address.
    SameHost,
    /// The same application elsewhere.
    SameApplication,
    /// Another application that has the resource. AT, since undo logs are in the database while a TCC action is in the
    /// code; and SAGA, whose resource is an engine of the application that began it.
    OtherApplication,
}

impl<'a> Client<'a> {
    /// Reads `application:ip:port`; the application has no colon.
    pub fn parse(text: &'a str) -> Option<Client<'a>> {
        let (application, rest) = text.split_once(':')?;
        let (ip, port) = rest.rsplit_once(':')?;
        Some(Client { application, ip, port: port.parse().ok()? })
    }
}

/// How well `channel`, which has registered the branch's resource, suits a branch of `kind` that `client` registered.
/// Nothing: not at all. A client id that cannot be read is like none of them.
pub fn preference(kind: BranchType, client: Option<Client<'_>>, channel: Client<'_>) -> Option<Preference> {
    match client {
        Some(client) if client == channel => Some(Preference::SameClient),
        Some(client) if client.application == channel.application && client.ip == channel.ip => {
            Some(Preference::SameHost)
        }
        Some(client) if client.application == channel.application => Some(Preference::SameApplication),
        Some(_) | None => may_be_other(kind).then_some(Preference::OtherApplication),
    }
}

/// Whether a branch may go to whoever has its resource.
pub fn may_be_other(kind: BranchType) -> bool {
    matches!(kind, BranchType::AT | BranchType::SAGA)
}

/// The best of these channels; of equal ones the first given.
pub fn best<'a, C>(
    kind: BranchType,
    client: &str,
    channels: impl IntoIterator<Item = (Client<'a>, C)>,
) -> Option<(Preference, C)> {
    let client = Client::parse(client);
    let suitable = channels.into_iter().filter_map(|(channel, of)| Some((preference(kind, client, channel)?, of)));
    suitable.min_by_key(|(preference, _)| *preference)
}
