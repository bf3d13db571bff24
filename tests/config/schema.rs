//! The JSON Schema that `vnet schema` prints, against every topology file of the repository; and each of its keys, against
//! the examples in `config/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use vnet::config::{json_schema, load};

/// The schema, compiled by a validator that knows nothing of this program.
struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("vnet.schema.json", json_schema()).unwrap();
        let index = compiler.compile("vnet.schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What the validator says against a file; empty if nothing.
    fn complaint(&self, yaml: &str) -> String {
        let value: Value = serde_saphyr::from_str(yaml).unwrap();
        self.schemas.validate(&value, self.index).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }
}

fn topologies(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let yaml = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.chain(directories.iter().flat_map(|directory| topologies(directory))).collect()
}

#[test]
fn every_file_that_loads_fits_the_schema() {
    let (root, schema) = (Path::new(env!("CARGO_MANIFEST_DIR")), Schema::new());
    let mut held = 0;
    let mut complaints = Vec::new();
    for path in topologies(&root.join("config")).into_iter().chain(topologies(&root.join("tests/golden"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        if load(&text, &path.to_string_lossy()).is_ok() {
            held += 1;
            let complaint = schema.complaint(&text);
            if !complaint.is_empty() {
                complaints.push(format!("{}: {complaint}", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(held > 100, "files that load were found: {held}");
}

/// What the decoder refuses for its form alone, the schema refuses too.
#[test]
fn what_is_misspelt_does_not_fit_the_schema() {
    const RIGHT: &str = "
name: lab
virtualNetworks:
  - {name: a, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24, routeTable: t}]}
routeTables:
  - name: t
    properties:
      disableBgpRoutePropagation: true
      routes: [{name: r, addressPrefix: 0.0.0.0/0, nextHopType: none}]
virtualMachines:
  - {name: vm, networkInterfaces: [{subnet: a/s}]}
";
    let schema = Schema::new();
    assert_eq!(schema.complaint(RIGHT), "");
    for (right, wrong) in [
        ("addressSpace", "adressSpace"),
        ("{name: vm,", "{powerState: asleep, name: vm,"),
        ("nextHopType", "nextHopTyp"),
        ("disableBgpRoutePropagation: true", "disableBgpRoutePropagation: sometimes"),
        ("name: lab", "nam: lab"),
        ("{name: vm, networkInterfaces: [{subnet: a/s}]}", "[vm]"),
        ("routes: [", "routes: [{properties: {nextHop: x}}, "),
    ] {
        let yaml = RIGHT.replace(right, wrong);
        assert!(load(&yaml, "lab.yaml").is_err(), "{wrong}: the decoder refuses it");
        assert_ne!(schema.complaint(&yaml), "", "{wrong}: fits the schema");
    }
}

/// Each mapping is defined once: those that describe the same but have other keys are numbered from the second on.
#[test]
fn alike_mappings_are_numbered_from_the_second_on() {
    let schema = json_schema();
    let names: BTreeSet<_> =
        schema["$defs"].as_object().unwrap().keys().filter(|name| !name.ends_with(".fields")).collect();
    let numbered = names.iter().filter_map(|name| {
        let (subject, number) = name.rsplit_once('-')?;
        Some((subject.to_owned(), number.parse::<usize>().ok()?))
    });
    let numbered: Vec<_> = numbered.collect();
    assert!(!numbered.is_empty());
    for (subject, number) in numbered {
        let before = if number == 2 { subject.clone() } else { format!("{subject}-{}", number - 1) };
        assert!(number >= 2 && names.contains(&before), "{subject}-{number}");
    }
}

/// Keys that no file of `config/` can have, with the page that shows them: the tests run each of these files, and not
/// every computer has an engine.
const SHOWN_ELSEWHERE: [(&str, &str, &str); 1] = [("attachment", "container", "docs/start/containers.md")];

/// Each setting that a topology file can have is in a file of `config/`.
#[test]
fn every_key_is_in_an_example() {
    let schema = json_schema();
    let mut keys = Keys { definitions: &schema["$defs"], used: BTreeSet::new() };
    for path in topologies(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")) {
        let value: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        keys.walk(&value, &[&schema]);
    }
    for (what, key, page) in SHOWN_ELSEWHERE {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        assert!(text.contains(&format!("{key}: ")), "{page} does not show `{key}`");
        assert!(keys.used.insert((what.to_owned(), key.to_owned())), "a file of config/ has `{key}` of {what}");
    }
    let unused = keys.unused();
    assert!(unused.is_empty(), "no file of config/ has these keys, each after its object:\n{}", unused.join("\n"));
}

/// The keys that values have, by the definition of the mapping that they are in.
struct Keys<'a> {
    definitions: &'a Value,
    used: BTreeSet<(String, String)>,
}

impl<'a> Keys<'a> {
    /// `forms` are what the value may be.
    fn walk(&mut self, value: &Value, forms: &[&'a Value]) {
        match value {
            Value::Array(items) => {
                let forms: Vec<_> =
                    forms.iter().flat_map(|form| leaves(form)).filter_map(|form| form.get("items")).collect();
                for item in items {
                    self.walk(item, &forms);
                }
            }
            Value::Object(members) => {
                let inside = members.get("properties").and_then(Value::as_object).into_iter().flatten();
                let members: Vec<_> = members.iter().chain(inside).collect();
                let references =
                    forms.iter().flat_map(|form| leaves(form)).filter_map(|form| form.get("$ref")?.as_str());
                for name in references.filter_map(|reference| reference.strip_prefix("#/$defs/")) {
                    let fields = &self.definitions[format!("{name}.fields")]["properties"];
                    for (key, value) in &members {
                        if let Some(form) = fields.get(key) {
                            self.used.insert((name.to_owned(), (*key).clone()));
                            self.walk(value, &[form]);
                        }
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn unused(&self) -> Vec<String> {
        let definitions = self.definitions.as_object().unwrap().iter();
        let objects =
            definitions.filter_map(|(name, fields)| Some((name.strip_suffix(".fields")?, &fields["properties"])));
        let keys = objects
            .flat_map(|(name, keys)| keys.as_object().unwrap().keys().map(move |key| (name.to_owned(), key.clone())));
        keys.filter(|key| !self.used.contains(key)).map(|(name, key)| format!("{name}: {key}")).collect()
    }
}

/// A form, or each of several.
fn leaves(form: &Value) -> Vec<&Value> {
    match form.get("anyOf").and_then(Value::as_array) {
        Some(forms) => forms.iter().flat_map(leaves).collect(),
        None => vec![form],
    }
}
