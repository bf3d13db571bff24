//! One flow log's files: a file for each hour and interface, always whole JSON, and in total within a size limit.
//!
//! One idea: a file is never changed in place. A copy with one more record is written beside it and renamed onto it. A
//! reader therefore sees either the old or the new whole file, even if the daemon is killed or the disk is full. A file
//! that a system crash tore is repaired before the next write. Old hours are deleted as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::model::{FlowLog, counted};

use super::{LoggedRecord, hour};

const FIRST_LINE: &str = "{\"records\":[\n";
const LAST_LINE: &str = "\n]}\n";

/// The name of its files.
const FILE: &str = "PT1H.json";
/// The name of a file's next version while it is written.
const NEXT: &str = "PT1H.json.next";

const DAY_MICROS: u64 = 86_400 * 1_000_000;

/// The directory of one flow log's records.
#[derive(Debug)]
pub(crate) struct LogFiles {
    name: String,
    storage: PathBuf,
    retention_days: Option<u16>,
    /// Bytes.
    room: u64,
    /// The log's own directory, and the size of each hour in it; None before the first record.
    hours: Option<Hours>,
    records: u64,
    lost: u64,
    cut: Cut,
    error: Option<String>,
}

/// The results of one cut's records.
#[derive(Debug, Default)]
struct Cut {
    written: bool,
    error: Option<String>,
}

#[derive(Debug)]
struct Hours {
    directory: PathBuf,
    /// By `y=2026/m=11/d=21/h=12`.
    bytes: BTreeMap<String, u64>,
}

impl LogFiles {
    pub(crate) fn new(log: &FlowLog, storage: PathBuf, room: u64) -> Self {
        let (name, retention_days) = (log.name.clone(), log.retention_days);
        let (records, lost, cut, error) = (0, 0, Cut::default(), None);
        Self { name, storage, retention_days, room, hours: None, records, lost, cut, error }
    }

    /// Whether another value belongs to the same log.
    pub(crate) fn continues_in(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name) && self.storage == other.storage
    }

    /// Takes over another value's counters.
    pub(crate) fn take_over(&mut self, before: &Self) {
        (self.records, self.lost, self.error) = (before.records, before.lost, before.error.clone());
    }

    pub(crate) fn storage(&self) -> &Path {
        &self.storage
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Records that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Why records of the last cut could not be written.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.clone()
    }

    pub(crate) fn put(&mut self, record: &LoggedRecord, unix_micros: u64) {
        match self.try_put(record, unix_micros) {
            Ok(()) => {
                self.records += 1;
                self.cut.written = true;
            }
            Err(error) => {
                self.lost += 1;
                self.cut.error = Some(error.to_string());
            }
        }
    }

    /// Ends a cut. A failure over several cuts is logged once, and so is its end.
    pub(crate) fn end_cut(&mut self) {
        let Cut { written, error } = std::mem::take(&mut self.cut);
        let (name, lost) = (&self.name, self.lost);
        match error {
            Some(error) => {
                if self.error.is_none() {
                    tracing::warn!("flow log {name} loses records: {error}");
                }
                self.error = Some(error);
            }
            None if written && self.error.take().is_some() => {
                tracing::info!("flow log {name} is written again; {} lost so far", counted(lost, "record"));
            }
            None => {}
        }
    }

    fn try_put(&mut self, record: &LoggedRecord, unix_micros: u64) -> io::Result<()> {
        let directory = self.storage.join(&record.directory);
        let hours = match self.hours.take().filter(|hours| hours.directory == directory) {
            Some(hours) => self.hours.insert(hours),
            None => self.hours.insert(Hours::read(directory)?),
        };
        let wanted = (FIRST_LINE.len() + record.text.len() + LAST_LINE.len()) as u64;
        let keep = self.retention_days.map(|days| u64::from(days) * DAY_MICROS);
        let oldest = keep.map(|keep| hour(unix_micros.saturating_sub(keep)));
        hours.make_room(self.room.saturating_sub(wanted), oldest.as_deref(), &record.hour)?;
        if hours.total() + wanted > self.room {
            let mebibytes = self.room >> 20;
            return Err(io::Error::other(format!("this hour's records alone take more than {mebibytes} MiB")));
        }
        let path = hours.directory.join(record.file());
        let grown = append(&path, &record.text)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))?;
        *hours.bytes.entry(record.hour.clone()).or_default() += grown;
        Ok(())
    }
}

impl Hours {
    /// Files of an earlier daemon count too.
    fn read(directory: PathBuf) -> io::Result<Self> {
        let mut bytes = BTreeMap::new();
        let mut level = vec![(directory.clone(), String::new())];
        for prefix in ["y=", "m=", "d=", "h="] {
            let mut next = Vec::new();
            for (path, hour) in &level {
                for name in names(path)?.into_iter().filter(|name| name.starts_with(prefix)) {
                    let separator = if hour.is_empty() { "" } else { "/" };
                    next.push((path.join(&name), format!("{hour}{separator}{name}")));
                }
            }
            level = next;
        }
        for (path, hour) in level {
            let sizes = files(&path)?.into_iter().filter_map(|file| Some(fs::metadata(file).ok()?.len()));
            bytes.insert(hour, sizes.sum());
        }
        Ok(Self { directory, bytes })
    }

    fn total(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Removes whole hours, the oldest first, but never the current one.
    fn make_room(&mut self, room: u64, oldest: Option<&str>, now: &str) -> io::Result<()> {
        while let Some(hour) = self.bytes.keys().next().filter(|hour| *hour != now).cloned() {
            let is_old = oldest.is_some_and(|oldest| hour.as_str() < oldest);
            if !is_old && self.total() <= room {
                break;
            }
            self.remove(&hour)?;
            self.bytes.remove(&hour);
        }
        Ok(())
    }

    /// Removes its files and the directories that become empty, nothing else.
    fn remove(&self, hour: &str) -> io::Result<()> {
        let path = self.directory.join(hour);
        for file in files(&path)? {
            fs::remove_file(&file)?;
            // A killed daemon may have left one; usually there is none.
            let _ = fs::remove_file(file.with_file_name(NEXT));
            let above = file.ancestors().skip(1).take_while(|above| above.starts_with(&self.directory));
            // The first directory that is not empty ends the loop.
            let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
        }
        Ok(())
    }
}

/// The files of one hour.
fn files(hour: &Path) -> io::Result<Vec<PathBuf>> {
    let interfaces = hour.join("m=00");
    let files = names(&interfaces)?.into_iter().map(|name| interfaces.join(name).join(FILE));
    Ok(files.filter(|file| file.exists()).collect())
}

/// A directory's entries; none if it does not exist.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Adds a record to a file, and returns the file's growth in bytes.
fn append(path: &Path, record: &str) -> io::Result<u64> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let before = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        file => Some(file?),
    };
    let length = before.as_ref().map_or(Ok(0), |file| Ok::<_, io::Error>(file.metadata()?.len()))?;
    let next = path.with_file_name(NEXT);
    let written = write_next(&next, before.as_ref(), length, record).and_then(|end| {
        fs::rename(&next, path)?;
        Ok(end.saturating_sub(length))
    });
    if written.is_err() {
        // An unfinished copy would keep using the disk space that is missing.
        let _ = fs::remove_file(&next);
    }
    written
}

/// Writes a file's whole records and one more to another file, and returns the new length.
fn write_next(next: &Path, before: Option<&File>, length: u64, record: &str) -> io::Result<u64> {
    let mut file = File::create(next)?;
    let (records, text) = match before.map_or(Ok(0), |before| end_of_records(before, length))? {
        0 => (0, format!("{FIRST_LINE}{record}{LAST_LINE}")),
        end => (end, format!(",\n{record}{LAST_LINE}")),
    };
    if let Some(before) = before {
        // The kernel copies it: see `io::copy`.
        io::copy(&mut before.take(records), &mut file)?;
    }
    file.write_all(text.as_bytes())?;
    Ok(records + text.len() as u64)
}

/// Where the last whole record ends; 0 if there is none.
fn end_of_records(file: &File, length: u64) -> io::Result<u64> {
    let last_line = LAST_LINE.len() as u64;
    let mut tail = [0; LAST_LINE.len()];
    // Without any record its end would not be the end of one.
    if length > FIRST_LINE.len() as u64 + last_line {
        file.read_exact_at(&mut tail, length - last_line)?;
        if tail == LAST_LINE.as_bytes() {
            return Ok(length - last_line);
        }
    }
    // A write was torn: the text before it is whole.
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let Some(lines) = bytes.strip_prefix(FIRST_LINE.as_bytes()) else { return Ok(0) };
    let mut end = 0;
    let mut next = FIRST_LINE.len();
    for line in lines.split(|byte| *byte == b'\n') {
        let record = line.strip_suffix(b",").unwrap_or(line);
        if serde_json::from_slice::<IgnoredAny>(record).is_err() {
            break;
        }
        end = next + record.len();
        next += line.len() + 1;
    }
    Ok(end as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::{FlowLogTarget, VnetIx};

    const HOUR: u64 = 3_600_000_000;

    fn files(storage: &Path, retention_days: Option<u16>, room: u64) -> LogFiles {
        let target = FlowLogTarget::Vnet(VnetIx(0));
        let log = FlowLog { name: "log".to_owned(), target, enabled: true, storage_path: None, retention_days };
        LogFiles::new(&log, storage.to_owned(), room)
    }

    fn record(at: u64, text: &str) -> LoggedRecord {
        let (directory, mac) = (PathBuf::from("log"), "000D3A000001".to_owned());
        LoggedRecord { log: 0, directory, hour: hour(at), mac, text: text.to_owned() }
    }

    fn read(path: &Path) -> Vec<u64> {
        let value: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        value["records"].as_array().unwrap().iter().map(|record| record.as_u64().unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_after_each_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        for n in 1..=3 {
            append(&path, &n.to_string()).unwrap();
            assert_eq!(read(&path), (1..=n).collect::<Vec<_>>());
        }
    }

    /// As with a full disk: the file stays unchanged, and the next record is written once there is space.
    #[test]
    fn a_file_that_cannot_be_written_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), None, 1 << 20);
        let mut put = |text: &str| {
            files.put(&record(0, text), 0);
            files.end_cut();
            (files.records(), files.lost(), files.error().is_some())
        };
        assert_eq!(put("1"), (1, 0, false));
        let path = dir.path().join("log").join(record(0, "").file());
        let in_the_way = path.with_file_name(NEXT);
        fs::create_dir(&in_the_way).unwrap();
        assert_eq!(put("2"), (1, 1, true));
        assert_eq!(read(&path), [1]);
        fs::remove_dir(in_the_way).unwrap();
        let open = File::open(&path).unwrap();
        assert_eq!(put("3"), (2, 1, false));
        assert_eq!(read(&path), [1, 3]);
        assert_eq!(io::read_to_string(open).unwrap(), "{\"records\":[\n1\n]}\n", "a reader reads to the end");
    }

    /// What is logged meanwhile, a line each.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        tracing::subscriber::with_default(log.with_writer(move || writer.clone()).finish(), work);
        let bytes = lines.0.lock().unwrap();
        std::str::from_utf8(&bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Every cut may fail for the same reason; a cut without records is no end of it.
    #[test]
    fn a_failure_is_logged_once_and_so_is_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), None, 1 << 20);
        let in_the_way = dir.path().join("log");
        let lines = logged(|| {
            let mut cut = |count: u64| {
                (0..count).for_each(|_| files.put(&record(0, "1"), 0));
                files.end_cut();
            };
            fs::write(&in_the_way, "").unwrap();
            cut(2);
            cut(1);
            cut(0);
            fs::remove_file(&in_the_way).unwrap();
            cut(1);
            cut(1);
        });
        let [loses, again] = &lines[..] else { panic!("{lines:#?}") };
        assert!(loses.starts_with("WARN flow log log loses records: "), "{loses}");
        assert_eq!(again, "INFO flow log log is written again; 3 records lost so far");
        assert_eq!((files.records(), files.lost(), files.error()), (2, 3, None));
    }

    #[test]
    fn a_torn_write_is_mended_wherever_it_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        assert_eq!(append(&path, "1").unwrap(), 18, "the first and last line, too");
        append(&path, "2").unwrap();
        let whole = fs::read(&path).unwrap();
        let ends =
            |text: &str| whole.windows(text.len()).position(|part| part == text.as_bytes()).unwrap() + text.len();
        for torn in 0..whole.len() {
            fs::write(&path, &whole[..torn]).unwrap();
            append(&path, "3").unwrap();
            let kept = ["1", "1,\n2"].into_iter().filter(|text| torn >= ends(text)).count() as u64;
            assert_eq!(read(&path), (1..=kept).chain([3]).collect::<Vec<_>>(), "torn at {torn}");
        }
        assert_eq!(append(&path, "4").unwrap(), 3, "a comma, a newline and the record");
    }

    #[test]
    fn a_file_without_records_gets_its_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        for text in ["", FIRST_LINE, &format!("{FIRST_LINE}{LAST_LINE}")] {
            fs::write(&path, text).unwrap();
            append(&path, "1").unwrap();
            assert_eq!(read(&path), [1], "{text:?}");
        }
    }

    /// A log goes on where its name, in any case, and its place stay; its counters then go on, too.
    #[test]
    fn a_log_is_the_same_by_its_name_and_its_place() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let named = |name: &str, storage: &Path| LogFiles { name: name.to_owned(), ..files(storage, None, 1 << 20) };
        let mut before = named("log", dir.path());
        let is_same = |next: &LogFiles| before.continues_in(next);
        assert!(is_same(&named("LOG", dir.path())));
        assert!(!is_same(&named("LOG", other.path())));
        assert!(!is_same(&named("logs", dir.path())));
        before.put(&record(0, "1"), 0);
        before.end_cut();
        let mut next = named("LOG", dir.path());
        next.take_over(&before);
        assert_eq!((next.records(), next.lost(), next.error()), (1, 0, None));
    }

    /// Of all interfaces, and what a killed daemon left. The directories go as far as they become empty.
    #[test]
    fn an_hour_that_goes_leaves_only_what_is_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), Some(1), 1 << 20);
        let second = LoggedRecord { mac: "000D3A000002".to_owned(), ..record(0, "1") };
        let log = dir.path().join("log");
        let of = |record: &LoggedRecord| log.join(record.file());
        files.put(&record(0, "1"), 0);
        files.put(&second, 0);
        files.put(&record(HOUR, "1"), HOUR);
        fs::write(of(&second).with_file_name(NEXT), "torn").unwrap();
        fs::write(of(&record(HOUR, "")).with_file_name("notes"), "a user's").unwrap();
        files.put(&record(26 * HOUR, "1"), 26 * HOUR);
        assert_eq!((files.records(), files.lost()), (4, 0));
        assert!(!log.join(hour(0)).exists());
        assert!(of(&record(HOUR, "")).with_file_name("notes").exists());
        assert!(!of(&record(HOUR, "")).exists());
        files.put(&record(50 * HOUR, "1"), 50 * HOUR);
        files.put(&record(51 * HOUR, "1"), 51 * HOUR);
        assert!(!log.join("y=1970/m=01/d=02").exists(), "an empty day");
        assert!(log.join("y=1970/m=01/d=03").exists() && dir.path().exists());
    }

    /// Its first and last line are part of a file.
    #[test]
    fn a_record_that_fills_the_room_exactly_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let text = "1".repeat(100);
        let whole = (FIRST_LINE.len() + text.len() + LAST_LINE.len()) as u64;
        for (room, fits) in [(whole, true), (whole - 1, false)] {
            let mut files = files(&dir.path().join(room.to_string()), None, room);
            files.put(&record(0, &text), 0);
            files.end_cut();
            assert_eq!((files.records(), files.error().is_none()), (u64::from(fits), fits), "{room} bytes");
        }
    }

    #[test]
    fn old_hours_go_for_new_ones_and_with_their_retention() {
        let dir = tempfile::tempdir().unwrap();
        let text = "1".repeat(100);
        let mut small = files(dir.path(), None, 3 * 117);
        let hours = |n: u64| (0..n).filter(|n| dir.path().join("log").join(record(n * HOUR, "").file()).exists());
        for n in 0..5 {
            small.put(&record(n * HOUR, &text), n * HOUR);
            small.end_cut();
            assert_eq!(small.error(), None);
        }
        assert_eq!(hours(5).collect::<Vec<_>>(), [2, 3, 4], "117 bytes each");
        small.put(&record(4 * HOUR, &"1".repeat(500)), 4 * HOUR);
        small.end_cut();
        assert_eq!((small.records(), small.lost()), (5, 1));
        assert!(small.error().unwrap().contains("take more than"), "{:?}", small.error());

        let mut kept_a_day = files(dir.path(), Some(1), 1 << 20);
        kept_a_day.put(&record(28 * HOUR, "1"), 28 * HOUR);
        assert_eq!(hours(29).collect::<Vec<_>>(), [4, 28], "a day and no more");
        let mut another = files(dir.path(), Some(1), 1 << 20);
        another.put(&record(29 * HOUR, "1"), 29 * HOUR);
        assert_eq!(hours(30).collect::<Vec<_>>(), [28, 29], "what another daemon left goes too");
    }
}
