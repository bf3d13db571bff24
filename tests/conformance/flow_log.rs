//! What a security group's flow log has, read from its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::stage::Stage;

/// Looks until these are the lines, or patience is over.
pub(crate) fn holds(stage: &Stage, log: &str, lines: &[String]) -> Outcome {
    let wanted: BTreeSet<String> = lines.iter().cloned().collect();
    let deadline = Instant::now() + stage.patience;
    loop {
        let found = lines_of(stage, log)?;
        if found == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("it has {found:?}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn lines_of(stage: &Stage, log: &str) -> Outcome<BTreeSet<String>> {
    let status = stage.lab.data(&["status"]);
    let known = status["flowLogs"].as_array().into_iter().flatten().find(|known| known["name"] == log);
    let known = known.ok_or_else(|| format!("there is no flow log `{log}`"))?;
    let group = known["target"].as_str().unwrap().rsplit('/').next().unwrap().to_uppercase();
    let mut files = Vec::new();
    find(Path::new(known["storagePath"].as_str().unwrap()), &mut files);
    let of_group = files.iter().filter(|file| file.iter().any(|part| *part == *group));
    let mut lines = BTreeSet::new();
    for file in of_group {
        let value: Value = serde_json::from_slice(&fs::read(file)?)?;
        for flows in
            value["records"].as_array().unwrap().iter().flat_map(|of| of["properties"]["flows"].as_array().unwrap())
        {
            let tuples = flows["flows"][0]["flowTuples"].as_array().unwrap();
            lines.extend(tuples.iter().map(|tuple| line(flows["rule"].as_str().unwrap(), tuple.as_str().unwrap())));
        }
    }
    Ok(lines)
}

/// Ephemeral ports, times and counters are left out.
fn line(rule: &str, tuple: &str) -> String {
    let fields: Vec<&str> = tuple.split(',').collect();
    format!("{rule} {} {} {}", fields[6], fields[7], fields[4])
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else {
            files.push(path);
        }
    }
}
