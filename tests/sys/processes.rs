//! Processes by number and start time, their groups, what they wait for; files and descriptors.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vnet::sys::files;
use vnet::sys::process::{self, Listed, ProcessId, Signal};

use super::{SOON, eventually};

/// A process of the test's own, gone with its value.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, words: &[&str]) -> Started {
    let mut command = Command::new(program);
    command.args(words).process_group(0).env("VNET_TEST_OF", "processes").stdout(Stdio::null()).stdin(Stdio::null());
    Started(command.spawn().unwrap())
}

fn listed(pid: u32) -> Option<Listed> {
    process::running().find(|one| one.id.pid == pid)
}

#[test]
fn a_process_is_listed_as_it_is() {
    let mut sleeper = start("sleep", &["1000"]);
    let id = ProcessId::of(sleeper.0.id()).unwrap();
    // A program has its name before it has its words, and these before its environment.
    eventually(|| process::was_given(id.pid, "VNET_TEST_OF", "processes"));
    assert!(!process::was_given(id.pid, "VNET_TEST_OF", "process"));
    assert_eq!(process::program(id.pid).unwrap(), "sleep");
    assert_eq!(process::command(id.pid), b"sleep\x001000\0");
    let seen = listed(id.pid).unwrap();
    assert_eq!((seen.id, seen.parent, seen.group), (id, std::process::id(), id.pid));
    assert_eq!(seen.has_terminal, listed(std::process::id()).unwrap().has_terminal);
    eventually(|| listed(id.pid).is_some_and(|seen| !seen.is_busy));
    assert!(id.is_alive() && id.is_there() && !id.is_replaced());
    let stranger = ProcessId { start_time: id.start_time + 1, ..id };
    assert!(!stranger.is_alive() && !stranger.is_there() && stranger.is_replaced());
    assert!(!stranger.signal(Signal::KILL).unwrap() && stranger.wait_end(Duration::ZERO).unwrap());
    assert!(!process::signal_group(stranger, Signal::KILL).unwrap() && !process::group_exists(stranger).unwrap());
    assert!(process::group_exists(id).unwrap() && !id.wait_end(Duration::from_millis(10)).unwrap());
    assert!(process::signal_group(id, Signal::TERM).unwrap());
    assert!(id.wait_end(SOON).unwrap());
    assert!(!id.is_alive() && id.is_there() && listed(id.pid).is_none(), "ended and not reaped");
    sleeper.0.wait().unwrap();
    assert!(!id.is_there() && !id.is_replaced() && !process::group_exists(id).unwrap());
    assert!(!id.signal(Signal::KILL).unwrap() && ProcessId::of(id.pid).is_err());
    assert!(ProcessId::of(u32::MAX).is_err());
}

#[test]
fn one_that_computes_is_busy_and_its_ticks_rise() {
    let busy = start("sh", &["-c", "while :; do :; done"]);
    let pid = busy.0.id();
    eventually(|| listed(pid).is_some_and(|seen| seen.is_busy && seen.ticks > 5));
    assert_eq!(process::sleeps_for(pid), None);
    drop(busy);
    let waiting = start("sh", &["-c", "while sleep 0.01; do :; done"]);
    let before = process::waits(waiting.0.id()).unwrap();
    eventually(|| process::waits(waiting.0.id()).is_some_and(|now| now > before + 3));
    process::signal_group(ProcessId::of(waiting.0.id()).unwrap(), Signal::KILL).unwrap();
    assert_eq!((process::waits(u32::MAX), process::program(u32::MAX)), (None, None));
    assert!(process::command(u32::MAX).is_empty() && !process::was_given(u32::MAX, "", ""));
}

#[test]
fn only_ones_own_files_of_a_bounded_length_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "12345").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(files::read_own(&file, 5).unwrap(), b"12345");
    assert_eq!(files::read_text(&file, 5).unwrap(), "12345");
    assert_eq!(files::read_regular(&file, 5).unwrap(), "12345");
    let too_large =
        [files::read_own(&file, 4).err(), files::read_text(&file, 4).err(), files::read_regular(&file, 4).err()];
    assert!(
        too_large.iter().flatten().count() == 3
            && too_large[0].as_ref().unwrap().to_string().starts_with("it is larger than ")
    );
    let large = files::read_bounded(std::io::repeat(0), 3 << 20).unwrap_err();
    assert_eq!(large.to_string(), "it is larger than 3 MiB");
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(files::read_own(&link, 5).is_err(), "a link leads elsewhere");
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(files::read_own(&file, 5).is_err(), "{mode:o}: others may write to it");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(files::read_own(&file, 5).is_ok(), "others may read it");
    // Root may give one away; to any other user this one is somebody else's.
    let given = directory.path().join("given");
    fs::write(&given, "12345").unwrap();
    let of_another = if chown(&given, Some(1), None).is_ok() { &*given } else { Path::new("/etc/passwd") };
    assert!(files::read_own(of_another, 1 << 20).is_err());
    assert!(files::read_own(directory.path(), 5).is_err());
    assert!(files::read_regular(directory.path(), 5).is_err());
    assert!(files::read_regular(Path::new("/dev/null"), 5).is_err());
    assert!(files::create_new(&file, files::OWN).is_err(), "it is there");
    files::create(&file, files::OWN).unwrap();
    assert_eq!(
        (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().permissions().mode() & 0o777),
        (Vec::new(), 0o600)
    );
    files::create(&directory.path().join("new"), files::SHOWN).unwrap();
    let made = directory.path().join("made");
    files::make_directory(&made, 0o750).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(files::make_directory(&made, 0o750).is_err() && files::create(&made, files::OWN).is_err());
    assert!(files::is_writable(directory.path()) && !files::is_writable(&directory.path().join("none")));
}

#[test]
fn a_text_is_utf_8_or_utf_16_behind_its_mark() {
    let utf16 = |mark: [u8; 2], word: fn(u16) -> [u8; 2]| {
        [&mark[..], &"aé\u{1f600}".encode_utf16().flat_map(word).collect::<Vec<_>>()].concat()
    };
    for bytes in [
        "aé\u{1f600}".as_bytes().to_vec(),
        utf16([0xff, 0xfe], u16::to_le_bytes),
        utf16([0xfe, 0xff], u16::to_be_bytes),
    ] {
        assert_eq!(files::text(bytes).unwrap(), "aé\u{1f600}");
    }
    for bytes in [&[0xff, 0xfe, b'a'][..], &[0xff, 0xfe, 0, 0xd8], &[0xc0], &[0xff]] {
        assert!(files::text(bytes.to_vec()).is_err(), "{bytes:?}");
    }
    assert_eq!(files::text(Vec::new()).unwrap(), "");
}

#[test]
fn a_reader_that_has_gone_is_noticed() {
    let (near, mut far) = UnixStream::pair().unwrap();
    assert!(files::has_reader(&near));
    assert!(files::write_ready(&near, &[7; 10_000]).unwrap());
    let mut heard = vec![0; 10_000];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [7; 10_000]);
    assert!(files::has_reader(&near));
    drop(far);
    // A process that another test starts at this moment has it until it runs its own program.
    eventually(|| !files::has_reader(&near));
    assert!(files::has_reader(fs::File::open("/dev/null").unwrap()));
}
