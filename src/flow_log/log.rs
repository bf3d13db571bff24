//! One flow log: the names in its records and files, and the lines that it contains.

use std::path::{Path, PathBuf};

use crate::model::{FlowLog, FlowLogTarget, NsgLogVersion};

use super::RuleNames;
use super::identity::{Identities, guid, target_name};
use super::record::{FlowLogRecord, FlowRecords, Groups, NsgProperties, NsgRecord};
use super::tuple::Moment;

/// The deciding rule where neither a security group nor an administrator has one.
const PLATFORM: (&str, &str) = ("00000000-0000-0000-0000-000000000000", "platformrule");

/// Resource kinds, in ARM's spelling.
const NSGS: &str = "networkSecurityGroups";
const MANAGERS: &str = "networkManagers";

/// One flow log, with the names in its records.
#[derive(Debug)]
pub(super) struct Log {
    kind: Kind,
    /// The lab's name, from which GUIDs are computed.
    lab: String,
    guid: String,
    id: String,
    target: String,
    /// Below the storage path.
    pub(super) directory: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Nsg { group: String, version: NsgLogVersion },
    Flows,
}

/// A line, and its group headings in the record.
pub(super) struct Line {
    pub(super) acl: String,
    pub(super) rule: String,
    pub(super) tuple: String,
}

impl Log {
    pub(super) fn new(identities: Identities<'_>, log: &FlowLog) -> Self {
        let lab = identities.0.name.clone();
        let name = target_name(identities.0, log.target);
        let target = identities.arm_id(&name);
        match log.target {
            FlowLogTarget::Nsg(nsg, version) => {
                let group = identities.0.network_security_groups[nsg.0].name.clone();
                let (guid, id) = (guid(&lab, NSGS, &group), target.to_uppercase());
                let directory =
                    Path::new("insights-logs-networksecuritygroupflowevent").join(format!("resourceId={id}"));
                Self { kind: Kind::Nsg { group, version }, lab, guid, id, target, directory }
            }
            FlowLogTarget::Vnet(_) | FlowLogTarget::Subnet(_) | FlowLogTarget::Nic(_) => {
                let (subscription, watcher) = (identities.subscription().to_uppercase(), identities.watcher(log));
                let own = log.name.to_uppercase();
                let id = format!(
                    "/SUBSCRIPTIONS/{subscription}/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/\
                     NETWORKWATCHERS/{watcher}/FLOWLOGS/{own}"
                );
                let directory = Path::new("insights-logs-flowlogflowevent")
                    .join(format!("flowLogResourceID=/{subscription}_NETWORKWATCHERRG/{watcher}_{own}"));
                Self { kind: Kind::Flows, guid: guid(&lab, "flowLogs", &log.name), lab, id, target, directory }
            }
        }
    }
}

impl Log {
    /// The line for a moment, if the log covers it: a security group's log covers only what that group decided.
    pub(super) fn line(&self, rule: Option<RuleNames<'_>>, moment: &Moment) -> Option<Line> {
        match &self.kind {
            Kind::Nsg { group, version } => {
                let RuleNames { owner, name } = rule?;
                let rule = nsg_rule(name).filter(|_| owner.eq_ignore_ascii_case(group))?;
                Some(Line { acl: String::new(), rule, tuple: moment.in_nsg_log(*version)? })
            }
            Kind::Flows => {
                let (acl, rule) = self.decider(rule);
                Some(Line { acl, rule, tuple: moment.in_flow_log() })
            }
        }
    }

    /// A whole record, on one line.
    pub(super) fn record(&self, time: &str, mac: &str, groups: &Groups) -> String {
        let record = match &self.kind {
            Kind::Nsg { version, .. } => {
                let version = match version {
                    NsgLogVersion::V1 => 1,
                    NsgLogVersion::V2 => 2,
                };
                serde_json::to_string(&NsgRecord {
                    time,
                    system_id: &self.guid,
                    mac_address: mac,
                    category: "NetworkSecurityGroupFlowEvent",
                    resource_id: &self.id,
                    operation_name: "NetworkSecurityGroupFlowEvents",
                    properties: NsgProperties::new(version, mac, groups),
                })
            }
            Kind::Flows => serde_json::to_string(&FlowLogRecord {
                time,
                flow_log_version: 4,
                flow_log_guid: &self.guid,
                mac_address: mac,
                category: "FlowLogFlowEvent",
                flow_log_resource_id: &self.id,
                target_resource_id: &self.target,
                operation_name: "FlowLogFlowEvent",
                flow_records: FlowRecords::new(groups),
            }),
        };
        record.expect("strings and numbers alone are always JSON")
    }

    /// The deciding owner and rule (ADM-04).
    fn decider(&self, rule: Option<RuleNames<'_>>) -> (String, String) {
        let Some(RuleNames { owner, name }) = rule else {
            let (acl, rule) = PLATFORM;
            return (acl.to_owned(), rule.to_owned());
        };
        match nsg_rule(name) {
            Some(rule) => (guid(&self.lab, NSGS, owner), rule),
            None => (guid(&self.lab, MANAGERS, owner), name.rsplit('/').next().unwrap_or(name).to_owned()),
        }
    }
}

/// `UserRule_x` or `DefaultRule_x`; None for an administrator's rule.
fn nsg_rule(name: &str) -> Option<String> {
    let user = name.strip_prefix("securityRules/").map(|rule| format!("UserRule_{rule}"));
    user.or_else(|| name.strip_prefix("defaultSecurityRules/").map(|rule| format!("DefaultRule_{rule}")))
}
