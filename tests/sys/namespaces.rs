//! Namespaces by their identity: found by a name, by a process, or not at all.

use std::path::Path;
use std::process::Command;

use vnet::sys::mount;
use vnet::sys::netns::{self, Netns};

use super::inside;

#[test]
fn a_namespace_is_found_where_something_leads_to_it() {
    inside(|here| {
        // Names that are made here are seen here alone.
        mount::private_view().unwrap();
        netns::prepare_names().unwrap();
        netns::prepare_names().unwrap();
        let own = netns::identity(Path::new(netns::CURRENT)).unwrap();
        let of = |namespace: &Netns| namespace.run(|| netns::identity(Path::new(netns::CURRENT)).unwrap()).unwrap();
        assert_eq!(own, of(here));
        assert_eq!(netns::find(own).map(|found| of(&found)), Some(own), "the thread's own");
        let held = Netns::create().unwrap();
        assert!(netns::find(of(&held)).is_none(), "a descriptor alone leads nowhere");
        let name = format!("vnet-test-{}", std::process::id());
        held.bind(&netns::name_path(&name)).unwrap();
        assert_eq!(netns::find(of(&held)).map(|found| of(&found)), Some(of(&held)));
        assert_eq!(of(&Netns::named(&name).unwrap()), of(&held));
        netns::unbind(&netns::name_path(&name)).unwrap();
        assert!(Netns::named(&name).is_err() && netns::find(of(&held)).is_none());
        let mut resident = held.run(|| Command::new("sleep").arg("1000").spawn().unwrap()).unwrap();
        assert_eq!(netns::find(of(&held)).map(|found| of(&found)), Some(of(&held)));
        assert_eq!(of(&Netns::of_process(resident.id()).unwrap()), of(&held));
        resident.kill().unwrap();
        resident.wait().unwrap();
        assert!(netns::find(of(&held)).is_none());
    });
}

#[test]
fn what_is_no_namespace_has_no_identity() {
    for path in ["/proc/self/ns", "/dev/null", "/etc/hostname", "/nowhere"] {
        assert!(netns::identity(Path::new(path)).is_none(), "{path}");
    }
    let ours = netns::identity(Path::new("/proc/self/ns/net")).unwrap();
    assert_eq!(netns::identity(Path::new(netns::CURRENT)), Some(ours));
    let (device, inode) = ours.to_string().split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(device.parse::<u64>().is_ok() && inode.parse::<u64>().is_ok(), "{ours}");
}
