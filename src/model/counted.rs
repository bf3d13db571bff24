//! A number and what it counts, for a sentence: `1 rule`, `2 rules`.

use std::fmt::Display;

/// `noun` in the singular; words in `s`, `x` and `ch` take `es`, as `addresses` do.
pub fn counted(count: impl Display + PartialEq + From<u8> + Copy, noun: &str) -> String {
    let plural = if ["s", "x", "ch"].iter().any(|end| noun.ends_with(end)) { "es" } else { "s" };
    let ending = if count == 1.into() { "" } else { plural };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_none_is_not() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "rule")), ["0 rules", "1 rule", "2 rules"]);
        assert_eq!([1, 2].map(|count| counted(count, "prefix")), ["1 prefix", "2 prefixes"]);
        assert_eq!(counted(2_usize, "flow record"), "2 flow records");
    }
}
