//! The built program as scripts meet it: what it prints, where, and its exit code. No lab, no root.

mod effective;
mod listings;
mod reach;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Every subcommand; `the_list_of_subcommands_is_complete` compares it with the help.
pub(crate) const SUBCOMMANDS: [&str; 40] = [
    "demo",
    "up",
    "down",
    "ls",
    "status",
    "exec",
    "shell",
    "run",
    "schema",
    "apply",
    "peering",
    "gateway",
    "import",
    "export",
    "circuit",
    "bgp",
    "validate",
    "test",
    "routes",
    "rules",
    "next-hop",
    "flow-verify",
    "explain",
    "reach",
    "graph",
    "lb",
    "snat",
    "public-ips",
    "drops",
    "counters",
    "events",
    "flows",
    "trace",
    "top",
    "capture",
    "trust",
    "bench",
    "rule",
    "man",
    "completions",
];

/// What the program said and how it ended.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
    command.args(arguments).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for variable in ["VNET_LAB", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn vnet(arguments: &[&str]) -> Answer {
    command(arguments).output().unwrap().into()
}

/// Words separated by blanks, for lines without quoting.
fn run(line: &str) -> Answer {
    vnet(&line.split(' ').collect::<Vec<_>>())
}

/// What a command that must succeed prints as json; it says nothing else.
fn json(line: &str) -> Value {
    let answer = run(&format!("{line} -o json"));
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{line}");
    serde_json::from_str(&answer.stdout).unwrap()
}

/// A topology file with this text, and an answer about it; `FILE` stands for its path.
fn about(text: &str, line: &str) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.yaml");
    fs::write(&file, text).unwrap();
    run(&line.replace("FILE", file.to_str().unwrap()))
}

#[test]
fn only_graph_prints_pictures_and_it_says_which_node_it_does_not_know() {
    let refused = run("routes web -t config/hub-spoke.yaml -o svg");
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains("only `vnet graph` prints svg"), "{}", refused.stderr);
    let kinds =
        [("svg", "<svg "), ("html", "<!DOCTYPE html>"), ("dot", "graph \"hub-spoke\""), ("mermaid", "flowchart")];
    for (kind, beginning) in kinds {
        let answer = run(&format!("graph -t config/hub-spoke.yaml -o {kind}"));
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        assert!(answer.stdout.starts_with(beginning), "{}", answer.stdout);
    }
    let drawn = json("graph -t config/hub-spoke.yaml --path web db");
    assert_eq!(drawn["ways"][0]["stops"].as_array().unwrap().len(), 3);
    let unknown = run("graph -t config/hub-spoke.yaml --reach nothing");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("unknown node `nothing`: expected one of web, db, nva"), "{}", unknown.stderr);
    let text = run("graph -t config/hub-spoke.yaml").stdout;
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
}

/// ER-10, GR-02: a connection of Global Reach that is not there says why.
#[test]
fn a_disconnected_global_reach_has_its_reason() {
    let text = include_str!("../../config/private-cloud-full.yaml");
    let wrong = text.replace("er-london, authorizationKey: 3f8a-london", "er-london, authorizationKey: another");
    let listed = |text: &str| about(text, "circuit ls -t FILE").stdout;
    assert!(listed(text).contains("to-dc to er-london Connected"), "{}", listed(text));
    let reason = "to-dc to er-london Disconnected: the circuit has no such authorization (ER-10)";
    assert!(listed(&wrong).contains(reason), "{}", listed(&wrong));
}

#[test]
fn a_filter_of_pcap_is_told_how_to_say_it() {
    for (filter, help) in [
        ("ether host 1", "`host 10.1.1.4` or `node web` names an end"),
        ("greater 100", "filter where the file is read"),
        ("tcp and outbound", "`src host web` means packets from web"),
        ("ifname eth0", "`nic web/eth0` means one interface"),
    ] {
        let refused = run(&format!("capture --all -w - {filter}"));
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{filter}");
        assert!(refused.stderr.contains(help), "{filter}: {}", refused.stderr);
    }
    assert_eq!(run("capture -w -").code, 2);
}

const MISSPELT: &str = "\
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: s, adressPrefix: 10.1.0.0/24}
";

/// A public range works, and is worth a word.
const DOUBTFUL: &str = "\
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [8.8.8.0/24]
    subnets:
      - {name: s, addressPrefix: 8.8.8.0/24}
";

/// Only one direction is sent through the appliance.
const ASYMMETRIC: &str = "\
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: web, addressPrefix: 10.1.1.0/24, routeTable: via-nva}
      - {name: db, addressPrefix: 10.1.2.0/24}
      - {name: nva, addressPrefix: 10.1.3.0/24}
routeTables:
  - name: via-nva
    routes:
      - {name: to-db, addressPrefix: 10.1.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.3.4}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: a/web}]}
  - {name: db, networkInterfaces: [{subnet: a/db}]}
  - {name: nva, networkInterfaces: [{subnet: a/nva, enableIPForwarding: true}]}
";

#[test]
fn every_example_is_valid() {
    let entries =
        fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap().map(|entry| entry.unwrap().path());
    for file in entries.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let answer = vnet(&["validate", file.to_str().unwrap()]);
        assert_eq!(answer.code, 0, "{}", answer.stdout);
        assert!(answer.stdout.contains("fine"), "{}", answer.stdout);
        assert_eq!(json(&format!("validate {}", file.display())), Value::Array(vec![]));
    }
}

#[test]
fn a_mistake_is_shown_with_its_place_and_its_fix() {
    let answer = about(MISSPELT, "validate FILE");
    assert_eq!(answer.code, 2);
    for part in ["lab.yaml:6:", "error", "adressPrefix", "^^^^", "did you mean `addressPrefix`?"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
}

#[test]
fn a_mistake_is_data_too() {
    let answer = about(MISSPELT, "validate FILE -o json");
    assert_eq!(answer.code, 2);
    let findings: Value = serde_json::from_str(&answer.stdout).unwrap();
    let finding = &findings[0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["line"], 6);
    assert_eq!(finding["help"], "did you mean `addressPrefix`?");
    let rows = about(MISSPELT, "validate FILE -o tsv").stdout;
    assert_eq!(rows.lines().count(), findings.as_array().unwrap().len());
}

#[test]
fn warnings_alone_have_their_own_exit_code() {
    let answer = about(DOUBTFUL, "validate FILE");
    assert_eq!(answer.code, 3, "{}", answer.stdout);
    assert!(answer.stdout.contains("warning"), "{}", answer.stdout);
}

#[test]
fn other_commands_show_a_files_mistakes_on_stderr() {
    for line in ["routes a/s -t FILE", "explain 10.1.0.4 10.1.0.5 -t FILE", "up FILE", "run FILE"] {
        let answer = about(MISSPELT, line);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line}");
        assert!(answer.stderr.contains("did you mean `addressPrefix`?"), "{line}: {}", answer.stderr);
    }
}

#[test]
fn other_commands_show_a_files_doubts_on_stderr_and_answer() {
    for line in ["routes a/s -t FILE", "graph -t FILE", "bgp learned -t FILE"] {
        let answer = about(DOUBTFUL, line);
        assert_eq!(answer.code, 0, "{line}: {}", answer.stderr);
        assert!(answer.stderr.contains("warning") && !answer.stdout.contains("warning"), "{line}: {}", answer.stderr);
    }
}

#[test]
fn a_missing_file_is_named() {
    for line in
        ["validate nowhere.yaml", "routes web -t nowhere.yaml", "explain a b -t nowhere.yaml", "run nowhere.yaml"]
    {
        let answer = run(line);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line}");
        assert!(answer.stderr.contains("error: cannot read nowhere.yaml"), "{line}: {}", answer.stderr);
    }
}

#[test]
fn a_file_may_come_from_stdin() {
    let file = fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/config/hub-spoke.yaml")).unwrap();
    let answer: Answer = command(&["validate", "-"]).stdin(file).output().unwrap().into();
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    assert!(answer.stdout.starts_with("stdin: fine; lab hub-spoke"), "{}", answer.stdout);
}

#[test]
fn explain_shows_both_directions_through_the_appliance() {
    let answer = run("explain web db:443 -t config/hub-spoke.yaml");
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let story = &answer.stdout;
    let (there, back) = story.split_once("\nBack\n").unwrap();
    for way in [there, back] {
        assert!(way.contains("nva/eth0") && way.contains("route table via-nva, route to-spokes"), "{way}");
    }
    assert!(story.contains("verdict  reachable\n"), "{story}");
}

#[test]
fn explain_says_what_a_route_leads_to_in_plain_words() {
    for (line, words) in [
        ("app dc:443 -t config/site-to-site.yaml", "route    to the VPN gateway hub-gw in VNet hub  ["),
        (
            "app dc:443 -t config/site-to-site.yaml",
            "forward  the gateway forwards it, with a time to live that is one less\n",
        ),
        ("app dc:443 -t config/site-to-site.yaml", "route    over the connection that leads to 192.168.50.10  ["),
        ("web db -t config/hub-spoke.yaml", "route    to 10.2.1.10 in VNet spoke2  ["),
        (
            "client 10.70.0.100:80 -t config/load-balancer.yaml",
            "balance  to web1/eth0, one of 2 backends that are up  [",
        ),
    ] {
        let text = run(&format!("explain {line}")).stdout;
        assert!(text.contains(words), "{line}: no `{words}` in\n{text}");
        for word in ["whoever", "nobody", "takes it on"] {
            assert!(!text.contains(word), "{line}: `{word}` in\n{text}");
        }
    }
}

#[test]
fn explain_names_the_cause_and_the_fix() {
    let answer = run("explain web db:5432 -t config/nsg-tiers.yaml");
    assert_eq!(answer.code, 1);
    for part in ["verdict  blocked", "cause    NSG db-tier", "securityRules/deny-vnet", "fix      add an allow rule"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    assert_eq!(run("explain app db:5432 -t config/nsg-tiers.yaml").code, 0);
}

#[test]
fn explain_is_data_too() {
    let explanation = json("explain web db -t config/hub-spoke.yaml");
    assert_eq!(explanation["verdict"], "reachable");
    let nodes: Vec<&str> =
        explanation["forward"]["hops"].as_array().unwrap().iter().map(|hop| hop["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["web", "nva", "db"]);
    assert!(explanation["return"]["delivered"].as_bool().unwrap());
    let rows = run("explain web db -t config/hub-spoke.yaml -o tsv").stdout;
    assert!(rows.lines().any(|row| row.starts_with("return\tnva/eth0\troute\t")), "{rows}");
}

#[test]
fn explain_warns_of_an_asymmetric_path_by_its_exit_code() {
    let answer = about(ASYMMETRIC, "explain web db:80 -t FILE");
    assert_eq!(answer.code, 3, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stdout.contains("warning  "), "{}", answer.stdout);
}

/// An id that a message cites leads to its text, however its letters are written; several at once; an unknown one is told.
#[test]
fn a_rule_is_printed_by_its_id() {
    let answer = run("rule peer-05 UDR-12");
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stdout.starts_with("PEER-05\nNot transitive: A–B and B–C give no A–C route"), "{}", answer.stdout);
    assert!(answer.stdout.contains("\nUDR-12\n"), "{}", answer.stdout);
    let rows: Value = serde_json::from_str(&run("-o json rule PEER-02").stdout).unwrap();
    assert_eq!((&rows[0]["id"], &rows[0]["sources"]), (&"PEER-02".into(), &serde_json::json!(["peer-mg", "s-vnet"])));
    let family = run("rule ch");
    assert_eq!(family.stdout.lines().count(), 2 + 6, "{}", family.stdout);
    assert!(run("rule").stdout.contains("PEER"), "families are listed");
    let unknown = run("rule PEER-05 PEER-999 NOPE-1");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("`PEER-999`, `NOPE-1` are no rules"), "{}", unknown.stderr);
    assert_eq!(unknown.stdout, "", "nothing is printed beside a mistake");
}

#[test]
fn the_list_of_subcommands_is_complete() {
    let help = run("-h").stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // A wrapped description is indented further.
    let names =
        commands.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let expected = SUBCOMMANDS.into_iter().chain(["help"]).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_subcommand_explains_itself() {
    for subcommand in SUBCOMMANDS {
        for help in [run(&format!("{subcommand} --help")), run(&format!("help {subcommand}"))] {
            assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{subcommand}");
            assert!(help.stdout.contains(&format!("Usage: vnet {subcommand}")), "{}", help.stdout);
        }
    }
}

#[test]
fn the_help_documents_the_exit_codes() {
    let help = run("--help").stdout;
    for line in [
        "0  fine",
        "1  the answer is no",
        "2  wrong usage",
        "3  fine, with warnings",
        "4  a privilege",
        "5  no such lab",
    ] {
        assert!(help.contains(line), "{line}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for line in ["teleport", "routes", "explain web", "exec web", "validate", "routes web -o xml", "down x --all"] {
        let answer = run(line);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line}");
        assert!(answer.stderr.starts_with("error: "), "{line}: {}", answer.stderr);
    }
    assert!(run("statsu").stderr.contains("'status'"), "a suggestion");
}

/// The last line of an error says what to do.
#[test]
fn an_error_ends_with_help() {
    let nowhere = tempfile::tempdir().unwrap();
    for (line, error, help) in [
        ("rule NOPE-1", "`NOPE-1` is no rule", "`vnet rule` lists the families, "),
        ("up", "no *.vnet.yaml in this directory", "name the file: vnet up FILE"),
    ] {
        let answer = command(&line.split(' ').collect::<Vec<_>>()).current_dir(nowhere.path()).output().unwrap();
        let answer: Answer = answer.into();
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line}");
        let lines: Vec<_> = answer.stderr.lines().collect();
        let [first, last] = lines[..] else { panic!("{line}: {}", answer.stderr) };
        assert_eq!(first, format!("error: {error}"));
        assert!(last.starts_with(&format!("help: {help}")), "{line}: {last}");
    }
}

#[test]
fn without_that_lab_the_exit_code_is_5() {
    for line in [
        "status",
        "routes web",
        "rules web",
        "drops",
        "drops -f",
        "counters",
        "events",
        "flows",
        "explain web db",
        "next-hop web db",
        "flow-verify web --direction inbound --protocol tcp --local 443 --remote 10.9.9.9:50000",
        "reach",
        "bench web db",
        "exec web -- true",
        "shell web",
        "down",
    ] {
        let answer = run(&format!("-l no-such-lab-here {line}"));
        assert_eq!((answer.code, answer.stdout.as_str()), (5, ""), "{line}");
        assert!(answer.stderr.contains("error: lab no-such-lab-here does not run"), "{line}: {}", answer.stderr);
    }
    assert_eq!(run("down no-such-lab-here").code, 5);
    let by_argument = run("status no-such-lab-here");
    let by_environment: Answer = command(&["status"]).env("VNET_LAB", "no-such-lab-here").output().unwrap().into();
    assert_eq!((by_argument.code, by_environment.code), (5, 5));
}

#[test]
fn an_empty_list_is_a_list() {
    assert!(json("ls").is_array());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    for line in ["routes web -t config/hub-spoke.yaml", "completions bash", "--help", "ls"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments: Vec<_> = line.split(' ').collect();
        let answer: Answer = command(&arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn the_answer_stays_no_when_its_reader_has_left() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let blocked = ["explain", "web", "db:5432", "-t", "config/nsg-tiers.yaml"];
    let answer: Answer = command(&blocked).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
    assert_eq!((answer.code, answer.stderr.as_str()), (1, ""));
}

#[test]
fn colour_is_for_terminals_and_only_if_wanted() {
    const LINE: &str = "explain web db -t config/hub-spoke.yaml";
    let coloured = |answer: &Answer| answer.stdout.contains('\x1b');
    assert!(!coloured(&run(LINE)), "a pipe is no terminal");
    assert!(coloured(&run(&format!("{LINE} --color always"))));

    // `script` gives the program a terminal.
    let on_a_terminal = |line: &str, no_color: Option<&str>| {
        let mut command = Command::new("script");
        command.args([
            "--quiet",
            "--return",
            "--command",
            &format!("{} {line}", env!("CARGO_BIN_EXE_vnet")),
            "/dev/null",
        ]);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let answer = Answer::from(command.output().unwrap());
        assert_eq!(answer.code, 0, "{}", answer.stdout);
        answer
    };
    assert!(coloured(&on_a_terminal(LINE, None)));
    assert!(coloured(&on_a_terminal(LINE, Some(""))), "an empty NO_COLOR says nothing");
    assert!(!coloured(&on_a_terminal(LINE, Some("1"))));
    assert!(!coloured(&on_a_terminal(&format!("{LINE} --color never"), None)));
}

/// Either direction over one of two appliances, of which one is no machine's address.
#[test]
fn explain_has_its_own_exit_code_for_what_depends_on_the_hash() {
    let member = "nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.3.4";
    let members = "nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.1.3.4, 10.1.3.99]}";
    assert!(ASYMMETRIC.contains(member));
    let topology = ASYMMETRIC.replace(member, members);
    let answer = about(&topology, "explain web db:80 -t FILE");
    assert_eq!((answer.code, &*answer.stderr), (3, ""), "{}", answer.stdout);
    for line in [
        "Ways, by the flow's hash: 2\n",
        "  via nva, back directly: arrives, as from port ",
        "  directly: NextHopUnreachable, as from port ",
        "verdict  depends on the flow's hash\n",
        "fix      take 10.1.3.99 out of the route\n",
    ] {
        assert!(answer.stdout.contains(line), "{line} is not in\n{}", answer.stdout);
    }
    let answer = about(&topology, "reach -t FILE");
    assert!(
        answer.stdout.contains("depends: some flows are dropped by their hash, or by a guest's own rules"),
        "{}",
        answer.stdout
    );
    let fixed = topology.replace("10.1.3.99]", "10.1.3.5]");
    let second = "  - {name: nva2, networkInterfaces: [{subnet: a/nva, enableIPForwarding: true}]}\n";
    let answer = about(&(fixed + second), "reach -t FILE");
    assert!(answer.stdout.contains("via nva or nva2"), "{}", answer.stdout);
}

/// Bounded before it is parsed: it costs neither time nor memory.
#[test]
fn what_is_too_large_for_a_topology_is_refused_early() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large.yaml");
    fs::File::create(&large).unwrap().set_len(50 << 20).unwrap();
    let start = std::time::Instant::now();
    // What may be a dump has more room.
    for (file, most) in [("/dev/zero", "64 MiB"), (large.to_str().unwrap(), "8 MiB")] {
        for verb in ["validate", "routes web -t"] {
            let answer = run(&format!("{verb} {file}"));
            assert_eq!((answer.code, answer.stdout.as_str()), (2, ""));
            assert!(answer.stderr.contains(&format!("it is larger than {most}")), "{}", answer.stderr);
        }
    }
    let zero = fs::File::open("/dev/zero").unwrap();
    let answer: Answer = command(&["validate", "-"]).stdin(zero).output().unwrap().into();
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    // What the file names is bounded too.
    let topology = dir.path().join("tags.yaml");
    let network = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: []}]\n\
        routeTables: [{name: t, routes: [{name: r, addressPrefix: Storage, nextHopType: Internet}]}]\n";
    fs::File::create(dir.path().join("tags.json")).unwrap().set_len(40 << 20).unwrap();
    fs::write(&topology, format!("serviceTags: tags.json\n{network}")).unwrap();
    let answer = run(&format!("validate {}", topology.display()));
    assert!(answer.code == 2 && answer.stdout.contains("larger than 32 MiB"), "{}{}", answer.stdout, answer.stderr);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn diag_08_a_storage_path_that_is_no_directory_is_a_mistake_in_the_file() {
    let topology = |path: &str| {
        format!(
            "virtualNetworks: [{{name: v, location: westeurope, addressSpace: [10.0.0.0/16], \
             subnets: [{{name: s, addressPrefix: 10.0.1.0/24}}]}}]\n\
             flowLogs: [{{name: log, targetResourceId: virtualNetworks/v, storagePath: {path}}}]\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let file = dir.path().join("lab.yaml");
    for (path, fits) in [("/etc/passwd", false), ("/etc/passwd/logs", false), ("file", false), ("logs/new", true)] {
        fs::write(&file, topology(path)).unwrap();
        let answer = run(&format!("validate {}", file.display()));
        assert_eq!(answer.code == 2, !fits, "{path}: {}", answer.stdout);
        assert_eq!(answer.stdout.contains("flowLogs[0].storagePath"), !fits, "{path}: {}", answer.stdout);
        assert_eq!(
            answer.stdout.contains("is no directory: no flow log can be kept there"),
            !fits,
            "{}",
            answer.stdout
        );
    }
}

#[test]
fn the_help_names_the_variables_that_apply() {
    let help = run("--help").stdout;
    assert!(help.contains("VNET_LAB") && help.contains("VNET_LOG"), "{help}");
}
