//! Topology files and what becomes of them.
//!
//! Every `tests/config/NAME.yaml` has a twin: `NAME.stderr` with the messages of a file that is wrong, `NAME.model` with
//! the network (and warnings) of a good one. The first lines of a case name the rules that it proves. `UPDATE_GOLDEN=1`
//! rewrites the twins; read the diff. The files in `config/`, which users start from, load without a doubt.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use vnet::config::{Loaded, load};
use vnet::model::Network;

/// The YAML files of a directory below the package, sorted.
fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no YAML file in {}", directory.display());
    files
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_case_gives_what_its_twin_says() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in yaml_files("tests/config") {
        let text = fs::read_to_string(&path).unwrap();
        let file = file_name(&path);
        let (actual, extension, other) = match load(&text, &file) {
            Ok(loaded) => (dump(&loaded, &text, &file), "model", "stderr"),
            Err(errors) => (errors.render(&text, &file, false), "stderr", "model"),
        };
        let (twin, stale) = (path.with_extension(extension), path.with_extension(other));
        if update {
            fs::write(&twin, &actual).unwrap();
            let _ = fs::remove_file(stale);
        } else if stale.exists() || fs::read_to_string(&twin).ok().as_ref() != Some(&actual) {
            wrong.push(format!("--- {file} gives, unlike its twin:\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites the twins", wrong.join("\n"));
}

#[test]
fn every_example_loads_without_error_or_warning() {
    for path in yaml_files("config") {
        let text = fs::read_to_string(&path).unwrap();
        let file = file_name(&path);
        let loaded = load(&text, &file).unwrap_or_else(|errors| panic!("{}", errors.render(&text, &file, false)));
        assert!(loaded.warnings.is_empty(), "{file}: {:?}", loaded.warnings);
    }
}

/// A network, one object a line.
fn dump(loaded: &Loaded, text: &str, file: &str) -> String {
    let Network {
        name,
        virtual_networks,
        route_tables,
        network_security_groups,
        virtual_machines,
        network_interfaces,
        emulation,
    } = &loaded.network;
    let mut out = format!("name {name}\n");
    for vnet in virtual_networks {
        let (space, timeout) = (&vnet.address_space, vnet.flow_timeout);
        writeln!(out, "vnet {} {} {space:?} {timeout:?} {:?}", vnet.name, vnet.location, vnet.attach).unwrap();
        vnet.subnets.iter().for_each(|subnet| writeln!(out, "  {subnet:?}").unwrap());
        vnet.peerings.iter().for_each(|link| writeln!(out, "  {link:?}").unwrap());
    }
    for table in route_tables {
        writeln!(out, "table {} disable propagation: {}", table.name, table.disable_bgp_route_propagation).unwrap();
        table.routes.iter().for_each(|route| writeln!(out, "  {route:?}").unwrap());
    }
    for nsg in network_security_groups {
        writeln!(out, "nsg {}", nsg.name).unwrap();
        nsg.rules.iter().for_each(|rule| writeln!(out, "  {rule:?}").unwrap());
    }
    virtual_machines.iter().for_each(|vm| writeln!(out, "{vm:?}").unwrap());
    network_interfaces.iter().for_each(|nic| writeln!(out, "{nic:?}").unwrap());
    writeln!(out, "{emulation:?}").unwrap();
    loaded.warnings.iter().for_each(|warning| out.push_str(&warning.render(text, file, false)));
    out
}
