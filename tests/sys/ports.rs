//! Ports of guests with the flow cache's programs in place.

use std::sync::Arc;

use vnet::sys::flow_cache::FlowCache;
use vnet::sys::netlink::Netlink;

use super::{inside, run};

/// Nothing is carried to a guest that has not switched its end on; and the pair goes with its port.
#[test]
fn a_port_is_down_until_its_guest_is_up_and_takes_its_pair_along() {
    let cache = match FlowCache::load() {
        Ok(cache) => Arc::new(cache),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            return;
        }
    };
    inside(|namespace| {
        let mut netlink = Netlink::open().unwrap();
        for (near, far) in [("end", "guest"), ("tap", "daemon")] {
            netlink.add_pair(near, far, namespace).unwrap();
        }
        let filters = |device: &str| run(&format!("tc filter show dev {device} ingress"));
        assert_eq!(filters("end"), "");
        let port = cache.attach(namespace, "end", "tap").unwrap();
        assert!(filters("end").contains("from_guest") && filters("tap").contains("from_daemon"));
        assert_eq!((port.name(), port.index()), ("end", netlink.link("end").unwrap().0));
        assert!(!port.is_up());
        port.set_up(true);
        assert!(port.is_up());
        drop(port);
        assert!(netlink.link("end").is_err() && netlink.link("guest").is_err());
        assert!(netlink.link("tap").is_ok(), "that is its maker's");
    });
}
