//! What code a topology file brings, and whether its user has agreed to it.
//!
//! One idea: consent is about contents. It is a file of the user's, named by the SHA-256 of the topology's text and of the
//! files beside it that it names. A change of any of them is another name, so it needs another consent; a copy of all
//! in another directory does not.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use ring::digest::{Context, SHA256};

use crate::model::{AttachNamespace, Network, Program};
use crate::sys::{files, netns};

use super::error::Error;
use super::lifecycle::daemon::name;
use super::namespaces::attach;

/// Of a file that a program is started with, this much is looked at.
const LARGEST: u64 = 64 << 20;
/// The longest note of a consent.
const LARGEST_NOTE: u64 = 64 << 20;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Characters that end a word of a shell's script.
const BOUNDS: &[char] = &[' ', '\t', '\n', '\'', '"', '`', ';', '&', '|', '<', '>', '(', ')', '=', '$', '{', '}'];

/// The code of a topology.
#[derive(Debug)]
pub struct Code {
    pub parts: Vec<Part>,
    digest: String,
}

/// What runs in one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub node: String,
    pub what: What,
}

/// A program with its arguments, or rules that `nft` loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Program(Program),
    Rules {
        name: String,
        text: String,
    },
    /// A flow log's files, outside the topology's directory.
    Files(PathBuf),
    /// A device in the network of this computer, by the path that the file has for that.
    Device(PathBuf),
    /// A device in the network of a container, by its name.
    Container(String),
}

impl Code {
    /// None where nothing runs. `directory` is the topology's.
    pub fn of(network: &Network, text: &str, directory: &Path) -> Option<Self> {
        let parts = parts(network);
        if parts.is_empty() {
            return None;
        }
        let digest = digest(network, &parts, text, directory);
        Some(Self { parts, digest })
    }

    /// Whether the user has agreed to this topology as it is.
    pub fn is_agreed(&self) -> bool {
        directory().is_some_and(|dir| files::read_own(&dir.join(&self.digest), LARGEST_NOTE).is_ok())
    }

    /// Whether a network that runs has all of it.
    pub fn runs_in(&self, network: &Network) -> bool {
        let running = parts(network);
        self.parts.iter().all(|part| running.contains(part))
    }

    /// Remembers that the user agrees, with a note for people. Returns the place.
    pub fn agree(&self, note: &str) -> io::Result<PathBuf> {
        let no_home = || io::Error::new(io::ErrorKind::NotFound, "neither HOME nor XDG_STATE_HOME is an absolute path");
        let directory = directory().ok_or_else(no_home)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let path = directory.join(&self.digest);
        // Complete before it has its name.
        let draft = directory.join(format!(".{}-{}", self.digest, std::process::id()));
        files::create(&draft, files::OWN)?.write_all(note.as_bytes())?;
        fs::rename(&draft, &path)?;
        Ok(path)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(program) => program.fmt(f),
            Self::Rules { name, text } => write!(f, "nft -f {name}\n{text}"),
            Self::Files(path) => write!(f, "writes flow logs below {}", path.display()),
            Self::Device(path) => write!(f, "makes a device in this computer's own network, {}", path.display()),
            Self::Container(name) => write!(f, "makes a device in the network of container {name}"),
        }
    }
}

/// The directory of a topology, which may be called by a relative path.
pub fn directory_of(topology: &Path) -> PathBuf {
    let absolute = std::path::absolute(topology).unwrap_or_default();
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn parts(network: &Network) -> Vec<Part> {
    let program =
        |(node, program): (&str, &Program)| Part { node: node.to_owned(), what: What::Program(program.clone()) };
    let rules = network.virtual_machines.iter().filter_map(|vm| {
        let filter = vm.guest_filter.as_ref()?;
        let what = What::Rules { name: filter.name().to_owned(), text: filter.text.clone() };
        Some(Part { node: vm.name.clone(), what })
    });
    let tests = network.programs_of_tests().map(program);
    let files = network.flow_logs.iter().filter(|log| log.enabled).filter_map(|log| {
        let path = log.outside()?.to_owned();
        Some(Part { node: format!("flow log {}", log.name), what: What::Files(path) })
    });
    network.programs().map(program).chain(rules).chain(tests).chain(files).chain(devices_outside(network)).collect()
}

/// Fails where a network reaches out in a way that cannot be left out.
pub(super) fn stays_inside(network: &Network) -> Result<(), Error> {
    let Some(Part { node, what }) = devices_outside(network).next() else { return Ok(()) };
    Err(Error::NotPermitted(format!("{node} {what}: that needs your consent, and --no-run withholds it")))
}

/// What is attached to the network of this computer: its own packets would go there. What may not be looked at may be
/// that, too. A container is not the lab's either.
fn devices_outside(network: &Network) -> impl Iterator<Item = Part> {
    let ours = [netns::CURRENT, "/proc/1/ns/net"].map(|path| netns::identity(Path::new(path)));
    let is_outside = move |path: &Path| match path.metadata() {
        Ok(_) => netns::identity(path).is_some_and(|identity| ours.contains(&Some(identity))),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    network.attachments().into_iter().filter_map(move |attachment| {
        let what = match &attach::place(network, attachment)?.namespace {
            AttachNamespace::Container { name, .. } => Some(What::Container(name.clone())),
            other => Some(attach::path(other)).filter(|path| is_outside(path)).map(What::Device),
        };
        Some(Part { node: name(network, attachment), what: what? })
    })
}

/// Where consents are kept.
fn directory() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("vnet/trusted"))
}

fn digest(network: &Network, parts: &[Part], text: &str, directory: &Path) -> String {
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    add(b"vnet: code of a topology, 1");
    add(text.as_bytes());
    for (name, rules) in network.nftables_files() {
        add(name.as_bytes());
        add(rules.as_bytes());
    }
    for (name, content) in named_files(parts, directory) {
        add(name.as_bytes());
        add(&content);
    }
    let digits = context.finish();
    digits
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The files in the topology's directory that words of a command name, with their contents: `server.py`, `./start.sh`.
fn named_files(parts: &[Part], directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(directory) = directory.canonicalize() else { return BTreeMap::new() };
    let commands = parts.iter().filter_map(|part| match &part.what {
        What::Program(program) => Some(&program.command),
        What::Rules { .. } | What::Files(_) | What::Device(_) | What::Container(_) => None,
    });
    let words = commands.flatten().flat_map(|argument| argument.split(BOUNDS).chain([argument.as_str()]));
    let file = |word: &str| {
        let path = directory.join(word).canonicalize().ok()?;
        let inside = path.strip_prefix(&directory).ok()?;
        let mut content = Vec::new();
        // A pipe would keep a reader waiting.
        let file = path.is_file().then(|| File::open(&path).ok())??;
        file.take(LARGEST).read_to_end(&mut content).ok()?;
        Some((inside.display().to_string(), content))
    };
    words.filter(|word| !word.is_empty()).filter_map(file).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn program(command: &[&str]) -> Vec<Part> {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let command = Program { command, ..Program::default() };
        vec![Part { node: "web".to_owned(), what: What::Program(command) }]
    }

    #[test]
    fn files_beside_the_topology_are_found_in_arguments_and_scripts() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("lab");
        fs::create_dir(&inside).unwrap();
        for (name, text) in [("lab/server.py", "a"), ("lab/start.sh", "b"), ("secret", "c")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
        let found = |command: &[&str]| named_files(&program(command), &inside).into_keys().collect::<Vec<_>>();
        assert_eq!(found(&["python3", "server.py"]), ["server.py"]);
        assert_eq!(found(&["sh", "-ec", "sleep 1; ./start.sh>/dev/null &"]), ["start.sh"]);
        assert_eq!(found(&["cat", &inside.join("start.sh").display().to_string()]), ["start.sh"]);
        // Those outside are not the topology's.
        assert_eq!(found(&["cat", "../secret", "link", "/etc/passwd"]), [""; 0]);
    }

    const CODE: &str = "
name: lab
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: web, run: [python3, server.py], networkInterfaces: [{subnet: v/s}]}
  - {name: fw, guest: {nftables: 'table inet t { }'}, networkInterfaces: [{subnet: v/s}]}
tests:
  - {on: web, exec: hostname}
";

    #[test]
    fn code_is_told_part_by_part_and_known_by_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server.py"), "one").unwrap();
        let network = crate::lab::tests::network;
        let of = |text: &str| Code::of(&network(text), text, dir.path());
        let code = of(CODE).unwrap();
        let parts: Vec<_> = code.parts.iter().map(|part| format!("{}: {}", part.node, part.what)).collect();
        assert_eq!(parts[0], "web: python3 server.py");
        assert!(parts[1].starts_with("fw: nft -f ") && parts[1].contains("table inet t { }"), "{parts:?}");
        assert!(parts.len() == 3 && parts[2].contains("hostname"), "{parts:?}");
        assert!(code.digest.len() == 64 && code.digest.bytes().all(|digit| DIGITS.contains(&digit)), "{}", code.digest);
        assert_eq!(code.digest, of(CODE).unwrap().digest);
        assert_ne!(code.digest, of(&format!("{CODE}# more\n")).unwrap().digest, "another text");
        fs::write(dir.path().join("server.py"), "two").unwrap();
        assert_ne!(code.digest, of(CODE).unwrap().digest, "another program beside it");
        assert!(code.runs_in(&network(CODE)));
        assert!(!code.runs_in(&network(&CODE.replace("server.py", "other.py"))));
        assert!(!code.runs_in(&network(&CODE.replace("inet t", "inet u"))));
        let quiet =
            CODE.replace("run: [python3, server.py], ", "").replace("guest: {nftables: 'table inet t { }'}, ", "");
        assert!(of(quiet.split("tests:").next().unwrap()).is_none(), "nothing runs");
    }

    #[test]
    fn what_reaches_into_this_computers_network_needs_consent_and_cannot_be_left_out() {
        let network = crate::lab::tests::network;
        let attached = |at: &str| {
            let attach = format!("{{subnet: v/s, attach: {{namespace: {at}, interface: eth7}}}}");
            network(&CODE.replace(
                "run: [python3, server.py], networkInterfaces: [{subnet: v/s}]",
                &format!("networkInterfaces: [{attach}]"),
            ))
        };
        let own = attached("/proc/1/ns/net");
        let refused = stays_inside(&own).map_err(|error| error.to_string()).unwrap_err();
        assert!(
            refused.starts_with("web/eth0 makes a device in this computer's own network, /proc/1/ns/net: "),
            "{refused}"
        );
        assert!(parts(&own).iter().any(|part| matches!(part.what, What::Device(_))));
        for none in ["/no/such/place", "/etc/passwd"] {
            assert!(stays_inside(&attached(none)).is_ok(), "{none} is no namespace");
        }
        assert_eq!(directory_of(Path::new("/a/b/lab.yaml")), Path::new("/a/b"));
    }
}
