//! What the first line of a backend's answer says about it (LB-10).
//!
//! The bytes are those of a guest. The rest of the answer is not read.

/// Longest first line of an answer; a backend with a longer one is down.
pub(super) const LINE_MAX: usize = 1024;

/// Whether a backend that has answered so far is up, or why it is down; none until the first line is complete.
pub fn judge(heard: &[u8]) -> Option<Result<(), String>> {
    if let Some(line) = heard.split(|byte| *byte == b'\n').next().filter(|line| line.len() < heard.len()) {
        return Some(status(line));
    }
    (heard.len() > LINE_MAX).then(|| Err("its answer is not HTTP".to_owned()))
}

/// `HTTP/1.1 200 OK`
fn status(line: &[u8]) -> Result<(), String> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/") => Ok(()),
        (Some(version), Some(code)) if version.starts_with("HTTP/") => Err(format!("status {code}")),
        _ => Err("its answer is not HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lb_10_only_status_200_is_up() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r"), Ok(()));
        assert_eq!(status(b"HTTP/1.0 200"), Ok(()));
        for (line, why) in [
            ("HTTP/1.1 204 No Content\r", "status 204"),
            ("HTTP/1.1 301 Moved", "status 301"),
            ("HTTP/1.1 503 Service Unavailable", "status 503"),
            ("SSH-2.0-OpenSSH_9.2", "its answer is not HTTP"),
            ("200 HTTP/1.1", "its answer is not HTTP"),
            ("", "its answer is not HTTP"),
        ] {
            assert_eq!(status(line.as_bytes()), Err(why.to_owned()), "{line}");
        }
    }

    #[test]
    fn an_answer_counts_from_the_end_of_its_first_line() {
        assert_eq!(judge(b"HTTP/1.1 200 OK\r"), None);
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\nContent-"), Some(Ok(())));
        assert_eq!(judge(b"HTTP/1.1 500 Oops\n200"), Some(Err("status 500".to_owned())));
        assert_eq!(judge(&[b'a'; LINE_MAX]), None);
        assert_eq!(judge(&[b'a'; LINE_MAX + 1]), Some(Err("its answer is not HTTP".to_owned())));
    }
}
