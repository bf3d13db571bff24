//! YAML as text with locations: documents become trees, trees become values, and each mistake names its line.
//!
//! One idea: nothing here knows what a topology file says. [`tree`] reads YAML and keeps locations, [`decode`] turns a
//! tree into the schema's types, [`values`] into single values, and [`diagnostic`] words what is wrong. [`shape`] asks
//! the readers what they accept, [`patch`] edits a tree.

pub(super) mod decode;
pub(super) mod diagnostic;
pub(super) mod patch;
pub(super) mod shape;
pub(super) mod tree;
pub(super) mod values;
