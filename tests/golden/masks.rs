//! What differs from run to run, or from compiler to compiler, as words that stay.

/// A key is shown as a hash, which another compiler may give otherwise: eight digits, and so is the word for it.
pub(crate) fn hashes(text: &str) -> String {
    let masked = |word: &str| {
        let bare = word.trim_end_matches([']', ',']);
        let is_hash = bare.len() == 8 && bare.chars().all(|letter| letter.is_ascii_hexdigit());
        if is_hash { word.replace(bare, "some-key") } else { word.to_owned() }
    };
    let lines = text.split('\n').map(|line| line.split(' ').map(masked).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The port of a public address that stands for a guest's is any. `guest` is the port that is asked from.
pub(crate) fn ports(step: &str, guest: u16) -> String {
    let Some((before, after)) = step.split_once(" becomes ") else { return step.to_owned() };
    let guest = format!(":{guest}");
    let any = |end: &str| format!("{}:any", end.rsplit_once(':').map_or(end, |(address, _)| address));
    if before.ends_with(&guest) {
        format!("{before} becomes {}", any(after))
    } else if after.ends_with(&guest) {
        format!("{} becomes {after}", any(before))
    } else {
        step.to_owned()
    }
}
