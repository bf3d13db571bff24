//! Values of a template with their expressions evaluated, and properties repeated by `copy`.

use std::rc::Rc;

use crate::arm::{Key, Mistake, Node, Place, Value};

use super::expression::{Expression, Step, Written, classify, parse};
use super::functions::{integer, kind, plain};
use super::machine::{Fault, MOST_COPIES, Machine, Outcome, fault};
use super::scope::{Env, Turn};

impl Machine<'_> {
    /// A value with all its expressions evaluated. The first fault is returned, the others are reported.
    pub(super) fn node(&self, node: &Node, env: &Env) -> Outcome<Node> {
        self.charge(1)?;
        match &node.value {
            Value::Text(text) => self.text(&node.at, text, env),
            Value::List(items) => self.deeper(|| {
                let items = self.all(items.iter().map(|item| self.node(item, env)))?;
                Ok(Node { at: node.at.clone(), value: Value::List(items) })
            }),
            Value::Object(entries) => self.deeper(|| self.object(&node.at, entries, env)),
            _ => Ok(node.clone()),
        }
    }

    /// Every outcome is waited for, so that all mistakes are found.
    fn all<T>(&self, outcomes: impl Iterator<Item = Outcome<T>>) -> Outcome<Vec<T>> {
        let (mut values, mut first) = (Vec::new(), None);
        for outcome in outcomes {
            match (outcome, &first) {
                (Ok(value), _) => values.push(value),
                (Err(fault), None) => first = Some(fault),
                (Err(Fault::There(mistake)), Some(_)) => self.report(*mistake),
                (Err(Fault::Here { .. }), Some(_)) => {}
            }
            if self.exhausted() {
                break;
            }
        }
        first.map_or(Ok(values), Err)
    }

    fn object(&self, at: &Place, entries: &[(Key, Node)], env: &Env) -> Outcome<Node> {
        let repeated = |key: &Key, node: &Node| {
            key.text.eq_ignore_ascii_case("copy")
                && !node.items().is_empty()
                && node.items().iter().all(|item| item.get("name").is_some() && item.get("count").is_some())
        };
        let evaluated = self.all(entries.iter().map(|(key, node)| {
            if !repeated(key, node) {
                return Ok(vec![(self.key(key, env)?, self.node(node, env)?)]);
            }
            let copies = node.items().iter().map(|copy| {
                let name = self.node(copy.get("name").unwrap_or(copy), env)?;
                let name = plain(&name).ok_or_else(|| fault("The name of a `copy` must be a text"));
                let key = Key::new(&copy.at, name.map_err(|fault| fault.at(&copy.at, "copy"))?);
                Ok((key, self.copied(copy, env)?))
            });
            self.all(copies)
        }))?;
        Ok(Node { at: at.clone(), value: Value::Object(evaluated.into_iter().flatten().collect()) })
    }

    fn key(&self, key: &Key, env: &Env) -> Outcome<Key> {
        if !key.text.starts_with('[') {
            return Ok(key.clone());
        }
        let node = self.text(&key.at, &key.text, env)?;
        let text = plain(&node).ok_or_else(|| fault(format!("A key must be a text, and it is {}", kind(&node))));
        Ok(Key::new(&key.at, text.map_err(|fault| fault.at(&key.at, &key.text))?))
    }

    /// The list that an item of `copy` makes: `{name, count, input}`.
    pub(super) fn copied(&self, copy: &Node, env: &Env) -> Outcome<Node> {
        let (name, count) = self.turns_of(copy, env)?;
        let input = copy.get("input").ok_or_else(|| missing(copy, "input"))?;
        let items = self.all((0..count).map(|index| {
            let turn = Turn { name: name.clone(), index, of_resource: false };
            self.node(input, &env.turning(turn))
        }))?;
        Ok(Node { at: copy.at.clone(), value: Value::List(items) })
    }

    /// The name and the number of turns of a `copy`.
    pub(super) fn turns_of(&self, copy: &Node, env: &Env) -> Outcome<(String, i64)> {
        let name = self.node(copy.get("name").ok_or_else(|| missing(copy, "name"))?, env)?;
        let written = copy.get("count").ok_or_else(|| missing(copy, "count"))?;
        let count = integer(&self.node(written, env)?);
        if let Some(count @ 0..=MOST_COPIES) = count {
            return Ok((plain(&name).unwrap_or_default(), count));
        }
        let found = count.map_or_else(|| "no number".to_owned(), |count| count.to_string());
        let message = format!("A `copy` makes 0 to {MOST_COPIES} copies, and its count is {found}.");
        Err(Mistake::new(&written.at, message).expecting(format!("a number from 0 to {MOST_COPIES}")).into())
    }

    /// A string of the template: as it stands, or what its expression is worth.
    pub(super) fn text(&self, at: &Place, text: &str, env: &Env) -> Outcome<Node> {
        match classify(text) {
            Written::Literal(literal) => {
                self.charge(literal.len() / 64)?;
                Ok(Node { at: at.clone(), value: Value::Text(literal.to_owned()) })
            }
            Written::Expression(inner) => {
                let value = self.parsed(inner).and_then(|tree| self.expression(&tree, at, env));
                Ok(value.map_err(|fault| fault.at(at, text))?)
            }
        }
    }

    fn parsed(&self, text: &str) -> Outcome<Rc<Expression>> {
        if let Some(known) = self.expressions.borrow().get(text) {
            return Ok(Rc::clone(known));
        }
        self.charge(1 + text.len() / 16)?;
        let tree =
            Rc::new(parse(text).map_err(|message| fault(format!("The expression is not well formed: {message}")))?);
        self.expressions.borrow_mut().insert(text.to_owned(), Rc::clone(&tree));
        Ok(tree)
    }

    /// What an expression is worth, at the place of its text.
    pub(super) fn expression(&self, tree: &Expression, at: &Place, env: &Env) -> Outcome<Node> {
        match tree {
            Expression::Text(text) => Ok(Node { at: at.clone(), value: Value::Text(text.clone()) }),
            Expression::Integer(number) => Ok(Node { at: at.clone(), value: Value::Number((*number).into()) }),
            Expression::Call { .. } => {
                let shared = self.shared(tree, at, env)?;
                self.owned(shared, at)
            }
            Expression::Path { base, steps } => {
                let shared = self.shared(base, at, env)?;
                if asks_runtime(base) {
                    return self.runtime_path(base, &shared, steps, at, env);
                }
                let mut node = &*shared;
                for step in steps {
                    node = self.step(node, step, at, env)?.map_err(fault)?;
                }
                Ok(placed(self.copy(node)?, at))
            }
        }
    }

    /// Without a copy where the value is kept anyway.
    fn shared(&self, tree: &Expression, at: &Place, env: &Env) -> Outcome<Rc<Node>> {
        self.charge(1)?;
        match tree {
            Expression::Call { name, arguments } => self.deeper(|| self.call(name, arguments, at, env)),
            _ => self.expression(tree, at, env).map(Rc::new),
        }
    }

    fn owned(&self, shared: Rc<Node>, at: &Place) -> Outcome<Node> {
        let node = match Rc::try_unwrap(shared) {
            Ok(node) => node,
            Err(shared) => self.copy(&shared)?,
        };
        Ok(placed(node, at))
    }

    /// The part of a value, or why there is none.
    pub(super) fn step<'n>(
        &self,
        node: &'n Node,
        step: &Step,
        at: &Place,
        env: &Env,
    ) -> Outcome<Result<&'n Node, String>> {
        self.charge(1 + node.entries().len() / 64)?;
        let index = match step {
            Step::Member(name) => Value::Text(name.clone()),
            Step::Index(tree) => self.expression(tree, at, env)?.value,
        };
        Ok(match (&node.value, &index) {
            (Value::List(items), Value::Number(number)) => number
                .as_u64()
                .and_then(|at| items.get(usize::try_from(at).ok()?))
                .ok_or_else(|| format!("A list of {} items has no item {number}", items.len())),
            (Value::Object(_), Value::Text(name)) => {
                node.get(name).ok_or_else(|| format!("The object has no property `{name:.80}`"))
            }
            (_, index) => {
                let index = Node { at: at.clone(), value: index.clone() };
                Err(format!("{} has no part that {} names", capital(kind(node)), kind(&index)))
            }
        })
    }
}

/// Whether a function answers with what only a running resource has.
pub(super) fn is_runtime(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "reference" || name == "references" || name.starts_with("list")
}

/// Whether a value comes from such a function, perhaps through others: `first(reference(…).list).item`.
fn asks_runtime(tree: &Expression) -> bool {
    match tree {
        Expression::Call { name, arguments } => is_runtime(name) || arguments.iter().any(asks_runtime),
        Expression::Path { base, .. } => asks_runtime(base),
        _ => false,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A plain value stands where it is used; a list or an object keeps the places of its parts.
pub(super) fn placed(node: Node, at: &Place) -> Node {
    match node.value {
        Value::List(_) | Value::Object(_) => node,
        value => Node { at: at.clone(), value },
    }
}

fn missing(copy: &Node, key: &str) -> Fault {
    Mistake::new(&copy.at, format!("A `copy` has no `{key}`.")).expecting("`name`, `count` and `input`").into()
}
