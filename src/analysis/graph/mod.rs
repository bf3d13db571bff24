//! A picture of a network: what is in it, how it is joined, and where everything is drawn.
//!
//! One idea: a [`Graph`] is boxes in boxes with links between the outermost ones. It knows no coordinates. `layout`
//! gives every box, word and line a place, by the same rules for pixels and for characters; the writers turn either
//! into text. The same network gives the same picture, so a picture can be kept beside its file and compared.

mod differences;
mod dot;
mod drawing;
mod html;
#[expect(clippy::cast_possible_wrap, reason = "boxes and lines of a file are counted in thousands")]
mod layout;
mod links;
mod mermaid;
mod metrics;
mod network;
mod path;
mod reached;
mod svg;
mod text;

use serde::{Deserialize, Serialize};

pub use differences::compared;
pub use dot::dot;
pub use drawing::{Drawing, Label, LabelStyle, Line, LineKind, Rect, Shape};
pub use html::html;
pub use layout::draw;
pub use links::with_down;
pub use mermaid::mermaid;
pub use metrics::Metrics;
pub use network::graph;
pub use path::with_path;
pub use reached::{with_reach, with_reach_from};
pub use svg::svg;
pub use text::text;

/// Networks that a picture shows with all that is in them. With more of them each is one box.
pub const UNFOLDED: usize = 24;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    pub title: String,
    /// The outermost boxes: what is outside first, then virtual networks, in file order.
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    /// Ways of packets, over the links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<Way>,
    /// Texts below the picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// A box, and the boxes in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub kind: NodeKind,
    /// What it is called in the file; with its kind and place it identifies the box.
    pub name: String,
    /// What is written below the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// Route tables, groups and other things that act on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub tone: Tone,
    /// Where ways come by, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub badges: Vec<Badge>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<Node>,
}

/// The kind of object that a box shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeKind {
    Internet,
    Site,
    /// A point-to-site client.
    Client,
    PrivateCloud,
    Circuit,
    VirtualNetwork,
    /// What a link names and no file has.
    Missing,
    Subnet,
    Machine,
    Gateway,
    RouteServer,
    LoadBalancer,
    NatGateway,
    PrivateEndpoint,
    /// Machines behind the one TUN of a virtual network.
    Attached,
}

/// Something that acts on a box: `route table via-nva`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub kind: MarkKind,
    pub name: String,
    #[serde(default, skip_serializing_if = "is_none")]
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MarkKind {
    RouteTable,
    SecurityGroup,
    ApplicationGroup,
    NatGateway,
    /// What an answer says about the box.
    Answer,
}

/// The meaning that a colour shows. Each tone has a sign and a stroke of its own, too, for readers who do not see the
/// colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tone {
    #[default]
    Plain,
    Added,
    Removed,
    Changed,
    Yes,
    No,
    Depends,
}

/// Joins two of the outermost boxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub kind: LinkKind,
    /// The objects of the file that make it: `hub/hub-spoke1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Indices in [`Graph::nodes`].
    pub ends: [usize; 2],
    pub state: LinkState,
    /// What is unusual about it; nothing where it is as one expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    Peering,
    Tunnel,
    ExpressRoute,
    GlobalReach,
    /// Public addresses of a network, or the address that it has by default.
    Internet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    Up,
    /// One side alone has it, as one of these ends: 0 or 1.
    OneSided(usize),
    Down,
}

/// A packet's way over the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    pub title: String,
    /// The way of the answer.
    pub back: bool,
    /// Where it comes by, each with the number that [`Graph::notes`] explains.
    pub stops: Vec<Stop>,
    pub arrives: bool,
}

/// A box that a way comes by: its place in [`Graph::nodes`], then in each [`Node::inner`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub place: Vec<usize>,
    pub number: usize,
}

/// The number of a hop, drawn at its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Badge {
    pub number: usize,
    pub back: bool,
    /// The packet ends here without arriving.
    pub cross: bool,
}

/// A text below the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub title: String,
    pub lines: Vec<NoteLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<Badge>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub tone: Tone,
    pub text: String,
}

impl Node {
    fn new(kind: NodeKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            lines: Vec::new(),
            marks: Vec::new(),
            tone: Tone::Plain,
            badges: Vec::new(),
            inner: Vec::new(),
        }
    }

    fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    fn mark(mut self, kind: MarkKind, name: impl Into<String>) -> Self {
        self.marks.push(Mark { kind, name: name.into(), tone: Tone::Plain });
        self
    }
}

impl Graph {
    /// A box by its place.
    fn node_mut(&mut self, place: &[usize]) -> Option<&mut Node> {
        let (first, rest) = place.split_first()?;
        rest.iter().try_fold(self.nodes.get_mut(*first)?, |node, at| node.inner.get_mut(*at))
    }

    /// A box by its place.
    fn node(&self, place: &[usize]) -> Option<&Node> {
        let (first, rest) = place.split_first()?;
        rest.iter().try_fold(self.nodes.get(*first)?, |node, at| node.inner.get(*at))
    }

    /// The places of all boxes, each before those in it.
    fn places(&self) -> Vec<Vec<usize>> {
        fn collect(nodes: &[Node], above: &[usize], places: &mut Vec<Vec<usize>>) {
            for (at, node) in nodes.iter().enumerate() {
                let place = [above, &[at]].concat();
                places.push(place.clone());
                collect(&node.inner, &place, places);
            }
        }
        let mut places = Vec::new();
        collect(&self.nodes, &[], &mut places);
        places
    }
}

impl NodeKind {
    /// What a box says about its kind, where its name does not.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Internet => "the Internet",
            Self::Site => "site",
            Self::Client => "client",
            Self::PrivateCloud => "private cloud",
            Self::Circuit => "circuit",
            Self::VirtualNetwork => "VNet",
            Self::Missing => "not there",
            Self::Subnet => "subnet",
            Self::Machine => "machine",
            Self::Gateway => "gateway",
            Self::RouteServer => "route server",
            Self::LoadBalancer => "load balancer",
            Self::NatGateway => "NAT gateway",
            Self::PrivateEndpoint => "private endpoint",
            Self::Attached => "TUN",
        }
    }
}

impl MarkKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::RouteTable => "routes",
            Self::SecurityGroup => "NSG",
            Self::ApplicationGroup => "ASG",
            Self::NatGateway => "NAT",
            Self::Answer => "",
        }
    }
}

impl Mark {
    /// `NSG app`
    pub fn text(&self) -> String {
        match self.kind {
            MarkKind::Answer => self.name.clone(),
            kind => format!("{} {}", kind.word(), self.name),
        }
    }
}

impl Tone {
    /// The sign before a name.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Plain | Self::Yes | Self::No | Self::Depends => "",
            Self::Added => "+ ",
            Self::Removed => "- ",
            Self::Changed => "~ ",
        }
    }
}

impl LinkKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Peering => "peering",
            Self::Tunnel => "VPN tunnel",
            Self::ExpressRoute => "ExpressRoute",
            Self::GlobalReach => "Global Reach",
            Self::Internet => "Internet",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(tone: &Tone) -> bool {
    *tone == Tone::Plain
}
