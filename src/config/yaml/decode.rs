//! Combinators that read the tree into typed values and report everything that does not fit.
//!
//! A reader is a function `(&Node, &mut Report) -> Option<T>`: `None` means that it has reported why. [`record`] reads
//! a mapping field by field and, at its end, reports the unknown keys. ARM's `properties:` wrapper is unfolded here,
//! once for every kind of object. Nothing here knows what a field means.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::diagnostic::{At, Diagnostic, Report, Spanned, clip, nearest};
use super::shape::{Object, Shape, shapes};
use super::tree::{Node, Value};

/// Keys of ARM's envelope that say nothing about the network.
pub(super) const ENVELOPE: [&str; 10] =
    ["id", "type", "etag", "apiVersion", "tags", "location", "dependsOn", "provisioningState", "resourceGuid", "zones"];

/// Keys of objects as `az` and REST print them that say nothing about the network.
pub(super) const COSMETIC: [&str; 28] = [
    "resourceGroup",
    "subscriptionId",
    "extendedLocation",
    "enableDdosProtection",
    "ddosProtectionPlan",
    "enableVmProtection",
    "privateEndpointVNetPolicies",
    "privateLinkServiceNetworkPolicies",
    "delegations",
    "ipConfigurations",
    "ipConfigurationProfiles",
    "privateEndpoints",
    "purpose",
    "resourceNavigationLinks",
    "serviceAssociationLinks",
    "peeringState",
    "peeringSyncLevel",
    "remoteVirtualNetworkAddressSpace",
    "doNotVerifyRemoteGateways",
    "defaultSecurityRules",
    "networkInterfaces",
    "subnets",
    "flowLogs",
    "hasBgpOverride",
    "macAddress",
    "virtualMachine",
    "hostedWorkloads",
    "enableAcceleratedNetworking",
];

/// The fields of one mapping while it is being read.
pub(in crate::config) struct Fields<'a> {
    /// The mapping itself.
    pub at: At,
    pub report: &'a mut Report,
    /// What the mapping describes, for messages: `a subnet`.
    what: &'static str,
    entries: Vec<(&'a Spanned<String>, &'a Node)>,
    known: Vec<&'static str>,
    /// Required and absent: each with the keys that would do.
    missing: Vec<Vec<&'static str>>,
    /// As ARM prints it: with an id, or with `properties`.
    printed: bool,
    /// What the fields accept, where a schema is made.
    shapes: Vec<(&'static str, Vec<Shape>)>,
}

/// Reads a mapping: `build` takes the fields it knows; what is left over is reported.
pub(in crate::config) fn record<T>(
    node: &Node,
    report: &mut Report,
    what: &'static str,
    build: impl FnOnce(&mut Fields<'_>) -> T,
) -> Option<T> {
    let Value::Map(entries) = &node.value else {
        mismatch(node, report, what, "a mapping with its keys");
        return None;
    };
    let entries = entries.iter().map(|(key, value)| (key, value)).collect();
    let mut fields = Fields {
        at: node.at,
        report,
        what,
        entries,
        known: Vec::new(),
        missing: Vec::new(),
        printed: false,
        shapes: Vec::new(),
    };
    fields.printed = fields.entries.iter().any(|(key, _)| key.value == "id");
    fields.unwrap_properties();
    let value = build(&mut fields);
    fields.finish();
    Some(value)
}

impl<'a> Fields<'a> {
    /// A field that may be absent or null.
    pub(in crate::config) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Node, &mut Report) -> Option<T>,
    ) -> Option<Spanned<T>> {
        if self.report.shapes.is_some() {
            let accepted = shapes(&read, self.at, self.report);
            self.describe(key, accepted);
            return None;
        }
        let node = self.take(key)?;
        read(node, self.report).map(|value| Spanned { value, at: node.at })
    }

    /// A required field.
    pub(in crate::config) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Node, &mut Report) -> Option<T>,
    ) -> Option<Spanned<T>> {
        self.require(key);
        self.optional(key, read)
    }

    /// Reports a field that is absent; another call reads it.
    pub(in crate::config) fn require(&mut self, key: &'static str) {
        if !self.has(key) {
            self.missing.push(vec![key]);
        }
    }

    /// Reports that one of two fields is absent and the other one, too; other calls read them.
    pub(in crate::config) fn require_one(&mut self, keys: [&'static str; 2]) {
        if !keys.iter().any(|key| self.has(key)) {
            self.missing.push(keys.to_vec());
        }
    }

    /// A list of objects; absent is empty, and elements that cannot be read are left out.
    pub(in crate::config) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Node, &mut Report) -> Option<T>,
    ) -> Vec<T> {
        self.optional(key, objects(read)).map_or_else(Vec::new, |items| items.value)
    }

    /// ARM's pairs such as `addressPrefix` and `addressPrefixes`: one value or a list of them, never both.
    pub(in crate::config) fn one_or_many<T>(
        &mut self,
        one: &'static str,
        many: &'static str,
        read: impl Fn(&Node, &mut Report) -> Option<T>,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        self.one_or_many_or(one, many, None, read)
    }

    /// As [`Self::one_or_many`], where a third key may stand instead: its name, and whether it does.
    pub(in crate::config) fn one_or_many_or<T>(
        &mut self,
        one: &'static str,
        many: &'static str,
        instead: Option<(&'static str, bool)>,
        read: impl Fn(&Node, &mut Report) -> Option<T>,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        let is_given = instead.is_some_and(|(_, is_there)| is_there);
        if self.report.shapes.is_some() {
            let (single, several) =
                (shapes(&read, self.at, self.report), shapes(list_or_none(&read), self.at, self.report));
            self.describe(one, single);
            self.describe(many, several);
            return None;
        }
        let single = self.take(one);
        let several = self.take(many);
        // Exported templates carry the other form as an empty list.
        let several = several.filter(|node| {
            let alone = single.is_none() && !is_given;
            alone || !matches!(&node.value, Value::List(items) if items.is_empty())
        });
        match (single, several) {
            (Some(node), None) => {
                let value = read(node, self.report).map(|value| Spanned { value, at: node.at });
                Some(Spanned { value: value.into_iter().collect(), at: node.at })
            }
            (None, Some(node)) => list_of(read)(node, self.report).map(|value| Spanned { value, at: node.at }),
            (Some(_), Some(node)) => {
                self.report.error(node.at, format!("both `{one}` and `{many}` are given")).expected("one of the two");
                None
            }
            (None, None) => {
                if !is_given {
                    self.missing.push([one, many].into_iter().chain(instead.map(|(key, _)| key)).collect());
                }
                None
            }
        }
    }

    fn describe(&mut self, key: &'static str, shapes: Vec<Shape>) {
        match self.shapes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => known.extend(shapes),
            None => self.shapes.push((key, shapes)),
        }
    }

    /// What a key has, for a second look at it.
    pub(in crate::config) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| *node)
    }

    pub(in crate::config) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, node)| name.value == key && !matches!(node.value, Value::Null))
    }

    /// The site of a key, or else of the whole mapping.
    pub(in crate::config) fn key(&self, key: &str) -> At {
        self.entries.iter().find(|(name, _)| name.value == key).map_or(self.at, |(name, _)| name.at)
    }

    /// Whether a key stands there with `null`, which counts as left out otherwise.
    pub(in crate::config) fn is_null(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, node)| name.value == key && matches!(node.value, Value::Null))
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let node = self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| *node)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// `{name, properties: {…}}` is read as if the properties stood beside the name.
    fn unwrap_properties(&mut self) {
        let Some(index) = self.entries.iter().position(|(key, _)| key.value == "properties") else { return };
        let (_, node) = self.entries.remove(index);
        self.printed = true;
        let Value::Map(inner) = &node.value else {
            mismatch(node, self.report, "a mapping", "the properties, with their keys");
            return;
        };
        for (key, value) in inner {
            if self.entries.iter().any(|(other, _)| other.value == key.value) {
                let message = format!("`{}` stands both beside and inside `properties`", clip(&key.value));
                self.report.error(key.at, message).help("remove one of the two");
            } else {
                self.entries.push((key, value));
            }
        }
    }

    /// Reports the unknown keys, and the required ones that are absent and not merely misspelt.
    fn finish(mut self) {
        if self.report.shapes.is_some() {
            let (what, fields) = (self.what, self.shapes);
            self.report.accepts(|| Shape::Object(Object { what, fields }));
            return;
        }
        for (key, _) in &self.entries {
            let ignored = self.printed && ENVELOPE.iter().chain(&COSMETIC).any(|known| *known == key.value);
            if ignored || self.known.contains(&key.value.as_str()) {
                continue;
            }
            let message = format!("{} has no key `{}`", self.what, clip(&key.value));
            let diagnostic = self.report.error(key.at, message);
            diagnostic.expected(format!("one of {}", self.known.join(", ")));
            if let Some(near) = nearest(&key.value, self.known.iter().copied()) {
                diagnostic.help(format!("did you mean `{near}`?"));
                self.missing.retain(|keys| !keys.contains(&near));
            }
        }
        let missing: Vec<String> = self.missing.iter().map(|keys| format!("`{}`", keys.join("` or `"))).collect();
        if !missing.is_empty() {
            self.report.error(self.at, format!("{} needs {}", self.what, missing.join(", ")));
        }
    }
}

/// Reports that a node is not `what`; `expected` says what that looks like.
pub(in crate::config) fn mismatch<'r>(
    node: &Node,
    report: &'r mut Report,
    what: &str,
    expected: &str,
) -> &'r mut Diagnostic {
    let found = match &node.value {
        Value::Scalar { text, .. } => format!("`{}`", clip(text)),
        Value::Null | Value::List(_) | Value::Map(_) => node.kind().to_owned(),
    };
    report.error(node.at, format!("{found} is not {what}")).expected(expected)
}

/// Any scalar, as text.
pub(in crate::config) fn text(node: &Node, report: &mut Report) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } => {
            report.accepts(|| Shape::Text);
            Some(text.clone())
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            mismatch(node, report, "a word", "a single value");
            None
        }
    }
}

/// A program and its arguments; or a text, which is a script for `sh` that ends at the first command that fails.
pub(in crate::config) fn command(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    match &node.value {
        Value::Scalar { text, .. } if !text.trim().is_empty() => Some(["sh", "-ec", text].map(str::to_owned).to_vec()),
        Value::Scalar { .. } | Value::Null | Value::Map(_) => {
            mismatch(node, report, "a program", "a list, such as [iperf3, -s], or a script");
            None
        }
        Value::List(_) => Some(list_of(text)(node, report)?.into_iter().map(|word| word.value).collect()),
    }
}

/// `true` or `false`, unquoted.
pub(in crate::config) fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    match &node.value {
        Value::Scalar { text, plain: true } if truth(text).is_some() => truth(text),
        Value::Scalar { .. } if report.accepts(|| Shape::Boolean) => None,
        Value::Scalar { text, .. } => {
            let help = match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some("write `true` without quotes"),
                "false" | "no" | "off" | "0" => Some("write `false` without quotes"),
                _ => None,
            };
            let diagnostic = mismatch(node, report, "a boolean", "true or false");
            if let Some(help) = help {
                diagnostic.help(help);
            }
            None
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            mismatch(node, report, "a boolean", "true or false");
            None
        }
    }
}

/// What YAML reads as `true` or `false`.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number in `range`, unquoted.
pub(in crate::config) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&Node, &mut Report) -> Option<T>
where
    T: Copy + Display + PartialOrd + std::str::FromStr,
{
    let bound = |bound: T| bound.to_string().parse().ok();
    let (from, to) = (bound(*range.start()), bound(*range.end()));
    move |node, report| {
        if matches!(node.value, Value::Scalar { .. }) && report.accepts(|| Shape::Number(from, to)) {
            return None;
        }
        let (number, quoted) = match &node.value {
            Value::Scalar { text, plain } => (text.parse().ok().filter(|number| range.contains(number)), !plain),
            Value::Null | Value::List(_) | Value::Map(_) => (None, false),
        };
        if number.is_none() || quoted {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            let diagnostic = mismatch(node, report, "a number that fits here", &expected);
            if number.is_some() {
                diagnostic.help("write it without quotes");
            }
        }
        number.filter(|_| !quoted)
    }
}

/// One of a few words, compared as ARM compares enumerations: without regard to case.
pub(in crate::config) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Node, &mut Report) -> Option<T> {
    move |node, report| {
        let all = || words.iter().map(|(word, _)| *word);
        if matches!(node.value, Value::Scalar { .. }) && report.accepts(|| Shape::Word(all().collect())) {
            return None;
        }
        let text = text(node, report)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            let all: Vec<&str> = all().collect();
            let expected = format!("one of {}", all.join(", "));
            report
                .error(node.at, format!("`{}` is not a value of this field", clip(&text)))
                .expected(expected)
                .did_you_mean(&text, all);
        }
        found.map(|(_, value)| *value)
    }
}

/// A list with each element read by `read`; elements that cannot be read are left out.
pub(in crate::config) fn list_of<T>(
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> impl Fn(&Node, &mut Report) -> Option<Vec<Spanned<T>>> {
    move |node, report| match &node.value {
        Value::List(items) if items.is_empty() => {
            report.error(node.at, "an empty list").expected("at least one value");
            None
        }
        Value::List(_) if report.shapes.is_some() => {
            let items = shapes(&read, node.at, report);
            report.accepts(|| Shape::List(items));
            None
        }
        Value::List(items) => {
            let read = |item: &Node| read(item, &mut *report).map(|value| Spanned { value, at: item.at });
            Some(items.iter().filter_map(read).collect())
        }
        Value::Null | Value::Scalar { .. } | Value::Map(_) => {
            mismatch(node, report, "a list", "a list, such as [one, two]");
            None
        }
    }
}

/// As [`list_of`], where a dump may have nothing to say.
pub(in crate::config) fn list_or_none<T>(
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> impl Fn(&Node, &mut Report) -> Option<Vec<Spanned<T>>> {
    move |node, report| match &node.value {
        Value::List(items) if items.is_empty() => Some(Vec::new()),
        Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => list_of(&read)(node, report),
    }
}

/// A list of objects; elements that cannot be read are left out.
pub(in crate::config) fn objects<T>(
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> impl Fn(&Node, &mut Report) -> Option<Vec<T>> {
    move |node, report| match &node.value {
        Value::List(_) if report.shapes.is_some() => {
            let items = shapes(&read, node.at, report);
            report.accepts(|| Shape::List(items));
            None
        }
        Value::List(items) => Some(items.iter().filter_map(|item| read(item, report)).collect()),
        Value::Null | Value::Scalar { .. } | Value::Map(_) => {
            mismatch(node, report, "a list", "a list, such as [one, two]");
            None
        }
    }
}
