//! What a reader accepts, found by asking the reader itself.
//!
//! One idea: the readers that decode a file are the only declaration of its schema. Each reader is asked to read samples of
//! every kind of YAML value, with a report that collects shapes. Which keys are required depends on other keys, so a
//! schema does not say it. A test holds all topology files of the repository against the schema.

use serde_json::{Map, Value as Json, json};

use super::decode::{COSMETIC, ENVELOPE};
use super::diagnostic::{At, Location, Report, Spanned, Step};
use super::tree::{Node, Value};

/// One form that a value may have.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Shape {
    /// Any single value, taken as text.
    Text,
    Boolean,
    /// From and to, as far as they are known.
    Number(Option<i64>, Option<i64>),
    /// One of these, in upper or lower case.
    Word(Vec<&'static str>),
    List(Vec<Shape>),
    Object(Object),
}

/// A mapping with its keys.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Object {
    /// What it describes: `a subnet`.
    pub what: &'static str,
    /// Each key with its forms; none where a key is read and ignored.
    pub fields: Vec<(&'static str, Vec<Shape>)>,
}

/// Mappings whose form depends on whether one of these keys is there.
const TELLING_KEYS: [&str; 2] = ["name", "circuit"];

/// A word that some readers take beside a boolean.
const TELLING_WORD: &str = "all";

/// All forms that a reader takes.
pub(in crate::config) fn shapes<T>(
    read: impl Fn(&Node, &mut Report) -> Option<T>,
    at: At,
    report: &mut Report,
) -> Vec<Shape> {
    forms(&|node, report| read(node, report).is_some(), at, report)
}

/// The same of whether it reads a value. There are hundreds of readers: this is compiled once for all of them.
fn forms(reads: &dyn Fn(&Node, &mut Report) -> bool, at: At, report: &mut Report) -> Vec<Shape> {
    let node = |value| Node { at, value };
    let scalar = |text: &str| Value::Scalar { text: text.to_owned(), plain: true };
    let null = |key: &str| (Spanned { value: key.to_owned(), at }, node(Value::Null));
    let samples = [
        (scalar("x"), Shape::Text),
        (scalar(TELLING_WORD), Shape::Text),
        (Value::List(vec![node(scalar("x"))]), Shape::List(Vec::new())),
        (Value::Map(Vec::new()), Shape::Object(Object::any())),
        (Value::Map(TELLING_KEYS.map(null).into()), Shape::Object(Object::any())),
    ];
    let outer = report.shapes.replace(Vec::new());
    let mut all = Vec::new();
    for (sample, plain) in samples {
        let is_read = reads(&node(sample), report);
        let found = report.shapes.replace(Vec::new()).unwrap_or_default();
        let found = if found.is_empty() && is_read { vec![plain] } else { found };
        all.extend(found);
    }
    report.shapes = outer;
    let mut unique: Vec<Shape> = Vec::new();
    for shape in all {
        if !unique.contains(&shape) {
            unique.push(shape);
        }
    }
    unique
}

/// The JSON Schema (draft 2020-12) of a document that `read` reads.
pub(in crate::config) fn schema<T>(read: impl Fn(&Node, &mut Report) -> Option<T>) -> Json {
    let mut report = Report::of_shapes();
    let at = report.site(Location { line: 1, column: 1, len: 0 }, None, Step::Root);
    let mut definitions = Definitions::default();
    let mut root = definitions.any_of(&shapes(read, at, &mut report));
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$defs"] = Json::Object(definitions.written);
    root
}

/// The mappings of a schema, each written once.
#[derive(Default)]
struct Definitions {
    known: Vec<(Object, String)>,
    written: Map<String, Json>,
}

impl Definitions {
    fn any_of(&mut self, shapes: &[Shape]) -> Json {
        match shapes {
            [] => json!({}),
            [shape] => self.shape(shape),
            several => json!({ "anyOf": several.iter().map(|shape| self.shape(shape)).collect::<Vec<_>>() }),
        }
    }

    fn shape(&mut self, shape: &Shape) -> Json {
        match shape {
            Shape::Text => json!({ "type": ["string", "number", "boolean"] }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Number(from, to) => {
                let mut number = json!({ "type": "integer" });
                for (key, bound) in [("minimum", from), ("maximum", to)] {
                    if let Some(bound) = bound {
                        number[key] = json!(bound);
                    }
                }
                number
            }
            Shape::Word(words) => {
                let pattern = words.iter().map(|word| without_case(word)).collect::<Vec<_>>().join("|");
                json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": format!("^({pattern})$") }] })
            }
            Shape::List(items) => json!({ "type": "array", "items": self.any_of(items) }),
            Shape::Object(object) if object.fields.is_empty() => json!({ "type": "object" }),
            Shape::Object(object) => json!({ "$ref": format!("#/$defs/{}", self.object(object)) }),
        }
    }

    /// The name under which a mapping is defined.
    fn object(&mut self, object: &Object) -> String {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| known == object) {
            return name.clone();
        }
        let subject = object.what.trim_start_matches("a ").trim_start_matches("an ").trim_start_matches("the ");
        let word: String = subject.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let alike = self.known.iter().filter(|(known, _)| known.what == object.what).count();
        let name = if alike == 0 { word } else { format!("{word}-{}", alike + 1) };
        self.known.push((object.clone(), name.clone()));
        let mut fields = Map::new();
        fields.extend(object.fields.iter().map(|(key, shapes)| ((*key).to_owned(), self.field(shapes))));
        self.written.insert(format!("{name}.fields"), json!({ "properties": fields }));
        self.written.insert(name.clone(), object.schema(&format!("#/$defs/{name}.fields")));
        name
    }

    /// A key without a value is as good as absent.
    fn field(&mut self, shapes: &[Shape]) -> Json {
        if shapes.is_empty() {
            return json!({});
        }
        let forms: Vec<Json> =
            shapes.iter().map(|shape| self.shape(shape)).chain([json!({ "type": "null" })]).collect();
        json!({ "anyOf": forms })
    }
}

impl Object {
    fn any() -> Self {
        Self { what: "a mapping", fields: Vec::new() }
    }

    /// As the reader takes it: flat, or with ARM's `properties:` around most of the keys. With these or an `id` it is as ARM
    /// prints it, and may have more.
    fn schema(&self, fields: &str) -> Json {
        let mut envelope = Map::new();
        envelope.extend(ENVELOPE.iter().chain(&COSMETIC).map(|key| ((*key).to_owned(), json!({}))));
        let inside =
            json!({ "type": "object", "$ref": fields, "properties": envelope, "unevaluatedProperties": false });
        let mut outside = envelope;
        outside.insert("properties".to_owned(), inside);
        json!({
            "title": self.what,
            "type": "object",
            "$ref": fields,
            "unevaluatedProperties": false,
            "if": { "anyOf": [{ "required": ["properties"] }, { "required": ["id"] }] },
            "then": { "properties": outside },
        })
    }
}

/// A pattern that matches a word in upper and lower case: schemas have no flag for that.
fn without_case(word: &str) -> String {
    let one = |c: char| match c {
        c if c.is_ascii_alphabetic() => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        c if c.is_ascii_alphanumeric() => c.to_string(),
        c => format!("\\{c}"),
    };
    word.chars().map(one).collect()
}
