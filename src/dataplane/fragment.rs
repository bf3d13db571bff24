//! Ports of fragmented datagrams. (interface; bodies to come)
/// Remembers a first fragment's ports so that later fragments follow it (FAB-11). Bounded, oldest out first.
#[derive(Debug)]
pub struct FragmentTable {}
