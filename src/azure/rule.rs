//! The rules of `docs/rules`: one file a family, one heading of the third level a rule.
//!
//! The files are Markdown for people. Only their outline is parsed: the title, the ids, and the text between two
//! headings. [`Rule::plain`] removes the Markdown for a terminal.

use std::sync::LazyLock;

/// The rules of one subject.
#[derive(Debug)]
pub struct Family {
    /// The prefix of its ids: `PEER`.
    pub name: String,
    /// `Peering`.
    pub title: String,
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// `PEER-05`.
    pub id: String,
    /// Its text, in Markdown.
    pub text: String,
    /// Its grade, its sources and its switch, in Markdown, a line each: `*Documented*: [faq](sources.md#faq).`
    pub basis: Vec<String>,
}

/// In the order of a packet's path: fabric and addresses first, limits and scenarios last.
const PAGES: [&str; 26] = [
    include_str!("../../docs/rules/fab.md"),
    include_str!("../../docs/rules/adr.md"),
    include_str!("../../docs/rules/nic.md"),
    include_str!("../../docs/rules/sys.md"),
    include_str!("../../docs/rules/udr.md"),
    include_str!("../../docs/rules/rsel.md"),
    include_str!("../../docs/rules/ch.md"),
    include_str!("../../docs/rules/peer.md"),
    include_str!("../../docs/rules/nsg.md"),
    include_str!("../../docs/rules/tag.md"),
    include_str!("../../docs/rules/asg.md"),
    include_str!("../../docs/rules/adm.md"),
    include_str!("../../docs/rules/vpn.md"),
    include_str!("../../docs/rules/bgp.md"),
    include_str!("../../docs/rules/er.md"),
    include_str!("../../docs/rules/gr.md"),
    include_str!("../../docs/rules/avs.md"),
    include_str!("../../docs/rules/ars.md"),
    include_str!("../../docs/rules/lb.md"),
    include_str!("../../docs/rules/snat.md"),
    include_str!("../../docs/rules/nat.md"),
    include_str!("../../docs/rules/pip.md"),
    include_str!("../../docs/rules/diag.md"),
    include_str!("../../docs/rules/arm.md"),
    include_str!("../../docs/rules/lim.md"),
    include_str!("../../docs/rules/cs.md"),
];

/// All families.
pub fn families() -> &'static [Family] {
    static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| PAGES.iter().map(|page| family(page)).collect());
    &FAMILIES
}

/// The rule with this id, without regard to case.
pub fn rule(id: &str) -> Option<&'static Rule> {
    families().iter().flat_map(|family| &family.rules).find(|rule| rule.id.eq_ignore_ascii_case(id))
}

impl Rule {
    /// Its text, then its grade, sources and switch, without Markdown.
    pub fn plain(&self) -> String {
        let basis = self.basis.iter().map(|line| plain(line));
        [plain(&self.text)].into_iter().chain(basis).collect::<Vec<_>>().join("\n\n")
    }

    /// The first sentence of its text, for a listing.
    pub fn first_sentence(&self) -> String {
        let text = plain(self.text.lines().next().unwrap_or_default());
        match text.find(". ") {
            Some(end) => text[..=end].to_owned(),
            None => text,
        }
    }

    /// The keys of its sources.
    pub fn sources(&self) -> Vec<&str> {
        let mut keys: Vec<_> = self.basis.iter().chain([&self.text]).flat_map(|text| links(text)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

fn family(page: &'static str) -> Family {
    let title = page.lines().next().unwrap_or_default().trim_start_matches("# ");
    let (title, name) = title.rsplit_once(" (").unwrap_or((title, ""));
    Family {
        name: name.trim_end_matches(')').to_owned(),
        title: title.to_owned(),
        rules: page.split("\n### ").skip(1).map(section).collect(),
    }
}

/// The rule below one heading; a heading of the second level begins text that is common to the rules after it.
fn section(text: &str) -> Rule {
    let (id, body) = text.split_once('\n').unwrap_or((text, ""));
    let body = body.split("\n## ").next().unwrap_or_default().trim();
    let is_basis = |paragraph: &&str| {
        ["*Documented", "*Schema", "*Evidence", "*Inferred", "*Contested", "*Switch"]
            .iter()
            .any(|grade| paragraph.starts_with(grade))
    };
    let (basis, text): (Vec<_>, Vec<_>) = body.split("\n\n").partition(is_basis);
    Rule { id: id.trim().to_owned(), text: text.join("\n\n"), basis: basis.into_iter().map(str::to_owned).collect() }
}

/// Removes emphasis and keeps only a link's words. Code keeps its stars and brackets.
fn plain(markdown: &str) -> String {
    let mut code = false;
    let mut text = String::new();
    for (n, part) in markdown.split('`').enumerate() {
        if n > 0 {
            text.push('`');
            code = !code;
        }
        if code { text.push_str(part) } else { text.push_str(&unlinked(part).replace("**", "")) }
    }
    text.lines().map(unemphasised).collect::<Vec<_>>().join("\n")
}

/// A line of a rule's basis begins with an emphasised word; no other text uses a single star.
fn unemphasised(line: &str) -> String {
    if line.starts_with('*') { line.replace('*', "") } else { line.to_owned() }
}

/// `[faq](sources.md#faq)` as `faq`.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("](sources.md#") {
        let (prose, word) = before.rsplit_once('[').unwrap_or((before, ""));
        plain.push_str(prose);
        plain.push_str(word);
        rest = link.split_once(')').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// The keys of the sources that a text links to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](sources.md#").skip(1).filter_map(|link| link.split_once(')').map(|(key, _)| key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_a_family_whose_rules_carry_its_name() {
        for family in families() {
            assert!(!family.rules.is_empty(), "{}", family.title);
            for rule in &family.rules {
                assert!(rule.id.starts_with(&format!("{}-", family.name)), "{} in {}", rule.id, family.title);
                assert!(!rule.text.is_empty(), "{} says nothing", rule.id);
            }
        }
    }

    #[test]
    fn each_id_is_defined_once() {
        let mut ids: Vec<_> = families().iter().flat_map(|family| &family.rules).map(|rule| &rule.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    /// Scenarios prove other rules; every other rule has a grade.
    #[test]
    fn every_rule_has_a_grade() {
        let ungraded: Vec<_> = families()
            .iter()
            .filter(|family| family.name != "CS")
            .flat_map(|family| &family.rules)
            .filter(|rule| rule.basis.is_empty())
            .map(|rule| &rule.id)
            .collect();
        assert!(ungraded.is_empty(), "{ungraded:?}");
    }

    #[test]
    fn a_rule_is_found_however_it_is_written() {
        let found = rule("sys-06A").expect("it is defined");
        assert_eq!(found.id, "SYS-06a");
        assert!(rule("SYS-999").is_none());
        assert!(rule("SYS").is_none());
    }

    #[test]
    fn plain_text_has_no_marks_of_markdown() {
        let rule = rule("PEER-22").expect("it is defined");
        let text = rule.plain();
        assert!(text.contains("Chosen model: if L's link has false"), "{text}");
        assert!(text.contains("\n\nContested."), "{text}");
        assert!(text.ends_with("Switch: `emulation.peeringAccess: explicit-allow (default) | tag-only`."), "{text}");
        assert!(!text.contains("]("), "{text}");
        assert_eq!(plain("`a*b` **c** [faq](sources.md#faq), d"), "`a*b` c faq, d");
        assert_eq!(plain("*Inferred*, [x](sources.md#x)"), "Inferred, x");
    }

    #[test]
    fn a_source_is_listed_once_however_often_it_is_linked() {
        let linked = |rule: &Rule| rule.basis.iter().chain([&rule.text]).flat_map(|text| links(text)).count();
        let two = "[faq](sources.md#faq), [`x`](sources.md#x)";
        assert_eq!(links(two).collect::<Vec<_>>(), ["faq", "x"]);
        let all = || families().iter().flat_map(|family| &family.rules);
        assert!(all().any(|rule| linked(rule) > rule.sources().len()), "some rule links one source twice");
        for rule in all() {
            assert!(rule.sources().is_sorted_by(|one, next| one < next), "{}: {:?}", rule.id, rule.sources());
        }
    }

    #[test]
    fn a_listing_shows_the_first_sentence() {
        assert_eq!(
            rule("PEER-04").expect("it is defined").first_sentence(),
            "Deleting a VNet leaves the remote link Disconnected."
        );
    }
}
