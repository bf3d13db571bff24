//! The pages of private clouds' managers and hosts, in the clouds' own namespaces: those that the file leaves to us.
//!
//! One idea: a thread for each cloud stays while its namespace and its pages are the same. A cloud with a program (`run`)
//! answers by that program alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::error::{During, Result};
use crate::model::{Network, PrivateCloud};
use crate::platform::{Managers, Page};
use crate::sys::netns::{self, Identity, Netns};

use super::Guests;

const HTTPS: u16 = 443;
/// Of vMotion (AVS-10).
const VMOTION: u16 = 8000;

/// By the names of clouds.
#[derive(Debug, Default)]
pub(in crate::lab) struct CloudPages(BTreeMap<String, (Option<Identity>, Managers)>);

impl CloudPages {
    /// Answers for the clouds of the running network, and for no others.
    pub(in crate::lab) fn apply(&mut self, network: &Network, guests: &Guests) -> Result<()> {
        let mut before = std::mem::take(&mut self.0);
        for cloud in network.private_clouds.iter().filter(|cloud| cloud.run.is_none()) {
            let Some(place) = guests.namespace(&cloud.name) else { continue };
            let (identity, pages) = (netns::identity(place), pages(cloud));
            let known = before.remove(&cloud.name);
            let stays = |known: &(Option<Identity>, Managers)| known.0 == identity && known.1.pages() == pages;
            if let Some(known) = known.filter(stays) {
                self.0.insert(cloud.name.clone(), known);
                continue;
            }
            let name = format!("{}.{}", cloud.name, network.name);
            let started = Netns::open(place).and_then(|namespace| Managers::start(&namespace, name, pages));
            let started =
                started.during(|| format!("cannot answer for the managers of private cloud {}", cloud.name))?;
            self.0.insert(cloud.name.clone(), (identity, started));
        }
        Ok(())
    }
}

fn pages(cloud: &PrivateCloud) -> Vec<Page> {
    let page = |address: Ipv4Addr, port, what: &str| Page {
        at: SocketAddrV4::new(address, port),
        secure: port == HTTPS,
        title: format!("{what} of private cloud {}", cloud.name),
    };
    let managers = [page(cloud.vcenter(), HTTPS, "vCenter"), page(cloud.nsxt_manager(), HTTPS, "NSX-T Manager")];
    let hosts = cloud.vmotion_hosts().into_iter().map(|host| page(host, VMOTION, &format!("vMotion of host {host}")));
    managers.into_iter().chain(hosts).collect()
}
