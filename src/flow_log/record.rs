//! Records as Azure writes them: the fields of DIAG-07 and DIAG-08, in the order of its documents.

use std::collections::BTreeMap;

use serde::Serialize;

/// Tuples by the deciding owner, and by rule.
pub(super) type Groups = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// One minute of one interface in a security group's log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NsgRecord<'a> {
    pub(super) time: &'a str,
    pub(super) system_id: &'a str,
    pub(super) mac_address: &'a str,
    pub(super) category: &'static str,
    pub(super) resource_id: &'a str,
    pub(super) operation_name: &'static str,
    pub(super) properties: NsgProperties<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct NsgProperties<'a> {
    #[serde(rename = "Version")]
    pub(super) version: u8,
    pub(super) flows: Vec<NsgFlows<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct NsgFlows<'a> {
    pub(super) rule: &'a str,
    pub(super) flows: [MacFlows<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MacFlows<'a> {
    pub(super) mac: &'a str,
    pub(super) flow_tuples: &'a [String],
}

/// One minute of one interface in the log of a virtual network, a subnet or an interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlowLogRecord<'a> {
    pub(super) time: &'a str,
    pub(super) flow_log_version: u8,
    #[serde(rename = "flowLogGUID")]
    pub(super) flow_log_guid: &'a str,
    pub(super) mac_address: &'a str,
    pub(super) category: &'static str,
    #[serde(rename = "flowLogResourceID")]
    pub(super) flow_log_resource_id: &'a str,
    #[serde(rename = "targetResourceID")]
    pub(super) target_resource_id: &'a str,
    pub(super) operation_name: &'static str,
    pub(super) flow_records: FlowRecords<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct FlowRecords<'a> {
    pub(super) flows: Vec<AclFlows<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AclFlows<'a> {
    #[serde(rename = "aclID")]
    pub(super) acl_id: &'a str,
    pub(super) flow_groups: Vec<RuleFlows<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleFlows<'a> {
    pub(super) rule: &'a str,
    pub(super) flow_tuples: &'a [String],
}

impl<'a> NsgProperties<'a> {
    pub(super) fn new(version: u8, mac: &'a str, groups: &'a Groups) -> Self {
        let flows = groups
            .values()
            .flatten()
            .map(|(rule, tuples)| NsgFlows { rule, flows: [MacFlows { mac, flow_tuples: tuples }] });
        Self { version, flows: flows.collect() }
    }
}

impl<'a> FlowRecords<'a> {
    pub(super) fn new(groups: &'a Groups) -> Self {
        let acl = |(acl_id, rules): (&'a String, &'a BTreeMap<String, Vec<String>>)| AclFlows {
            acl_id,
            flow_groups: rules.iter().map(|(rule, tuples)| RuleFlows { rule, flow_tuples: tuples }).collect(),
        };
        Self { flows: groups.iter().map(acl).collect() }
    }
}
