//! Values that are known only after the apply, found through the configuration.
//!
//! The configuration of a plan says which attributes an expression refers to. If one refers to another resource of the
//! plan, its value is that resource's: an ID is worked out, everything else is taken where it is known.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use ipnet::Ipv4Net;

use crate::arm::{Key, Node, Note, Value};

use super::addresses::{self, ADDRESS, Block, Chosen};
use super::families;
use super::instances::Instance;
use super::names;

/// How many modules and resources a reference may lead through.
const FARTHEST: usize = 12;
/// Unknown values that Azure allocates, and so does this program.
const ALLOCATED: [&str; 3] = ["ip_address", "private_ip_address", "gateway_address"];
/// Those without which there is no network or subnet, though nobody may have written them: a pool gives them.
const RANGES: [&str; 2] = ["address_prefixes", "address_space"];

/// The plan, by address.
struct Plan<'a> {
    configuration: Option<&'a Node>,
    unknown: HashMap<&'a str, &'a Node>,
    /// By module, type and name: all of a `count`.
    instances: HashMap<(String, String), Vec<Rc<Instance>>>,
    /// What was filled in already, by address; none while it is under way.
    filled: RefCell<HashMap<String, Option<Rc<Instance>>>>,
    /// Private addresses that others read.
    chosen: RefCell<Chosen>,
}

/// Fills in what can be worked out, and says what is left.
pub(super) fn resolve(document: &Node, instances: &mut [Rc<Instance>], notes: &mut Vec<Note>) {
    let mut plan = Plan {
        configuration: document.get("configuration").and_then(|configuration| configuration.get("root_module")),
        unknown: HashMap::new(),
        instances: HashMap::new(),
        filled: RefCell::default(),
        chosen: RefCell::default(),
    };
    for change in document.get("resource_changes").map(Node::items).unwrap_or_default() {
        let address = change.get("address").and_then(Node::text);
        let unknown = change.get("change").and_then(|change| change.get("after_unknown"));
        plan.unknown.extend(address.zip(unknown));
    }
    names::give(instances, &plan.unknown, notes);
    for instance in instances.iter() {
        let data = if instance.is_data { "data." } else { "" };
        let key = (instance.module.clone(), format!("{data}{}.{}", instance.kind, instance.name));
        plan.instances.entry(key).or_default().push(Rc::clone(instance));
    }
    let filled: Vec<_> = instances.iter().map(|instance| plan.filled(instance, FARTHEST)).collect();
    let chosen = plan.chosen.borrow();
    for (instance, mut filled) in instances.iter_mut().zip(filled) {
        let has_chosen = chosen.has(instance);
        let at = &instance.values.at;
        if has_chosen {
            let said = chosen.give(Rc::make_mut(&mut filled));
            notes.extend(said.into_iter().map(|message| Note::made_up(at, message)));
        }
        for key in plan.still_unknown(&filled) {
            let message = format!("Terraform knows `{}.{key}` only after the apply", instance.address);
            if !ALLOCATED.contains(&key) {
                notes.push(Note::not_read(at, format!("{message}: it is missing here.")));
            } else if !has_chosen || key != ADDRESS {
                notes.push(Note::made_up(at, format!("{message}, so it is allocated.")));
            }
        }
        *instance = filled;
    }
}

impl<'a> Plan<'a> {
    /// What is worth a word of that which was not worked out: addresses, and what someone wrote for the network.
    fn still_unknown(&self, filled: &Instance) -> Vec<&'a str> {
        let Some(unknown) = self.unknown.get(filled.address.as_str()) else { return Vec::new() };
        let expressions = self.expressions(filled);
        let is_written = |key: &str| {
            expressions.is_some_and(|all| all.get(key).is_some()) && families::says_something(&filled.kind, key)
        };
        let is_lacking = |key: &str| filled.values.get(key).is_none_or(|it| it.value == Value::Null);
        let keys = unknown.entries().iter().filter(|(_, it)| it.value == Value::Bool(true));
        let keys = keys.map(|(key, _)| key.text.as_str()).filter(|key| is_lacking(key));
        keys.filter(|key| ALLOCATED.contains(key) || RANGES.contains(key) || is_written(key)).collect()
    }

    /// The instance with all values that can be worked out.
    fn filled(&self, instance: &Rc<Instance>, far: usize) -> Rc<Instance> {
        if let Some(known) = self.filled.borrow().get(&instance.address) {
            return Rc::clone(known.as_ref().unwrap_or(instance));
        }
        self.filled.borrow_mut().insert(instance.address.clone(), None);
        let mut values = instance.values.clone();
        if let (Some(unknown), Some(expressions)) =
            (self.unknown.get(instance.address.as_str()), self.expressions(instance))
        {
            self.fill(&mut values, unknown, expressions, instance, far);
        }
        let filled = Rc::new(Instance { values, ..(**instance).clone() });
        self.filled.borrow_mut().insert(instance.address.clone(), Some(Rc::clone(&filled)));
        filled
    }

    /// What the configuration of a resource's module says of it.
    fn expressions(&self, instance: &Instance) -> Option<&'a Node> {
        let module = self.module(&instance.module)?;
        let is = |node: &&Node| {
            let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
            text("type") == instance.kind
                && text("name") == instance.name
                && (text("mode") == "data") == instance.is_data
        };
        module.get("resources")?.items().iter().find(is)?.get("expressions")
    }

    /// The configuration of `module.a.module.b[0]`.
    fn module(&self, address: &str) -> Option<&'a Node> {
        let mut module = self.configuration?;
        for name in module_names(address) {
            module = module.get("module_calls")?.get(&name)?.get("module")?;
        }
        Some(module)
    }

    fn fill(&self, values: &mut Node, unknown: &Node, expressions: &Node, instance: &Instance, far: usize) {
        let Value::Object(entries) = &mut values.value else { return };
        let at = values.at.clone();
        for (key, unknown) in unknown.entries() {
            let Some(expression) = expressions.get(&key.text) else { continue };
            // What a whole block refers to is not the block.
            if unknown.value == Value::Bool(true) && families::is_block(&instance.kind, &key.text) {
                continue;
            }
            let known = entries.iter_mut().find(|(known, _)| known.text == key.text).map(|(_, node)| node);
            match (&unknown.value, known) {
                (Value::Bool(true), known) => {
                    let single = !families::is_list(&key.text);
                    let found = self.found(expression, &key.text, instance, single, far);
                    match (found, known) {
                        (Some(found), Some(known)) => *known = found,
                        (Some(found), None) => entries.push((Key::new(&at, &key.text), found)),
                        (None, _) => {}
                    }
                }
                (Value::List(unknown), Some(Node { value: Value::List(items), .. })) => {
                    if unknown.iter().any(|it| it.value == Value::Bool(true)) {
                        if let Some(Node { value: Value::List(all), .. }) =
                            self.found(expression, &key.text, instance, false, far)
                        {
                            *items = merged(items, all);
                        }
                        continue;
                    }
                    for (place, (item, unknown)) in items.iter_mut().zip(unknown).enumerate() {
                        // A block that is written once stands for all that `dynamic` makes.
                        let blocks = expression.items();
                        if let Some(block) = blocks.get(place).or(blocks.last()) {
                            self.fill(item, unknown, block, instance, far);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What an expression refers to, as one value or as a list.
    fn found(&self, expression: &Node, key: &str, instance: &Instance, single: bool, far: usize) -> Option<Node> {
        let references = references_of(expression, key);
        let (mut found, mut texts) = (Vec::new(), HashSet::new());
        for reference in &references {
            for node in self.referred(reference, &instance.module, instance.index.as_deref(), far) {
                match &node.value {
                    Value::Text(text) if !texts.insert(text.clone()) => {}
                    Value::Object(_) => {}
                    Value::List(_) if single => {}
                    _ if single => return Some(node),
                    Value::List(items) => found.extend_from_slice(items),
                    _ => found.push(node),
                }
            }
        }
        (!found.is_empty()).then(|| list(expression, found))
    }

    /// The values behind `azurerm_subnet.app[0].id`, `module.hub.subnet_id`, `var.subnet_id`.
    fn referred(&self, reference: &str, module: &str, index: Option<&str>, far: usize) -> Vec<Node> {
        let Some(far) = far.checked_sub(1) else { return Vec::new() };
        let parts = split(reference);
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["module", name, index, output, ..] if index.starts_with('[') => {
                self.output(&format!("{name}{index}"), output, module, far)
            }
            ["module", name, output, ..] => self.output(name, output, module, far),
            ["var", name, ..] => self.variable(name, module, far),
            ["data", kind, name, rest @ ..] => self.attribute(&format!("data.{kind}.{name}"), rest, module, index, far),
            [kind, name, rest @ ..] if kind.contains('_') => {
                self.attribute(&format!("{kind}.{name}"), rest, module, index, far)
            }
            _ => Vec::new(),
        }
    }

    fn attribute(&self, resource: &str, rest: &[&str], module: &str, index: Option<&str>, far: usize) -> Vec<Node> {
        let (own, path) = match rest {
            [first, path @ ..] if first.starts_with('[') => (Some(first.trim_matches(['[', ']'])), path),
            path => (None, path),
        };
        let Some((attribute, _)) = path.split_first() else { return Vec::new() };
        let all = self.instances.get(&(module.to_owned(), resource.to_owned())).map(Vec::as_slice).unwrap_or_default();
        let chosen: Vec<_> = match own {
            Some(own) => all.iter().filter(|it| it.index.as_deref() == Some(own)).collect(),
            None if all.len() > 1 && all.iter().any(|it| it.index.as_deref() == index && index.is_some()) => {
                all.iter().filter(|it| it.index.as_deref() == index).collect()
            }
            None => all.iter().collect(),
        };
        let value = |instance: &&Rc<Instance>| {
            let filled = self.filled(instance, far);
            if let Some(address) = self.private_address(&filled, path, far) {
                return Some(address);
            }
            let known = filled.values.get(attribute).filter(|node| node.value != Value::Null).cloned();
            let text = |text: String| Node { at: filled.values.at.clone(), value: Value::Text(text) };
            known.or_else(|| (*attribute == "id").then(|| families::id(&filled)).flatten().map(text))
        };
        chosen.iter().filter_map(value).collect()
    }

    /// The private address of an interface, a frontend or a firewall; chosen here where only Azure will know it.
    fn private_address(&self, instance: &Instance, path: &[&str], far: usize) -> Option<Node> {
        let block = Block::of(instance, path)?;
        block.address().or_else(|| {
            let range = self.range_of(block.subnet()?, far)?;
            let is_taken =
                |address| self.instances.values().flatten().flat_map(|it| addresses::known(it)).any(|it| it == address);
            self.chosen.borrow_mut().choose(&block, range, is_taken)
        })
    }

    /// The range of the subnet with this ID.
    fn range_of(&self, id: &str, far: usize) -> Option<Ipv4Net> {
        let subnets = self.instances.values().flatten().filter(|instance| instance.kind == "azurerm_subnet");
        let mut subnets = subnets.map(|subnet| self.filled(subnet, far));
        let subnet = subnets.find(|subnet| families::id(subnet).is_some_and(|own| own.eq_ignore_ascii_case(id)))?;
        addresses::range_of(&subnet.values)
    }

    /// An output of a module that this module calls.
    fn output(&self, name: &str, output: &str, module: &str, far: usize) -> Vec<Node> {
        let place = if module.is_empty() { format!("module.{name}") } else { format!("{module}.module.{name}") };
        let called = self.module(&place).and_then(|module| module.get("outputs")?.get(output)?.get("expression"));
        let references = called.map(|expression| references_of(expression, output)).unwrap_or_default();
        references.iter().flat_map(|it| self.referred(it, &place, None, far)).collect()
    }

    /// What the calling module gives.
    fn variable(&self, name: &str, module: &str, far: usize) -> Vec<Node> {
        let names = module_names(module);
        let Some((last, _)) = names.split_last() else { return Vec::new() };
        let outer = module.rfind("module.").map_or("", |at| module[..at].trim_end_matches('.'));
        let call =
            self.module(outer).and_then(|module| module.get("module_calls")?.get(last)?.get("expressions")?.get(name));
        let references = call.map(|expression| references_of(expression, name)).unwrap_or_default();
        references.iter().flat_map(|it| self.referred(it, outer, None, far)).collect()
    }
}

/// What an expression refers to. `a.b.id` comes with `a.b`, which says no more; but of `a.b[count.index].id` only `a.b` is
/// left, and the attribute's own name says what is meant of it.
fn references_of(expression: &Node, key: &str) -> Vec<String> {
    let all: Vec<&str> =
        expression.get("references").map(Node::items).unwrap_or_default().iter().filter_map(Node::text).collect();
    let named = |reference: &str| {
        let more = |other: &&str| other.strip_prefix(reference).is_some_and(|rest| rest.starts_with(['.', '[']));
        all.iter().any(more)
    };
    let whole = |reference: &&&str| !named(reference);
    let named = |reference: &str| {
        let parts = split(reference);
        let length = if reference.starts_with("data.") { 3 } else { 2 };
        let bare = parts.first().is_some_and(|part| part.contains('_') || part == "data")
            && parts.iter().filter(|part| !part.starts_with('[')).count() == length;
        let implied = key.rsplit('_').next().unwrap_or(key).trim_end_matches('s');
        if bare { format!("{reference}.{implied}") } else { reference.to_owned() }
    };
    all.iter().filter(whole).map(|reference| named(reference)).collect()
}

/// Known items stay; the others come from the references, in order.
fn merged(items: &[Node], all: Vec<Node>) -> Vec<Node> {
    let mut found = all.into_iter().filter(|node| items.iter().all(|item| item.value != node.value));
    let mut merged: Vec<Node> = Vec::new();
    for item in items {
        merged.extend(if item.value == Value::Null { found.next() } else { Some(item.clone()) });
    }
    merged.extend(found);
    merged
}

fn list(at: &Node, items: Vec<Node>) -> Node {
    Node { at: at.at.clone(), value: Value::List(items) }
}

/// `a.b["x.y"].c` to `a`, `b`, `["x.y"]`, `c`.
fn split(reference: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for letter in reference.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '[' if !quoted => parts.push(String::new()),
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// `module.a["x"].module.b` to `a`, `b`.
pub(super) fn module_names(address: &str) -> Vec<String> {
    split(address).into_iter().filter(|part| part != "module" && !part.starts_with('[')).collect()
}
