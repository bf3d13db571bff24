//! An answer as YAML, for `-o yaml` and for what TAP says of a test that fails.
//!
//! One idea: serde writes JSON for every answer anyway, and the same text is laid out as YAML: the order of keys stays, and
//! a word that YAML would read as something else keeps JSON's quotes.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use serde::Serialize;

/// Writes a value, with a line end at its end.
pub(super) fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| of_json(&json))
}

/// The same of JSON that is well formed.
fn of_json(json: &str) -> String {
    let mut layout = Layout { rest: json.trim_start(), yaml: String::with_capacity(json.len()) };
    layout.value(0, After::Nothing);
    layout.yaml
}

/// What a value stands behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Key,
    Dash,
}

struct Layout<'a> {
    /// What is not read yet, without spaces before it.
    rest: &'a str,
    yaml: String,
}

impl<'a> Layout<'a> {
    /// Writes the next value. A list's dashes stand below its key.
    fn value(&mut self, indent: usize, after: After) {
        let (open, inner) = match self.rest.as_bytes().first() {
            Some(b'{') => ('{', if after == After::Nothing { indent } else { indent + 2 }),
            Some(b'[') => ('[', if after == After::Dash { indent + 2 } else { indent }),
            _ => {
                let token = self.token();
                return self.line(after, &scalar(token));
            }
        };
        self.skip(open.len_utf8());
        if self.ends() {
            return self.line(after, if open == '{' { "{}" } else { "[]" });
        }
        if after == After::Key {
            self.yaml.push('\n');
        }
        let mut is_inline = after == After::Dash;
        if is_inline {
            self.yaml.push(' ');
        }
        loop {
            if !std::mem::take(&mut is_inline) {
                self.yaml.extend(std::iter::repeat_n(' ', inner));
            }
            if open == '{' {
                let key = self.token();
                self.yaml.push_str(&scalar(key));
                self.yaml.push(':');
                self.skip(":".len());
                self.value(inner, After::Key);
            } else {
                self.yaml.push('-');
                self.value(inner, After::Dash);
            }
            if self.ends() {
                return;
            }
            self.skip(",".len());
        }
    }

    fn line(&mut self, after: After, text: &str) {
        if after != After::Nothing {
            self.yaml.push(' ');
        }
        self.yaml.push_str(text);
        self.yaml.push('\n');
    }

    /// Takes a string with its quotes, a number or a word.
    fn token(&mut self) -> &'a str {
        let rest = self.rest;
        let end = if rest.starts_with('"') {
            let mut is_escaped = false;
            let closes = |(_, c): &(usize, char)| {
                let closes = *c == '"' && !is_escaped;
                is_escaped = *c == '\\' && !is_escaped;
                closes
            };
            rest.char_indices().skip(1).find(closes).map(|(at, _)| at + 1)
        } else {
            rest.find([',', ']', '}', '\n', ' '])
        };
        let end = end.unwrap_or(rest.len());
        self.skip(end);
        &rest[..end]
    }

    /// Takes the end of a list or an object, if it is here.
    fn ends(&mut self) -> bool {
        let ends = self.rest.is_empty() || self.rest.starts_with(['}', ']']);
        if ends {
            self.skip(usize::from(!self.rest.is_empty()));
        }
        ends
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default().trim_start();
    }
}

/// A string, a number or a word of JSON as YAML has it.
fn scalar(token: &str) -> Cow<'_, str> {
    // JSON has them in its strings, and YAML has none in its text.
    let is_unseen =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if let Some(word) = word(token) {
        return word.into();
    }
    if !token.contains(is_unseen) {
        return token.into();
    }
    let escaped = |c: char| if is_unseen(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    token.chars().map(escaped).collect::<String>().into()
}

/// A string without its quotes, where no YAML reads it as something else: a number, a date, a boolean, a mark.
fn word(token: &str) -> Option<&str> {
    const TAKEN: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"];
    let text = token.strip_prefix('"')?.strip_suffix('"')?;
    let starts = |c: char| c.is_alphanumeric() || matches!(c, '/' | '(' | '_');
    let is_number = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '_' | '-' | '+' | 'x' | 'o' | 'T' | 'Z');
    let is_plain = text.starts_with(starts)
        && text.chars().all(|c| c.is_alphanumeric() || c == ' ' || (c.is_ascii_graphic() && c != '\\'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #");
    let is_other = TAKEN.iter().any(|word| text.eq_ignore_ascii_case(word))
        || (text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_number) && !is_address(text));
    (is_plain && !is_other).then_some(text)
}

fn is_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lists_stand_below_their_keys_and_objects_behind_their_dashes() {
        let value = json!({"a": {}, "b": [], "c": [{"d": 1, "e": [["f", null], []]}, {"g": {"h": true}}]});
        let expected = "a: {}\nb: []\nc:\n- d: 1\n  e:\n  - - f\n    - null\n  - []\n- g:\n    h: true\n";
        assert_eq!(to_string(&value).unwrap(), expected);
        assert_eq!(to_string("a: b").unwrap(), "\"a: b\"\n");
    }

    #[test]
    fn only_what_is_certainly_a_word_has_no_quotes() {
        let words = ["web", "10.0.0.4", "10.0.0.0/16", "fd00::1", "a b, c", "C#", "Größe"];
        for text in words {
            assert_eq!(to_string(text).unwrap().trim_end(), text);
        }
        for text in ["", "1", "1e3", "0x1f", "2024-01-01", "12:30", "2001:db8::1", "No", "null", "- a", "a: b", "a #1"]
        {
            assert_eq!(to_string(text).unwrap().trim_end(), format!("\"{text}\""));
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text =
            prop_oneof![any::<String>(), "[-0-9a-fxoTZ:._+~ #]{0,6}", "(yes|no|null|true|on|.inf|.nan|=|<<|---)"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        })
    }

    proptest! {
        /// Another YAML library reads the same value.
        #[test]
        fn what_is_written_is_read_back(value in any_value()) {
            let yaml = to_string(&value).unwrap();
            let read: Value = serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
            prop_assert_eq!(read, value, "{}", yaml);
        }
    }
}
