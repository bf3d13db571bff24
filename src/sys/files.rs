//! Permissions, whole files and standard streams, where the standard library has no function for them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, Mode, OFlags, access};
use rustix::process::{geteuid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// For the caller alone.
pub const OWN: u32 = 0o600;
/// Others may read it.
pub const SHOWN: u32 = 0o644;

/// What a pipe takes at once if it takes anything (`PIPE_BUF`).
const PIECE: usize = 4096;
/// Bits of a file that others than its owner may write to.
const OPEN_TO_OTHERS: u32 = 0o022;

/// Whether this process may make files in a directory.
pub fn is_writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Lets no other user write to what this process makes, even if the caller's umask permits it.
pub fn restrict_umask() {
    let open = umask(Mode::from_raw_mode(0o777));
    umask(open | Mode::from_raw_mode(OPEN_TO_OTHERS));
}

/// Makes a directory with exactly this mode; fails if it is there.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    File::open(path)?.set_permissions(Permissions::from_mode(mode))
}

/// Makes a file with exactly this mode, in place of one that is there.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => create_new(path, mode),
    }
}

/// The same where none may be there.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes. The file must be the caller's own, and no other user may write to
/// it.
pub fn read_own(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & OPEN_TO_OTHERS != 0 {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "it belongs to another user or others may write to it",
        ));
    }
    read_bounded(file, limit)
}

/// Reads to the end; fails where there is more than so many bytes.
pub fn read_bounded(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(limit + 1).read_to_end(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", limit >> 20)));
    }
    Ok(text)
}

/// The same of a file that has text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    text(read_bounded(File::open(path)?, limit)?)
}

/// The text of a regular file. Others are not opened: a pipe keeps its reader waiting, and a device may do more than that.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<String> {
    let refused = || io::Error::new(ErrorKind::InvalidInput, "it is no regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(refused());
    }
    // It may have been replaced meanwhile.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(refused());
    }
    text(read_bounded(file, limit)?)
}

/// Bytes that must be text: UTF-8, or UTF-16 behind a byte order mark, which Windows PowerShell makes of `> file`.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    let text = match bytes.split_first_chunk() {
        Some(([0xff, 0xfe], words)) => utf16(words, u16::from_le_bytes),
        Some(([0xfe, 0xff], words)) => utf16(words, u16::from_be_bytes),
        Some(_) | None => String::from_utf8(bytes).ok(),
    };
    text.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

fn utf16(words: &[u8], word: fn([u8; 2]) -> u16) -> Option<String> {
    let (words, odd) = words.as_chunks();
    let words: Vec<_> = words.iter().copied().map(word).collect();
    odd.is_empty().then(|| String::from_utf16(&words).ok()).flatten()
}

/// Replaces the text of a file that all may read and that others have mounted, so that it stays the same file. Where there is no room for it, the
/// text is what it was.
pub fn rewrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(false).mode(SHOWN).open(path)?;
    let before = file.metadata()?.len();
    let kept = usize::try_from(before).unwrap_or(usize::MAX).min(text.len());
    // What needs room comes first.
    if let Err(error) = file.write_all_at(&text[kept..], kept as u64) {
        file.set_len(before)?;
        return Err(error);
    }
    file.set_permissions(Permissions::from_mode(SHOWN))?;
    file.write_all_at(&text[..kept], 0)?;
    file.set_len(text.len() as u64)
}

/// Writes to a terminal, pipe, socket or file without waiting for its reader; false if not all of it was written.
pub fn write_ready(fd: impl AsFd, bytes: &[u8]) -> io::Result<bool> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if !is_ready(&fd)? {
            return Ok(false);
        }
        let written = rustix::io::write(&fd, &rest[..rest.len().min(PIECE)])?;
        rest = &rest[written..];
    }
    Ok(true)
}

fn is_ready(fd: impl AsFd) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    Ok(poll(&mut fds, Some(&now))? > 0)
}

/// Leaves the terminal: nothing is read, messages go to the log.
pub fn redirect_standard_streams(log: &File) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(log)?)
}

/// Whether the other end of a pipe or socket is still there to read; a file always is.
pub fn has_reader(fd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::empty())];
    let gone = poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
    !gone
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sys::closing::closed;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let line = [b'x'; 10_000];
        let rounds = (0..100).take_while(|_| write_ready(&writer, &line).unwrap()).count();
        assert!((1..100).contains(&rounds), "{rounds} lines went into a pipe that is never read");
        drop(reader);
        closed(|| write_ready(&writer, &line).is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    }

    #[test]
    fn text_is_utf_8_or_utf_16_behind_its_mark() {
        let of = |bytes: &[u8]| text(bytes.to_vec()).ok();
        assert_eq!(of("né".as_bytes()).as_deref(), Some("né"));
        assert_eq!(of(b"").as_deref(), Some(""));
        assert_eq!(of(&[0xff, 0xfe, b'n', 0, 0xe9, 0]).as_deref(), Some("né"));
        assert_eq!(of(&[0xfe, 0xff, 0, b'n', 0, 0xe9]).as_deref(), Some("né"));
        for damaged in [&[0xff, 0xfe, b'n'][..], &[0xff, 0xfe, 0, 0xd8], &[0xff], &[b'n', 0xe9], &[0xff, 0xff, 0, 0]] {
            assert_eq!(of(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn modes_do_not_follow_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("open"), "old").unwrap();
        fs::set_permissions(at("open"), Permissions::from_mode(0o666)).unwrap();
        create(&at("open"), OWN).unwrap().write_all(b"new").unwrap();
        create(&at("shown"), 0o666).unwrap();
        make_directory(&at("dir"), 0o777).unwrap();
        assert_eq!([mode(&at("open")), mode(&at("shown")), mode(&at("dir"))], [0o600, 0o666, 0o777]);
        assert_eq!(read_own(&at("open"), 3).unwrap(), b"new");
        assert_eq!(read_own(&at("open"), 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_own(&at("shown"), 3).unwrap_err().kind(), ErrorKind::PermissionDenied);
        std::os::unix::fs::symlink(at("open"), at("link")).unwrap();
        assert!(read_own(&at("link"), 3).is_err() && read_own(&at("dir"), 3).is_err());
    }

    #[test]
    fn a_file_is_rewritten_in_place_longer_and_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        for text in ["one", "three four", "", "two"] {
            rewrite(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
