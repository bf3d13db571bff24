//! The command line: one file a subcommand, and the only module that prints.
//!
//! Every subcommand has the same shape: a struct of arguments that clap fills, and `run`, which ends in an [`Exit`] or
//! in a [`Failure`] that says what went wrong, and what to do. What is decided, found or computed lives in the other
//! modules; here it is only asked for and shown.

mod apply;
mod ask;
mod bench;
mod bgp;
mod by_packets;
mod call;
mod capture;
mod circuit;
mod completions;
mod consent;
mod context;
mod counters;
mod demo;
mod document;
mod down;
mod drops;
mod ended;
mod events;
mod exec;
mod exit;
mod explain;
mod export;
mod failure;
mod finding;
mod flow_verify;
mod flows;
mod following;
mod gateway;
mod graph;
mod hops;
mod import;
mod input;
mod labs;
mod lb;
mod listing;
mod log;
mod ls;
mod man;
mod next_hop;
mod outage;
mod output;
mod peering;
mod public_ips;
mod reach;
mod routes;
mod rule;
mod rules;
mod run;
mod schema;
mod shell;
mod shown_flows;
mod snat;
mod source_text;
mod status;
mod stopped;
mod table;
mod test;
mod top;
mod topology;
mod trace;
mod trial;
mod trust;
mod up;
mod validate;
mod verify;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::{Context, Global};
use exit::Exit;
use failure::Failure;

/// How a subcommand ends.
type Outcome = Result<Exit, Failure>;

/// A userspace router that forwards real packets the way Azure virtual networks do.
#[derive(Debug, Parser)]
#[command(name = "vnet", version, max_term_width = 110, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Up(up::Up),
    Down(down::Down),
    Ls(ls::Ls),
    Status(status::Status),
    Exec(exec::Exec),
    Shell(shell::Shell),
    Run(run::Run),
    Apply(apply::Apply),
    Peering(peering::Peering),
    Gateway(gateway::Gateway),
    Circuit(circuit::Circuit),
    Bgp(bgp::Bgp),
    Validate(validate::Validate),
    Import(import::Import),
    Export(export::Export),
    Test(test::Test),
    Trust(trust::Trust),
    Routes(routes::Routes),
    Rules(rules::Rules),
    NextHop(next_hop::NextHop),
    FlowVerify(flow_verify::FlowVerify),
    Explain(explain::Explain),
    Reach(reach::Reach),
    Graph(graph::Graph),
    Lb(lb::Lb),
    Snat(snat::Snat),
    PublicIps(public_ips::PublicIps),
    Drops(drops::Drops),
    Counters(counters::Counters),
    Events(events::Events),
    Flows(flows::Flows),
    Trace(trace::Trace),
    Top(top::Top),
    Capture(capture::Capture),
    Bench(bench::Bench),
    Rule(rule::Rule),
    Schema(schema::Schema),
    Man(man::ManPages),
    Completions(completions::Completions),
}

const AFTER_HELP: &str = "\
Start here:
  vnet demo                     a hub, two spokes and an appliance; prints what to try
  vnet exec web -- ping -c1 db  run a program in a machine of the lab
  vnet explain web db:443       each hop both ways, the rule or route that decides, and the fix
  vnet test lab.vnet.yaml       a file's own tests, in the model and with real packets
  vnet rule PEER-05             the rule behind an id that an answer cites
  vnet down                     end the lab; nothing is left behind

Exit codes:
  0  fine
  1  the answer is no: blocked, unreachable, a test failed
  2  wrong usage, or a file with mistakes
  3  fine, with warnings
  4  a privilege or a kernel feature is missing, or something of the system is in the way
  5  no such lab is running
  `exec` and `shell` end with the exit code of the program they ran.

Environment:
  VNET_LAB        the lab to talk to where `-l` says nothing; programs in a lab have it
  VNET_ALLOW_RUN  1 runs the code of files without a question, as `--allow-run` does
  VNET_LOG        how much the daemon tells: error, warn, info or debug
  VNET_SECCOMP    log or off weakens the daemon's filters of system calls, to look into them";

/// The definition of the command line, for pages and scripts that are made from it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match completions::answered(Cli::command) {
        Ok(false) => {}
        Ok(true) => return Exit::Fine.into(),
        Err(error) => {
            let _ = error.print();
            return Exit::Usage.into();
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, on stdout and with exit code 0. A closed pipe is no error of ours.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Fine.into() };
        }
    };
    let context = Context::new(cli.global);
    if context.output.format().is_picture() && !matches!(cli.command, Command::Graph(_)) {
        let failure = Failure::usage("only `vnet graph` prints svg, html, dot, mermaid and text")
            .help("`-o` of other commands takes table, json, yaml or tsv");
        context.messages.failure(&failure);
        return failure.exit.into();
    }
    match cli.command.run(&context) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            context.messages.failure(&failure);
            failure.exit.into()
        }
    }
}

impl Command {
    fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Demo(command) => command.run(context),
            Self::Up(command) => command.run(context),
            Self::Down(command) => command.run(context),
            Self::Ls(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::Exec(command) => command.run(context),
            Self::Shell(command) => command.run(context),
            Self::Run(command) => command.run(context),
            Self::Apply(command) => command.run(context),
            Self::Peering(command) => command.run(context),
            Self::Gateway(command) => command.run(context),
            Self::Circuit(command) => command.run(context),
            Self::Bgp(command) => command.run(context),
            Self::Validate(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Test(command) => command.run(context),
            Self::Trust(command) => command.run(context),
            Self::Routes(command) => command.run(context),
            Self::Rules(command) => command.run(context),
            Self::NextHop(command) => command.run(context),
            Self::FlowVerify(command) => command.run(context),
            Self::Explain(command) => command.run(context),
            Self::Reach(command) => command.run(context),
            Self::Graph(command) => command.run(context),
            Self::Lb(command) => command.run(context),
            Self::Snat(command) => command.run(context),
            Self::PublicIps(command) => command.run(context),
            Self::Drops(command) => command.run(context),
            Self::Counters(command) => command.run(context),
            Self::Events(command) => command.run(context),
            Self::Flows(command) => command.run(context),
            Self::Trace(command) => command.run(context),
            Self::Top(command) => command.run(context),
            Self::Capture(command) => command.run(context),
            Self::Bench(command) => command.run(context),
            Self::Rule(command) => command.run(context),
            Self::Schema(schema::Schema {}) => schema::Schema::run(),
            Self::Man(command) => command.run(Cli::command()),
            Self::Completions(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
