//! JSON as people write templates: comments, trailing commas, line ends inside strings, a byte order mark.
//!
//! Every value and key gets its place. Depth is bounded, so that no document can exhaust the stack; length is the caller's
//! to bound, for a dump may be much longer than a template.

use std::str::FromStr;
use std::sync::Arc;

use serde_json::Number;

use super::mistake::Mistake;
use super::tree::{Key, Node, Place, Value};

/// How deep lists and objects may be nested. Real documents have less than 40.
pub const DEEPEST: usize = 150;

/// What is said of a text with two documents, one after the other.
pub const SECOND: &str = "A second document begins here.";

/// A document of one value.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Node, Mistake> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { file, text, at: 0, line: 1, column: 1, depth: 0 };
    reader.skip()?;
    let node = reader.value()?;
    reader.skip()?;
    match reader.peek() {
        None => Ok(node),
        Some(b'{' | b'[') => Err(Mistake::new(&reader.place(), SECOND)
            .expecting("the end of the file")
            .helped("Give each document as a file of its own, or make them one list: `jq -s .`.")),
        Some(_) => Err(reader.unexpected("the end of the file")),
    }
}

/// The first key that stands in an object for the second time.
fn second(entries: &[(Key, Node)]) -> Option<&Key> {
    let mut keys: Vec<_> = entries.iter().map(|(key, _)| key).collect();
    keys.sort_by(|one, other| one.text.cmp(&other.text));
    let twice = keys.windows(2).filter(|pair| pair[0].text == pair[1].text).map(|pair| pair[1]);
    twice.min_by_key(|key| (key.at.line, key.at.column))
}

struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
    depth: usize,
}

impl Reader<'_> {
    fn place(&self) -> Place {
        Place { file: Arc::clone(self.file), line: self.line, column: self.column }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// One byte on. A column is a character, so bytes that continue one do not count.
    fn advance(&mut self) {
        match self.peek() {
            Some(b'\n') => (self.line, self.column) = (self.line + 1, 1),
            Some(byte) if byte & 0xc0 != 0x80 => self.column += 1,
            _ => {}
        }
        self.at += 1;
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        let found = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let message = found.map_or_else(
            || "The file ends in the middle of a value.".to_owned(),
            |found| format!("The character {found:?} cannot stand here."),
        );
        Mistake::new(&self.place(), message).expecting(expected)
    }

    /// White space and comments.
    fn skip(&mut self) -> Result<(), Mistake> {
        while let Some(byte) = self.peek() {
            match (byte, self.text.as_bytes().get(self.at + 1)) {
                (b' ', _) => {
                    // Most of an indented file: no more is asked of it than this.
                    let blanks = self.text.as_bytes()[self.at..].iter().take_while(|byte| **byte == b' ').count();
                    self.at += blanks;
                    self.column += blanks as u32;
                }
                (b'\t' | b'\r' | b'\n', _) => self.advance(),
                (b'/', Some(b'/')) => self.until("\n")?,
                (b'/', Some(b'*')) => self.until("*/")?,
                // A no-break space or a second byte order mark, as pasted from a web page.
                (0xc2 | 0xef, _) if self.text[self.at..].starts_with(['\u{a0}', '\u{feff}']) => self.character(),
                _ => break,
            }
        }
        Ok(())
    }

    fn character(&mut self) {
        self.advance();
        while self.peek().is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.advance();
        }
    }

    /// Over a comment. A line comment may end with the file.
    fn until(&mut self, end: &str) -> Result<(), Mistake> {
        let start = self.place();
        self.advance();
        self.advance();
        while self.at < self.text.len() {
            if self.text.as_bytes()[self.at..].starts_with(end.as_bytes()) {
                end.bytes().for_each(|_| self.advance());
                return Ok(());
            }
            self.advance();
        }
        if end == "\n" { Ok(()) } else { Err(Mistake::new(&start, "This comment has no end.").expecting("`*/`")) }
    }

    fn value(&mut self) -> Result<Node, Mistake> {
        let at = self.place();
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.word()?,
            _ => return Err(self.unexpected("a JSON value")),
        };
        Ok(Node { at, value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Mistake>) -> Result<Value, Mistake> {
        if self.depth == DEEPEST {
            let message = format!("Lists and objects are nested more than {DEEPEST} deep.");
            return Err(Mistake::new(&self.place(), message).expecting(format!("at most {DEEPEST} levels")));
        }
        self.depth += 1;
        self.advance();
        self.skip()?;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, Mistake> {
        let mut items = Vec::new();
        while self.peek() != Some(b']') {
            items.push(self.value()?);
            self.separator(b']', "`,` or `]`")?;
        }
        self.advance();
        Ok(Value::List(items))
    }

    fn object(&mut self) -> Result<Value, Mistake> {
        let mut entries = Vec::new();
        while self.peek() != Some(b'}') {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes, or `}`"));
            }
            let key = Key { at: self.place(), text: self.string()? };
            self.skip()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected("`:` after the key"));
            }
            self.advance();
            self.skip()?;
            entries.push((key, self.value()?));
            self.separator(b'}', "`,` or `}`")?;
        }
        self.advance();
        match second(&entries) {
            Some(key) => Err(Mistake::new(&key.at, format!("This object has the key `{:.80}` twice.", key.text))
                .expecting("each key once")
                .helped("Take one of them away: programs differ in which of them they read.")),
            None => Ok(Value::Object(entries)),
        }
    }

    /// A comma, or the end of the list or object; a comma before the end is taken too.
    fn separator(&mut self, end: u8, expected: &str) -> Result<(), Mistake> {
        self.skip()?;
        match self.peek() {
            Some(b',') => {
                self.advance();
                self.skip()
            }
            Some(byte) if byte == end => Ok(()),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn number(&mut self) -> Result<Value, Mistake> {
        let (place, start) = (self.place(), self.at);
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.advance();
        }
        let written = &self.text[start..self.at];
        Number::from_str(written).map(Value::Number).map_err(|_| {
            Mistake::new(&place, format!("`{written:.40}` is not a number of JSON.")).expecting("a number")
        })
    }

    fn word(&mut self) -> Result<Value, Mistake> {
        let (place, start) = (self.place(), self.at);
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            self.advance();
        }
        match &self.text[start..self.at] {
            word if word.eq_ignore_ascii_case("null") => Ok(Value::Null),
            word if word.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            word if word.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            word => Err(Mistake::new(&place, format!("`{word:.40}` is not a value of JSON."))
                .expecting("`true`, `false`, `null`, a number, or a text in double quotes")),
        }
    }

    /// A text in double quotes; line ends in it stay as they are.
    fn string(&mut self) -> Result<String, Mistake> {
        let start = self.place();
        self.advance();
        let mut text = String::new();
        loop {
            text.push_str(self.plain());
            match self.peek() {
                Some(b'"') => break,
                Some(_) => text.push(self.escape()?),
                None => return Err(Mistake::new(&start, "This text has no end.").expecting("`\"`")),
            }
        }
        self.advance();
        Ok(text)
    }

    /// Over what is in a text up to its next escape, or to its end.
    fn plain(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let len = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
        let plain = &rest[..len];
        match plain.rfind('\n') {
            None => self.column += plain.chars().count() as u32,
            Some(last) => {
                self.line += plain.bytes().filter(|byte| *byte == b'\n').count() as u32;
                self.column = 1 + plain[last + 1..].chars().count() as u32;
            }
        }
        self.at += len;
        plain
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let place = self.place();
        self.advance();
        let Some(kind) = self.peek() else { return Err(self.unexpected("an escaped character")) };
        let plain = match kind {
            b'"' | b'\\' | b'/' | b'\'' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.advance();
                return self.unicode(&place);
            }
            _ => {
                let message = format!("`\\{}` is not an escape of JSON.", char::from(kind));
                return Err(Mistake::new(&place, message).expecting(r#"one of \" \\ \/ \b \f \n \r \t \uXXXX"#));
            }
        };
        self.advance();
        Ok(plain)
    }

    /// Four hexadecimal digits, or eight as two halves of one character. A half alone has no meaning and is replaced.
    fn unicode(&mut self, place: &Place) -> Result<char, Mistake> {
        let first = self.hex(place)?;
        if let 0xd800..0xdc00 = first
            && self.text.as_bytes()[self.at..].starts_with(b"\\u")
        {
            self.advance();
            self.advance();
            let second = self.hex(place)?;
            if let 0xdc00..0xe000 = second {
                let whole = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, place: &Place) -> Result<u32, Mistake> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Mistake::new(place, "`\\u` needs four hexadecimal digits.").expecting("as in \\u00e9"));
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
        let number = digits.iter().fold(0, |number, byte| number * 16 + digit(byte));
        (0..4).for_each(|_| self.advance());
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Mistake> {
        parse(&"a.json".into(), text)
    }

    fn plain(text: &str) -> String {
        read(text).expect("valid").to_json().to_string()
    }

    #[test]
    fn what_real_templates_have_is_taken() {
        assert_eq!(
            plain("\u{feff}{ // one\n \"a\": [1, -2.5, ], /* two\n */ \"b\": True, }"),
            r#"{"a":[1,-2.5],"b":true}"#
        );
        assert_eq!(plain("\"two\nlines\""), r#""two\nlines""#);
        assert_eq!(plain(r#""\u00e9\ud83d\ude00\ud83d\t""#), "\"é😀\u{fffd}\\t\"");
        assert_eq!(plain("null // the end"), "null");
        assert_eq!(plain("/*/ 1 */ 2"), "2");
        assert_eq!(plain("{\"a\": 1, \"A\": 2, \"b\": {\"a\": 3}}"), r#"{"A":2,"a":1,"b":{"a":3}}"#);
    }

    #[test]
    fn every_value_and_key_has_its_place() {
        let node = read("{\n  \"é\": \"x\", \"b\": [\n true]}").expect("valid");
        let Value::Object(entries) = &node.value else { panic!("an object") };
        let places: Vec<_> = entries.iter().map(|(key, node)| (key.at.to_string(), node.at.to_string())).collect();
        assert_eq!(places[0], ("a.json:2:3".into(), "a.json:2:8".into()));
        assert_eq!(places[1], ("a.json:2:13".into(), "a.json:2:18".into()));
        assert_eq!(entries[1].1.items()[0].at.to_string(), "a.json:3:2");
        let node = read("[\"a\n\né\", 1]").expect("valid");
        assert_eq!(node.items()[1].at.to_string(), "a.json:3:5");
    }

    #[test]
    fn a_mistake_has_its_place() {
        let error = |text: &str| read(text).expect_err("a mistake").to_string();
        assert_eq!(error("{\"a\": }"), "a.json:1:7: The character '}' cannot stand here.");
        assert_eq!(error("{\"a\": 1\n \"b\": 2}"), "a.json:2:2: The character '\"' cannot stand here.");
        assert_eq!(error("[1"), "a.json:1:3: The file ends in the middle of a value.");
        assert_eq!(error("[yes]"), "a.json:1:2: `yes` is not a value of JSON.");
        assert_eq!(error("\"a"), "a.json:1:1: This text has no end.");
        assert_eq!(error("/* a"), "a.json:1:1: This comment has no end.");
        assert_eq!(error("1 2"), "a.json:1:3: The character '2' cannot stand here.");
        assert_eq!(error("1e999"), "a.json:1:1: `1e999` is not a number of JSON.");
        assert_eq!(error(r#""\ud8""#), "a.json:1:2: `\\u` needs four hexadecimal digits.");
        assert_eq!(error(r#""\u00zz""#), "a.json:1:2: `\\u` needs four hexadecimal digits.");
        assert_eq!(error("/*/"), "a.json:1:1: This comment has no end.");
        assert_eq!(
            error("{\"a\": 1, \"b\": 2,\n \"c\": 3, \"a\": 4, \"b\": 5}"),
            "a.json:2:10: This object has the key `a` twice."
        );
    }

    #[test]
    fn depth_is_bounded() {
        assert!(read(&("[".repeat(DEEPEST) + &"]".repeat(DEEPEST))).is_ok());
        let error = read(&"[".repeat(1_000)).expect_err("too deep").to_string();
        assert_eq!(error, "a.json:1:151: Lists and objects are nested more than 150 deep.");
        assert!(read(&"{\"a\":".repeat(100_000)).is_err());
    }
}
