//! Which network a change leads to, given the running one. Pure: the rest of the daemon applies it.

use crate::model::{LinkIx, Links, LostLink, Network, PeeringError, PeeringState, SyncLevel};

use super::api::protocol::Refusal;

/// A file's network in place of the running one: its peerings follow from how they stand now, and are brought up to date
/// if that is wanted.
pub fn apply(running: &Network, file: Network, sync: bool) -> Result<Network, Refusal> {
    let mut network = Links::of(running).advance(file).map_err(|errors| refusal(&errors))?;
    if sync {
        network.sync_all_links();
    }
    Ok(network)
}

/// One link brought up to date (PEER-17), or all of them.
pub fn sync(running: &Network, link: Option<&str>) -> Result<Network, Refusal> {
    let mut network = running.clone();
    match link {
        Some(name) => {
            let at = network.find_link(name).map_err(|error| match network.find_lost_link(name) {
                Some(lost) => without_remote(&network.lost_links[lost]),
                None => Refusal::new(error),
            })?;
            network.sync_link(at).map_err(|error| refusal(&[error]))?;
        }
        None => network.sync_all_links(),
    }
    Ok(network)
}

/// What one synced link leaves to do: its other side has a view of its own.
pub fn left_to_sync(network: &Network, link: &str) -> Option<String> {
    let other = network.counterpart(network.find_link(link).ok()?)?;
    warning(network, other).filter(|_| !network.link(other).implied)
}

/// One link deleted.
pub fn remove_peering(running: &Network, link: &str) -> Result<Network, Refusal> {
    let mut network = running.clone();
    match (network.find_link(link), network.find_lost_link(link)) {
        (Ok(at), _) => network.remove_link(at),
        (Err(_), Some(lost)) => drop(network.lost_links.remove(lost)),
        (Err(error), None) => return Err(Refusal::new(error)),
    }
    Ok(network)
}

fn without_remote(lost: &LostLink) -> Refusal {
    let (link, remote) = (lost.full_name(), lost.remote());
    Refusal {
        message: format!("peering {link} cannot be synced: there is no virtual network {remote}"),
        help: Some(way_out(lost)),
    }
}

fn way_out(lost: &LostLink) -> String {
    let (link, remote) = (lost.full_name(), lost.remote());
    format!("`vnet peering rm {link}`, then apply a file without the link, or one that has {remote} and both links")
}

/// Links that are Disconnected, which a sync of all leaves as they are: each with what to do.
pub fn left_behind(network: &Network) -> Vec<String> {
    let disconnected = |at: &LinkIx| network.link(*at).state == PeeringState::Disconnected;
    let left = network.links().filter(disconnected).filter_map(|at| warning(network, at));
    left.chain(network.lost_links.iter().map(lost)).collect()
}

/// Links that a file alone does not repair: those that lost their other side, and those with old ranges of their other
/// side (PEER-03, PEER-18).
pub fn warnings(network: &Network) -> Vec<String> {
    let lost = network.lost_links.iter().map(lost);
    network.links().filter_map(|at| warning(network, at)).chain(lost).collect()
}

fn lost(lost: &LostLink) -> String {
    let (link, remote) = (lost.full_name(), lost.remote());
    format!("peering {link} is Disconnected: virtual network {remote} was deleted (PEER-04); {}", way_out(lost))
}

fn warning(network: &Network, at: LinkIx) -> Option<String> {
    let (name, link) = (network.link_name(at), network.link(at));
    let remote = &network.vnet(link.remote).name;
    if link.implied {
        // Its other side's is the name that users know.
        let stale = network.sync_level(at) == SyncLevel::RemoteNotInSync && link.state != PeeringState::Disconnected;
        return stale
            .then(|| format!("peering {name} is not in sync; `vnet peering sync {name}` brings it up to date"));
    }
    if link.state == PeeringState::Disconnected {
        return Some(format!(
            "peering {name} is Disconnected: its other side in {remote} was deleted; `vnet peering sync {name}`, then apply a \
             file with both links, or `vnet peering rm {name}`, then apply a file with neither (PEER-03)"
        ));
    }
    // One word a peering: from the side that has not seen the other's ranges, where routes are old.
    match network.sync_level(at) {
        SyncLevel::FullyInSync | SyncLevel::LocalNotInSync => None,
        level @ (SyncLevel::RemoteNotInSync | SyncLevel::LocalAndRemoteNotInSync) => Some(format!(
            "peering {name} is {level:?}: it routes the ranges that {remote} had before; `vnet peering sync {name}` \
             brings it up to date"
        )),
    }
}

fn refusal(errors: &[PeeringError]) -> Refusal {
    let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Refusal { message, help: errors.first().map(PeeringError::help) }
}
