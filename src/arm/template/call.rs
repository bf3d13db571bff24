//! Calls: which function a name is, and those whose arguments are not all evaluated.

use std::rc::Rc;

use crate::arm::{Node, Place, Value};

use super::evaluate::is_runtime;
use super::expression::Expression;
use super::functions::{self, Arguments, boolean, integer, plain};
use super::machine::{Machine, Outcome, fault};
use super::scope::Env;

impl Machine<'_> {
    pub(super) fn call(&self, name: &str, arguments: &[Expression], at: &Place, env: &Env) -> Outcome<Rc<Node>> {
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_prefix("sys.").unwrap_or(&lower);
        let node = |value: Value| Rc::new(Node { at: at.clone(), value });
        match lower {
            "parameters" => return self.parameter(&self.word(name, arguments, at, env)?, env),
            "variables" => return self.variable(&self.word(name, arguments, at, env)?, env),
            "lambdavariables" => return local(&self.word(name, arguments, at, env)?, env),
            "if" => return self.choice(arguments, at, env),
            "and" => return self.both(arguments, at, env, false).map(node),
            "or" => return self.both(arguments, at, env, true).map(node),
            _ => {}
        }
        if let Some(outcome) = self.with_lambda(lower, arguments, at, env) {
            return outcome.map(node);
        }
        let values: Vec<Node> =
            arguments.iter().map(|argument| self.expression(argument, at, env)).collect::<Outcome<_>>()?;
        let given = Arguments { name, at, values: &values };
        if lower.contains('.') {
            return self.user_function(&given, env);
        }
        if lower == "copyindex" {
            return self.copy_index(&given, env).map(node);
        }
        if is_runtime(lower) {
            return self.runtime(lower, &given, env).map(Rc::new);
        }
        if lower == "resourceinfo" {
            return self.resource_info(&given, env).map(Rc::new);
        }
        if let Some(outcome) = self.surroundings(lower, &given, env) {
            return outcome.map(node);
        }
        let made = functions::call(self, lower, &given);
        made.ok_or_else(|| fault(format!("There is no function `{name:.80}`")))?.map(node)
    }

    /// The one argument of `parameters` and `variables`.
    fn word(&self, name: &str, arguments: &[Expression], at: &Place, env: &Env) -> Outcome<String> {
        let [argument] = arguments else { return Err(fault(format!("`{name}` takes one argument"))) };
        let node = self.expression(argument, at, env)?;
        plain(&node).ok_or_else(|| fault(format!("Argument 1 of `{name}` must be a text")))
    }

    /// Only the branch that is chosen is evaluated.
    fn choice(&self, arguments: &[Expression], at: &Place, env: &Env) -> Outcome<Rc<Node>> {
        let [condition, yes, no] = arguments else { return Err(fault("`if` takes three arguments")) };
        let condition = boolean(&self.expression(condition, at, env)?)
            .ok_or_else(|| fault("Argument 1 of `if` must be true or false"))?;
        self.expression(if condition { yes } else { no }, at, env).map(Rc::new)
    }

    /// `and`, and `or`: the first argument that settles it is the last to be evaluated.
    fn both(&self, arguments: &[Expression], at: &Place, env: &Env, settled: bool) -> Outcome<Value> {
        for argument in arguments {
            let value = boolean(&self.expression(argument, at, env)?);
            if value.ok_or_else(|| fault("`and` and `or` take true or false"))? == settled {
                return Ok(Value::Bool(settled));
            }
        }
        Ok(Value::Bool(!settled))
    }

    /// Without a name it is the resource's own loop, or else the innermost.
    fn copy_index(&self, given: &Arguments<'_>, env: &Env) -> Outcome<Value> {
        given.count(0, 2)?;
        let name = given.values.first().and_then(Node::text).filter(|name| name.parse::<i64>().is_err());
        let turn = match name {
            Some(name) => env.turns.iter().rev().find(|turn| turn.name.eq_ignore_ascii_case(name)),
            None => env.turns.iter().rev().find(|turn| turn.of_resource).or(env.turns.last()),
        };
        let turn = turn.ok_or_else(|| match name {
            Some(name) => fault(format!("`copyIndex` stands outside the loop `{name:.80}`")),
            None => fault("`copyIndex` stands outside of a `copy`"),
        })?;
        let offset = given.values.get(usize::from(name.is_some())).map_or(Some(0), integer);
        let offset = offset.ok_or_else(|| fault("The offset of `copyIndex` must be a number"))?;
        self.charge(1)?;
        Ok(Value::Number(turn.index.saturating_add(offset).into()))
    }

    /// A function that the template defines. It knows its arguments alone, and never calls itself.
    fn user_function(&self, given: &Arguments<'_>, env: &Env) -> Outcome<Rc<Node>> {
        let name = given.name;
        let function = env.scope.function(name);
        let function = function.ok_or_else(|| fault(format!("There is no function `{name:.80}`")))?;
        if env.calls.iter().any(|call| call.eq_ignore_ascii_case(name)) {
            return Err(fault(format!("The function `{name:.80}` calls itself")));
        }
        let declared = function.get("parameters").map(Node::items).unwrap_or_default();
        given.count(declared.len(), declared.len())?;
        let names = declared.iter().map(|node| node.get("name").and_then(Node::text).unwrap_or_default().to_owned());
        let arguments = names.zip(given.values.iter().cloned().map(Rc::new)).collect();
        let mut inner = Env::top(&env.scope, &env.frame);
        inner.arguments = Some(Rc::new(arguments));
        inner.calls = env.calls.iter().cloned().chain([name.to_owned()]).collect();
        let output = function.get("output").and_then(|output| output.get("value"));
        let output = output.ok_or_else(|| fault(format!("The function `{name:.80}` has no output")))?;
        self.node(output, &inner).map(Rc::new)
    }
}

/// The variable of a lambda.
fn local(name: &str, env: &Env) -> Outcome<Rc<Node>> {
    let found = env.locals.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, node)| Rc::clone(node)).ok_or_else(|| fault(format!("No `lambda` here has a variable `{name:.80}`")))
}
