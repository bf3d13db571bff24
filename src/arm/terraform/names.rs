//! Names that are known only after the apply, such as those with a random part: the address gives one in their place.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::arm::{Key, Node, Note, Value};

use super::instances::Instance;
use super::references::module_names;
use super::shape::text;

/// As long as every type of Azure's allows, with a number behind it.
const LONGEST: usize = 60;

/// Gives a name to each resource whose own is not known, and says so.
pub(super) fn give(instances: &mut [Rc<Instance>], unknown: &HashMap<&str, &Node>, notes: &mut Vec<Note>) {
    let known = |one: &Rc<Instance>| Some((one.kind.clone(), one.text("name")?.to_lowercase()));
    let mut taken: HashSet<_> = instances.iter().filter_map(known).collect();
    for instance in instances {
        let name = unknown.get(instance.address.as_str()).and_then(|unknown| unknown.get("name"));
        if name.is_none_or(|name| name.value != Value::Bool(true)) || instance.text("name").is_some() {
            continue;
        }
        let own = in_address(instance);
        let numbered = (2..).map(|number| format!("{own}-{number}"));
        let is_free = |name: &String| !taken.contains(&(instance.kind.clone(), name.to_lowercase()));
        let Some(name) = [own.clone()].into_iter().chain(numbered).find(is_free) else { continue };
        taken.insert((instance.kind.clone(), name.to_lowercase()));
        let at = instance.values.at.clone();
        let message =
            format!("Terraform knows `{}.name` only after the apply, so it is `{name}` here.", instance.address);
        notes.push(Note::made_up(&at, message));
        if let Value::Object(entries) = &mut Rc::make_mut(instance).values.value {
            entries.retain(|(key, _)| key.text != "name");
            entries.push((Key::new(&at, "name"), text(&at, name)));
        }
    }
}

/// `hub-app-0` of `module.hub.azurerm_subnet.app[0]`.
fn in_address(instance: &Instance) -> String {
    let mut words = module_names(&instance.module);
    words.push(instance.name.clone());
    words.extend(instance.index.as_ref().map(|index| index.trim_matches('"').to_owned()));
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = words.join("-").chars().map(letter).take(LONGEST).collect();
    name.trim_matches('-').to_owned()
}
