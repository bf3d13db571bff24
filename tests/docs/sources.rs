//! `docs/sources.md`: each file that a row names is there, and has the test of that row.

use std::fs;

use crate::page::{Page, root};

#[test]
fn each_row_names_a_file_and_a_test_of_it() {
    let page = Page::read("docs/sources.md");
    let rows = page.text.lines().filter(|line| line.starts_with("| ")).filter(|line| !line.starts_with("| section"));
    let (mut wrong, mut shown) = (Vec::new(), 0);
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, says, place, name] = cells[..] else { panic!("not four cells: {row}") };
        if let Some(why) = place.strip_prefix("out of scope") {
            assert!(why.starts_with(": ") && name.is_empty(), "a reason, and no test: {row}");
            continue;
        }
        let file = place.trim_matches('`');
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            wrong.push(format!("{says}: there is no {file}"));
            continue;
        };
        shown += 1;
        if !name.is_empty()
            && !text.contains(&format!("name: {},", name.trim_matches('`')))
            && !text.contains(&format!("name: {}\n", name.trim_matches('`')))
        {
            wrong.push(format!("{says}: {file} has no test {name}"));
        }
    }
    assert!(shown > 50, "only {shown} rows name a file");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
