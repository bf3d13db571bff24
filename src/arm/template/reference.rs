//! `reference` and `list…`: what a resource has, once it runs. The template answers where it can.
//!
//! What only Azure knows is made up where an expression asks for it: the name of the property says what it is.

use std::rc::Rc;

use crate::arm::{Key, Node, Place, ResourceId, Value};

use super::deployment::{Frame, Instance};
use super::expression::{Expression, Step};
use super::functions::{Arguments, plain};
use super::machine::{Machine, Outcome, fault};
use super::made_up;
use super::scope::Env;

impl Machine<'_> {
    /// The value of `reference` or `list…`; what is not known is missing in it.
    pub(super) fn runtime(&self, name: &str, given: &Arguments<'_>, env: &Env) -> Outcome<Node> {
        let nothing = || given.node(Value::Object(Vec::new()));
        if name != "reference" && name != "references" {
            self.note(given.at, format!("`{}` returns secrets that were made up.", given.name));
            return Ok(nothing());
        }
        let wanted = given.plain(0)?;
        let full = given.values.last().and_then(Node::text).is_some_and(|word| word.eq_ignore_ascii_case("full"));
        if name == "references" {
            let all = env.frame.instances.borrow().clone();
            let all =
                all.iter().filter(|instance| instance.symbol.as_ref().is_some_and(|(symbol, _)| *symbol == wanted));
            let all = all.map(|instance| self.known(instance, full, given.at)).collect::<Outcome<_>>()?;
            return Ok(given.node(Value::List(all)));
        }
        if let Some(instance) = self.found(&wanted, env) {
            return self.known(&instance, full, given.at);
        }
        let message = format!("`{wanted:.160}` is not in the template: what it has was made up where needed.");
        self.note(given.at, message);
        Ok(nothing())
    }

    /// `resourceInfo`: the id, the name and the type behind a symbol.
    pub(super) fn resource_info(&self, given: &Arguments<'_>, env: &Env) -> Outcome<Node> {
        given.count(1, 1)?;
        let wanted = given.text(0)?;
        let instance = self.named(wanted, env);
        let instance = instance.ok_or_else(|| fault(format!("The template has no resource `{wanted:.120}`")))?;
        let parts = [("id", instance.id.as_str()), ("name", &instance.name), ("type", &instance.kind)];
        let text = |text: &str| given.node(Value::Text(text.to_owned()));
        Ok(given.node(Value::Object(parts.map(|(key, value)| (Key::new(given.at, key), text(value))).into())))
    }

    /// By id, by symbol, or by name; nested deployments that were not looked at yet may have it.
    pub(super) fn found(&self, wanted: &str, env: &Env) -> Option<Rc<Instance>> {
        if let Some(instance) = self.named(wanted, env) {
            return Some(instance);
        }
        let mut frame = Some(Rc::clone(&env.frame));
        while let Some(current) = frame {
            let waiting = current.instances.borrow().clone();
            for instance in waiting.iter().filter(|instance| instance.is_deployment() && instance.is_waiting()) {
                // A mistake in it is reported when its turn comes.
                let _ = self.deployed(instance);
            }
            frame = current.parent.upgrade();
        }
        self.named(wanted, env)
    }

    /// A resource that is under evaluation is the last choice: a nested template may change what its parent made.
    fn named(&self, wanted: &str, env: &Env) -> Option<Rc<Instance>> {
        if wanted.starts_with('/') {
            let index = self.index.borrow();
            return settled(index.get(&ResourceId::new(wanted)).into_iter().flatten(), env);
        }
        let mut frame: Option<Rc<Frame>> = Some(Rc::clone(&env.frame));
        let mut called = Vec::new();
        while let Some(current) = frame {
            let instances = current.instances.borrow();
            called.extend(instances.iter().filter(|instance| instance.is_called(wanted)).map(Rc::clone));
            let _ = self.charge(instances.len() / 16);
            frame = current.parent.upgrade();
        }
        settled(called.iter(), env)
    }

    /// The properties of a resource in the template, or all that it has.
    fn known(&self, instance: &Instance, full: bool, at: &Place) -> Outcome<Node> {
        let deployed = self.deployed(instance)?;
        let node = |value: Value| Node { at: at.clone(), value };
        let text = |text: &str| node(Value::Text(text.to_owned()));
        let properties = match (&deployed.nested, deployed.body.get("properties")) {
            (Some(nested), _) => {
                let outputs = nested.outputs.iter().map(|(key, value)| {
                    Ok((key.clone(), node(Value::Object(vec![(Key::new(at, "value"), self.copy(value)?)]))))
                });
                let outputs = node(Value::Object(outputs.collect::<Outcome<_>>()?));
                let state = (Key::new(at, "provisioningState"), text("Succeeded"));
                node(Value::Object(vec![(Key::new(at, "outputs"), outputs), state]))
            }
            (None, Some(properties)) => self.copy(properties)?,
            (None, None) => node(Value::Object(Vec::new())),
        };
        if !full {
            return Ok(properties);
        }
        let own = deployed.body.entries().iter().filter(|(key, _)| !key.text.eq_ignore_ascii_case("properties"));
        let mut entries: Vec<_> = own.map(|(key, node)| Ok((key.clone(), self.copy(node)?))).collect::<Outcome<_>>()?;
        for (key, value) in [
            ("id", instance.id.as_str()),
            ("resourceId", instance.id.as_str()),
            ("name", &instance.name),
            ("type", &instance.kind),
            ("subscriptionId", &self.context.subscription),
            ("resourceGroupName", &self.context.resource_group),
        ] {
            entries.push((Key::new(at, key), text(value)));
        }
        entries.push((Key::new(at, "properties"), properties));
        Ok(node(Value::Object(entries)))
    }

    /// A part of what `reference` or `list…` returned. Where it has none, only Azure knows it.
    pub(super) fn runtime_path(
        &self,
        base: &Expression,
        value: &Rc<Node>,
        steps: &[Step],
        at: &Place,
        env: &Env,
    ) -> Outcome<Node> {
        let (shown, known) = self.subject(base, at, env)?;
        let mut walk =
            Walk { node: Some(&**value), shown, id: known.as_ref().map(|it| it.id.as_str().to_owned()), list: None };
        let (mut last, mut path) = (String::new(), Vec::new());
        for step in steps {
            let index = match step {
                Step::Member(name) => {
                    last.clone_from(name);
                    name.clone()
                }
                Step::Index(tree) => {
                    let index = self.expression(tree, at, env)?;
                    if let Some(name) = index.text() {
                        name.clone_into(&mut last);
                    }
                    plain(&index).unwrap_or_default()
                }
            };
            path.push(index.clone());
            if walk.shown.len() < 400 {
                walk.shown = format!("{}.{index:.60}", walk.shown);
            }
            let next = match walk.node {
                Some(node) => self.step(node, step, at, env)?.ok(),
                None => None,
            };
            walk.to(next, step);
        }
        if let Some(node) = walk.node {
            return Ok(super::evaluate::placed(self.copy(node)?, at));
        }
        if let (Some(id), "id") = (&walk.id, last.as_str()) {
            return Ok(Node { at: at.clone(), value: Value::Text(id.clone()) });
        }
        if let Some(instance) = known
            && let Some(address) = self.allocated(&instance, &self.deployed(&instance)?.body, &path)
        {
            self.note(at, format!("Only Azure knows `{:.160}`, so `{address}` was made up.", walk.shown));
            return Ok(Node { at: at.clone(), value: Value::Text(address) });
        }
        Ok((*made_up::runtime(self, &walk.shown, &last, at)).clone())
    }

    /// What a call is about, for people, and the resource if the template has it.
    fn subject(&self, base: &Expression, at: &Place, env: &Env) -> Outcome<(String, Option<Rc<Instance>>)> {
        let Expression::Call { name, arguments } = base else { return Err(fault("A call is expected")) };
        let first = arguments.first().map(|first| self.expression(first, at, env)).transpose()?;
        let wanted = first.as_ref().and_then(plain).unwrap_or_default();
        let instance = if name.eq_ignore_ascii_case("reference") { self.found(&wanted, env) } else { None };
        let short = wanted.rsplit('/').next().unwrap_or_default();
        Ok((format!("{name}('{short:.80}')"), instance))
    }
}

/// The first that can be asked. One that asks for itself is found only in its own template, where that is a mistake.
fn settled<'i>(candidates: impl Iterator<Item = &'i Rc<Instance>>, env: &Env) -> Option<Rc<Instance>> {
    let mut own = None;
    for candidate in candidates {
        if !candidate.is_running() {
            return Some(Rc::clone(candidate));
        }
        if candidate.frame.upgrade().is_some_and(|frame| Rc::ptr_eq(&frame, &env.frame))
            && env.frame.parent.upgrade().is_none()
        {
            own = Some(Rc::clone(candidate));
        }
    }
    own
}

/// A walk into a resource's properties, and the id of the part that it is at.
struct Walk<'n> {
    node: Option<&'n Node>,
    shown: String,
    id: Option<String>,
    /// The list that the walk is in: `subnets` of a virtual network.
    list: Option<&'n str>,
}

impl<'n> Walk<'n> {
    fn to(&mut self, next: Option<&'n Node>, step: &'n Step) {
        match (step, next.and_then(|node| node.get("name")).and_then(Node::text)) {
            (Step::Member(name), _) => self.list = Some(name),
            (Step::Index(_), Some(name)) => {
                self.id = self.id.take().zip(self.list.take()).map(|(id, list)| format!("{id}/{list}/{name}"));
            }
            (Step::Index(_), None) => self.id = None,
        }
        self.node = next;
    }
}
