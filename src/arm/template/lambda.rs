//! Functions that take a function: `map(list, lambda('it', …))`.

use std::rc::Rc;

use crate::arm::{Key, Node, Place, Value};

use super::expression::Expression;
use super::functions::{boolean, plain};
use super::machine::{Machine, Outcome, fault};
use super::scope::Env;

/// The names and the body of `lambda('a', 'b', body)`.
struct Lambda<'e> {
    names: Vec<&'e str>,
    body: &'e Expression,
}

impl<'e> Lambda<'e> {
    fn read(tree: Option<&'e Expression>) -> Outcome<Self> {
        let wrong = || fault("A `lambda` with the names of its variables and an expression is expected");
        let Some(Expression::Call { name, arguments }) = tree else { return Err(wrong()) };
        let Some((body, names)) = arguments.split_last().filter(|_| name.eq_ignore_ascii_case("lambda")) else {
            return Err(wrong());
        };
        let names =
            names.iter().map(|name| if let Expression::Text(text) = name { Ok(text.as_str()) } else { Err(wrong()) });
        Ok(Self { names: names.collect::<Outcome<_>>()?, body })
    }
}

impl Machine<'_> {
    /// The value of such a call, or nothing if the function is not one of these.
    pub(super) fn with_lambda(
        &self,
        name: &str,
        arguments: &[Expression],
        at: &Place,
        env: &Env,
    ) -> Option<Outcome<Value>> {
        if !matches!(name, "map" | "filter" | "sort" | "reduce" | "toobject" | "mapvalues" | "groupby") {
            return None;
        }
        Some(self.lambda_call(name, arguments, at, env))
    }

    fn lambda_call(&self, name: &str, arguments: &[Expression], at: &Place, env: &Env) -> Outcome<Value> {
        let over = arguments.first().ok_or_else(|| fault(format!("`{name}` needs arguments")))?;
        let over = self.expression(over, at, env)?;
        let items = match &over.value {
            Value::List(items) => items.clone(),
            Value::Object(entries) if name == "mapvalues" => entries.iter().map(|(_, node)| node.clone()).collect(),
            _ => return Err(fault(format!("Argument 1 of `{name}` must be a list"))),
        };
        let lambda = Lambda::read(arguments.get(if name == "reduce" { 2 } else { 1 }))?;
        let number = |index: usize| Node { at: at.clone(), value: Value::Number(index.into()) };
        let apply = |index: usize, item: &Node| self.apply(&lambda, &[item, &number(index)], at, env);
        Ok(match name {
            "map" => {
                Value::List(items.iter().enumerate().map(|(index, item)| apply(index, item)).collect::<Outcome<_>>()?)
            }
            "filter" => {
                let mut kept = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    if boolean(&apply(index, &item)?) == Some(true) {
                        kept.push(item);
                    }
                }
                Value::List(kept)
            }
            "sort" => Value::List(self.sorted(items, &lambda, at, env)?),
            "reduce" => {
                let initial = arguments.get(1).ok_or_else(|| fault("`reduce` needs an initial value"))?;
                let mut sum = self.expression(initial, at, env)?;
                for item in &items {
                    sum = self.apply(&lambda, &[&sum, item], at, env)?;
                }
                sum.value
            }
            "mapvalues" => {
                let values =
                    items.iter().enumerate().map(|(index, item)| apply(index, item)).collect::<Outcome<Vec<_>>>()?;
                Value::Object(over.entries().iter().map(|(key, _)| key.clone()).zip(values).collect())
            }
            _ => self.keyed(name, &items, &lambda, arguments.get(2), at, env)?,
        })
    }

    fn apply(&self, lambda: &Lambda<'_>, values: &[&Node], at: &Place, env: &Env) -> Outcome<Node> {
        let mut env = env.clone();
        for (name, value) in lambda.names.iter().zip(values) {
            env.locals.push(((*name).to_owned(), Rc::new(self.copy(value)?)));
        }
        self.deeper(|| self.expression(lambda.body, at, &env))
    }

    /// Each item goes before the first that it is less than.
    fn sorted(&self, items: Vec<Node>, less: &Lambda<'_>, at: &Place, env: &Env) -> Outcome<Vec<Node>> {
        let mut sorted: Vec<Node> = Vec::new();
        for item in items {
            let mut place = sorted.len();
            while place > 0 && boolean(&self.apply(less, &[&item, &sorted[place - 1]], at, env)?) == Some(true) {
                place -= 1;
            }
            sorted.insert(place, item);
        }
        Ok(sorted)
    }

    /// `toObject` and `groupBy`: objects whose keys a lambda makes.
    fn keyed(
        &self,
        name: &str,
        items: &[Node],
        key: &Lambda<'_>,
        value: Option<&Expression>,
        at: &Place,
        env: &Env,
    ) -> Outcome<Value> {
        let value = value.map(|value| Lambda::read(Some(value))).transpose()?;
        let mut entries: Vec<(Key, Node)> = Vec::new();
        for item in items {
            self.charge(entries.len() / 64)?;
            let key = plain(&self.apply(key, &[item], at, env)?).ok_or_else(|| fault("A key must be a text"))?;
            let made = match &value {
                Some(value) => self.apply(value, &[item], at, env)?,
                None => self.copy(item)?,
            };
            let known = entries.iter_mut().find(|(known, _)| known.text.eq_ignore_ascii_case(&key));
            match (known, name) {
                (Some((_, Node { value: Value::List(group), .. })), "groupby") => group.push(made),
                (Some((_, node)), _) => *node = made,
                (None, "groupby") => {
                    entries.push((Key::new(at, key), Node { at: at.clone(), value: Value::List(vec![made]) }));
                }
                (None, _) => entries.push((Key::new(at, key), made)),
            }
        }
        Ok(Value::Object(entries))
    }
}
