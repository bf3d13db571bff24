//! The plan of an apply: the objects that are created, changed and deleted, and the interfaces whose flows are
//! affected.
//!
//! One idea: both networks and both sets of tables exist, so nothing is guessed. Objects are compared property by
//! property, and flows by the tables that decide their packets.

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

/// A planned change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Created and changed objects in file order, then deleted ones.
    pub changes: Vec<ObjectChange>,
    /// The interfaces whose flows are affected.
    pub flows: Vec<TouchedFlows>,
}

/// One object that is created, changed or deleted.
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

/// How flows are affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The interface is deleted, and its flows with it.
    End,
    /// Routes, addresses or a peering changed, or rules under `flushConnection`: running flows are affected from their
    /// next packet (RSEL-07, NSG-23).
    NextPacket,
    /// Rules changed: running flows continue, and the new rules apply to new ones (NSG-22).
    NewFlows,
}

/// Compares two networks and their tables. An object that is in both must have the same id in both.
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
    // The properties of a deleted object are not of interest.
    let properties: Vec<_> = properties.filter(|_| action != Action::Delete).filter(differs).collect();
    let nothing = action == Action::Update && properties.is_empty();
    let (kind, name) = (shown.kind.to_owned(), shown.name.clone());
    (!nothing).then_some(ObjectChange { action, kind, name, properties })
}
