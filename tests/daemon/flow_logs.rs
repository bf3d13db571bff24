//! Flow logs of what happens while their directories come and go.

use std::fs;
use std::path::Path;

use vnet::daemon::api::protocol::{Request, Response};

use crate::{Lab, eventually};

/// DIAG-08: a log has what happens from when it is applied. Directories that a user has removed are made again, and records
/// go on.
#[test]
fn diag_08_a_log_goes_on_after_its_directory_was_removed() {
    let lab = Lab::start();
    let storage = lab.directory.path().join("logs");
    fs::create_dir(&storage).unwrap();
    let report = || {
        let Response::Status(status) = lab.ask(&Request::Status) else { panic!("no status") };
        assert_eq!(status.flow_events_lost, 0);
        status.flow_logs
    };
    assert_eq!(report(), [], "not applied yet");
    lab.logger.apply(vec![storage.clone()]);
    let [log] = &report()[..] else { panic!("one log") };
    assert_eq!((log.name.as_str(), log.records, log.storage_path.as_path()), ("net", 0, storage.as_path()));
    lab.exchange(1000, b"logged");
    eventually(|| report().iter().all(|log| log.records > 0 && log.error.is_none()));
    assert!(storage.read_dir().unwrap().next().is_some());

    fs::remove_dir_all(&storage).unwrap();
    lab.logger.mend();
    assert!(storage.is_dir(), "it is there again");
    lab.exchange(2000, b"logged again");
    eventually(|| storage.read_dir().unwrap().next().is_some());
    assert!(report().iter().all(|log| log.error.is_none()));
    lab.logger.stop();
    lab.logger.stop();
}

/// A flow that began before a change belongs where the log was kept then.
#[test]
fn diag_08_what_is_pending_is_written_where_it_was_before_a_change() {
    let lab = Lab::start();
    let [before, after] = ["before", "after"].map(|name| lab.directory.path().join(name));
    for storage in [&before, &after] {
        fs::create_dir(storage).unwrap();
        lab.logger.apply(vec![storage.clone()]);
        assert!(storage.read_dir().unwrap().next().is_none());
        if storage == &before {
            lab.exchange(1000, b"logged");
        }
    }
    lab.logger.stop();
    let is_empty = [before, after].map(|storage| storage.read_dir().unwrap().next().is_none());
    assert_eq!(is_empty, [false, true]);
    let Response::Status(status) = lab.ask(&Request::Status) else { panic!("no status") };
    assert_eq!(status.flow_events_lost, 0);
}

/// What is pending when the daemon ends is written, whether it was asked to end or not.
#[test]
fn diag_08_the_end_loses_no_record() {
    for asked in [true, false] {
        let lab = Lab::start();
        let storage = lab.directory.path().join("logs");
        fs::create_dir(&storage).unwrap();
        lab.logger.apply(vec![storage.clone()]);
        lab.exchange(1000, b"logged");
        if asked {
            lab.logger.stop();
        } else {
            drop(lab.logger);
        }
        assert!(storage.read_dir().unwrap().next().is_some());
    }
}

/// DIAG-08: a flow that goes on has a record for each interval.
#[test]
fn diag_08_a_flow_that_goes_on_is_recorded_again() {
    let lab = Lab::start();
    let storage = lab.directory.path().join("logs");
    fs::create_dir(&storage).unwrap();
    lab.logger.apply(vec![storage.clone()]);
    eventually(|| {
        lab.exchange(1000, b"it goes on");
        text(&storage).contains(",17,O,C,")
    });
}

/// All that is below a directory.
fn text(place: &Path) -> String {
    let below = |entry: fs::DirEntry| {
        if entry.path().is_dir() { text(&entry.path()) } else { fs::read_to_string(entry.path()).unwrap_or_default() }
    };
    place.read_dir().into_iter().flatten().flatten().map(below).collect()
}
