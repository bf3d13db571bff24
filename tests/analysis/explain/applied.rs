//! What `explain` proposes, written into the file it was asked about.

use std::time::Instant;

use serde_json::{Map, Value};
use vnet::analysis::{Change, Difference, Explanation, Fix, Shift, differences, explain, parse_query, reach, traffic};
use vnet::bgp::topology::converge;
use vnet::compile::compile;
use vnet::model::{Learned, Network};

/// A topology file, as data.
#[derive(Clone, Debug)]
pub(super) struct File(pub(super) Value);

impl File {
    pub(super) fn parse(yaml: &str) -> Self {
        Self(serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")))
    }

    pub(super) fn network(&self) -> Network {
        let text = self.0.to_string();
        vnet::config::load(&text, "applied.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}")).network
    }

    pub(super) fn loads(&self) -> bool {
        vnet::config::load(&self.0.to_string(), "applied.yaml").is_ok()
    }

    pub(super) fn ask(&self, source: &str, destination: &str) -> Explanation {
        let network = self.network();
        let compiled = compile(&network, &learned(&network), 1);
        explain(&network, &compiled, &parse_query(source, destination).unwrap(), Instant::now()).unwrap()
    }

    /// With all changes of a fix made; a file that cannot be loaded then fails the test.
    pub(super) fn with(&self, fix: &Fix) -> Self {
        let mut file = self.clone();
        for change in &fix.changes {
            file.change(change).unwrap_or_else(|error| panic!("{change:?}: {error}\n{}", self.0));
        }
        file
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        let mut steps = steps(&change.path);
        let end = steps.pop().ok_or("an empty path")?;
        let mut at = &mut self.0;
        for (i, step) in steps.iter().enumerate() {
            let list = matches!(steps.get(i + 1).unwrap_or(&end), Step::Element(_));
            at = step.enter(at, list)?;
        }
        match (&change.value, end) {
            (Some(value), step) => {
                *step.enter(at, false)? = serde_saphyr::from_str(value).map_err(|error| error.to_string())?;
            }
            (None, Step::Key(key)) => {
                at.as_object_mut().and_then(|members| members.remove(&key)).ok_or("nothing to remove")?;
            }
            (None, Step::Element(index)) => {
                let list = at.as_array_mut().filter(|list| index < list.len()).ok_or("nothing to remove")?;
                list.remove(index);
            }
        }
        Ok(())
    }

    /// What the machines of another file reach that they do not here, and the other way round.
    pub(super) fn differences(&self, after: &Self, ports: &[u16]) -> Vec<Difference> {
        let ask = |file: &Self| {
            let network = file.network();
            let compiled = compile(&network, &learned(&network), 1);
            reach(
                &network,
                &compiled,
                &traffic(
                    &Network { network_security_groups: vec![], ..network.clone() },
                    None,
                    ports.iter().flat_map(|port| [*port, port + 1]).collect(),
                ),
            )
            .unwrap()
        };
        differences(&ask(self), &ask(after))
    }
}

/// What BGP brings if every router says what the file says.
pub(super) fn learned(network: &Network) -> Learned {
    converge(network, Instant::now()).learned()
}

#[derive(Debug)]
enum Step {
    Key(String),
    Element(usize),
}

impl Step {
    /// The place it names, made if it is new: one past the end of a list appends.
    fn enter<'a>(&self, at: &'a mut Value, list: bool) -> Result<&'a mut Value, String> {
        let fresh = || if list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        match self {
            Self::Key(key) => {
                if at.is_null() {
                    *at = Value::Object(Map::new());
                }
                let members = at.as_object_mut().ok_or_else(|| format!("`{key}` of what is no mapping"))?;
                Ok(members.entry(key.clone()).or_insert_with(fresh))
            }
            Self::Element(index) => {
                let elements = at.as_array_mut().ok_or_else(|| format!("[{index}] of what is no list"))?;
                if *index == elements.len() {
                    elements.push(fresh());
                }
                elements.get_mut(*index).ok_or_else(|| format!("[{index}] is past the end"))
            }
        }
    }
}

/// `virtualNetworks[0].subnets[1]` as keys and numbers.
fn steps(path: &str) -> Vec<Step> {
    let of_part = |part: &str| {
        let (key, rest) = part.split_once('[').unwrap_or((part, ""));
        let elements = rest.split(['[', ']']).filter_map(|number| number.parse().ok()).map(Step::Element);
        std::iter::once(Step::Key(key.to_owned())).chain(elements).collect::<Vec<_>>()
    };
    path.split('.').flat_map(of_part).collect()
}

/// Those that a change opens.
pub(super) fn opened(differences: &[Difference]) -> Vec<(String, String, String)> {
    of_kind(differences, Shift::Opens)
}

pub(super) fn closed(differences: &[Difference]) -> Vec<(String, String, String)> {
    of_kind(differences, Shift::Closes)
}

fn of_kind(differences: &[Difference], shift: Shift) -> Vec<(String, String, String)> {
    let wanted = differences.iter().filter(|difference| difference.shift == shift);
    wanted.map(|one| (one.source.clone(), one.destination.clone(), one.traffic.to_string())).collect()
}
