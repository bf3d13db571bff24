//! What putting one network in place of another means: the objects that come, change and go, and whose flows notice.
//!
//! One idea: both networks and both tables are at hand, so nothing is guessed. Objects are compared property by property,
//! and flows by the tables that their packets will meet.

mod admin;
mod edge;
mod express_route;
mod flows;
mod gateways;
mod objects;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::Network;

use objects::Object;

/// A change that was thought through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is made and changed in file order, then what is deleted.
    pub changes: Vec<ObjectChange>,
    /// Interfaces whose flows notice, the others' do not.
    pub flows: Vec<TouchedFlows>,
}

/// One object that comes, changes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    pub action: Action,
    /// ARM's word for it: `routes`, `virtualNetworkPeerings`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `via-nva/to-spokes`: its parent's name before its own.
    pub name: String,
    pub properties: Vec<PropertyChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Create,
    Update,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PropertyChange {
    pub property: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// The flows of one interface, or of a subnet behind a VNet's one TUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TouchedFlows {
    /// `web/eth0`, `vnet/subnet`.
    pub nic: String,
    pub effect: Effect,
}

/// What flows notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The interface goes, and its flows with it.
    End,
    /// Routes, addresses or a peering changed, or rules under `flushConnection`: running flows follow from their next
    /// packet on (RSEL-07, NSG-23).
    NextPacket,
    /// Rules changed: running flows live on, new ones are judged by the new rules (NSG-22).
    NewFlows,
}

/// Compares two networks and their tables. Both must be numbered alike: whoever is in both has one number.
pub fn plan(before: (&Network, &Compiled), after: (&Network, &Compiled)) -> Plan {
    Plan { changes: changes(before.0, after.0), flows: flows::touched(before, after) }
}

fn changes(before: &Network, after: &Network) -> Vec<ObjectChange> {
    let (before, after) = (objects::unlike(before, after), objects::unlike(after, before));
    let old: HashMap<_, &Object> = before.iter().map(|object| (object.key(), object)).collect();
    let new: HashMap<_, &Object> = after.iter().map(|object| (object.key(), object)).collect();
    let made = after.iter().filter_map(|object| difference(old.get(&object.key()).copied(), Some(object)));
    let gone = before.iter().filter(|object| !new.contains_key(&object.key()));
    made.chain(gone.filter_map(|object| difference(Some(object), None))).collect()
}

fn difference(before: Option<&Object>, after: Option<&Object>) -> Option<ObjectChange> {
    let action = match (before, after) {
        (None, _) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (Some(_), None) => Action::Delete,
    };
    let shown = after.or(before)?;
    let value = |object: Option<&Object>, property: usize| object.map(|object| object.properties[property].1.clone());
    let properties = shown.properties.iter().enumerate().map(|(i, (property, _))| PropertyChange {
        property: (*property).to_owned(),
        before: value(before, i),
        after: value(after, i),
    });
    let differs = |change: &PropertyChange| action == Action::Create || change.before != change.after;
    // Of what goes, nobody needs to know what it was like.
    let properties: Vec<_> = properties.filter(|_| action != Action::Delete).filter(differs).collect();
    let nothing = action == Action::Update && properties.is_empty();
    let (kind, name) = (shown.kind.to_owned(), shown.name.clone());
    (!nothing).then_some(ObjectChange { action, kind, name, properties })
}
