//! Terraform's plans and states to ARM resources.
//!
//! `terraform show -json` of a plan has what is and what will be; of a state, what is; `terraform.tfstate` is read too.
//! An ID that is not known before the apply is worked out from the configuration's references. Rules, routes and
//! associations that stand apart are joined with what they belong to.

mod addresses;
mod families;
mod instances;
mod joins;
mod names;
mod references;
mod shape;

use std::rc::Rc;

use super::{Mistake, Node, Note, Resource};

/// What a document of Terraform says.
#[derive(Debug)]
pub struct Plan {
    /// What there is before a plan is applied.
    pub before: Option<Vec<Resource>>,
    /// What a plan leads to; all that a state has.
    pub after: Vec<Resource>,
    pub notes: Vec<Note>,
}

/// Whether a document is a plan or a state of Terraform.
pub fn is_terraform(document: &Node) -> bool {
    ["terraform_version", "format_version"].iter().any(|key| document.get(key).is_some())
}

/// The resources before and after.
pub fn read(document: &Node) -> Result<Plan, Vec<Mistake>> {
    let mut notes = Vec::new();
    if let Some(planned) = document.get("planned_values") {
        let prior = document.get("prior_state").and_then(|prior| prior.get("values"));
        let known = prior.map(instances::of_values).unwrap_or_default();
        let mut after = instances::of_values(planned);
        // What a plan reads and does not change stands in the prior state alone.
        after.extend(known.iter().filter(|instance| instance.is_data).cloned());
        instances::in_one_subscription(&mut after, &known);
        references::resolve(document, &mut after, &mut notes);
        let before = prior.is_some().then(|| resources(&known, &mut Vec::new()));
        let after = resources(&after, &mut notes);
        return Ok(Plan { before, after, notes });
    }
    let state = match (document.get("values"), document.get("resources")) {
        (Some(values), _) => instances::of_values(values),
        (None, Some(_)) => instances::of_state_file(document),
        (None, None) => {
            let mistake = Mistake::new(&document.at, "This document of Terraform has no resources.")
                .expecting("the output of `terraform show -json` for a plan or a state")
                .helped("Write a plan with `terraform plan -out FILE`, and then use `terraform show -json FILE`.");
            return Err(vec![mistake]);
        }
    };
    let after = resources(&state, &mut notes);
    Ok(Plan { before: None, after, notes })
}

fn resources(instances: &[Rc<instances::Instance>], notes: &mut Vec<Note>) -> Vec<Resource> {
    let apart: Vec<_> = instances.iter().flat_map(families::resources).collect();
    joins::joined(apart, instances, notes)
}
