//! Pictures: nothing overlaps, whatever is drawn; 200 networks take less than a second; ways, answers and changes are
//! drawn where they belong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vnet::analysis::graph::{
    Badge, Drawing, Graph, LineKind, Link, LinkKind, LinkState, Mark, MarkKind, Metrics, Node, NodeKind, Note,
    NoteLine, Rect, Stop, Tone, Way, compared, dot, draw, graph, mermaid, svg, text, with_down, with_path, with_reach,
    with_reach_from,
};
use vnet::analysis::{Plan, explain, parse_query, plan, reach, traffic};
use vnet::bgp::topology::converge;
use vnet::compile::{Compiled, compile};
use vnet::model::{Network, Probe};

use crate::topology::Random;

fn both(graph: &Graph, what: &str) {
    for metrics in [Metrics::pixels(), Metrics::characters(80), Metrics::characters(40)] {
        tidy(&draw(graph, &metrics), what);
    }
}

/// By geometry: boxes lie in each other or apart, words lie in a box or outside of it and never on others, lines run
/// past boxes and words.
fn tidy(drawing: &Drawing, what: &str) {
    let page = Rect { x: 0, y: 0, w: drawing.width, h: drawing.height };
    for (at, shape) in drawing.shapes.iter().enumerate() {
        assert!(page.holds(&shape.rect), "{what}: {shape:?} is not on the page");
        for other in &drawing.shapes[..at] {
            let nested = other.rect.holds(&shape.rect);
            assert!(nested || !other.rect.meets(&shape.rect), "{what}: {other:?} and {shape:?} overlap");
        }
    }
    for (at, label) in drawing.labels.iter().enumerate() {
        assert!(page.holds(&label.rect), "{what}: {label:?} is not on the page");
        for other in &drawing.labels[..at] {
            assert!(!other.rect.meets(&label.rect), "{what}: {other:?} and {label:?} overlap");
        }
        for shape in &drawing.shapes {
            let clear = shape.rect.holds(&label.rect) || !shape.rect.meets(&label.rect);
            assert!(clear, "{what}: {label:?} lies on the border of {shape:?}");
        }
    }
    for line in &drawing.lines {
        for piece in line.points.windows(2) {
            let ((x, y), (to_x, to_y)) = (piece[0], piece[1]);
            assert!(x == to_x || y == to_y, "{what}: {line:?} is crooked");
            let thin = Rect { x: x.min(to_x), y: y.min(to_y), w: (x - to_x).abs(), h: (y - to_y).abs() };
            let inside = |rect: &Rect| {
                let inner = Rect { x: rect.x + 1, y: rect.y + 1, w: rect.w - 2, h: rect.h - 2 };
                thin.x < inner.right() && inner.x <= thin.right() && thin.y < inner.bottom() && inner.y <= thin.bottom()
            };
            if let Some(label) = drawing.labels.iter().find(|label| inside(&label.rect)) {
                panic!("{what}: {line:?} runs over {label:?}");
            }
            if let LineKind::Link(..) = line.kind
                && let Some(shape) = drawing.shapes.iter().find(|shape| inside(&shape.rect))
            {
                panic!("{what}: {line:?} runs through {shape:?}");
            }
        }
    }
}

/// Anything that a graph can be, more than networks make of it.
fn any_graph(random: &mut Random) -> Graph {
    const KINDS: [NodeKind; 6] = [
        NodeKind::VirtualNetwork,
        NodeKind::VirtualNetwork,
        NodeKind::Site,
        NodeKind::Circuit,
        NodeKind::Internet,
        NodeKind::Missing,
    ];
    const LINKS: [LinkKind; 5] =
        [LinkKind::Peering, LinkKind::Tunnel, LinkKind::ExpressRoute, LinkKind::GlobalReach, LinkKind::Internet];
    let nodes: Vec<_> = (0..=random.below(13))
        .map(|_| {
            let kind = *random.pick(&KINDS);
            let mut node = any_node(random, kind);
            if node.kind == NodeKind::VirtualNetwork {
                node.inner = (0..random.below(5)).map(|_| any_node(random, NodeKind::Subnet)).collect();
                for subnet in &mut node.inner {
                    subnet.inner = (0..random.below(6)).map(|_| any_node(random, NodeKind::Machine)).collect();
                }
            }
            node
        })
        .collect();
    let count = if nodes.len() > 1 { random.below(2 * nodes.len()) } else { 0 };
    let links = (0..count)
        .map(|_| {
            let a = random.below(nodes.len());
            let b = (a + 1 + random.below(nodes.len() - 1)) % nodes.len();
            let state = *random.pick(&[LinkState::Up, LinkState::OneSided(0), LinkState::Down]);
            let label = random.chance(50).then(|| words(random));
            Link { kind: *random.pick(&LINKS), names: Vec::new(), ends: [a, b], state, label, tone: Tone::Plain }
        })
        .collect();
    let said = (0..random.below(4)).map(|_| NoteLine { badge: None, tone: Tone::No, text: words(random) }).collect();
    let below = Note { title: words(random), lines: said };
    Graph { title: words(random), nodes, links, ways: Vec::new(), notes: vec![below] }
}

fn any_node(random: &mut Random, kind: NodeKind) -> Node {
    let marks = (0..random.below(3)).map(|_| Mark {
        kind: *random.pick(&[MarkKind::RouteTable, MarkKind::Answer]),
        name: words(random),
        tone: Tone::Yes,
    });
    let marks = marks.collect();
    let badges = (0..random.below(3)).map(|number| Badge { number, back: false, cross: true }).collect();
    let lines = (0..random.below(3)).map(|_| words(random)).collect();
    Node { kind, name: words(random), lines, marks, tone: Tone::Plain, badges, inner: Vec::new() }
}

fn words(random: &mut Random) -> String {
    const WORDS: [&str; 6] = ["a", "10.200.100.0/24", "MMMM WWWW", "il", "fd00:1:2:3::/64", "GatewaySubnet"];
    (0..=random.below(3)).map(|_| *random.pick(&WORDS)).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_overlaps_in_any_graph() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        both(&any_graph(&mut random), &format!("seed {seed}"));
    }
}

/// Below the picture is one sample of each kind of line that it has, in each state.
#[test]
fn the_legend_has_each_kind_of_line_once() {
    for seed in 0..100 {
        let graph = any_graph(&mut Random::new(seed));
        let kinds: BTreeSet<_> = graph
            .links
            .iter()
            .map(|link| (link.kind, link.state == LinkState::Up, link.state == LinkState::Down))
            .collect();
        let drawn = draw(&graph, &Metrics::pixels());
        let bottom = drawn.shapes.iter().map(|shape| shape.rect.y + shape.rect.h).max().unwrap();
        let samples = drawn.lines.iter().filter(|line| line.points.iter().all(|(_, y)| *y > bottom));
        let mut shown: Vec<_> = samples
            .filter_map(|line| match line.kind {
                LineKind::Link(kind, state) => Some((kind, state == LinkState::Up, state == LinkState::Down)),
                LineKind::Way { .. } => None,
            })
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, kinds.into_iter().collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn nothing_overlaps_in_pictures_of_random_networks_with_ways_over_them() {
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let vnets = 2 + random.below(8);
        let network = random.network_of(vnets);
        let mut drawn = graph(&network, seed % 4 == 0);
        for back in [false, true] {
            let stops =
                (1..4).filter_map(|number| Some(Stop { place: machine(&mut random, &drawn)?, number })).collect();
            drawn.ways.push(Way { title: "way".to_owned(), back, stops, arrives: back });
        }
        both(&drawn, &format!("seed {seed}"));
    }
}

/// The place of one of the innermost boxes.
fn machine(random: &mut Random, graph: &Graph) -> Option<Vec<usize>> {
    let mut place = vec![random.below(graph.nodes.len())];
    let mut node = &graph.nodes[place[0]];
    while !node.inner.is_empty() {
        place.push(random.below(node.inner.len()));
        node = &node.inner[*place.last()?];
    }
    Some(place)
}

#[test]
fn two_hundred_networks_are_folded_and_take_less_than_a_second() {
    let network = loaded(&many(200));
    let began = Instant::now();
    let drawn = graph(&network, true);
    let picture = draw(&drawn, &Metrics::pixels());
    let written = svg(&picture);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(picture.shapes.len(), 200, "one box each");
    assert!(written.contains("VNet n199"));
    // A picture, not a ribbon.
    assert!(picture.width < 4 * picture.height && picture.height < 4 * picture.width);
    tidy(&picture, "200 networks");
}

fn many(count: usize) -> String {
    let vnet = |at: usize| {
        let links = if at == 0 { (1..count).collect() } else { vec![0] };
        let links: Vec<_> = links.iter().map(|to| format!("{{name: to{to}, remoteVirtualNetwork: n{to}}}")).collect();
        format!(
            "  - {{name: n{at}, location: we, addressSpace: [10.{at}.0.0/16], subnets: [{{name: a, addressPrefix: \
             10.{at}.0.0/24}}], virtualNetworkPeerings: [{}]}}\n",
            links.join(", ")
        )
    };
    format!("name: many\nvirtualNetworks:\n{}", (0..count).map(vnet).collect::<String>())
}

fn loaded(text: &str) -> Network {
    vnet::config::load(text, "test.yaml").unwrap().network
}

fn compiled(network: &Network) -> Compiled {
    compile(network, &converge(network, Instant::now()).learned(), 1)
}

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");
const NSG_TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

#[test]
fn a_way_comes_by_each_hop_and_ends_with_a_cross() {
    let network = loaded(HUB_SPOKE);
    let mut drawn = graph(&network, false);
    with_path(
        &mut drawn,
        &network,
        &explain(&network, &compiled(&network), &parse_query("web", "db:443").unwrap(), Instant::now()).unwrap(),
    );
    both(&drawn, "hub-spoke");
    let picture = draw(&drawn, &Metrics::pixels());
    assert!(picture.shapes.iter().filter(|shape| shape.marked).count() == 3, "web, nva and db");
    assert!(drawn.ways.iter().all(|way| way.arrives && way.stops.len() == 3));
    let written = text(&draw(&drawn, &Metrics::characters(100)));
    for words in
        ["(1)  (6)", "(2)  (5)", "(3)  (4)", "route table via-nva, route to-spokes", "web/eth0 (10.1.1.4) to db/eth0"]
    {
        assert!(written.contains(words), "{words} is not in\n{written}");
    }

    let network = loaded(NSG_TIERS);
    let mut drawn = graph(&network, false);
    with_path(
        &mut drawn,
        &network,
        &explain(&network, &compiled(&network), &parse_query("web", "db:5432").unwrap(), Instant::now()).unwrap(),
    );
    let [way] = &drawn.ways[..] else { panic!("no way back: {:?}", drawn.ways) };
    assert!(!way.arrives);
    let picture = draw(&drawn, &Metrics::pixels());
    assert!(picture.lines.iter().any(|line| matches!(line.kind, LineKind::Way { .. }) && line.cross.is_some()));
    let written = text(&draw(&drawn, &Metrics::characters(100)));
    for words in ["(2X)", "NSG db-tier on subnet shop/db, rule securityRules/deny-vnet", "cause:"] {
        assert!(written.contains(words), "{words} is not in\n{written}");
    }
}

#[test]
fn a_folded_picture_has_the_way_from_network_to_network() {
    let network = loaded(HUB_SPOKE);
    let mut drawn = graph(&network, true);
    with_path(
        &mut drawn,
        &network,
        &explain(&network, &compiled(&network), &parse_query("web", "db").unwrap(), Instant::now()).unwrap(),
    );
    assert!(drawn.ways.iter().all(|way| way.stops.iter().all(|stop| stop.place.len() == 1)));
    assert_eq!(drawn.ways[0].stops.len(), 3);
    both(&drawn, "folded");
}

#[test]
fn reach_marks_who_reaches_whom() {
    let network = loaded(NSG_TIERS);
    let tables = compiled(&network);
    let answer = reach(&network, &tables, &traffic(&network, Some(Probe::Tcp(5432)), BTreeSet::new())).unwrap();
    let of = |mark: &dyn Fn(&mut Graph)| {
        let mut drawn = graph(&network, false);
        mark(&mut drawn);
        both(&drawn, "reach");
        text(&draw(&drawn, &Metrics::characters(100)))
    };
    let all = of(&|drawn| with_reach(drawn, &answer));
    let reached = |source: &str| {
        let pairs = || answer.pairs.iter().filter(|pair| pair.source == source);
        format!(
            "* reaches {} of {}",
            pairs().filter(|pair| pair.verdict == vnet::model::Verdict::Reachable).count(),
            pairs().count()
        )
    };
    assert!(all.contains(&reached("web")) && all.contains("web to db: NsgInbound"), "{all}");
    let one = of(&|drawn| with_reach_from(drawn, &answer, "app"));
    assert!(one.contains("* asks") && one.contains("* no") && one.contains("* yes"), "{one}");
}

#[test]
fn a_change_shows_what_it_adds_removes_and_changes() {
    let untested = HUB_SPOKE.split("tests:").next().unwrap();
    let (before, after) = (
        loaded(untested),
        loaded(
            &untested
                .replace("name: db, net", "name: store, net")
                .replace("addressPrefix: 10.0.0.0/8", "addressPrefix: 10.0.0.0/9"),
        ),
    );
    let plan = plan((&before, &compiled(&before)), (&after, &compiled(&after)));
    let drawn = compared(&graph(&before, false), &graph(&after, false), &plan);
    both(&drawn, "change");
    let written = text(&draw(&drawn, &Metrics::characters(100)));
    for words in [
        "+ store",
        "- db",
        "~ routes via-nva",
        "~ routes via-nva/to-spokes: addressPrefix 10.0.0.0/8 becomes 10.0.0.0/9",
    ] {
        assert!(written.contains(words), "{words} is not in\n{written}");
    }
    assert_eq!(
        compared(&graph(&before, false), &graph(&before, false), &Plan::default()).links,
        graph(&before, false).links
    );
}

#[test]
fn a_peering_with_one_side_looks_it() {
    let broken = HUB_SPOKE.replace("    virtualNetworkPeerings:\n      - {name: spoke2-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}\n", "");
    assert_ne!(broken, HUB_SPOKE);
    let drawn = graph(&loaded(&broken), false);
    let states: Vec<_> = drawn.links.iter().map(|link| (link.state, link.label.as_deref())).collect();
    assert_eq!(states, [(LinkState::Up, None), (LinkState::OneSided(0), Some("Initiated, one side"))]);
    assert!(svg(&draw(&drawn, &Metrics::pixels())).contains("<polyline class=\"half\""));
    assert!(dot(&drawn).contains("style=dotted label=\"Initiated, one side\""));
    assert!(mermaid(&drawn).contains("-.-o|\"Initiated, one side\"|"));
}

#[test]
fn what_has_failed_in_a_lab_is_drawn_as_down() {
    let text = include_str!("../../config/hub-gateway.yaml");
    let drawn_with = |down: &[&str]| {
        let mut drawn = graph(&loaded(text), false);
        let down: Vec<_> = down.iter().map(|name| (*name).to_owned()).collect();
        with_down(&mut drawn, &down, &down);
        let of = |link: &&Link| link.kind == LinkKind::Tunnel;
        let tunnel = drawn.links.iter().find(of).unwrap().clone();
        (tunnel.state, tunnel.label.unwrap(), drawn.links.iter().filter(|link| link.state != LinkState::Up).count())
    };
    assert_eq!(drawn_with(&[]), (LinkState::Up, "VPN".to_owned(), 0));
    assert_eq!(drawn_with(&["hub-dc"]), (LinkState::Down, "VPN, down".to_owned(), 1));
    assert_eq!(drawn_with(&["another"]), (LinkState::Up, "VPN".to_owned(), 0));
    let text = include_str!("../../config/active-active.yaml");
    let mut drawn = graph(&loaded(text), false);
    let names = drawn.links.iter().find(|link| link.names.len() > 1).unwrap().names.clone();
    with_down(&mut drawn, &names[..1], &[]);
    let half = format!("VPN, {} of {} up", names.len() - 1, names.len());
    assert!(drawn.links.iter().any(|link| link.state == LinkState::Up && link.label.as_deref() == Some(&half)));
    let mut drawn = graph(&loaded(include_str!("../../config/private-cloud-full.yaml")), false);
    with_down(&mut drawn, &[], &["er-london".to_owned()]);
    let down: Vec<_> = drawn.links.iter().filter(|link| link.state == LinkState::Down).collect();
    assert_eq!(down.len(), 1, "the site's own link: {down:?}");
}

#[test]
fn a_peering_that_uses_the_other_sides_gateway_says_so() {
    let text = include_str!("../../config/hub-gateway.yaml");
    let labels = |text: &str| -> Vec<Option<String>> {
        let drawn = graph(&loaded(text), false);
        let peerings = drawn.links.into_iter().filter(|link| link.kind == LinkKind::Peering);
        peerings.map(|link| link.label).collect()
    };
    assert_eq!(labels(text), vec![Some("gateway transit".to_owned()); 2]);
    assert_eq!(labels(&text.replace("useRemoteGateways: true", "useRemoteGateways: false")), [None, None]);
}
