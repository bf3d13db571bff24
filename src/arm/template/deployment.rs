//! A template's resources: which there are, with their ids, and what each has; nested deployments are templates in it.
//!
//! First come the ids of all resources of a template, then what each has, or earlier if another refers to it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::arm::{Key, Mistake, Node, Resource, ResourceId, Value};

use super::functions::{boolean, plain};
use super::id::under;
use super::machine::{Fault, Machine, Outcome, fault};
use super::parameters;
use super::scope::{Env, Scope, Target, Turn};
use super::{Context, Evaluated};

/// Azure nests five deep.
const MOST_LEVELS: usize = 8;
const DEPLOYMENTS: &str = "Microsoft.Resources/deployments";
/// The first template's `uri`: relative links start from it.
const ORIGIN: &str = "https://template.invalid/";
/// Keys of a resource that say how it is deployed, and not what it is.
const NOT_ITS_OWN: &[&str] = &[
    "type",
    "name",
    "apiVersion",
    "dependsOn",
    "condition",
    "copy",
    "resources",
    "comments",
    "existing",
    "import",
    "scope",
];

/// One template under evaluation.
pub(super) struct Frame {
    /// What names mean in its resources. A nested template without a scope of its own has its parent's.
    pub(super) scope: Rc<Scope>,
    pub(super) target: Target,
    pub(super) parent: Weak<Frame>,
    /// The loops that a nested template stands in.
    turns: Vec<Turn>,
    level: usize,
    pub(super) instances: RefCell<Vec<Rc<Instance>>>,
}

/// One resource; of a `copy` one turn.
pub(super) struct Instance {
    declared: Rc<Node>,
    turns: Vec<Turn>,
    pub(super) frame: Weak<Frame>,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) id: ResourceId,
    /// Its name among the resources of a template that are an object, and its number of a `copy`.
    pub(super) symbol: Option<(String, Option<i64>)>,
    existing: bool,
    state: RefCell<State>,
}

enum State {
    Waiting,
    Running,
    Done(Rc<Deployed>),
    Failed(Box<Mistake>),
}

/// What a resource has.
pub(super) struct Deployed {
    pub(super) body: Node,
    pub(super) nested: Option<Nested>,
}

/// A nested deployment that was evaluated.
pub(super) struct Nested {
    frame: Rc<Frame>,
    pub(super) outputs: Vec<(Key, Node)>,
}

/// Where the resources of a list stand: in the template, or in a resource.
struct Parent<'a> {
    kind: &'a str,
    name: &'a str,
    id: &'a str,
}

impl Instance {
    pub(super) fn is_deployment(&self) -> bool {
        self.is_a(DEPLOYMENTS)
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.state.borrow(), State::Waiting)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(*self.state.borrow(), State::Running)
    }

    pub(super) fn is_a(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// By its symbol, `subnets[2]` for one of several, by its name, or by its type and name.
    pub(super) fn is_called(&self, wanted: &str) -> bool {
        let symbolic = self.symbol.as_ref().is_some_and(|(symbol, index)| match index {
            None => symbol == wanted,
            Some(index) => wanted.strip_prefix(symbol.as_str()).is_some_and(|rest| rest == format!("[{index}]")),
        });
        symbolic
            || self.name.eq_ignore_ascii_case(wanted)
            || (wanted.contains('.')
                && self.id.as_str().to_lowercase().ends_with(&format!("/providers/{}", wanted.to_lowercase())))
    }
}

pub(super) fn evaluate(document: &Node, context: &Context<'_>) -> Result<Evaluated, Vec<Mistake>> {
    let machine = Machine::new(context, document);
    let mut resources = Vec::new();
    let outputs = machine.first(document, &mut resources).unwrap_or_else(|fault| {
        machine.report(fault.at(&document.at, "template"));
        Vec::new()
    });
    let (notes, mistakes) = machine.finish();
    if mistakes.is_empty() { Ok(Evaluated { resources, outputs, notes }) } else { Err(mistakes) }
}

impl Machine<'_> {
    fn first(&self, document: &Node, resources: &mut Vec<Resource>) -> Outcome<Vec<(Key, Node)>> {
        let target = Target {
            subscription: self.context.subscription.clone(),
            group: takes_group(document).then(|| self.context.resource_group.clone()),
        };
        let (given, name) = (&self.context.parameters, self.context.deployment.clone());
        // Where another parameter has no value, the name is probably misspelt.
        let misspelt = parameters::lacks_values(given, document);
        for mistake in parameters::unknown(given, document) {
            if misspelt { self.report(mistake) } else { self.note(&mistake.at, mistake.message) }
        }
        let file: &str = &document.at.file;
        let uri = format!("{ORIGIN}{}", file.rsplit('/').next().unwrap_or(file));
        let scope = Rc::new(Scope::new(self, document, given, target.clone(), name, uri)?);
        let frame = Rc::new(Frame {
            scope,
            target,
            parent: Weak::new(),
            turns: Vec::new(),
            level: 0,
            instances: RefCell::default(),
        });
        let outputs = self.run(document, &frame);
        self.collect(&frame, resources);
        Ok(outputs)
    }

    /// Everything of a template: its resources stay in the frame. Mistakes are reported.
    fn run(&self, template: &Node, frame: &Rc<Frame>) -> Vec<(Key, Node)> {
        let mut env = Env::top(&frame.scope, frame);
        env.turns.clone_from(&frame.turns);
        if let Some(resources) = template.get("resources") {
            self.expand(resources, &env, None);
        }
        let instances = frame.instances.borrow().clone();
        for instance in instances {
            if self.exhausted() {
                break;
            }
            if let Err(fault) = self.deployed(&instance) {
                self.report(fault.at(&instance.declared.at, &instance.name));
            }
        }
        let outputs = template.get("outputs").map(Node::entries).unwrap_or_default();
        let mut values = Vec::new();
        for (key, output) in outputs {
            match self.output(output, &env) {
                Ok(value) => values.extend(value.map(|value| (key.clone(), value))),
                Err(fault) => self.failed_output(key, output, fault),
            }
        }
        values
    }

    /// An output that asks for what was made up may well fail, and no network needs it.
    fn failed_output(&self, key: &Key, output: &Node, fault: Fault) {
        let mistake = fault.at(&output.at, &key.text);
        let written = output.to_json().to_string().to_ascii_lowercase();
        if written.contains("reference(") || written.contains("list") {
            self.note(&mistake.at, format!("The output `{}` was left out. {}", key.text, mistake.message));
        } else {
            self.report(mistake);
        }
    }

    fn output(&self, output: &Node, env: &Env) -> Outcome<Option<Node>> {
        if !self.wanted(output, env)? {
            return Ok(None);
        }
        let value = match (output.get("value"), output.get("copy")) {
            (Some(value), _) => self.node(value, env)?,
            (None, Some(copy)) => self.copied_output(copy, env)?,
            (None, None) => return Err(Mistake::new(&output.at, "This output has no `value`.").into()),
        };
        self.keep(&value)?;
        Ok(Some(value))
    }

    /// Loops of outputs have no name.
    fn copied_output(&self, copy: &Node, env: &Env) -> Outcome<Node> {
        let Value::Object(entries) = &copy.value else { return self.copied(copy, env) };
        let name = (Key::new(&copy.at, "name"), Node { at: copy.at.clone(), value: Value::Text("output".to_owned()) });
        let value = Value::Object(entries.iter().cloned().chain([name]).collect());
        self.copied(&Node { at: copy.at.clone(), value }, env)
    }

    fn wanted(&self, node: &Node, env: &Env) -> Outcome<bool> {
        let Some(condition) = node.get("condition") else { return Ok(true) };
        let value = boolean(&self.node(condition, env)?);
        value.ok_or_else(|| Mistake::new(&condition.at, "A condition must be true or false.").into())
    }

    /// The ids of all resources of a list, or of an object of resources.
    fn expand(&self, resources: &Node, env: &Env, parent: Option<&Parent<'_>>) {
        let symbolic = resources.entries().iter().map(|(key, node)| (Some(key.text.as_str()), node));
        for (symbol, declared) in resources.items().iter().map(|node| (None, node)).chain(symbolic) {
            if self.exhausted() {
                break;
            }
            if let Err(fault) = self.declared(declared, symbol, env, parent) {
                self.report(fault.at(&declared.at, "resource"));
            }
        }
    }

    fn declared(&self, node: &Node, symbol: Option<&str>, env: &Env, parent: Option<&Parent<'_>>) -> Outcome<()> {
        self.weigh_part(node)?;
        let shared = Rc::new(node.clone());
        let Some(copy) = node.get("copy").filter(|copy| matches!(copy.value, Value::Object(_))) else {
            return self.instance(&shared, symbol.map(|symbol| (symbol, None)), env, parent);
        };
        let (name, count) = self.turns_of(copy, env)?;
        for index in 0..count {
            let turn = Turn { name: name.clone(), index, of_resource: true };
            self.charge(10)?;
            let symbol = symbol.map(|symbol| (symbol, Some(index)));
            self.instance(&shared, symbol, &env.turning(turn), parent)?;
        }
        Ok(())
    }

    fn instance(
        &self,
        declared: &Rc<Node>,
        symbol: Option<(&str, Option<i64>)>,
        env: &Env,
        parent: Option<&Parent<'_>>,
    ) -> Outcome<()> {
        if !self.wanted(declared, env)? {
            return Ok(());
        }
        let (kind, name) = (self.word_of(declared, "type", env)?, self.word_of(declared, "name", env)?);
        let (kind, name) = match parent {
            Some(parent) => full_name(parent, kind, name),
            None => (kind, name),
        };
        let target = self.target_of(declared, env)?;
        let id = self.id_of(declared, &kind, &name, &target, parent, env);
        let id = id.map_err(|fault| fault.at(&declared.at, &name))?;
        let instance = Rc::new(Instance {
            declared: Rc::clone(declared),
            turns: env.turns.clone(),
            frame: Rc::downgrade(&env.frame),
            id: ResourceId::new(id.as_str()),
            symbol: symbol.map(|(symbol, index)| (symbol.to_owned(), index)),
            existing: declared.get("existing").and_then(boolean) == Some(true),
            state: RefCell::new(State::Waiting),
            kind,
            name,
        });
        self.refuse_second(&instance)?;
        env.frame.instances.borrow_mut().push(Rc::clone(&instance));
        self.index.borrow_mut().entry(instance.id.clone()).or_default().push(Rc::clone(&instance));
        if let Some(children) = declared.get("resources") {
            let parent = Parent { kind: &instance.kind, name: &instance.name, id: &id };
            self.expand(children, env, Some(&parent));
        }
        Ok(())
    }

    /// Azure refuses a template that defines a resource twice. One that exists may be named again, and a nested template
    /// may deploy a resource of its parent's.
    fn refuse_second(&self, instance: &Instance) -> Result<(), Mistake> {
        let index = self.index.borrow();
        let same = |known: &&Rc<Instance>| known.frame.ptr_eq(&instance.frame) && !known.existing;
        let first = index.get(&instance.id).and_then(|known| known.iter().find(same));
        let Some(first) = first.filter(|_| !instance.existing) else { return Ok(()) };
        let (kind, name, at) = (&instance.kind, &instance.name, &instance.declared.at);
        let (place, help) = if Rc::ptr_eq(&first.declared, &instance.declared) {
            ("each turn of its `copy` makes it".to_owned(), "Put `copyIndex()` into its name.")
        } else {
            (format!("the first is at {}", first.declared.at), "Take one of them away, or give it another name.")
        };
        let message = format!("The template defines `{name:.120}` of type {kind} twice: {place}.");
        Err(Mistake::new(at, message)
            .expecting("each resource once, or Azure refuses it: InvalidTemplate")
            .helped(help))
    }

    fn id_of(
        &self,
        declared: &Node,
        kind: &str,
        name: &str,
        target: &Target,
        parent: Option<&Parent<'_>>,
        env: &Env,
    ) -> Outcome<String> {
        let names: Vec<_> = name.split('/').collect();
        if let Some(scope) = declared.get("scope").filter(|_| !kind.eq_ignore_ascii_case(DEPLOYMENTS)) {
            let scope = plain(&self.node(scope, env)?).unwrap_or_default();
            let base = if scope.starts_with('/') { scope } else { format!("{}/providers/{scope}", target.path()) };
            return Ok(base + &under(kind, &names)?);
        }
        match parent {
            // A resource that extends its parent: a lock, a diagnostic setting.
            Some(parent) if !kind.to_lowercase().starts_with(&parent.kind.to_lowercase()) => {
                Ok(parent.id.to_owned() + &under(kind, &names)?)
            }
            _ => target.resource(kind, name),
        }
    }

    fn word_of(&self, declared: &Node, key: &str, env: &Env) -> Outcome<String> {
        let node = declared.get(key);
        let node = node.ok_or_else(|| Mistake::new(&declared.at, format!("This resource has no `{key}`.")))?;
        let word = plain(&self.node(node, env)?).filter(|word| !word.is_empty());
        word.ok_or_else(|| Mistake::new(&node.at, format!("The `{key}` of a resource must be a text.")).into())
    }

    /// Where a resource goes: a nested deployment may name another group.
    fn target_of(&self, declared: &Node, env: &Env) -> Outcome<Target> {
        let mut target = env.frame.target.clone();
        let word = |key: &str| -> Outcome<Option<String>> {
            declared.get(key).map_or(Ok(None), |node| Ok(plain(&self.node(node, env)?).filter(|word| !word.is_empty())))
        };
        if let Some(subscription) = word("subscriptionId")? {
            target.subscription = subscription;
        }
        if let Some(group) = word("resourceGroup")? {
            target.group = Some(group);
        }
        Ok(target)
    }

    /// What a resource has; it is computed when it is first asked for.
    pub(super) fn deployed(&self, instance: &Instance) -> Outcome<Rc<Deployed>> {
        let before = instance.state.replace(State::Running);
        let outcome = match before {
            State::Done(deployed) => Ok(deployed),
            State::Failed(mistake) => Err(*mistake),
            State::Running => return Err(fault(format!("The resource `{:.120}` refers to itself", instance.name))),
            State::Waiting => {
                self.deeper(|| self.deploy(instance)).map_err(|fault| fault.at(&instance.declared.at, &instance.name))
            }
        };
        *instance.state.borrow_mut() = match &outcome {
            Ok(deployed) => State::Done(Rc::clone(deployed)),
            Err(mistake) => State::Failed(Box::new(mistake.clone())),
        };
        Ok(outcome?)
    }

    fn deploy(&self, instance: &Instance) -> Outcome<Rc<Deployed>> {
        let frame = instance.frame.upgrade().ok_or_else(|| fault("A resource outlives its template"))?;
        let mut env = Env::top(&frame.scope, &frame);
        env.turns.clone_from(&instance.turns);
        let is_deployment = instance.kind.eq_ignore_ascii_case(DEPLOYMENTS) && !instance.existing;
        let declared = &instance.declared;
        // Its expressions are checked; its order is not needed.
        if let Some(order) = declared.get("dependsOn") {
            self.node(order, &env)?;
        }
        let own = |key: &Key| {
            let name = key.text.as_str();
            NOT_ITS_OWN.iter().all(|other| !other.eq_ignore_ascii_case(name))
                && !(is_deployment && name.eq_ignore_ascii_case("properties"))
        };
        let entries = declared.entries().iter().filter(|(key, _)| own(key)).cloned().collect();
        let body = self.node(&Node { at: declared.at.clone(), value: Value::Object(entries) }, &env)?;
        self.keep(&body)?;
        let nested = if is_deployment { Some(self.nested(instance, &env)?) } else { None };
        Ok(Rc::new(Deployed { body, nested }))
    }

    fn nested(&self, instance: &Instance, env: &Env) -> Outcome<Nested> {
        let declared = &instance.declared;
        if env.frame.level == MOST_LEVELS {
            return Err(
                Mistake::new(&declared.at, format!("Deployments are nested more than {MOST_LEVELS} deep.")).into()
            );
        }
        let properties = declared.get("properties");
        let properties =
            properties.ok_or_else(|| Mistake::new(&declared.at, "This deployment has no `properties`."))?;
        let part = |key: &str| properties.get(key).map(|node| self.node(node, env)).transpose();
        let mut given = part("parameters")?.as_ref().map(parameters::values).unwrap_or_default();
        if let Some(link) = part("parametersLink")? {
            given = self.linked(&link, &self.root)?.as_ref().and_then(parameters::parameters_of).unwrap_or_default();
        }
        let scope = properties.get("expressionEvaluationOptions").and_then(|options| options.get("scope"));
        let inner = scope.and_then(Node::text).is_some_and(|scope| scope.eq_ignore_ascii_case("inner"));
        let target = self.target_of(declared, env)?;
        let name = instance.name.clone();
        let scoped = |template: &Node, uri: String| {
            let target = Target { group: target.group.clone().filter(|_| takes_group(template)), ..target.clone() };
            for mistake in parameters::unknown(&given, template) {
                self.note(&mistake.at, mistake.message);
            }
            Scope::new(self, template, &given, target, name.clone(), uri).map(Rc::new)
        };
        let (template, scope) = match (properties.get("template"), part("templateLink")?) {
            (Some(Node { value: Value::Text(_), .. }), _) | (None, None) => {
                let message = "This deployment has neither an object `template` nor a `templateLink`.";
                return Err(Mistake::new(&properties.at, message).into());
            }
            (Some(template), _) if inner => (template.clone(), scoped(template, env.scope.uri.clone())?),
            (Some(template), _) => (template.clone(), Rc::clone(&env.scope)),
            (None, Some(link)) => {
                let at = link.at.clone();
                let template = self.linked(&link, &self.root)?.unwrap_or(Node { at, value: Value::Object(Vec::new()) });
                let uri = link.get("uri").and_then(Node::text).map_or_else(|| env.scope.uri.clone(), str::to_owned);
                let scope = scoped(&template, uri)?;
                (template, scope)
            }
        };
        self.weigh_part(&template)?;
        let own_names = Rc::ptr_eq(&scope, &env.scope);
        let frame = Rc::new(Frame {
            scope,
            target,
            parent: Rc::downgrade(&env.frame),
            turns: if own_names { env.turns.clone() } else { Vec::new() },
            level: env.frame.level + 1,
            instances: RefCell::default(),
        });
        let outputs = self.run(&template, &frame);
        Ok(Nested { frame, outputs })
    }

    /// The resources in the order of the template; those of nested deployments in their place.
    fn collect(&self, frame: &Frame, into: &mut Vec<Resource>) {
        for instance in frame.instances.borrow().iter() {
            let State::Done(deployed) = &*instance.state.borrow() else { continue };
            if let Some(nested) = &deployed.nested {
                self.collect(&nested.frame, into);
                continue;
            }
            into.push(Resource {
                id: instance.id.clone(),
                kind: instance.kind.clone(),
                name: instance.name.clone(),
                at: instance.declared.at.clone(),
                body: self.with_addresses(instance, deployed.body.clone()),
                existing: instance.existing,
            });
        }
    }
}

/// A template for a subscription, a management group or a tenant has no resource group.
fn takes_group(template: &Node) -> bool {
    let schema = template.get("$schema").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    !["/subscriptiondeployment", "/managementgroupdeployment", "/tenantdeployment"].iter().any(|it| schema.contains(it))
}

/// The type and the name of a child, which may be written in full.
fn full_name(parent: &Parent<'_>, kind: String, name: String) -> (String, String) {
    let namespace = kind.split('/').next().unwrap_or_default();
    let parent_namespace = parent.kind.split('/').next().unwrap_or_default();
    let absolute = kind.contains('/') && namespace.contains('.');
    if absolute && !namespace.eq_ignore_ascii_case(parent_namespace) {
        return (kind, name);
    }
    let full = if absolute { kind } else { format!("{}/{kind}", parent.kind) };
    let types = full.matches('/').count();
    let name = if name.split('/').count() == types { name } else { format!("{}/{name}", parent.name) };
    (full, name)
}
