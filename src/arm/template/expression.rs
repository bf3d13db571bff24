//! The expressions of the template language: `[concat(parameters('name'), '-nic')]`.
//!
//! A text becomes a tree here; what a function means is settled elsewhere. Length and depth are bounded before parsing, so
//! that the recursive parser cannot exhaust the stack.

use winnow::ascii::{alpha1, digit1, multispace0};
use winnow::combinator::{alt, cut_err, delimited, eof, fail, opt, peek, preceded, repeat, separated, terminated};
use winnow::error::{ContextError, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::token::{any, take_till, take_while};

/// Azure's own limit, in characters.
pub(super) const LONGEST: usize = 24_576;
/// How deep calls may be nested. People write at most 15.
const DEEPEST: usize = 48;

/// A node of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Integer(i64),
    Call {
        name: String,
        arguments: Vec<Expression>,
    },
    /// `base.member[index]`
    Path {
        base: Box<Expression>,
        steps: Vec<Step>,
    },
}

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Member(String),
    Index(Expression),
}

/// What a string of a template is.
#[derive(Debug, PartialEq)]
pub(super) enum Written<'a> {
    /// As it stands.
    Literal(&'a str),
    /// The text between the brackets.
    Expression(&'a str),
}

/// An expression stands in brackets; `[[` starts a literal bracket.
pub(super) fn classify(text: &str) -> Written<'_> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(_) if text.starts_with("[[") => Written::Literal(&text[1..]),
        Some(inner) => Written::Expression(inner),
        None => Written::Literal(text),
    }
}

/// Reads the text between the brackets; the error says what was expected and where.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    if text.len() > LONGEST {
        return Err(format!("the expression is longer than {LONGEST} characters"));
    }
    if depth(text) > DEEPEST {
        return Err(format!("calls are nested more than {DEEPEST} deep"));
    }
    terminated(expression, eof.context(expected("the end of the expression"))).parse(text).map_err(|error| {
        let mut wanted = error.inner().context().filter_map(|context| match context {
            StrContext::Expected(StrContextValue::Description(text)) => Some(*text),
            _ => None,
        });
        let wanted = wanted.next().unwrap_or("an expression");
        let found = error.input().get(error.offset()..).and_then(|rest| rest.chars().next());
        let found = found.map_or_else(|| "the end".to_owned(), |found| format!("{found:?}"));
        let column = error.input().get(..error.offset()).map_or(0, |before| before.chars().count()) + 1;
        format!("{wanted} is expected at character {column}, and {found} is there")
    })
}

/// The deepest nesting of brackets outside texts.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted) = (0_usize, 0, false);
    for byte in text.bytes() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn expression(input: &mut &str) -> ModalResult<Expression> {
    let base = delimited(multispace0, primary, multispace0).parse_next(input)?;
    let steps: Vec<Step> = repeat(0.., terminated(step, multispace0)).parse_next(input)?;
    Ok(if steps.is_empty() { base } else { Expression::Path { base: Box::new(base), steps } })
}

fn primary(input: &mut &str) -> ModalResult<Expression> {
    match peek(opt(any)).parse_next(input)? {
        Some('\'') => text.map(Expression::Text).parse_next(input),
        Some('-' | '0'..='9') => integer.parse_next(input),
        Some(first) if first.is_ascii_alphabetic() || first == '_' => call.parse_next(input),
        _ => cut_err(fail.context(expected("a function, a text in single quotes, or a number"))).parse_next(input),
    }
}

fn text(input: &mut &str) -> ModalResult<String> {
    let part = alt((take_till(1.., '\'').map(str::to_owned), "''".map(|_| "'".to_owned())));
    let parts = repeat(0.., part).fold(String::new, |whole, part: String| whole + &part);
    delimited('\'', parts, cut_err('\'').context(expected("a closing quote"))).parse_next(input)
}

fn integer(input: &mut &str) -> ModalResult<Expression> {
    cut_err((opt('-'), digit1).take().try_map(str::parse::<i64>).map(Expression::Integer))
        .context(expected("a whole number of 64 bits"))
        .parse_next(input)
}

fn word<'a>(input: &mut &'a str) -> ModalResult<&'a str> {
    (alt((alpha1, "_")), take_while(0.., |c: char| c.is_ascii_alphanumeric() || c == '_')).take().parse_next(input)
}

/// `name(…)` or `namespace.name(…)`.
fn call(input: &mut &str) -> ModalResult<Expression> {
    let name = (word, opt(('.', word))).take().parse_next(input)?.to_owned();
    multispace0.parse_next(input)?;
    cut_err('(').context(expected("`(` after the name of a function")).parse_next(input)?;
    multispace0.parse_next(input)?;
    if opt(')').parse_next(input)?.is_some() {
        return Ok(Expression::Call { name, arguments: Vec::new() });
    }
    let arguments = separated(1.., expression, ',').parse_next(input)?;
    cut_err(')').context(expected("`,` or `)`")).parse_next(input)?;
    Ok(Expression::Call { name, arguments })
}

fn step(input: &mut &str) -> ModalResult<Step> {
    let index = delimited('[', cut_err(expression), cut_err(']').context(expected("`]`")));
    let member = preceded('.', cut_err(word).context(expected("the name of a property")));
    let step: Result<Step, winnow::error::ErrMode<ContextError>> =
        alt((index.map(Step::Index), member.map(|name: &str| Step::Member(name.to_owned())))).parse_next(input);
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_texts_numbers_and_paths() {
        let call = |name: &str, arguments| Expression::Call { name: name.into(), arguments };
        let text = |text: &str| Expression::Text(text.into());
        assert_eq!(parse(" concat( 'it''s' , -4 )\n"), Ok(call("concat", vec![text("it's"), Expression::Integer(-4)])));
        assert_eq!(parse("a.b()"), Ok(call("a.b", vec![])));
        let steps =
            vec![Step::Member("x".into()), Step::Index(Expression::Integer(0)), Step::Index(call("copyIndex", vec![]))];
        assert_eq!(
            parse("variables('v').x [0][copyIndex()]"),
            Ok(Expression::Path { base: Box::new(call("variables", vec![text("v")])), steps })
        );
    }

    #[test]
    fn brackets_say_what_is_an_expression() {
        assert_eq!(classify("[a()]"), Written::Expression("a()"));
        assert_eq!(classify("[[a()]"), Written::Literal("[a()]"));
        assert_eq!(classify("[a"), Written::Literal("[a"));
        assert_eq!(classify("[[a"), Written::Literal("[[a"));
        assert_eq!(classify("["), Written::Literal("["));
    }

    #[test]
    fn a_mistake_says_what_was_expected() {
        let error = |text: &str| parse(text).expect_err("a mistake");
        assert_eq!(error("concat('a'"), "`,` or `)` is expected at character 11, and the end is there");
        assert_eq!(error("concat('a)"), "a closing quote is expected at character 11, and the end is there");
        assert_eq!(error("foo"), "`(` after the name of a function is expected at character 4, and the end is there");
        assert_eq!(error("a() b()"), "the end of the expression is expected at character 5, and 'b' is there");
        assert_eq!(
            error("a(,)"),
            "a function, a text in single quotes, or a number is expected at character 3, and ',' is there"
        );
        assert_eq!(
            error("99999999999999999999"),
            "a whole number of 64 bits is expected at character 1, and '9' is there"
        );
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert!(parse(&"a(".repeat(10_000)).expect_err("deep").contains("nested more than 48 deep"));
        assert!(parse(&" ".repeat(30_000)).expect_err("long").contains("longer than 24576"));
        assert!(parse(&format!("a(){}", ".b".repeat(10_000))).is_ok(), "a path is no nesting");
        let nested = |deep: usize| parse(&format!("{}{}", "a(".repeat(deep), ")".repeat(deep))).is_ok();
        assert_eq!([48, 49].map(nested), [true, false]);
        let quoted = |long: usize| parse(&format!("'{}'", "x".repeat(long - 2))).is_ok();
        assert_eq!([24_576, 24_577].map(quoted), [true, false]);
        assert!(parse(&format!("a('{}')", "(".repeat(100))).is_ok(), "what is quoted is no nesting");
        assert!(parse(&format!("a({})", vec!["b(c()[0])"; 100].join(","))).is_ok(), "nor is one call beside another");
    }
}
