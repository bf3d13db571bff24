//! What the names in an expression mean: parameters, variables, user functions. A value is computed when it is first used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::arm::{Key, Mistake, Node, Place, Value};

use super::deployment::Frame;
use super::machine::{Machine, Outcome, fault};
use super::{made_up, parameters};

/// Where a deployment goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) subscription: String,
    /// None for a deployment to a subscription.
    pub(super) group: Option<String>,
}

/// The names of one template.
pub(super) struct Scope {
    pub(super) target: Target,
    pub(super) deployment: String,
    /// The template's `uri`.
    pub(super) uri: String,
    parameters: HashMap<String, Slot>,
    variables: HashMap<String, Slot>,
    functions: HashMap<String, Rc<Node>>,
}

/// One turn of a `copy`.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) name: String,
    pub(super) index: i64,
    pub(super) of_resource: bool,
}

/// Names that are no parameters or variables of the template.
pub(super) type Locals = Vec<(String, Rc<Node>)>;

/// Everything that an expression may look at.
#[derive(Clone)]
pub(super) struct Env {
    pub(super) scope: Rc<Scope>,
    pub(super) frame: Rc<Frame>,
    pub(super) turns: Vec<Turn>,
    /// Variables of lambdas, the innermost last.
    pub(super) locals: Locals,
    /// Arguments of the user function that is being evaluated, and the functions under way.
    pub(super) arguments: Option<Rc<Locals>>,
    pub(super) calls: Vec<String>,
}

struct Slot {
    name: String,
    source: Source,
    state: RefCell<State>,
}

enum Source {
    /// A parameter's declaration; the value, if one is given, is there already.
    Parameter(Rc<Node>),
    Variable(Rc<Node>),
    /// An item of `copy` among the variables.
    Copied(Rc<Node>),
}

enum State {
    Waiting,
    Running,
    Done(Rc<Node>),
    Failed(Box<Mistake>),
}

impl Env {
    /// At the top of a template's scope: no loops, no lambdas.
    pub(super) fn top(scope: &Rc<Scope>, frame: &Rc<Frame>) -> Self {
        Self {
            scope: Rc::clone(scope),
            frame: Rc::clone(frame),
            turns: Vec::new(),
            locals: Vec::new(),
            arguments: None,
            calls: Vec::new(),
        }
    }

    pub(super) fn turning(&self, turn: Turn) -> Self {
        let mut env = self.clone();
        env.turns.push(turn);
        env
    }
}

impl Scope {
    /// The scope of a template, with values for its parameters.
    pub(super) fn new(
        machine: &Machine<'_>,
        template: &Node,
        given: &[(String, Node)],
        target: Target,
        deployment: String,
        uri: String,
    ) -> Outcome<Self> {
        let declared = template.get("parameters").map(Node::entries).unwrap_or_default();
        let mut parameters = HashMap::new();
        for (key, node) in declared {
            let node = &parameters::whole(template, node);
            machine.weigh_part(node)?;
            let value = given.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(&key.text));
            let value = value.map(|(_, value)| value).or_else(|| parameters::literal_default(node));
            let state = value.and_then(|value| match parameters::fitted(key, node, value) {
                Ok(None) => None,
                Ok(Some(value)) => Some(State::Done(Rc::new(value))),
                Err(mistake) => Some(State::Failed(Box::new(mistake))),
            });
            if let Some(State::Failed(mistake)) = &state {
                machine.report((**mistake).clone());
            }
            let state = RefCell::new(state.unwrap_or(State::Waiting));
            let slot = Slot { name: key.text.clone(), source: Source::Parameter(Rc::new(node.clone())), state };
            parameters.insert(key.text.to_lowercase(), slot);
        }
        let mut functions = HashMap::new();
        for namespace in template.get("functions").map(Node::items).unwrap_or_default() {
            let name = namespace.get("namespace").and_then(Node::text).unwrap_or_default();
            for (key, node) in namespace.get("members").map(Node::entries).unwrap_or_default() {
                machine.weigh_part(node)?;
                functions.insert(format!("{name}.{}", key.text).to_lowercase(), Rc::new(node.clone()));
            }
        }
        Ok(Self { target, deployment, uri, parameters, variables: variables(machine, template)?, functions })
    }

    pub(super) fn function(&self, name: &str) -> Option<Rc<Node>> {
        self.functions.get(&name.to_lowercase()).map(Rc::clone)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.values().map(|slot| slot.name.as_str())
    }
}

fn variables(machine: &Machine<'_>, template: &Node) -> Outcome<HashMap<String, Slot>> {
    let mut variables = HashMap::new();
    let mut add = |name: &str, source: Source| {
        let slot = Slot { name: name.to_owned(), source, state: RefCell::new(State::Waiting) };
        variables.insert(name.to_lowercase(), slot);
    };
    for (key, node) in template.get("variables").map(Node::entries).unwrap_or_default() {
        machine.weigh_part(node)?;
        match &node.value {
            Value::List(copies) if key.text.eq_ignore_ascii_case("copy") => {
                for copy in copies {
                    let name = copy.get("name").and_then(Node::text).unwrap_or_default();
                    add(name, Source::Copied(Rc::new(copy.clone())));
                }
            }
            _ => add(&key.text, Source::Variable(Rc::new(node.clone()))),
        }
    }
    Ok(variables)
}

impl Machine<'_> {
    pub(super) fn parameter(&self, name: &str, env: &Env) -> Outcome<Rc<Node>> {
        if let Some(arguments) = &env.arguments {
            let found = arguments.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            return found
                .map(|(_, node)| Rc::clone(node))
                .ok_or_else(|| fault(format!("The function has no parameter `{name:.80}`")));
        }
        let slot = env.scope.parameters.get(&name.to_lowercase());
        let slot = slot.ok_or_else(|| fault(format!("There is no parameter `{name:.80}`")))?;
        self.slot(slot, env)
    }

    pub(super) fn variable(&self, name: &str, env: &Env) -> Outcome<Rc<Node>> {
        if env.arguments.is_some() {
            return Err(fault("A user function must not use variables"));
        }
        let slot = env.scope.variables.get(&name.to_lowercase());
        let slot = slot.ok_or_else(|| fault(format!("There is no variable `{name:.80}`")))?;
        self.slot(slot, env)
    }

    fn slot(&self, slot: &Slot, env: &Env) -> Outcome<Rc<Node>> {
        let before = slot.state.replace(State::Running);
        let outcome = match before {
            State::Done(node) => Ok(node),
            State::Failed(mistake) => Err(*mistake),
            State::Running => return Err(fault(format!("`{:.80}` uses itself", slot.name))),
            State::Waiting => self.computed(slot, env).map_err(|fault| fault.at(slot.place(), &slot.name)),
        };
        *slot.state.borrow_mut() = match &outcome {
            Ok(node) => State::Done(Rc::clone(node)),
            Err(mistake) => State::Failed(Box::new(mistake.clone())),
        };
        Ok(outcome?)
    }

    fn computed(&self, slot: &Slot, env: &Env) -> Outcome<Rc<Node>> {
        let env = Env::top(&env.scope, &env.frame);
        let node = self.deeper(|| match &slot.source {
            Source::Variable(node) => self.node(node, &env),
            Source::Copied(copy) => self.copied(copy, &env),
            Source::Parameter(declared) => match declared.get("defaultValue") {
                Some(default) => self.node(default, &env).and_then(|node| default_of(slot, declared, node)),
                None if parameters::is_nullable(declared) => Ok(Node { at: declared.at.clone(), value: Value::Null }),
                None => Ok(made_up::parameter(self, &slot.name, declared)),
            },
        })?;
        self.keep(&node)?;
        Ok(Rc::new(node))
    }
}

/// A default in the declared form; Azure checks it as it checks a value.
fn default_of(slot: &Slot, declared: &Node, node: Node) -> Outcome<Node> {
    if parameters::is_secret(declared) {
        return Ok(parameters::coerced(declared, node));
    }
    let key = Key::new(slot.place(), slot.name.as_str());
    Ok(parameters::fitted(&key, declared, &node)?.unwrap_or(node))
}

impl Slot {
    fn place(&self) -> &Place {
        match &self.source {
            Source::Parameter(node) | Source::Variable(node) | Source::Copied(node) => &node.at,
        }
    }
}
