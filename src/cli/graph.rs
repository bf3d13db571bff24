//! `vnet graph`: a picture of a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::analysis::graph::{self, Metrics, UNFOLDED};
use crate::analysis::{self, Explanation, Probe};
use crate::compile::{Compiled, compile};
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::{self, Base};
use crate::model::{ConnectionStatus, Learned, Network};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::output::Format;
use super::table::Table;
use super::{Outcome, topology};

/// Draw a network: what is in it, how it is joined, and what acts where
///
/// Networks are boxes with their subnets and machines; lines are peerings, tunnels, circuits and public addresses. With
/// --path it draws a packet's way there and back, and names what decides at each hop. With --reach it marks which
/// machine reaches which, with --diff what a changed file adds and removes. The same file gives the same picture.
///
/// -o takes text (the default), svg, html, dot or mermaid here; -o json has what is drawn, without places.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet graph\n  vnet graph -t config/hub-spoke.yaml -o svg > hub-spoke.svg\n  \
    vnet graph -t config/hub-spoke.yaml --path web db:443\n  vnet graph -t old.yaml --diff new.yaml -o html > change.html"
)]
pub(super) struct Graph {
    /// The lab; without, the one that runs
    #[arg(value_name = "LAB", conflicts_with = "topology")]
    of: Option<String>,
    /// Draw a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Draw the way of a packet there and back, as `explain` answers
    #[arg(long, num_args = 2, value_names = ["SRC", "DST[:PORT[/PROTO]]"], conflicts_with_all = ["reach", "diff"])]
    path: Option<Vec<String>>,
    /// Mark which machines reach which, or with a node, which ones it reaches
    #[arg(long, num_args = 0..=1, value_name = "NODE", conflicts_with = "diff")]
    #[expect(clippy::option_option, reason = "clap's way to say that the value may be left out")]
    reach: Option<Option<String>>,
    /// With --reach, ask on this port instead of by ping: PORT for TCP, PORT/udp for UDP
    #[arg(short, long, value_name = "PORT[/PROTO]", requires = "reach")]
    port: Option<Probe>,
    /// Show what this file would add, remove and change; it may be a template, a dump or a plan, too
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    /// Draw each network as one box; always with more than 24 networks
    #[arg(long)]
    fold: bool,
    /// Columns of the text
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u16).range(40..=1000))]
    width: u16,
}

impl Graph {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (network, compiled) = self.network(context)?;
        let folded = |network: &Network| self.fold || network.virtual_networks.len() > UNFOLDED;
        let mut drawn = graph::graph(&network, folded(&network));
        if self.topology.is_none() && self.diff.is_none() {
            self.mark_down(&mut drawn, context)?;
        }
        if let Some([source, destination]) = self.path.as_deref() {
            let explanation = self.explanation(&network, &compiled, source, destination, context)?;
            graph::with_path(&mut drawn, &network, &explanation);
        }
        if let Some(source) = &self.reach {
            self.mark_reach(&mut drawn, (&network, &compiled), source.as_deref(), context)?;
        }
        if let Some(file) = &self.diff {
            let (changed, tables) = topology::compiled(file, context)?;
            let plan = analysis::plan((&network, &compiled), (&changed, &tables));
            drawn = graph::compared(&drawn, &graph::graph(&changed, folded(&changed) || folded(&network)), &plan);
        }
        let format = context.output.format();
        context.output.text(&drawn, &links(&drawn), || picture(&drawn, format, self.width))
    }

    /// The file's network, or that of a lab with the addresses and peerings that it has.
    fn network(&self, context: &Context) -> Result<(Network, Compiled), Failure> {
        if let Some(file) = &self.topology {
            return topology::compiled(file as &Path, context);
        }
        let lab = lab::pick(&Base::detect(), self.of.as_deref().or(context.lab.as_deref()))?;
        let network = topology::applied(&lab, context)?.1.network;
        let learned: Learned = topology::learned(&network);
        let compiled = compile(&network, &learned, 1);
        Ok((network, compiled))
    }

    /// Tunnels and circuits that have failed in the lab.
    fn mark_down(&self, drawn: &mut graph::Graph, context: &Context) -> Result<(), Failure> {
        let lab = self.of.as_deref();
        let connections = match context.ask_lab(lab, &Request::Connections)? {
            Response::Connections(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        let circuits = match context.ask_lab(lab, &Request::Circuits)? {
            Response::Circuits(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        let down = connections.into_iter().filter(|row| row.connection_status == ConnectionStatus::NotConnected);
        let broken = circuits.into_iter().filter(|row| row.links.iter().all(|link| !link.up));
        let (down, broken): (Vec<_>, Vec<_>) =
            (down.map(|row| row.name).collect(), broken.map(|row| row.name).collect());
        graph::with_down(drawn, &down, &broken);
        Ok(())
    }

    fn explanation(
        &self,
        network: &Network,
        compiled: &Compiled,
        source: &str,
        destination: &str,
        context: &Context,
    ) -> Result<Explanation, Failure> {
        if self.topology.is_some() {
            let query = analysis::parse_query(source, destination).map_err(Failure::usage)?;
            return analysis::explain(network, compiled, &query, Instant::now()).map_err(Failure::usage);
        }
        let request = Request::Explain { source: source.to_owned(), destination: destination.to_owned() };
        match context.ask_lab(self.of.as_deref(), &request)? {
            Response::Explanation(explanation) => Ok(*explanation),
            other => Err(unexpected(&other)),
        }
    }

    fn mark_reach(
        &self,
        drawn: &mut graph::Graph,
        (network, compiled): (&Network, &Compiled),
        source: Option<&str>,
        context: &Context,
    ) -> Result<(), Failure> {
        let probe = self.port.unwrap_or(Probe::Ping);
        let reach = if self.topology.is_some() {
            let traffic = analysis::traffic(network, Some(probe), BTreeSet::new());
            analysis::reach(network, compiled, &traffic).map_err(Failure::usage)?
        } else {
            let request = Request::Reach { probe: Some(probe), boundaries: BTreeSet::new(), nodes: Vec::new() };
            match context.ask_lab(self.of.as_deref(), &request)? {
                Response::Reach(reach) => reach,
                other => return Err(unexpected(&other)),
            }
        };
        match source {
            None => graph::with_reach(drawn, &reach),
            Some(source) if reach.nodes.iter().any(|node| node == source) => {
                graph::with_reach_from(drawn, &reach, source);
            }
            Some(other) => {
                let known = reach.nodes.join(", ");
                return Err(Failure::usage(format_args!("unknown node `{other}`: expected one of {known}")));
            }
        }
        Ok(())
    }
}

/// The picture in the format asked for.
fn picture(drawn: &graph::Graph, format: Format, columns: u16) -> String {
    let words = || graph::text(&graph::draw(drawn, &Metrics::characters(columns.into())));
    let pixels = || graph::draw(drawn, &Metrics::pixels());
    match format {
        Format::Svg => graph::svg(&pixels()),
        Format::Html => graph::html(&pixels(), &words()),
        Format::Dot => graph::dot(drawn),
        Format::Mermaid => graph::mermaid(drawn),
        Format::Table | Format::Text | Format::Json | Format::Yaml | Format::Tsv => words(),
    }
}

/// A picture in characters, for other commands.
pub(super) fn in_characters(network: &Network) -> String {
    let folded = network.virtual_networks.len() > UNFOLDED;
    picture(&graph::graph(network, folded), Format::Text, 80)
}

fn links(drawn: &graph::Graph) -> Table {
    let name = |end: usize| drawn.nodes[end].name.clone();
    Table::new(&["Kind", "From", "To", "Remark"]).rows(drawn.links.iter().map(|link| {
        let [from, to] = link.ends.map(name);
        [link.kind.word().to_owned(), from, to, link.label.clone().unwrap_or_default()]
    }))
}
