//! Resource ids from scopes, types and names.

use crate::arm::Value;

use super::functions::Arguments;
use super::machine::{Outcome, fault};
use super::scope::Target;

impl Target {
    /// The id of the subscription or of the resource group.
    pub(super) fn path(&self) -> String {
        match &self.group {
            Some(group) => format!("/subscriptions/{}/resourceGroups/{group}", self.subscription),
            None => format!("/subscriptions/{}", self.subscription),
        }
    }

    /// The id of a resource that is deployed here.
    pub(super) fn resource(&self, kind: &str, name: &str) -> Outcome<String> {
        if kind.eq_ignore_ascii_case("Microsoft.Resources/resourceGroups") {
            return Ok(format!("/subscriptions/{}/resourceGroups/{name}", self.subscription));
        }
        Ok(self.path() + &under(kind, &name.split('/').collect::<Vec<_>>())?)
    }
}

/// `/providers/Microsoft.Network/virtualNetworks/hub/subnets/default` of the type and two names.
pub(super) fn under(kind: &str, names: &[&str]) -> Outcome<String> {
    // Some write a `/` after the type, which Azure takes.
    let mut segments = kind.split('/').filter(|segment| !segment.is_empty());
    let namespace = segments.next().unwrap_or_default();
    let types: Vec<_> = segments.collect();
    if types.is_empty() || types.len() != names.len() {
        let (types, names) = (types.len(), names.len());
        return Err(fault(format!("The type `{kind:.80}` needs {types} names, and there are {names}")));
    }
    let pairs = types.iter().zip(names).flat_map(|(kind, name)| ["/", kind, "/", name]);
    Ok(["/providers/", namespace].into_iter().chain(pairs).collect())
}

/// `resourceId` and its relatives; the first argument with a `/` is the type.
pub(super) fn call(function: &str, given: &Arguments<'_>, target: &Target) -> Option<Outcome<Value>> {
    if !matches!(
        function,
        "resourceid"
            | "subscriptionresourceid"
            | "tenantresourceid"
            | "extensionresourceid"
            | "managementgroupresourceid"
    ) {
        return None;
    }
    Some(made(function, given, target).map(Value::Text))
}

fn made(function: &str, given: &Arguments<'_>, target: &Target) -> Outcome<String> {
    let words: Vec<String> = (0..given.values.len()).map(|at| given.plain(at)).collect::<Outcome<_>>()?;
    let from = usize::from(function == "extensionresourceid");
    let kind = words.iter().skip(from).position(|word| word.contains('/')).map(|at| at + from);
    let kind =
        kind.ok_or_else(|| fault(format!("`{}` needs a type such as Microsoft.Network/virtualNetworks", given.name)))?;
    let (before, after) = words.split_at(kind);
    let names: Vec<&str> = after[1..].iter().flat_map(|name| name.split('/')).collect();
    let provider = under(&after[0], &names)?;
    let scope = match (function, before) {
        ("resourceid", []) => target.path(),
        ("resourceid", [one]) if is_guid(one) && target.group.is_none() => format!("/subscriptions/{one}"),
        ("resourceid", [group]) => Target { group: Some(group.clone()), ..target.clone() }.path(),
        ("resourceid", [subscription, group]) => format!("/subscriptions/{subscription}/resourceGroups/{group}"),
        ("subscriptionresourceid", []) => format!("/subscriptions/{}", target.subscription),
        ("subscriptionresourceid", [subscription]) => format!("/subscriptions/{subscription}"),
        ("tenantresourceid", []) => String::new(),
        ("extensionresourceid", [base]) => base.clone(),
        ("managementgroupresourceid", []) => "/providers/Microsoft.Management/managementGroups/lab".to_owned(),
        ("managementgroupresourceid", [group]) => format!("/providers/Microsoft.Management/managementGroups/{group}"),
        _ => {
            return Err(fault(format!(
                "`{}` has {} arguments before the type, which are too many",
                given.name,
                before.len()
            )));
        }
    };
    Ok(scope + &provider)
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_its_length_and_its_digits() {
        assert!(is_guid("0f8fad5b-d9cb-469f-a165-70867728950e"));
        assert!(!is_guid("0f8fad5b-d9cb-469f-a165-70867728950"), "short");
        assert!(!is_guid("0f8fad5b-d9cb-469f-a165-70867728950x"), "no digit");
    }
}
